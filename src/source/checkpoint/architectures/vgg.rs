//! VGG networks, as in torchvision and (with another classifier) timm.

use super::super::builder::{Builder, Conv2d, max_pool};
use super::{adaptive_pool, dense_classifier};
use crate::error::Result;
use crate::graph::NodeId;
use crate::tensor::Shape;

/// The numbers that tell VGG networks apart.
pub(crate) struct Vgg {
    /// Convolutions per stage.
    pub convs: [usize; 5],
    /// Whether batch normalization follows each.
    pub norm: bool,
}

impl Vgg {
    pub(super) fn build(&self, builder: &mut Builder<'_>, input: Shape) -> Result<()> {
        let value = self.features(builder, input.channels)?;
        if builder.has("pre_logits.fc1.weight") {
            return convolutional_classifier(builder, value);
        }
        classifier(builder, value, [input.height >> 5, input.width >> 5])
    }

    fn features(&self, builder: &mut Builder<'_>, channels: usize) -> Result<NodeId> {
        let (mut value, mut inputs, mut index) = (NodeId::INPUT, channels, 0);
        for (stage, &convs) in self.convs.iter().enumerate() {
            let outputs = 512.min(64 << stage);
            for _ in 0..convs {
                let [conv, norm] = [index, index + 1].map(|index| format!("features.{index}"));
                let spec = Conv2d::new(inputs, outputs, 3).biased();
                value = match self.norm {
                    true => builder.conv_norm(value, &conv, &norm, spec)?,
                    false => builder.conv(value, &conv, spec)?,
                };
                index += 1 + usize::from(self.norm);
                value = builder.relu(format!("features.{index}"), value);
                (inputs, index) = (outputs, index + 1);
            }
            value = builder.op(format!("features.{index}"), max_pool(2, 2, 0, false), &[value]);
            index += 1;
        }
        Ok(value)
    }
}

/// torchvision's: three fully connected layers on a map of 7×7.
fn classifier(builder: &mut Builder<'_>, features: NodeId, size: [usize; 2]) -> Result<()> {
    let value = match adaptive_pool(size, 7)? {
        Some(pool) => builder.op("avgpool", pool, &[features]),
        None => features,
    };
    dense_classifier(builder, value, 512 * 7 * 7, 0)
}

/// timm's: the first two layers are convolutions, so larger inputs give several positions to average.
fn convolutional_classifier(builder: &mut Builder<'_>, features: NodeId) -> Result<()> {
    let value = builder.conv(features, "pre_logits.fc1", Conv2d::new(512, 4096, 7).pad(0))?;
    let value = builder.relu("pre_logits.act1", value);
    let value = builder.conv(value, "pre_logits.fc2", Conv2d::new(4096, 4096, 1))?;
    let value = builder.relu("pre_logits.act2", value);
    let pooled = builder.pooled(value);
    let classes = builder.classes("head.fc");
    builder.linear(pooled, "head.fc", 4096, classes).map(drop)
}
