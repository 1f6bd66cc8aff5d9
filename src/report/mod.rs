//! What networks and packed models consist of, and plans as web pages.

mod network;
mod page;
mod summary;

pub use network::{NetworkLayer, NetworkSummary};
pub use summary::{Bytes, Layer, LayerKind, Loss, Summary};
