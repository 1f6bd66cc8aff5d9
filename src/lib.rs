//! fgq

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
mod pack;
mod plan;
mod progress;
mod quantize;
mod reestimate;
mod report;
mod runtime;
mod source;
mod tensor;
mod ternarize;

pub use calibrate::{ActivationRule, RangeMethod};
pub use convert::{Conversion, ConvertOptions, convert};
pub use data::{
    Dataset, Images, PRESETS, PixelImages, PreprocessOptions, class_names, input_pixels, normalise,
    preprocess_beside, read_preprocess, write_npy,
};
pub use error::{Error, ErrorKind, Result};
pub use eval::{Accuracy, Comparison, Evaluation, evaluate};
pub use format::{
    Channels, Interpolation, PackedModel, Preprocess, Provenance, Resize, Scale, Size, Written, read_model,
    write_model,
};
pub use graph::{Graph, Interpreter};
pub use plan::{Choice, Pattern, Precision, Reason};
pub use progress::Progress;
pub use report::{Bytes, Layer, LayerKind, Summary};
pub use runtime::{Kernels, Logits, Session};
pub use source::{LoadOptions, Loaded, architectures, load, load_onnx};
pub use ternarize::{TernarizeOptions, TernaryTensor, ternarize_tensor};
