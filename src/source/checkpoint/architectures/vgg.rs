//! VGG networks, as in torchvision and (with another classifier) timm.

use super::super::builder::{Builder, ConvSpec, max_pool};
use super::adaptive_pool;
use crate::error::Result;
use crate::graph::{NodeId, Op};
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
        let (mut value, mut inputs, mut index) = (0, channels, 0);
        for (stage, &convs) in self.convs.iter().enumerate() {
            let outputs = 512.min(64 << stage);
            for _ in 0..convs {
                let [conv, norm] = [index, index + 1].map(|index| format!("features.{index}"));
                let spec = ConvSpec::new(inputs, outputs, 3).biased();
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
    let value = builder.op("flatten", Op::Flatten, &[value]);
    let value = builder.linear(value, "classifier.0", 512 * 7 * 7, 4096)?;
    let value = builder.relu("classifier.1", value);
    let value = builder.linear(value, "classifier.3", 4096, 4096)?;
    let value = builder.relu("classifier.4", value);
    let classes = builder.classes("classifier.6");
    builder.linear(value, "classifier.6", 4096, classes).map(drop)
}

/// timm's: the first two layers are convolutions, so larger inputs give several positions to average.
fn convolutional_classifier(builder: &mut Builder<'_>, features: NodeId) -> Result<()> {
    let value = builder.conv(features, "pre_logits.fc1", ConvSpec::new(512, 4096, 7).pad(0))?;
    let value = builder.relu("pre_logits.act1", value);
    let value = builder.conv(value, "pre_logits.fc2", ConvSpec::new(4096, 4096, 1))?;
    let value = builder.relu("pre_logits.act2", value);
    let pooled = builder.pooled(value);
    let classes = builder.classes("head.fc");
    builder.linear(pooled, "head.fc", 4096, classes).map(drop)
}
