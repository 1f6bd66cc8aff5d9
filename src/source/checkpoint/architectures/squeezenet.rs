//! SqueezeNets, as in torchvision.

use super::super::builder::{Builder, Conv2d, max_pool};
use crate::error::Result;
use crate::graph::{NodeId, Op};

/// The numbers that tell SqueezeNets apart.
pub(crate) struct Squeezenet {
    /// Outputs and kernel of the first convolution.
    first: (usize, usize),
    /// What follows the first pool, from `features.3` on.
    parts: [Section; 10],
}

enum Section {
    /// A fire module: channels it squeezes to, and channels of each of its two expansions.
    Fire(usize, usize),
    Pool,
}
use Section::{Fire, Pool};

pub(super) const V1_0: Squeezenet = Squeezenet {
    first: (96, 7),
    parts: [
        Fire(16, 64),
        Fire(16, 64),
        Fire(32, 128),
        Pool,
        Fire(32, 128),
        Fire(48, 192),
        Fire(48, 192),
        Fire(64, 256),
        Pool,
        Fire(64, 256),
    ],
};

pub(super) const V1_1: Squeezenet = Squeezenet {
    first: (64, 3),
    parts: [
        Fire(16, 64),
        Fire(16, 64),
        Pool,
        Fire(32, 128),
        Fire(32, 128),
        Pool,
        Fire(48, 192),
        Fire(48, 192),
        Fire(64, 256),
        Fire(64, 256),
    ],
};

impl Squeezenet {
    pub(super) fn build(&self, builder: &mut Builder<'_>, channels: usize) -> Result<()> {
        let (mut inputs, kernel) = self.first;
        let first = builder.conv(
            NodeId::INPUT,
            "features.0",
            Conv2d::new(channels, inputs, kernel).stride(2).pad(0),
        )?;
        let first = builder.relu("features.1", first);
        let mut value = builder.op("features.2", max_pool(3, 2, 0, true), &[first]);
        for (index, part) in self.parts.iter().enumerate() {
            let name = format!("features.{}", index + 3);
            value = match *part {
                Pool => builder.op(name, max_pool(3, 2, 0, true), &[value]),
                Fire(squeezed, expanded) => {
                    let output = fire(builder, value, &name, [inputs, squeezed, expanded])?;
                    inputs = 2 * expanded;
                    output
                }
            };
        }
        let classes = builder.classes("classifier.1");
        let value = builder.conv(value, "classifier.1", Conv2d::new(inputs, classes, 1))?;
        let value = builder.relu("classifier.2", value);
        builder.pooled(value);
        Ok(())
    }
}

fn fire(builder: &mut Builder<'_>, input: NodeId, name: &str, widths: [usize; 3]) -> Result<NodeId> {
    let [inputs, squeezed, expanded] = widths;
    let mut activated = |input: NodeId, part: &str, spec: Conv2d| {
        let value = builder.conv(input, &format!("{name}.{part}"), spec)?;
        Ok(builder.relu(format!("{name}.{part}_activation"), value))
    };
    let squeeze = activated(input, "squeeze", Conv2d::new(inputs, squeezed, 1))?;
    let narrow = activated(squeeze, "expand1x1", Conv2d::new(squeezed, expanded, 1))?;
    let wide = activated(squeeze, "expand3x3", Conv2d::new(squeezed, expanded, 3))?;
    Ok(builder.op(format!("{name}.concat"), Op::Concat, &[narrow, wide]))
}
