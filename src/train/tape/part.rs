//! Some images of a batch, which go through the network together.

use super::passage::{Passage, is_plain_sum, is_read_back};
use super::{BatchValue, not_finite};
use crate::error::Result;
use crate::graph::{Op, Unary, ValueView};
use crate::train::backward::{Backward, ConvBackward, Example, WantedGradients, add_all};
use crate::train::network::{Function, LayerId, Network, TrainedLayer};
use crate::wide;
use std::ops::Range;

/// Values of a layer that are in use at a time, if that is more than one image's.
const VALUES: usize = 1 << 17;

/// Their values and gradients, by layer and image; no images where there are none.
pub(super) struct BatchPart {
    images: usize,
    values: Vec<BatchValue>,
    gradients: Vec<BatchValue>,
}

impl BatchPart {
    /// In a network of so many `layers`, given the values of one.
    pub(super) fn new(given: LayerId, values: BatchValue, layers: usize) -> Self {
        let mut own = Self {
            images: values.len(),
            values: vec![Vec::new(); layers],
            gradients: vec![Vec::new(); layers],
        };
        own.values[given] = values;
        own
    }

    pub(super) fn values(&self, id: LayerId) -> impl Iterator<Item = &[f32]> {
        self.values[id].iter().map(Vec::as_slice)
    }

    pub(super) fn gradients(&self, id: LayerId) -> impl Iterator<Item = &[f32]> {
        self.gradients[id].iter().map(Vec::as_slice)
    }

    pub(super) fn set(&mut self, id: LayerId, values: BatchValue) {
        self.values[id] = values;
    }

    pub(super) fn forget(&mut self, id: LayerId) {
        self.values[id] = Vec::new();
    }

    /// Whether a layer's values are there, or what was written over them.
    pub(super) fn has(&self, passage: &Passage, id: LayerId) -> bool {
        let over = || passage.overwritten_by(id).is_some_and(|by| self.has(passage, by));
        !self.values[id].is_empty() || over()
    }

    pub(super) fn add_gradient(&mut self, id: LayerId, image: usize, gradient: Vec<f32>) {
        if self.gradients[id].is_empty() {
            self.gradients[id] = vec![Vec::new(); self.images];
        }
        let sum = &mut self.gradients[id][image];
        if sum.is_empty() {
            *sum = gradient;
        } else {
            wide::replace_pairs(sum, &gradient, |a, b| a + b);
        }
    }

    /// A few images at a time.
    fn groups(
        &self,
        network: &Network,
        stretch: &Range<LayerId>,
    ) -> impl Iterator<Item = Range<usize>> + use<> {
        let largest = network.layers[stretch.clone()].iter().map(|layer| layer.shape.len()).max();
        let (images, size) = (self.images, (VALUES / largest.unwrap_or(1).max(1)).max(1));
        (0..images).step_by(size).map(move |first| first..images.min(first + size))
    }

    /// Computes the values of a stretch that are not there.
    pub(super) fn compute(
        &mut self,
        network: &Network,
        passage: &Passage,
        stretch: Range<LayerId>,
    ) -> Result<()> {
        let absent: Vec<LayerId> = stretch.clone().filter(|&id| !self.has(passage, id)).collect();
        absent.iter().for_each(|&id| self.values[id] = vec![Vec::new(); self.images]);
        for images in self.groups(network, &stretch) {
            for &id in &absent {
                let layer = &network.layers[id];
                for image in images.clone() {
                    let value =
                        self.value(network, passage, id, image).map_err(|e| e.at_node(&layer.name))?;
                    self.values[id][image] = value;
                }
            }
        }
        absent.iter().filter(|&&id| passage.overwritten_by(id).is_some()).for_each(|&id| self.forget(id));
        Ok(())
    }

    fn value(&mut self, network: &Network, passage: &Passage, id: LayerId, image: usize) -> Result<Vec<f32>> {
        let layer = &network.layers[id];
        let over = layer.inputs.iter().position(|&input| passage.overwritten_by(input) == Some(id));
        let value = match over {
            Some(place) => {
                let mut value = std::mem::take(&mut self.values[layer.inputs[place]][image]);
                let other = layer.inputs.get(1 - place).map(|&other| self.values[other][image].as_slice());
                write_over(&layer.function, &mut value, other.unwrap_or_default());
                value
            }
            None => layer.function.apply(&self.operands(network, layer, image), layer.shape)?,
        };
        if wide::are_finite(&value) { Ok(value) } else { Err(not_finite("a value")) }
    }

    fn operands(&self, network: &Network, layer: &TrainedLayer, image: usize) -> Vec<ValueView<'_>> {
        let operand = |&input: &LayerId| {
            let value = self.values[input].get(image).map(Vec::as_slice);
            (value.unwrap_or_default(), network.layers[input].shape)
        };
        layer.inputs.iter().map(operand).collect()
    }

    /// Takes the gradients of a stretch's values to what it reads, and adds those of its parameters to `sums`.
    pub(super) fn back(
        &mut self,
        network: &Network,
        stretch: Range<LayerId>,
        reverses: &[Option<Reverse>],
        sums: &mut [Vec<Vec<f32>>],
    ) -> Result<()> {
        for images in self.groups(network, &stretch) {
            for (id, (reverse, sums)) in stretch.clone().zip(reverses.iter().zip(&mut *sums)).rev() {
                let Some(reverse) = reverse.as_ref().filter(|_| !self.gradients[id].is_empty()) else {
                    continue;
                };
                self.step(network, id, reverse, images.clone(), sums)
                    .map_err(|error| error.at_node(&reverse.layer.name))?;
            }
        }
        stretch.for_each(|id| (self.values[id], self.gradients[id]) = Default::default());
        Ok(())
    }

    /// The same for some images and one layer, whose values nobody needs after that.
    fn step(
        &mut self,
        network: &Network,
        id: LayerId,
        reverse: &Reverse,
        images: Range<usize>,
        sums: &mut Vec<Vec<f32>>,
    ) -> Result<()> {
        let own = &mut self.gradients[id][images.clone()];
        let gradients: BatchValue = own.iter_mut().map(std::mem::take).collect();
        let layer = reverse.layer;
        if is_plain_sum(network, layer) {
            for (image, gradient) in images.clone().zip(gradients) {
                let mut wanted = layer.inputs.iter().filter(|&&input| reverse.reached[input]);
                let last = wanted.next_back();
                wanted.for_each(|&input| self.add_gradient(input, image, gradient.clone()));
                if let Some(&input) = last {
                    self.add_gradient(input, image, gradient);
                }
            }
        } else if is_read_back(&layer.function) {
            for (image, mut gradient) in images.clone().zip(gradients) {
                mask(&layer.function, &self.values[id][image], &mut gradient);
                self.add_gradient(layer.inputs[0], image, gradient);
            }
        } else {
            let examples = images.clone().zip(&gradients);
            let examples: Vec<Example> = examples
                .map(|(image, gradient)| Example { inputs: self.operands(network, layer, image), gradient })
                .collect();
            let inputs = reverse.step(&examples, sums)?;
            for (image, inputs) in images.clone().zip(inputs) {
                for (&input, gradient) in
                    layer.inputs.iter().zip(inputs).filter(|(input, _)| reverse.reached[**input])
                {
                    self.add_gradient(input, image, gradient);
                }
            }
        }
        self.values[id].get_mut(images).unwrap_or_default().fill(Vec::new());
        Ok(())
    }
}

/// A layer, ready for backward steps.
pub(super) struct Reverse<'n> {
    layer: &'n TrainedLayer,
    conv: Option<ConvBackward<'n>>,
    wanted: WantedGradients,
    /// By layer, whether its gradient is wanted.
    reached: &'n [bool],
}

impl<'n> Reverse<'n> {
    /// None if nothing before the layer is learned, nor the layer itself.
    pub(super) fn new(network: &'n Network, id: LayerId, reached: &'n [bool]) -> Result<Option<Self>> {
        let layer = &network.layers[id];
        if !reached[id] {
            return Ok(None);
        }
        let wanted = WantedGradients {
            inputs: layer.inputs.iter().any(|&input| reached[input]),
            parameters: layer.trainable && !layer.function.parameters().is_empty(),
        };
        let conv = match &layer.function {
            Function::Op(Op::Conv(conv)) => {
                let shape = network.layers[layer.inputs[0]].shape;
                Some(
                    ConvBackward::new(conv, shape, layer.shape)
                        .map_err(|error| error.at_node(&layer.name))?,
                )
            }
            _ => None,
        };
        Ok(Some(Self { layer, conv, wanted, reached }))
    }

    /// Gradients of every image's inputs, if wanted; those of parameters are added to `sums`.
    fn step(&self, examples: &[Example], sums: &mut Vec<Vec<f32>>) -> Result<Vec<Vec<Vec<f32>>>> {
        let Some(conv) = &self.conv else {
            let Backward { inputs, parameters } =
                self.layer.function.backward(examples, self.layer, self.wanted)?;
            add_all(sums, parameters);
            return Ok(inputs);
        };
        if sums.is_empty() && self.wanted.parameters {
            *sums = conv.blank();
        }
        Ok(conv.step(examples, self.wanted.inputs, sums).into_iter().map(|input| vec![input]).collect())
    }

    /// The gradients of the parameters, given their sums over all images.
    pub(super) fn parameters(&self, sums: Vec<Vec<f32>>) -> Vec<Vec<f32>> {
        match &self.conv {
            Some(conv) if !sums.is_empty() => conv.parameters(sums),
            _ => sums,
        }
    }
}

/// Writes a layer's value over an operand.
fn write_over(function: &Function, value: &mut [f32], other: &[f32]) {
    match function {
        Function::Op(Op::Unary(Unary::Relu)) => wide::replace(value, |x| x.max(0.0)),
        Function::Op(Op::Unary(Unary::Clip(low, high))) => wide::replace(value, |x| x.max(*low).min(*high)),
        _ => wide::replace_pairs(value, other, |a, b| a + b),
    }
}

/// Takes the gradient back through a function whose value says where it is flat.
fn mask(function: &Function, value: &[f32], gradient: &mut [f32]) {
    match function {
        Function::Op(Op::Unary(Unary::Clip(low, high))) => {
            wide::replace_pairs(gradient, value, |dy, y| if y > *low && y < *high { dy } else { 0.0 })
        }
        _ => wide::replace_pairs(gradient, value, |dy, y| if y > 0.0 { dy } else { 0.0 }),
    }
}
