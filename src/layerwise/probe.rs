//! How closely each converted layer follows full precision, measured on the images that judge.

use super::noise::{NoiseSums, decibels, squared_distance};
use super::teacher::Teacher;
use super::yields::{Produced, Yields};
use crate::calibrate::{CHUNK, Spool, rounded};
use crate::error::{Error, ErrorKind, Result};
use crate::format::{LayerFidelity, PackedConv, PackedOp, Quantizer};
use crate::graph::{Conv, NodeId, Op, evaluate};
use crate::judge::{Answers, Judgement};
use crate::pack::Packing;
use crate::prepare::Full;
use crate::quantize::{OperatorId, QuantizedConv, QuantizedGraph, QuantizedOp};
use crate::tensor::Batch;
use ndarray::Array4;
use rayon::prelude::*;

/// Full precision's values on the images that judge, layer by layer.
pub(super) struct Probe<'a> {
    full: &'a Full<'a>,
    teacher: Teacher<'a>,
    images: usize,
    /// Full precision's logits, once they are known.
    answers: Vec<Vec<f64>>,
}

/// A convolution in full precision and as the conversion left it, both in real numbers.
struct ProbedLayer<'a> {
    quantized: &'a QuantizedConv,
    trained: &'a Op,
    converted: Op,
    input: LayerInput,
    residual: Option<NodeId>,
    value: NodeId,
}

/// What a layer reads.
enum LayerInput {
    /// Pixels, with the code that stands for zero in each channel.
    Pixels(Vec<u8>),
    /// The value of a node, with the quantizer of its codes.
    Value(NodeId, Quantizer),
}

impl<'a> Probe<'a> {
    /// Nothing is computed yet.
    pub(super) fn new(graph: &QuantizedGraph, full: &'a Full<'a>, pixels: &Spool) -> Result<Self> {
        let mut wanted: Vec<NodeId> = graph.nodes.ids().flat_map(|id| reads(graph, full, id)).collect();
        wanted.push(full.graph.output);
        let mut teacher = Teacher::new(&full.graph, full.preprocess, &wanted)?;
        teacher.start(pixels)?;
        Ok(Self { full, teacher, images: pixels.images(), answers: Vec::new() })
    }

    /// Number of images that judge.
    pub(super) fn images(&self) -> usize {
        self.images
    }

    /// Full precision's logits of every image.
    pub(super) fn take_answers(&mut self) -> Vec<Vec<f64>> {
        std::mem::take(&mut self.answers)
    }

    fn chunks(&self) -> usize {
        self.images.div_ceil(CHUNK)
    }

    /// The figures of the operator that yields this, if it is a convolution.
    pub(super) fn layer(&mut self, packing: &Packing, yields: &Yields) -> Result<Option<LayerFidelity>> {
        let reads = reads(yields.graph, self.full, yields.id);
        reads.iter().try_for_each(|&node| self.teacher.advance_to(node))?;
        let Some(layer) = ProbedLayer::new(yields.graph, self.full, yields.id, packing)? else {
            return Ok(None);
        };
        let mut sums = NoiseSums::new(self.teacher.shape(layer.value));
        for chunk in 0..self.chunks() {
            self.add_chunk(&layer, chunk, yields, &mut sums)?;
        }
        reads.into_iter().for_each(|node| self.teacher.release(node));
        Ok(Some(LayerFidelity {
            node: yields.id.packed(),
            weight: layer.weight_ratio(self.full),
            local: sums.ratio(sums.local),
            rounding: sums.ratio(sums.rounding).filter(|_| matches!(layer.input, LayerInput::Value(..))),
            cumulative: sums.ratio(sums.cumulative),
            saturation: sums.saturation(),
        }))
    }

    /// Squared distance of what an operator yields from full precision, summed over the images.
    pub(super) fn error(&mut self, yields: &Yields) -> Result<f64> {
        let value = self.full.structure.operators[yields.id].value;
        self.teacher.advance_to(value)?;
        let mut sum = 0.0;
        for chunk in 0..self.chunks() {
            let wanted = self.teacher.chunk(value, chunk)?;
            let pairs = wanted.par_iter().zip(yields.chunk(chunk)?);
            let errors: Vec<f64> =
                pairs.map(|(wanted, produced)| squared_distance(wanted, &produced.values)).collect();
            // In the order of the images, so that threads cannot change the rounding.
            sum += errors.iter().sum::<f64>();
        }
        Ok(sum)
    }

    /// Signal over noise of the logits in dB, and what the images say of them.
    pub(super) fn logits(&mut self, yields: &Yields) -> Result<(Option<f64>, Option<Judgement>)> {
        let output = self.full.graph.output;
        self.teacher.advance_to(output)?;
        let shape = self.teacher.shape(output);
        let (mut sums, mut answers) = (NoiseSums::new(shape), Vec::with_capacity(self.images));
        for chunk in 0..self.chunks() {
            for (wanted, produced) in self.teacher.chunk(output, chunk)?.iter().zip(yields.chunk(chunk)?) {
                let mut image = NoiseSums::of(wanted, shape);
                image.cumulative = squared_distance(wanted, &produced.values);
                sums.add(&image);
                let wanted: Vec<f64> = wanted.iter().map(|&logit| f64::from(logit)).collect();
                answers.push(Answers::of(&wanted, &produced.values));
                self.answers.push(wanted);
            }
        }
        Ok((sums.ratio(sums.cumulative), Judgement::of(&answers)))
    }

    fn add_chunk(
        &self,
        layer: &ProbedLayer,
        chunk: usize,
        yields: &Yields,
        total: &mut NoiseSums,
    ) -> Result<()> {
        let produced = yields.chunk(chunk)?;
        let inputs = match &layer.input {
            LayerInput::Pixels(zeros) => steps(&yields.pixels()?.chunk(chunk)?, zeros),
            LayerInput::Value(node, _) => self.teacher.chunk(*node, chunk)?,
        };
        let residuals = layer.residual.map(|node| self.teacher.chunk(node, chunk)).transpose()?;
        let wanted = self.teacher.chunk(layer.value, chunk)?;
        let image = |image: usize| {
            let residual = residuals.as_ref().map(|all| all[image].as_slice());
            self.image(layer, [&inputs[image], &wanted[image]], residual, &produced[image])
        };
        let sums: Result<Vec<NoiseSums>> = (0..wanted.len()).into_par_iter().map(image).collect();
        // In the order of the images, so that threads cannot change the rounding.
        sums?.iter().for_each(|sums| total.add(sums));
        Ok(())
    }

    fn image(
        &self,
        layer: &ProbedLayer,
        [input, wanted]: [&[f32]; 2],
        residual: Option<&[f32]>,
        produced: &Produced,
    ) -> Result<NoiseSums> {
        let source = self.full.graph.nodes[layer.quantized.source].inputs[0];
        let (from, to) = (self.teacher.shape(source), self.teacher.shape(layer.value));
        let noise = |op: &Op, input: &[f32]| -> Result<f64> {
            let outputs = layer.finish(evaluate(op, &[(input, from)], to)?, residual);
            Ok(squared_distance(wanted, &outputs))
        };
        let mut sums = NoiseSums::of(wanted, to);
        sums.local = noise(&layer.converted, input)?;
        if let LayerInput::Value(_, quantizer) = &layer.input {
            sums.rounding = noise(layer.trained, &rounded(input, quantizer))?;
        }
        sums.cumulative = squared_distance(wanted, &produced.values);
        sums.saturated = produced.saturated;
        Ok(sums)
    }
}

impl<'a> ProbedLayer<'a> {
    fn new(
        graph: &'a QuantizedGraph,
        full: &'a Full<'a>,
        id: OperatorId,
        packing: &Packing,
    ) -> Result<Option<Self>> {
        let node = &graph.nodes[id];
        let (QuantizedOp::Conv(quantized), PackedOp::Conv(packed)) = (&node.op, &packing.node.op) else {
            return Ok(None);
        };
        let value = |operator: OperatorId| full.structure.operators[operator].value;
        let source = &graph.nodes[node.inputs[0]];
        let input = match &source.op {
            QuantizedOp::Input { pad } => LayerInput::Pixels(pad.clone()),
            _ => LayerInput::Value(value(node.inputs[0]), source.quantizer),
        };
        Ok(Some(Self {
            quantized,
            trained: &full.graph.nodes[quantized.source].op,
            converted: real(packed, &packing.units, source.quantizer.scale)?,
            input,
            residual: node.inputs.get(1).map(|&input| value(input)),
            value: value(id),
        }))
    }

    /// What the operator makes of its convolution's result: residual added, clamped.
    fn finish(&self, mut sums: Vec<f32>, residual: Option<&[f32]>) -> Vec<f64> {
        if let Some(residual) = residual {
            sums.iter_mut().zip(residual).for_each(|(sum, residual)| *sum += residual);
        }
        let [low, high] = self.quantized.clamp;
        sums.into_iter().map(|sum| f64::from(sum.max(low).min(high))).collect()
    }

    /// Squares of the trained weights with their gain over squared distances of the converted ones, in dB.
    fn weight_ratio(&self, full: &Full) -> Option<f64> {
        let (Op::Conv(trained), Op::Conv(converted)) = (self.trained, &self.converted) else { return None };
        let per_group = trained.weight.dim().0 / trained.groups;
        let (mut signal, mut noise) = (0.0, 0.0);
        for (((output, input, ..), &weight), &ours) in trained.weight.indexed_iter().zip(&converted.weight) {
            let channel = output / per_group * trained.weight.dim().1 + input;
            let step = match self.input {
                LayerInput::Pixels(_) => full.preprocess.normalised_step(channel),
                LayerInput::Value(..) => 1.0,
            };
            let weight = f64::from(weight) * f64::from(trained.gain[output]) * step;
            signal += weight.powi(2);
            noise += (weight - f64::from(ours)).powi(2);
        }
        decibels(signal, noise)
    }
}

/// The nodes whose values are needed to measure operator `id`.
fn reads(graph: &QuantizedGraph, full: &Full, id: OperatorId) -> Vec<NodeId> {
    if !matches!(graph.nodes[id].op, QuantizedOp::Conv(_)) {
        return Vec::new();
    }
    let operators =
        graph.nodes[id].inputs.iter().copied().filter(|&input| input != OperatorId::INPUT).chain([id]);
    operators.map(|operator| full.structure.operators[operator].value).collect()
}

/// The convolution that the integers of `packed` stand for, for inputs of which one step is `scale`.
pub(super) fn real(packed: &PackedConv, units: &[f64], scale: f64) -> Result<Op> {
    let [rows, columns] = packed.window.kernel;
    let per_channel = packed.channel_len().max(1);
    let weight = |(index, code): (usize, i8)| (f64::from(code) * units[index / per_channel] / scale) as f32;
    let weights: Vec<f32> = packed.expand().into_iter().enumerate().map(weight).collect();
    let weights = Array4::from_shape_vec((packed.outputs, rows, columns, packed.group_inputs), weights)
        .map_err(|error| Error::new(ErrorKind::Shape, "weights and their shape").because(error))?;
    let bias = packed.bias.iter().zip(units).map(|(&bias, unit)| (f64::from(bias) * unit) as f32).collect();
    Ok(Op::Conv(Conv {
        weight: weights.permuted_axes([0, 3, 1, 2]).as_standard_layout().into_owned(),
        gain: vec![1.0; packed.outputs],
        bias,
        window: packed.window,
        groups: packed.groups,
    }))
}

/// Distances of pixels from zero, each image in the order channel, row, column.
fn steps(pixels: &Batch<u8>, zeros: &[u8]) -> Vec<Vec<f32>> {
    let step = |codes: &[u8], channel: usize| -> Vec<f32> {
        let codes = codes.iter().skip(channel).step_by(zeros.len());
        codes.map(|&code| f32::from(code) - f32::from(zeros[channel])).collect()
    };
    let image =
        |image: usize| (0..zeros.len()).flat_map(|channel| step(pixels.image(image), channel)).collect();
    (0..pixels.images).map(image).collect()
}
