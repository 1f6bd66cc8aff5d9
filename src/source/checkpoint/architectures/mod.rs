//! The known architectures: a table of names, and one builder function per family.

mod alexnet;
mod cifar;
mod resnet;
mod squeezenet;
mod vgg;

use super::builder::Builder;
use crate::error::{Error, ErrorKind, Result};
use crate::graph::{NodeId, Op};
use crate::tensor::{Shape, Window};
use resnet::Resnet;
use squeezenet::Squeezenet;
use vgg::Vgg;

/// A network whose weights can be recognised by the names of its tensors.
pub(super) struct Architecture {
    /// The name that torchvision or timm give it.
    pub name: &'static str,
    pub family: Family,
}

/// A family of networks with the numbers that tell its members apart.
pub(super) enum Family {
    Resnet(Resnet),
    /// Residual blocks per stage.
    CifarResnet(usize),
    Alexnet,
    Vgg(Vgg),
    Squeezenet(&'static Squeezenet),
}

use Family::{Alexnet, CifarResnet};

/// All known architectures.
pub(super) const ARCHITECTURES: &[Architecture] = &[
    named("resnet18", Family::Resnet(Resnet::basic([2, 2, 2, 2]))),
    named("resnet34", Family::Resnet(Resnet::basic([3, 4, 6, 3]))),
    named("resnet50", Family::Resnet(Resnet::bottleneck([3, 4, 6, 3], 1, 64))),
    named("resnet101", Family::Resnet(Resnet::bottleneck([3, 4, 23, 3], 1, 64))),
    named("resnet152", Family::Resnet(Resnet::bottleneck([3, 8, 36, 3], 1, 64))),
    named("wide_resnet50_2", Family::Resnet(Resnet::bottleneck([3, 4, 6, 3], 1, 128))),
    named("resnext50_32x4d", Family::Resnet(Resnet::bottleneck([3, 4, 6, 3], 32, 4))),
    named("resnet20", CifarResnet(3)),
    named("resnet32", CifarResnet(5)),
    named("resnet44", CifarResnet(7)),
    named("resnet56", CifarResnet(9)),
    named("resnet110", CifarResnet(18)),
    named("alexnet", Alexnet),
    named("vgg11", Family::Vgg(Vgg { convs: [1, 1, 2, 2, 2], norm: false })),
    named("vgg13", Family::Vgg(Vgg { convs: [2, 2, 2, 2, 2], norm: false })),
    named("vgg16", Family::Vgg(Vgg { convs: [2, 2, 3, 3, 3], norm: false })),
    named("vgg19", Family::Vgg(Vgg { convs: [2, 2, 4, 4, 4], norm: false })),
    named("vgg11_bn", Family::Vgg(Vgg { convs: [1, 1, 2, 2, 2], norm: true })),
    named("vgg13_bn", Family::Vgg(Vgg { convs: [2, 2, 2, 2, 2], norm: true })),
    named("vgg16_bn", Family::Vgg(Vgg { convs: [2, 2, 3, 3, 3], norm: true })),
    named("vgg19_bn", Family::Vgg(Vgg { convs: [2, 2, 4, 4, 4], norm: true })),
    named("squeezenet1_0", Family::Squeezenet(&squeezenet::V1_0)),
    named("squeezenet1_1", Family::Squeezenet(&squeezenet::V1_1)),
];

const fn named(name: &'static str, family: Family) -> Architecture {
    Architecture { name, family }
}

impl Architecture {
    /// Height and width that the network was designed for.
    pub(super) fn default_size(&self) -> [usize; 2] {
        match self.family {
            CifarResnet(_) => [32; 2],
            _ => [224; 2],
        }
    }

    /// Name of the first convolution.
    pub(super) fn first(&self) -> &'static str {
        match self.family {
            Family::Resnet(_) | CifarResnet(_) => "conv1",
            Alexnet | Family::Vgg(_) | Family::Squeezenet(_) => "features.0",
        }
    }
}

impl Family {
    /// Describes the network on images of shape `input`.
    pub(super) fn build(&self, builder: &mut Builder<'_>, input: Shape) -> Result<()> {
        match self {
            Family::Resnet(resnet) => resnet.build(builder, input.channels),
            CifarResnet(blocks) => cifar::build(builder, *blocks, input),
            Alexnet => alexnet::build(builder, input),
            Family::Vgg(vgg) => vgg.build(builder, input),
            Family::Squeezenet(squeezenet) => squeezenet.build(builder, input.channels),
        }
    }
}

/// `nn.AdaptiveAvgPool2d(target)` of a map of `size`; none where it does nothing.
fn adaptive_pool(size: [usize; 2], target: usize) -> Result<Option<Op>> {
    if size.iter().any(|&extent| extent == 0 || extent % target != 0) {
        let [height, width] = size;
        let message = format!(
            "this input size gives maps of {height}x{width} before the classifier, which must be multiples of {target}"
        );
        return Err(Error::new(ErrorKind::Argument, message));
    }
    let kernel = size.map(|extent| extent / target);
    let window = Window::new(kernel).with_stride(kernel);
    Ok((kernel != [1, 1]).then_some(Op::AveragePool { window, count_include_pad: true }))
}

/// Three fully connected layers on a flattened map of `inputs` values; the first is `classifier.{first}`.
fn dense_classifier(builder: &mut Builder<'_>, map: NodeId, inputs: usize, first: usize) -> Result<()> {
    let mut value = builder.op("flatten", Op::Flatten, &[map]);
    for (index, inputs) in [(first, inputs), (first + 3, 4096)] {
        value = builder.linear(value, &format!("classifier.{index}"), inputs, 4096)?;
        value = builder.relu(format!("classifier.{}", index + 1), value);
    }
    let classes = builder.classes("classifier.6");
    builder.linear(value, "classifier.6", 4096, classes).map(drop)
}
