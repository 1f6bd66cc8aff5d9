//! What a packed model stores beside its weights.

mod preprocess;

pub use preprocess::{Channels, Interpolation, Preprocess, Resize, Scale, Size};
