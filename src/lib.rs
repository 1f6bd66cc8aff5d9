//! fgq
#![allow(dead_code, unused_imports)]

mod calibrate;
mod convert;
mod data;
mod error;
mod eval;
mod fixed;
mod fold;
mod format;
mod graph;
mod kernels;
mod layerwise;
mod pack;
mod plan;
mod progress;
mod quantize;
mod runtime;
mod source;
mod tensor;
mod ternarize;

pub use calibrate::{ActivationRule, RangeMethod};
pub use convert::{Conversion, ConvertOptions, convert};
pub use data::{
    Dataset, Images, PixelImages, PreprocessOptions, class_names, input_pixels, normalise, read_preprocess,
};
pub use error::{Error, ErrorKind, Result};
pub use eval::{Accuracy, Comparison, Evaluation, evaluate};
pub use format::{PackedModel, Preprocess, Written, read_model, write_model};
pub use graph::{Graph, Interpreter};
pub use layerwise::Method;
pub use plan::{Choice, Pattern, Precision, Reason};
pub use progress::Progress;
pub use runtime::{Kernels, Logits, Session};
pub use source::{LoadOptions, Loaded, load};
pub use ternarize::{TernarizeOptions, TernaryTensor, ternarize_tensor};
