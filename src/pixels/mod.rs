//! Decoded images → input pixels, as Pillow and torchvision do it.

mod apply;
mod picture;
mod resize;

pub use apply::pixels_of;
pub use picture::Picture;
#[cfg(feature = "train")]
pub(crate) use picture::luma;
#[cfg(any(test, feature = "convert"))]
pub(crate) use resize::resize;

#[cfg(test)]
mod tests;
