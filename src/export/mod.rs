//! Packed models in forms that other programs take. Each is made of a [`PackedModel`](crate::PackedModel) alone.

mod c;

pub use c::{CExport, CLayer, COptions, export_c};
