//! Shapes, windows and dense activation tensors, shared by converter and runtime.

use crate::error::{Error, ErrorKind, Result};
use serde::{Deserialize, Serialize};
use std::fmt;

/// The shape of one image's activations. Flat vectors are `channels × 1 × 1`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Shape {
    /// Number of channels.
    pub channels: usize,
    /// Rows.
    pub height: usize,
    /// Columns.
    pub width: usize,
}

impl Shape {
    /// A shape from channels, height and width.
    pub const fn new(channels: usize, height: usize, width: usize) -> Self {
        Self { channels, height, width }
    }

    /// A flat vector of `features` elements.
    pub const fn flat(features: usize) -> Self {
        Self::new(features, 1, 1)
    }

    /// Number of positions, `height × width`.
    pub const fn positions(&self) -> usize {
        self.height * self.width
    }

    /// Number of elements.
    pub const fn len(&self) -> usize {
        self.channels * self.positions()
    }

    /// Whether there is no element at all.
    pub const fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&format!("{}x{}x{}", self.channels, self.height, self.width))
    }
}

/// Which positions of an image are normalised together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Span {
    /// Each position on its own.
    Position,
    /// All positions of an image.
    Image,
}

impl Span {
    /// How many of `positions` are normalised together.
    pub(crate) fn positions(self, positions: usize) -> usize {
        match self {
            Self::Position => 1,
            Self::Image => positions,
        }
    }
}

/// A sliding window over two spatial axes, as convolutions and pools use it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Window {
    /// Kernel height and width.
    pub kernel: [usize; 2],
    /// Vertical and horizontal stride.
    pub stride: [usize; 2],
    /// Vertical and horizontal dilation.
    #[serde(default = "ones", skip_serializing_if = "is_ones")]
    pub dilation: [usize; 2],
    /// Padding at the top, left, bottom and right.
    #[serde(default, skip_serializing_if = "is_zeros")]
    pub pads: [usize; 4],
    /// Whether the last window may reach over the padded edge (ceil mode of pools).
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub ceil: bool,
}

fn ones() -> [usize; 2] {
    [1, 1]
}

fn is_ones(extents: &[usize; 2]) -> bool {
    *extents == ones()
}

fn is_zeros(extents: &[usize; 4]) -> bool {
    *extents == [0; 4]
}

impl Window {
    /// A window of `kernel` with stride and dilation 1 and no padding.
    pub const fn new(kernel: [usize; 2]) -> Self {
        Self { kernel, stride: [1, 1], dilation: [1, 1], pads: [0; 4], ceil: false }
    }

    /// The same window with another stride.
    #[must_use]
    pub const fn with_stride(mut self, stride: [usize; 2]) -> Self {
        self.stride = stride;
        self
    }

    /// The same window with other padding (top, left, bottom, right).
    #[must_use]
    pub const fn with_pads(mut self, pads: [usize; 4]) -> Self {
        self.pads = pads;
        self
    }

    /// Number of kernel positions.
    pub const fn area(&self) -> usize {
        self.kernel[0] * self.kernel[1]
    }

    /// Whether every output position reads exactly the input position of the same index.
    pub fn is_pointwise(&self) -> bool {
        self.kernel == [1, 1] && self.stride == [1, 1] && self.pads == [0; 4]
    }

    /// Output height and width for an input of `height × width`.
    ///
    /// # Errors
    /// A window that is larger than the padded input, or has an extent of zero.
    pub fn output(&self, height: usize, width: usize) -> Result<[usize; 2]> {
        Ok([self.extent(0, height)?, self.extent(1, width)?])
    }

    /// The input position under `tap` (row-major) of the window of output `position`; none in the padding.
    #[inline]
    pub(crate) fn source(&self, position: [usize; 2], tap: usize, size: [usize; 2]) -> Option<[usize; 2]> {
        let at = |axis: usize, tap: usize| {
            let padded = position[axis] * self.stride[axis] + tap * self.dilation[axis];
            padded.checked_sub(self.pads[axis]).filter(|&index| index < size[axis])
        };
        Some([at(0, tap / self.kernel[1])?, at(1, tap % self.kernel[1])?])
    }

    fn extent(&self, axis: usize, size: usize) -> Result<usize> {
        let (kernel, stride, dilation) = (self.kernel[axis], self.stride[axis], self.dilation[axis]);
        let padded = size
            .checked_add(self.pads[axis])
            .and_then(|s| s.checked_add(self.pads[axis + 2]))
            .ok_or_else(|| self.misfit(size))?;
        let reach = kernel
            .checked_sub(1)
            .and_then(|k| k.checked_mul(dilation))
            .and_then(|k| k.checked_add(1))
            .filter(|&reach| reach <= padded && stride > 0 && dilation > 0)
            .ok_or_else(|| self.misfit(size))?;
        let slack = padded - reach;
        let steps = slack / stride;
        // The extra window of ceil mode must start inside the input or its leading padding.
        let extra = self.ceil && slack % stride != 0 && (steps + 1) * stride < size + self.pads[axis];
        Ok(steps + 1 + usize::from(extra))
    }

    fn misfit(&self, size: usize) -> Error {
        Error::new(ErrorKind::Shape, format!("window {self:?} does not fit an input extent of {size}"))
    }
}

/// A batch of activations in the order image, row, column, channel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Batch<T> {
    /// Number of images.
    pub images: usize,
    /// Shape of each image.
    pub shape: Shape,
    /// `images × height × width × channels` values.
    pub data: Vec<T>,
}

impl<T: Copy + Default> Batch<T> {
    /// A batch of default values (zeros).
    pub fn zeroed(images: usize, shape: Shape) -> Self {
        Self { images, shape, data: vec![T::default(); images * shape.len()] }
    }

    /// The values of image `index`.
    pub fn image(&self, index: usize) -> &[T] {
        &self.data[index * self.shape.len()..][..self.shape.len()]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn floor_and_ceil_extents() {
        let window = Window::new([3, 3]).with_stride([2, 2]);
        assert_eq!(window.output(6, 7).unwrap(), [2, 3]);
        assert_eq!(Window { ceil: true, ..window }.output(6, 7).unwrap(), [3, 3]);
    }

    #[test]
    fn ceil_window_never_starts_in_trailing_padding() {
        let window = Window { ceil: true, ..Window::new([1, 1]).with_stride([2, 2]).with_pads([0, 0, 1, 1]) };
        assert_eq!(window.output(3, 3).unwrap(), [2, 2]);
    }

    #[test]
    fn window_larger_than_input_is_an_error() {
        assert!(Window::new([3, 3]).output(2, 8).is_err());
        assert!(Window::new([0, 1]).output(2, 8).is_err());
    }
}
