//! From structure, ranges and precisions to a quantized network.

use super::bits::{members, rules_of};
use super::nearest::nearest;
use super::operators::{OperatorId, PerOperator};
use super::structure::{Classes, Operator, OperatorKind, Plain, Structure};
use super::{QuantizedConv, QuantizedGraph, QuantizedNode, QuantizedOp, Weights};
use crate::calibrate::{
    ActivationRule, Observation, RangeMethod, Spool, WIDTHS, quantizer_for, reading_errors,
};
use crate::error::{Error, ErrorKind, Result};
use crate::format::{Preprocess, Quantizer};
use crate::graph::{Conv, Graph, Node, NodeId, Op, evaluate};
use crate::index::Per;
use crate::kernels::pool;
use crate::plan::{Choice, Pattern};
use crate::precision::Precision;
use crate::tensor::Shape;
use crate::ternarize::{TernarizeOptions, ternarize_tensor};
use ndarray::ArrayView4;
use std::collections::HashMap;

/// How often growing scales may make others grow.
const WIDENING_PASSES: usize = 4;

/// What the operators of a quantized network are made from, but for their quantizers.
#[derive(Debug)]
pub(crate) struct Blueprint<'a> {
    pub graph: &'a Graph,
    pub structure: &'a Structure,
    pub preprocess: &'a Preprocess,
    /// By node of the graph.
    pub choices: &'a Per<NodeId, Option<Choice>>,
}

/// Everything the quantized network is made from.
#[derive(Debug)]
pub(crate) struct Assembly<'a> {
    pub blueprint: Blueprint<'a>,
    pub observation: &'a Observation,
    pub range: RangeMethod,
    /// Ranges of some activation tensors instead.
    pub rules: &'a [(Pattern, ActivationRule)],
    /// The images, for ranges that outputs decide.
    pub pixels: &'a Spool,
}

/// The quantized network with closed-form weights and the affines of full precision.
///
/// # Errors
/// Weights that are not finite.
pub(crate) fn assemble(assembly: &Assembly) -> Result<QuantizedGraph> {
    let shapes = assembly.blueprint.graph.shapes()?;
    let quantizers = assembly.quantizers(&shapes)?;
    let mut quantized = assembly.blueprint.quantized(&quantizers)?;
    let classes = assembly.blueprint.structure.quantizer_classes();
    for id in classes.ids() {
        quantized.nodes[id].range = assembly.later_range(&classes, id);
    }
    Ok(quantized)
}

impl Assembly<'_> {
    fn quantizers(&self, shapes: &Per<NodeId, Shape>) -> Result<PerOperator<Quantizer>> {
        let classes = self.blueprint.structure.quantizer_classes();
        let mut quantizers = self.class_quantizers(&classes);
        self.suit_readers(&classes, &mut quantizers)?;
        Ok(self.blueprint.widened(quantizers, shapes))
    }

    fn class_quantizers(&self, classes: &Classes) -> PerOperator<Quantizer> {
        let mut made: HashMap<OperatorId, Quantizer> = HashMap::new();
        for class in classes.ids() {
            let members = members(classes, class);
            if !members.is_empty() {
                made.insert(class, self.class_quantizer(classes, &members));
            }
        }
        classes.iter().map(|class| made[class]).collect()
    }

    /// Wider or narrower steps for tensors whose range is to be chosen by the outputs of their readers.
    fn suit_readers(&self, classes: &Classes, quantizers: &mut PerOperator<Quantizer>) -> Result<()> {
        let mut readers = Vec::new();
        let mut read = Vec::new();
        for operator in &self.blueprint.structure.operators {
            let OperatorKind::Conv { source, .. } = operator.kind else { continue };
            let input = operator.inputs[0];
            if quantizers[input].max < u8::MAX && self.range_of(classes, input) == RangeMethod::Output {
                readers.push((source, quantizers[input]));
                read.push(classes[input]);
            }
        }
        if readers.is_empty() {
            return Ok(());
        }
        let errors = reading_errors(self.blueprint.graph, self.blueprint.preprocess, self.pixels, &readers)?;
        for (own, quantizer) in
            classes.iter().zip(quantizers.iter_mut()).filter(|(own, _)| read.contains(own))
        {
            let readers = || read.iter().zip(&errors).filter(|(class, _)| *class == own);
            let total = |width: usize| readers().map(|(_, errors)| errors[width]).sum::<f64>();
            let best = (0..WIDTHS.len()).min_by(|&a, &b| total(a).total_cmp(&total(b)));
            quantizer.scale *= WIDTHS[best.unwrap_or(0)];
        }
        Ok(())
    }

    fn class_quantizer(&self, classes: &Classes, members: &[OperatorId]) -> Quantizer {
        if members.contains(&OperatorId::INPUT) {
            return Quantizer { scale: 1.0, zero_point: 0, max: 255 };
        }
        let mut histogram = crate::calibrate::Histogram::default();
        let makers = members.iter().map(|&id| &self.blueprint.structure.operators[id]);
        for operator in makers.filter(|operator| !operator.kind.keeps_codes()) {
            if let Some(observed) = &self.observation.histograms[operator.value] {
                histogram.merge(observed);
            }
        }
        let first = members[0];
        quantizer_for(
            &histogram,
            self.range_of(classes, first),
            self.blueprint.structure.operators[first].bits,
        )
    }

    /// How the range of an operator is to be chosen from real values, if its codes have fewer than 8 bits, no other
    /// operator makes codes of its quantizer and its outputs can have any step.
    fn later_range(&self, classes: &Classes, id: OperatorId) -> Option<RangeMethod> {
        let operators = &self.blueprint.structure.operators;
        let makes = |id: &OperatorId| !operators[*id].kind.keeps_codes();
        let alone = members(classes, classes[id]).into_iter().filter(makes).eq([id]);
        let any_step = matches!(
            operators[id].kind,
            OperatorKind::Conv { .. } | OperatorKind::Table { .. } | OperatorKind::Plain(Plain::Narrow)
        );
        let range = self.range_of(classes, id);
        (alone && any_step && operators[id].bits < 8 && range != RangeMethod::Output).then_some(range)
    }

    /// How the range of an operator, and of those that share its quantizer, is chosen.
    fn range_of(&self, classes: &Classes, id: OperatorId) -> RangeMethod {
        let range = |method, rule: &ActivationRule| match rule {
            ActivationRule::Range(range) => *range,
            ActivationRule::Bits(_) => method,
        };
        rules_of(self.rules, self.blueprint.structure, classes, id).fold(self.range, range)
    }
}

impl Blueprint<'_> {
    /// The network with these quantizers, closed-form weights and the affines of full precision.
    ///
    /// # Errors
    /// Weights that are not finite.
    pub(crate) fn quantized(&self, quantizers: &PerOperator<Quantizer>) -> Result<QuantizedGraph> {
        let shapes = self.graph.shapes()?;
        let mut nodes = PerOperator::default();
        for (id, operator) in self.structure.operators.enumerate() {
            let op = self.op(operator, quantizers, &shapes).map_err(|e| e.at_node(&operator.name))?;
            nodes.push(QuantizedNode {
                name: operator.name.clone(),
                op,
                inputs: operator.inputs.clone(),
                shape: shapes[operator.value],
                quantizer: quantizers[id],
                range: None,
            });
        }
        Ok(QuantizedGraph { name: self.graph.name.clone(), input: self.graph.input, nodes })
    }

    /// Coarser steps where finer ones could not be reached: no multiplier makes more than one step of one unit.
    pub(crate) fn widened(
        &self,
        mut quantizers: PerOperator<Quantizer>,
        shapes: &Per<NodeId, Shape>,
    ) -> PerOperator<Quantizer> {
        let classes = &self.structure.quantizer_classes();
        // A class that grows may make others grow that were looked at before.
        for _ in 0..WIDENING_PASSES {
            for (id, operator) in self.structure.operators.enumerate() {
                let least = self.least_scale(operator, &quantizers, shapes);
                if least > quantizers[id].scale {
                    let members =
                        quantizers.iter_mut().zip(classes).filter(|(_, class)| **class == classes[id]);
                    members.for_each(|(quantizer, _)| quantizer.scale = least);
                }
            }
        }
        quantizers
    }

    /// The real value of one unit of an operator's sums; 128 units of what is rescaled with a left shift.
    fn least_scale(
        &self,
        operator: &Operator,
        quantizers: &PerOperator<Quantizer>,
        shapes: &Per<NodeId, Shape>,
    ) -> f64 {
        let scale = |input: usize| quantizers[operator.inputs[input]].scale;
        let shape = |input: usize| shapes[self.structure.operators[operator.inputs[input]].value];
        match &operator.kind {
            OperatorKind::Plain(Plain::AveragePool { window, count_include_pad }) => {
                let counts = pool::counts(shape(0), window, *count_include_pad, shapes[operator.value]);
                let least = counts.map(|counts| counts.into_iter().min().unwrap_or(1).max(1));
                scale(0) / (least[0] * least[1]) as f64
            }
            OperatorKind::Plain(Plain::GlobalAveragePool) => scale(0) / shape(0).positions() as f64,
            OperatorKind::Plain(Plain::Mul) => scale(0) * scale(1),
            OperatorKind::Plain(Plain::Add { .. }) => scale(0).max(scale(1)) / 127.0,
            OperatorKind::Conv { residual: true, .. } => scale(1) / 127.0,
            OperatorKind::Plain(Plain::Narrow) => scale(0) / 127.0,
            _ => 0.0,
        }
    }

    fn op(
        &self,
        operator: &Operator,
        quantizers: &PerOperator<Quantizer>,
        shapes: &Per<NodeId, Shape>,
    ) -> Result<QuantizedOp> {
        Ok(match &operator.kind {
            OperatorKind::Input => QuantizedOp::Input { pad: self.pixel_zeros() },
            OperatorKind::Conv { source, residual, clamp } => {
                let conv = self.conv(*source, operator.inputs[0] == OperatorId::INPUT, operator.value)?;
                QuantizedOp::Conv(Box::new(QuantizedConv {
                    nest: None,
                    clamp: *clamp,
                    logits: operator.value == self.graph.output
                        && !residual
                        && *clamp == [f32::NEG_INFINITY, f32::INFINITY],
                    ..conv
                }))
            }
            OperatorKind::Table { from } => {
                let input = operator.inputs[0];
                let reals =
                    self.real_codes(input == OperatorId::INPUT, shapes[*from].channels, &quantizers[input]);
                QuantizedOp::Table { outputs: self.table(*from, operator.value, reals, shapes)? }
            }
            OperatorKind::Plain(plain) => QuantizedOp::Plain(plain.clone()),
        })
    }

    /// Real value of one pixel step.
    fn pixel_step(&self) -> f64 {
        self.preprocess.pixel_step()
    }

    /// The pixel value that normalisation makes zero, per channel; it need not be a whole number.
    fn pixel_means(&self) -> Vec<f64> {
        self.preprocess.mean.iter().map(|&mean| f64::from(mean) / self.pixel_step()).collect()
    }

    fn pixel_zeros(&self) -> Vec<u8> {
        self.pixel_means().iter().map(|mean| mean.round().clamp(0.0, 255.0) as u8).collect()
    }

    fn conv(&self, source: NodeId, reads_pixels: bool, value: NodeId) -> Result<QuantizedConv> {
        let node = &self.graph.nodes[source];
        let (Op::Conv(conv), Some(choice)) = (&node.op, self.choices[source]) else {
            return Err(Error::new(ErrorKind::Shape, "a convolution without a precision").at_node(&node.name));
        };
        debug_assert!(value >= source);
        let (weights, factors) = self.weights(conv, node, choice.precision, reads_pixels)?;
        let (outputs, group_inputs, ..) = conv.weight.dim();
        let mut quantized = QuantizedConv {
            nest: None,
            weights,
            factors,
            gain: conv.gain.iter().map(|&gain| f64::from(gain)).collect(),
            bias: conv.bias.iter().map(|&bias| f64::from(bias)).collect(),
            window: conv.window,
            groups: conv.groups,
            group_inputs,
            outputs,
            clamp: [f32::NEG_INFINITY, f32::INFINITY],
            logits: false,
            source,
            choice,
        };
        if reads_pixels {
            self.move_means_into_bias(&mut quantized);
        }
        Ok(quantized)
    }

    fn weights(
        &self,
        conv: &Conv,
        node: &Node,
        precision: Precision,
        reads_pixels: bool,
    ) -> Result<(Weights, Vec<f64>)> {
        closed_form(self.on_codes(conv, reads_pixels).view(), precision)
            .map_err(|error| error.at_node(&node.name))
    }

    /// The weights on what a convolution reads.
    fn on_codes(&self, conv: &Conv, reads_pixels: bool) -> ndarray::Array4<f32> {
        let mut weights = conv.weight.clone();
        if reads_pixels {
            self.scale_to_pixels(&mut weights, conv.groups);
        }
        weights
    }

    /// The weights of a convolution in the graph, on what it reads, in storage order; gains are left out.
    ///
    /// # Errors
    /// Another operator.
    pub(crate) fn real_weights(&self, source: NodeId, reads_pixels: bool) -> Result<Vec<f64>> {
        let weights = self.on_codes(self.full(source)?, reads_pixels);
        Ok(weights.permuted_axes([0, 2, 3, 1]).iter().map(|&weight| f64::from(weight)).collect())
    }

    /// The bias of a convolution in the graph.
    ///
    /// # Errors
    /// Another operator.
    pub(crate) fn bias(&self, source: NodeId) -> Result<Vec<f64>> {
        Ok(self.full(source)?.bias.iter().map(|&bias| f64::from(bias)).collect())
    }

    fn full(&self, source: NodeId) -> Result<&Conv> {
        match &self.graph.nodes[source] {
            Node { op: Op::Conv(conv), .. } => Ok(conv),
            node => Err(Error::new(ErrorKind::Shape, "no convolution").at_node(&node.name)),
        }
    }

    /// Weights on pixels instead of normalised inputs: divided by the standard deviation.
    fn scale_to_pixels(&self, weights: &mut ndarray::Array4<f32>, groups: usize) {
        let (outputs, inputs, ..) = weights.dim();
        for ((output, input, ..), weight) in weights.indexed_iter_mut() {
            let channel = output / (outputs / groups) * inputs + input;
            *weight =
                (f64::from(*weight) * self.pixel_step() / f64::from(self.preprocess.std[channel])) as f32;
        }
    }

    /// The sums count from whole pixel zeros; the rest of the mean is constant per output channel.
    pub(crate) fn move_means_into_bias(&self, conv: &mut QuantizedConv) {
        let zeros = self.pixel_zeros().into_iter().map(f64::from);
        let rest: Vec<f64> = zeros.zip(self.pixel_means()).map(|(zero, mean)| zero - mean).collect();
        let weights = conv.expand();
        let per_channel = weights.len() / conv.outputs;
        for (output, weights) in weights.chunks_exact(per_channel).enumerate() {
            let first = output / (conv.outputs / conv.groups) * conv.group_inputs;
            let rest = rest[first..][..conv.group_inputs].iter().cycle();
            let constant: f64 =
                weights.iter().zip(rest).map(|(&weight, rest)| f64::from(weight) * rest).sum();
            conv.bias[output] += conv.gain[output] * conv.factors[output] * constant;
        }
    }

    /// The real value of each of 256 codes, per channel, of the pixels or of a tensor with `quantizer`.
    fn real_codes(&self, pixels: bool, channels: usize, quantizer: &Quantizer) -> Vec<f32> {
        let (step, preprocess) = (self.pixel_step(), self.preprocess);
        let value = |channel: usize, code: usize| {
            if pixels {
                let (mean, std) = (f64::from(preprocess.mean[channel]), f64::from(preprocess.std[channel]));
                (code as f64 * step - mean) / std
            } else {
                (code as f64 - f64::from(quantizer.zero_point)) * quantizer.scale
            }
        };
        (0..channels).flat_map(|channel| (0..256).map(move |code| value(channel, code) as f32)).collect()
    }

    /// The function that leads from node `from` to node `to`, at 256 values per channel.
    fn table(
        &self,
        from: NodeId,
        to: NodeId,
        reals: Vec<f32>,
        shapes: &Per<NodeId, Shape>,
    ) -> Result<Vec<f32>> {
        let shape = Shape::new(shapes[from].channels, 1, 256);
        let mut values: HashMap<NodeId, Vec<f32>> = HashMap::from([(from, reals)]);
        for id in self.graph.nodes.ids_between(from, to) {
            let node = &self.graph.nodes[id];
            let inputs: Option<Vec<_>> =
                node.inputs.iter().map(|input| values.get(input).map(|v| (v.as_slice(), shape))).collect();
            if let Some(inputs) = inputs.filter(|inputs| !inputs.is_empty() && is_pointwise(&node.op)) {
                let output = evaluate(&node.op, &inputs, shape)?;
                values.insert(id, output);
            }
        }
        let outputs =
            values.remove(&to).ok_or_else(|| Error::new(ErrorKind::Shape, "no function of one tensor"))?;
        let first = &outputs[..256];
        let uniform = outputs.chunks_exact(256).all(|channel| channel == first);
        Ok(if uniform { first.to_vec() } else { outputs })
    }
}

/// The weights and their factors that are nearest to trained ones, each group or channel on its own.
///
/// # Errors
/// Weights that are not finite.
pub(crate) fn closed_form(weights: ArrayView4<'_, f32>, precision: Precision) -> Result<(Weights, Vec<f64>)> {
    let single = precision.grouping().filter(|_| precision.is_ternary() && precision.planes() == 1);
    let Some(grouping) = single else { return Ok(nearest(weights, precision)) };
    let options = TernarizeOptions::group(grouping.size).scale_bits(grouping.scale_bits);
    let ternary = ternarize_tensor(weights, &options)?;
    let factors = ternary.factors().iter().map(|&factor| f64::from(factor)).collect();
    let (levels, scales) = (ternary.stored_codes().to_vec(), ternary.stored_scales().to_vec());
    Ok((Weights { precision, levels, scales }, factors))
}

fn is_pointwise(op: &Op) -> bool {
    matches!(op, Op::Unary(_) | Op::Affine(_) | Op::PRelu(_) | Op::Binary(_))
}
