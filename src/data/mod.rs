//! Images and labels: folders, decoding, preprocessing as torchvision does it, batches.

mod apply;
mod dataset;
mod decode;
mod imagenet;
mod images;
mod labels;
mod load;
mod model_config;
mod npy;
mod options;
mod resize;
mod walk;

pub use apply::{input_pixels, normalise, pixels_of};
pub use dataset::{Dataset, Entry, spread};
pub use decode::{Picture, decode};
pub use imagenet::class_names;
pub use images::{Images, PixelImages};
pub use load::{for_each_batch, load};
pub use model_config::preprocess_beside;
pub use npy::write_npy;
pub use options::{PRESETS, PreprocessOptions, parse_preprocess, read_preprocess};

#[cfg(test)]
mod tests;
