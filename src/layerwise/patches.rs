//! Which patches of its input a convolution reads, and which other convolution reads them too.

use crate::quantize::{OperatorId, PerOperator, QuantizedNode, QuantizedOp};
use crate::tensor::Window;

/// What decides which patches a convolution reads.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Patches {
    /// The operator whose activations are read.
    pub input: OperatorId,
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

    /// Where each input of a patch is in the patch of `wider` at the same position, if it is there at every position.
    pub(super) fn within(&self, wider: &Self) -> Option<Vec<usize>> {
        let alike = |patches: &Self| (patches.input, patches.groups, patches.window.stride, patches.output);
        if alike(self) != alike(wider) {
            return None;
        }
        let [rows, columns] = [self.taps_within(wider, 0)?, self.taps_within(wider, 1)?];
        let tap = |row: &usize, column: &usize| row * wider.window.kernel[1] + column;
        let taps = rows.iter().flat_map(|row| columns.iter().map(move |column| tap(row, column)));
        let inputs = self.group_inputs;
        Some(taps.flat_map(|tap| tap * inputs..(tap + 1) * inputs).collect())
    }

    /// The tap of `wider` that reads the same input as each tap along `axis`.
    fn taps_within(&self, wider: &Self, axis: usize) -> Option<Vec<usize>> {
        let (own, wide) = (self.window, wider.window);
        // Offsets from the first input, both shifted by both paddings.
        let is_same = |tap: usize, other: usize| {
            tap * own.dilation[axis] + wide.pads[axis] == other * wide.dilation[axis] + own.pads[axis]
        };
        let same = |tap: usize| (0..wide.kernel[axis]).find(|&other| is_same(tap, other));
        (0..own.kernel[axis]).map(same).collect()
    }
}

/// For each layer, the one with the largest patches that hold all of its own; among equals the first, maybe itself.
pub(super) fn hosts(layers: &PerOperator<Option<Patches>>) -> PerOperator<Option<OperatorId>> {
    let host_of = |patches: &Patches| {
        let holds = |(_, other): &(OperatorId, &Patches)| patches.within(other).is_some();
        let layers = layers.enumerate().filter_map(|(id, other)| Some((id, other.as_ref()?)));
        // The last of equals is taken, so that the order is reversed.
        layers.rev().filter(holds).max_by_key(|(_, other)| other.len()).map(|(id, _)| id)
    };
    layers.iter().map(|patches| patches.as_ref().and_then(host_of)).collect()
}

#[cfg(test)]
mod tests;
