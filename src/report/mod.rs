//! What networks and packed models consist of; models, plans and training as web pages.

mod answers;
mod drawing;
mod facts;
mod layers;
mod model;
mod network;
mod page;
mod plan;
mod sheet;
mod spreads;
mod summary;
mod text;
mod thumbnail;
#[cfg(feature = "train")]
mod training;

pub use model::{Report, SizePoint};
pub use network::{NetworkLayer, NetworkSummary};
pub use summary::{Layer, LayerKind, Loss, Summary};
#[cfg(feature = "train")]
pub(crate) use training::training_page;
