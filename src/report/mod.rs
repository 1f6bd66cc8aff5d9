//! What packed models consist of, and plans as web pages.

mod page;
mod summary;

pub use summary::{Bytes, Layer, LayerKind, Loss, Summary};
