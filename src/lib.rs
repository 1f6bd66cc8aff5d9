//! Converts trained convolutional networks to fine-grained ternary weights, without training, and runs the result
//! with integers only.
//!
//! A ternary layer stores −1, 0 or +1 per weight and one 8-bit scale per group of N input channels: `2 + 8/N` bits
//! per weight, and one multiplication per group instead of one per weight (Mellempudi et al., arXiv 1705.01462).
//!
//! # One tensor
//!
//! ```
//! use fgq::TernarizeOptions;
//! use ndarray::Array4;
//!
//! // Output channel, input channel, row, column.
//! let weights = Array4::from_shape_fn((8, 16, 3, 3), |(o, i, y, x)| ((97 * o + 31 * i + 7 * y + x) as f32).sin());
//! let t = fgq::ternarize_tensor(weights.view(), &TernarizeOptions::group(4))?;
//! assert!(t.relative_error() < 0.15);
//! assert_eq!(t.dequantize().shape(), weights.shape());
//! # Ok::<(), fgq::Error>(())
//! ```
//!
//! # A network
//!
//! [`load`] reads a [`Graph`], [`check()`] says what would become of it, [`convert()`] makes a [`PackedModel`] of it,
//! calibrating on a few hundred images without labels, [`convert_to`] towards a goal; [`write_model`] and [`read_model`]
//! store it, [`Session`] runs it, [`evaluate`] measures it.
//!
//! ```no_run
//! use fgq::{ConvertOptions, Dataset, LoadOptions, Preprocess};
//! use std::path::Path;
//!
//! let graph = fgq::load(Path::new("resnet32-cifar10.onnx"), &LoadOptions::default())?.graph;
//! let preprocess = Preprocess::preset("cifar10")?;
//! let images = Dataset::unlabelled(Path::new("cifar10/train"))?.spread(512);
//! let options = ConvertOptions { group: 4, ..ConvertOptions::default() };
//! let conversion = fgq::convert(graph.clone(), &preprocess, &images, &options, &())?;
//! fgq::write_model(&conversion.model, Path::new("resnet32.fgq"))?;
//!
//! let model = fgq::read_model(Path::new("resnet32.fgq"))?;
//! let test = Dataset::labelled(Path::new("cifar10/test"), None, 10)?;
//! let evaluation = fgq::evaluate(&model, &test, Some(&graph), &())?;
//! println!("top-1 {:.1}%", evaluation.accuracy.top1_percent());
//!
//! let session = fgq::Session::new(&model)?;
//! let pixels = fgq::input_pixels(&std::fs::read("photo.png").unwrap(), &model.preprocess)?;
//! println!("class {}", session.run(&pixels)?.top(0, 1)[0]);
//! # Ok::<(), fgq::Error>(())
//! ```
//!
//! # Features
//!
//! The default is `command`, which the command needs and a library does not: take `default-features = false` and
//!
//! - `convert` for networks, images, conversion, plans, measurements and writing models;
//! - `train` for that, [`tune()`] and [`learn()`];
//! - without it, what reads and runs a model: [`read_model`], [`PackedModel::from_bytes`], [`pixels_of`], [`Session`]. It needs
//!   no crates but serde and serde_json and works where there is no system, such as `wasm32-unknown-unknown`;
//! - `threads`, part of `convert`: a model runs on the threads of the current `rayon` pool, not on the calling one alone;
//! - `parquet`, part of `command`: images in Parquet tables are read.
//!
//! # What to rely on
//!
//! The library never prints and never panics on a file's account; whatever is wrong is an [`Error`] with a kind and, where
//! they are known, a file and a node; a field in a message stands between backticks: `` `max_size = 7` ``. Results do not
//! depend on the number of threads, which come from the current `rayon` pool. The same input and options give the same bytes.

// What only the converter needs of the runtime half, or training of the converter, is no mistake without it.
#![cfg_attr(not(feature = "train"), allow(dead_code, unused_imports))]

// The command is written with what the library shows everyone, under the library's own name.
#[cfg(feature = "command")]
extern crate self as fgq;

#[cfg(feature = "command")]
mod cli;

// What runs a model, and the ground that both halves stand on.
#[cfg(test)]
mod choices;
mod clock;
mod error;
mod fixed;
mod format;
mod index;
mod inputs;
mod judge;
mod kernels;
mod liveness;
mod pixels;
mod precision;
#[cfg(any(test, feature = "train"))]
mod random;
mod runtime;
mod tensor;
mod threads;
mod wide;

// What makes a model.
#[cfg(feature = "convert")]
mod archive;
#[cfg(feature = "convert")]
mod bench;
#[cfg(feature = "convert")]
mod calibrate;
#[cfg(feature = "convert")]
mod channels;
#[cfg(feature = "convert")]
mod check;
#[cfg(feature = "convert")]
mod convert;
#[cfg(feature = "convert")]
mod data;
#[cfg(feature = "convert")]
mod eval;
#[cfg(feature = "convert")]
mod export;
#[cfg(feature = "convert")]
mod files;
#[cfg(feature = "convert")]
mod fold;
#[cfg(feature = "convert")]
mod graph;
#[cfg(feature = "convert")]
mod indicate;
#[cfg(feature = "convert")]
mod knapsack;
#[cfg(feature = "convert")]
mod layerwise;
#[cfg(feature = "train")]
mod learn;
#[cfg(feature = "convert")]
mod pack;
#[cfg(feature = "convert")]
mod panics;
#[cfg(feature = "convert")]
mod plan;
#[cfg(feature = "convert")]
mod prepare;
#[cfg(feature = "convert")]
mod products;
#[cfg(feature = "convert")]
mod progress;
#[cfg(feature = "convert")]
#[rustfmt::skip]
mod proto;
#[cfg(feature = "convert")]
mod quantize;
#[cfg(feature = "convert")]
mod reach;
#[cfg(feature = "convert")]
mod repack;
#[cfg(feature = "convert")]
mod report;
#[cfg(feature = "convert")]
mod source;
#[cfg(feature = "convert")]
mod ternarize;
#[cfg(feature = "train")]
mod train;
#[cfg(feature = "train")]
mod tune;

#[cfg(feature = "command")]
pub use cli::{clean_up_on_signals, command_line};
#[cfg(all(target_family = "wasm", target_os = "unknown"))]
pub use clock::set_clock;
pub use error::{Error, ErrorKind, Refusal, Result};
pub use format::{
    AffineChange, Bytes, Channels, Fidelity, Interpolation, LayerFidelity, Multiplier, PackedConv, PackedId,
    PackedModel, PackedNode, PackedNorm, PackedOp, PackedSlice, PackedWeights, PairShifts, PlanRecord,
    Preprocess, Provenance, Quantizer, Rescale, Resize, Scale, Setting, Size, Store, SwitchedCopy,
    SwitchedLayer, Switching, is_packed_model, read_model,
};
pub use index::{Per, TypedIndex};
pub use judge::Judgement;
pub use pixels::{Picture, pixels_of};
pub use precision::{Grouping, Levels, Precision};
pub use runtime::{Kernels, Logits, Session};
pub use tensor::{Shape, Span, Window};

#[cfg(feature = "train")]
pub use bench::bench_training;
#[cfg(feature = "convert")]
pub use bench::{Bench, BenchLayer, BenchOptions, SwitchTimes, bench, bench_reference, median};
#[cfg(feature = "convert")]
pub use calibrate::{ActivationRule, ActivationSpread, RangeMethod, feature_preprocess};
#[cfg(feature = "convert")]
pub use check::{Estimate, Forecast, check};
#[cfg(feature = "convert")]
pub use convert::{Conversion, ConvertOptions, convert};
#[cfg(feature = "convert")]
pub use data::{
    Dataset, Entry, Images, PRESETS, PixelImages, PreprocessOptions, class_names, input_pixels, normalise,
    parse_preprocess, preprocess_beside, read_preprocess, usual_preprocess, write_npy,
};
#[cfg(feature = "convert")]
pub use eval::{
    Accuracy, Comparison, Evaluation, GivenClass, ImageAnswer, answers, answers_of, evaluate,
    evaluate_network,
};
#[cfg(feature = "convert")]
pub use export::{CExport, CLayer, COptions, OnnxExportOptions, export_c, export_onnx};
#[cfg(feature = "convert")]
pub use files::{abandon_writes, check_replaceable, replace_file};
#[cfg(feature = "convert")]
pub use format::{Written, write_model};
#[cfg(feature = "convert")]
pub use graph::{Graph, Interpreter, NodeId};
#[cfg(feature = "convert")]
pub use indicate::{Indicator, IndicatorOptions, candidates, indicate};
#[cfg(feature = "convert")]
pub use layerwise::{Method, Note};
#[cfg(feature = "train")]
pub use learn::{LearnOptions, Learning, learn};
#[cfg(feature = "convert")]
pub use plan::{
    Budgets, Choice, Fixed, FrontierPoint, Indicators, LayerIndicators, Outliers, Pattern, Plan, PlanOptions,
    PlannedLayer, Reason, UniformBits, Uses, frontier, plan, read_indicators, read_plan,
};
#[cfg(feature = "convert")]
pub use progress::Progress;
#[cfg(feature = "convert")]
pub use reach::{Goal, Reached, Trial, convert_to};
#[cfg(feature = "convert")]
pub use repack::{LayerState, RetrainedLayer, repack};
#[cfg(feature = "convert")]
pub use report::{Layer, LayerKind, Loss, NetworkLayer, NetworkSummary, Report, SizePoint, Summary};
#[cfg(feature = "convert")]
pub use source::{LoadOptions, Loaded, architectures, load, load_onnx};
#[cfg(feature = "convert")]
pub use ternarize::{TernarizeOptions, TernaryTensor, ternarize_tensor};
#[cfg(feature = "train")]
pub use train::{
    BlockError, Course, Descent, Epoch, Imitation, LearnedEpoch, MemoryBudgets, MemoryUse, Parametrization,
    RateSchedule, Reconstruction, SwitchingStages,
};
#[cfg(feature = "train")]
pub use tune::{TuneOptions, Tuning, tune};

#[cfg(all(doctest, feature = "command"))]
#[doc = include_str!("../README.md")]
struct ReadmeExamples;
