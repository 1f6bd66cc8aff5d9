//! Packed models in forms that other programs take. Each is made of a [`PackedModel`](crate::PackedModel) alone.

mod c;
mod onnx;

pub use c::{CExport, CLayer, COptions, export_c};
pub use onnx::{OnnxExportOptions, export_onnx};
