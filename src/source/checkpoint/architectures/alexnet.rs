//! AlexNet, as in torchvision.

use super::super::builder::{Builder, Conv2d, max_pool};
use super::{adaptive_pool, dense_classifier};
use crate::error::Result;
use crate::graph::NodeId;
use crate::tensor::{Shape, Window};

/// Outputs, kernel and whether a pool follows, for the convolutions after the first.
const CONVS: [(usize, usize, bool); 4] = [(192, 5, true), (384, 3, false), (256, 3, false), (256, 3, true)];

pub(super) fn build(builder: &mut Builder<'_>, input: Shape) -> Result<()> {
    let value =
        builder.conv(NodeId::INPUT, "features.0", Conv2d::new(input.channels, 64, 11).stride(4).pad(2))?;
    let value = builder.relu("features.1", value);
    let mut value = builder.op("features.2", max_pool(3, 2, 0, false), &[value]);
    let (mut inputs, mut index) = (64, 3);
    for (outputs, kernel, pool) in CONVS {
        value = builder.conv(value, &format!("features.{index}"), Conv2d::new(inputs, outputs, kernel))?;
        value = builder.relu(format!("features.{}", index + 1), value);
        (inputs, index) = (outputs, index + 2);
        if pool {
            value = builder.op(format!("features.{index}"), max_pool(3, 2, 0, false), &[value]);
            index += 1;
        }
    }
    if let Some(pool) = adaptive_pool(map_size(input)?, 6)? {
        value = builder.op("avgpool", pool, &[value]);
    }
    dense_classifier(builder, value, 256 * 6 * 6, 1)
}

/// Height and width after all pools.
fn map_size(input: Shape) -> Result<[usize; 2]> {
    let first = Window::new([11; 2]).with_stride([4; 2]).with_pads([2; 4]);
    let pool = Window::new([3; 2]).with_stride([2; 2]);
    [first, pool, pool, pool]
        .iter()
        .try_fold([input.height, input.width], |[height, width], w| w.output(height, width))
}
