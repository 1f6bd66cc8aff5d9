//! Which patches of its input a convolution reads.

use crate::quantize::{QuantizedNode, QuantizedOp};
use crate::tensor::Window;

/// What decides which patches a convolution reads.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Patches {
    /// The node whose activations are read.
    pub input: usize,
    pub window: Window,
    pub groups: usize,
    /// Input channels of one channel group.
    pub group_inputs: usize,
    /// Rows and columns of the output: a patch for each.
    pub output: [usize; 2],
}

impl Patches {
    /// Those of `node`, if it is a convolution.
    pub(super) fn of(node: &QuantizedNode) -> Option<Self> {
        let QuantizedOp::Conv(conv) = &node.op else { return None };
        Some(Self {
            input: node.inputs[0],
            window: conv.window,
            groups: conv.groups,
            group_inputs: conv.group_inputs,
            output: [node.shape.height, node.shape.width],
        })
    }

    /// Inputs in the patch of one channel group.
    pub(super) fn len(&self) -> usize {
        self.window.area() * self.group_inputs
    }

    /// Number of patches in an image.
    pub(super) fn positions(&self) -> usize {
        self.output[0] * self.output[1]
    }
}
