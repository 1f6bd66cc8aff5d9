//! ResNets for CIFAR with shortcuts that have no weights (option A of the paper).

use super::super::builder::{Builder, Conv2d};
use crate::error::Result;
use crate::graph::NodeId;
use crate::tensor::Shape;

/// A network of three stages with `blocks` residual blocks each.
pub(super) fn build(builder: &mut Builder<'_>, blocks: usize, input: Shape) -> Result<()> {
    let first = builder.conv_norm(NodeId::INPUT, "conv1", "bn1", Conv2d::new(input.channels, 16, 3))?;
    let mut value = builder.relu("relu", first);
    let mut shape = Shape { channels: 16, ..input };
    for stage in 0..3 {
        for index in 0..blocks {
            let outputs = 16 << stage;
            value = block(builder, value, &format!("layer{}.{index}", stage + 1), shape, outputs)?;
            if outputs != shape.channels {
                shape = Shape::new(outputs, shape.height.div_ceil(2), shape.width.div_ceil(2));
            }
        }
    }
    let pooled = builder.pooled(value);
    let classes = builder.classes("linear");
    builder.linear(pooled, "linear", shape.channels, classes).map(drop)
}

fn block(
    builder: &mut Builder<'_>,
    input: NodeId,
    name: &str,
    shape: Shape,
    outputs: usize,
) -> Result<NodeId> {
    let inputs = shape.channels;
    let stride = if inputs == outputs { 1 } else { 2 };
    let [conv1, bn1] = ["conv1", "bn1"].map(|part| format!("{name}.{part}"));
    let [conv2, bn2] = ["conv2", "bn2"].map(|part| format!("{name}.{part}"));
    let value = builder.conv_norm(input, &conv1, &bn1, Conv2d::new(inputs, outputs, 3).stride(stride))?;
    let value = builder.relu(format!("{name}.relu1"), value);
    let value = builder.conv_norm(value, &conv2, &bn2, Conv2d::new(outputs, outputs, 3))?;
    let shortcut = match stride {
        1 => input,
        _ => builder.thinned(&format!("{name}.shortcut"), input, shape, outputs - inputs),
    };
    let sum = builder.add(format!("{name}.add"), value, shortcut);
    Ok(builder.relu(format!("{name}.relu"), sum))
}
