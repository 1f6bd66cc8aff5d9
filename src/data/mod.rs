//! Images and labels: folders, archives, decoding, preprocessing; samples in arrays.

mod allowance;
mod apply;
mod archived;
mod arrays;
mod dataset;
mod decode;
mod imagenet;
mod images;
mod labels;
mod load;
mod model_config;
mod npy;
mod options;
mod walk;

pub use apply::{input_pixels, normalise};
pub(crate) use dataset::spread;
pub use dataset::{Dataset, Entry};
pub use imagenet::class_names;
pub use images::{Images, PixelImages};
pub(crate) use images::{Unreadable, labels_at, labels_of};
pub use load::load;
pub use model_config::{preprocess_beside, usual_preprocess};
pub use npy::write_npy;
pub use options::{PRESETS, PreprocessOptions, parse_preprocess, read_preprocess};

#[cfg(test)]
mod tests;
