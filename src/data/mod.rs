//! Images and labels: folders, decoding, preprocessing as torchvision does it, batches.

mod apply;
mod decode;
mod model_config;
mod options;
mod resize;

pub use apply::{input_pixels, normalise, pixels_of};
pub use decode::{Picture, decode, looks_like_image};
pub use options::{PRESETS, PreprocessOptions, parse_preprocess, read_preprocess};

#[cfg(test)]
mod tests;
