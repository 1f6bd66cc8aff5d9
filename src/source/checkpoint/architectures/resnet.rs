//! ResNets for ImageNet, as in torchvision and timm.

use super::super::builder::{Builder, Conv2d, max_pool};
use crate::error::Result;
use crate::graph::NodeId;

/// The numbers that tell ResNets apart.
pub(crate) struct Resnet {
    /// Blocks per stage.
    depths: [usize; 4],
    bottleneck: Option<Bottleneck>,
}

#[derive(Clone, Copy)]
struct Bottleneck {
    groups: usize,
    /// Channels per group in the first stage.
    width: usize,
}

/// One residual block.
struct ResidualBlock {
    name: String,
    inputs: usize,
    planes: usize,
    stride: usize,
}

impl Resnet {
    pub(super) const fn basic(depths: [usize; 4]) -> Self {
        Self { depths, bottleneck: None }
    }

    pub(super) const fn bottleneck(depths: [usize; 4], groups: usize, width: usize) -> Self {
        Self { depths, bottleneck: Some(Bottleneck { groups, width }) }
    }

    pub(super) fn build(&self, builder: &mut Builder<'_>, channels: usize) -> Result<()> {
        let first =
            builder.conv_norm(NodeId::INPUT, "conv1", "bn1", Conv2d::new(channels, 64, 7).stride(2))?;
        let first = builder.relu("relu", first);
        let mut value = builder.op("maxpool", max_pool(3, 2, 1, false), &[first]);
        let mut inputs = 64;
        for (stage, &depth) in self.depths.iter().enumerate() {
            let planes = 64 << stage;
            for index in 0..depth {
                let stride = if stage > 0 && index == 0 { 2 } else { 1 };
                let block =
                    ResidualBlock { name: format!("layer{}.{index}", stage + 1), inputs, planes, stride };
                value = self.block(builder, value, &block)?;
                inputs = self.outputs(planes);
            }
        }
        let pooled = builder.pooled(value);
        let classes = builder.classes("fc");
        builder.linear(pooled, "fc", inputs, classes).map(drop)
    }

    fn outputs(&self, planes: usize) -> usize {
        if self.bottleneck.is_some() { 4 * planes } else { planes }
    }

    fn block(&self, builder: &mut Builder<'_>, input: NodeId, block: &ResidualBlock) -> Result<NodeId> {
        let ResidualBlock { name, inputs, planes, stride } = block;
        let outputs = self.outputs(*planes);
        let convs = match self.bottleneck {
            None => {
                vec![Conv2d::new(*inputs, *planes, 3).stride(*stride), Conv2d::new(*planes, outputs, 3)]
            }
            Some(Bottleneck { groups, width }) => {
                let width = planes * width / 64 * groups;
                let middle = Conv2d::new(width, width, 3).stride(*stride).groups(groups);
                vec![Conv2d::new(*inputs, width, 1), middle, Conv2d::new(width, outputs, 1)]
            }
        };
        let mut value = input;
        for (index, &conv) in convs.iter().enumerate() {
            let number = index + 1;
            value = builder.conv_norm(
                value,
                &format!("{name}.conv{number}"),
                &format!("{name}.bn{number}"),
                conv,
            )?;
            if number < convs.len() {
                value = builder.relu(format!("{name}.relu{number}"), value);
            }
        }
        let shortcut = if *stride != 1 || *inputs != outputs {
            let conv = Conv2d::new(*inputs, outputs, 1).stride(*stride);
            builder.conv_norm(
                input,
                &format!("{name}.downsample.0"),
                &format!("{name}.downsample.1"),
                conv,
            )?
        } else {
            input
        };
        let sum = builder.add(format!("{name}.add"), value, shortcut);
        Ok(builder.relu(format!("{name}.relu"), sum))
    }
}
