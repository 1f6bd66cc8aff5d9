//! What networks and packed models consist of, plans and training as web pages.

mod network;
mod page;
mod plan;
mod summary;
#[cfg(feature = "train")]
mod training;

pub use network::{NetworkLayer, NetworkSummary};
pub use summary::{Bytes, Layer, LayerKind, Loss, Summary};
#[cfg(feature = "train")]
pub(crate) use training::training_page;
