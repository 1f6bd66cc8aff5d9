//! A convolution as all kernels take it.

use crate::error::Result;
use crate::tensor::{Shape, Window};

/// A convolution with weights expanded to `i8`.
#[derive(Debug, Clone)]
pub(crate) struct ConvSpec {
    /// Output channels.
    pub outputs: usize,
    /// Input channels of each channel group.
    pub group_inputs: usize,
    /// Number of channel groups.
    pub groups: usize,
    /// Kernel, stride, dilation, padding.
    pub window: Window,
    /// Group size if each group of weights, consecutive input channels under one tap, has values 0 and ± its scale.
    pub ternary: Option<usize>,
    /// Output channel, kernel row, kernel column, input channel.
    pub weights: Vec<i8>,
    /// Added to the sum, per output channel.
    pub bias: Vec<i32>,
    /// Zero point of each input channel; padding has this code.
    pub zero_points: Vec<u8>,
    /// No code of the input is larger, nor is a zero point.
    pub largest: u8,
}

impl ConvSpec {
    /// Number of weights of one output channel.
    pub fn channel_len(&self) -> usize {
        self.window.area() * self.group_inputs
    }

    /// Whether output channel `c` depends on input channel `c` alone.
    pub(super) fn is_depthwise(&self) -> bool {
        self.group_inputs == 1 && self.outputs == self.groups
    }

    pub(super) fn group_outputs(&self) -> usize {
        self.outputs / self.groups
    }

    pub(super) fn output_shape(&self, input: Shape) -> Result<Shape> {
        let [height, width] = self.window.output(input.height, input.width)?;
        Ok(Shape::new(self.outputs, height, width))
    }
}
