//! The walk over all operators: fit, pack, run, measure.

mod alternatives;
mod gather;
mod ranges;
mod regularise;
mod survey;

pub(crate) use survey::Survey;

use super::gram::Inputs;
use super::method::Method;
use super::note::Note;
use super::objective::Objective;
use super::patches::{Patches, hosts};
use super::probe::Probe;
use super::statistics::SumStatistics;
use super::teacher::Teacher;
use super::yields::{Yields, freed, operands};
use crate::calibrate::{Parts, Spool};
use crate::clock::Instant;
use crate::error::{Error, ErrorKind, Result};
use crate::format::{Fidelity, LayerFidelity, PackedId, PackedNode};
use crate::graph::{NodeId, Op};
use crate::index::Per;
use crate::judge::Judgement;
use crate::pack::{PackInput, Packing, pack_node};
use crate::precision::Precision;
use crate::prepare::Full;
use crate::progress::{Progress, advance};
use crate::quantize::{
    OperatorId, PerOperator, QuantizedConv, QuantizedGraph, QuantizedNode, QuantizedOp, closed_form,
};
use crate::runtime::{Kernels, Operand, Step};
use crate::tensor::{Batch, Shape};
use std::sync::Arc;

/// Most weights of an output of 8 bits that are fitted: so few cannot fit what is peculiar to the images.
const FEW_WEIGHTS: usize = 64;

/// Layers of which is known what they would be with 8 bits.
const SPARES: usize = 3;

/// The packed operators of a network, the real value of one logit, and what was found on the way.
pub(crate) struct Packed {
    pub nodes: Per<PackedId, PackedNode>,
    pub logit_scale: f64,
    pub fidelity: Fidelity,
    /// Seconds that each convolution took.
    pub seconds: Vec<(String, f64)>,
    pub notes: Vec<Note>,
    /// None if no image was held back, or for a survey.
    pub what_if: Option<WhatIf>,
    /// The images, as they were given.
    pub pixels: Parts,
}

/// With what one may try how much better a model answers with more bits in one layer.
pub(crate) struct WhatIf {
    /// Full precision's logits of every image held back.
    pub logits: Vec<Vec<f64>>,
    /// By node: convolutions with 8-bit trained weights in place of fewer bits, that which adds most noise first.
    pub spares: Vec<(PackedId, PackedNode)>,
}

/// Packs `graph` operator by operator, fitting ternary layers on the way; `survey` sees how layers would look otherwise.
///
/// # Errors
/// Parameters that integers cannot hold; a temporary file that cannot be written.
pub(crate) fn fit_and_pack<'a>(
    graph: &'a mut QuantizedGraph,
    full: &'a Full<'a>,
    method: Method,
    pixels: Parts,
    survey: Option<Survey<'a>>,
    progress: &dyn Progress,
) -> Result<Packed> {
    Walk::new(graph, full, method, &pixels, survey)?.run(pixels, progress)
}

/// Packs a network that needs no fitting and measures it on the way.
///
/// # Errors
/// As [`fit_and_pack`].
pub(crate) fn measure_and_pack<'a>(
    graph: &'a mut QuantizedGraph,
    full: &'a Full<'a>,
    pixels: Parts,
    progress: &dyn Progress,
) -> Result<Packed> {
    let walk = Walk::new(graph, full, Method::ClosedForm, &pixels, None)?;
    Walk { as_it_is: true, ..walk }.run(pixels, progress)
}

/// The full-precision values that compensation reads, once per layer that is fitted and so has a host.
fn wanted(graph: &QuantizedGraph, full: &Full, hosts: &PerOperator<Option<OperatorId>>) -> Vec<NodeId> {
    let mut wanted = Vec::new();
    for node in graph.nodes.iter().zip(hosts).filter(|(_, host)| host.is_some()).map(|(node, _)| node) {
        if let QuantizedOp::Conv(conv) = &node.op {
            wanted.push(conv.source);
            wanted.extend(node.inputs.get(1).map(|&input| full.structure.operators[input].value));
        }
    }
    wanted
}

/// Whether a layer is compensated, as it is or as one of the survey's candidates.
fn is_fitted(node: &QuantizedNode, method: Method, survey: Option<&Survey>) -> bool {
    let QuantizedOp::Conv(conv) = &node.op else { return false };
    let candidates = survey.map_or(&[][..], |survey| &survey.candidates[conv.source]);
    [conv.choice.precision].iter().chain(candidates).any(|&precision| is_compensated(precision, node, method))
}

/// Layers on pixels see the same inputs as full precision: there is nothing to compensate. Eight bits lose nothing, but where
/// a few weights make an output, as in depthwise layers, they can undo what went wrong before.
fn is_compensated(precision: Precision, node: &QuantizedNode, method: Method) -> bool {
    let QuantizedOp::Conv(conv) = &node.op else { return false };
    let is_open = precision != Precision::int8() || conv.group_inputs * conv.window.area() <= FEW_WEIGHTS;
    method == Method::Compensated && node.inputs[0] != OperatorId::INPUT && is_open
}

struct Walk<'a> {
    graph: &'a mut QuantizedGraph,
    full: &'a Full<'a>,
    method: Method,
    /// Nothing is fitted any more.
    as_it_is: bool,
    teacher: Teacher<'a>,
    packed: PerOperator<PackedNode>,
    /// Activations that are still to be read.
    values: PerOperator<Option<Parts>>,
    /// Known once a convolution or a sum has yielded logits.
    logit_scale: Option<f64>,
    probe: Probe<'a>,
    /// Whether the images that judge are not fitted.
    held_back: bool,
    survey: Option<Survey<'a>>,
    /// Of each operator that has an objective the one whose patches hold its own.
    hosts: PerOperator<Option<OperatorId>>,
    /// What the outputs of the layer being visited should be.
    objective: Option<Objective>,
    /// Moments of the inputs of hosts, while a layer ahead needs them.
    shared: Vec<(OperatorId, Vec<Arc<Inputs>>)>,
    layers: Vec<LayerFidelity>,
    /// Signal over noise of the logits in dB.
    logits: Option<f64>,
    judgement: Option<Judgement>,
    seconds: Vec<(String, f64)>,
    notes: Vec<Note>,
    /// Layers that are better off without compensation.
    uncompensated: Vec<String>,
}

impl<'a> Walk<'a> {
    fn new(
        graph: &'a mut QuantizedGraph,
        full: &'a Full<'a>,
        method: Method,
        pixels: &Parts,
        survey: Option<Survey<'a>>,
    ) -> Result<Self> {
        let is_fitted = |node: &&QuantizedNode| is_fitted(node, method, survey.as_ref());
        let patches = |node: &QuantizedNode| Some(node).filter(is_fitted).and_then(Patches::of);
        let hosts = hosts(&graph.nodes.iter().map(patches).collect());
        Ok(Self {
            teacher: Teacher::new(&full.graph, full.preprocess, &wanted(graph, full, &hosts))?,
            held_back: pixels.held_back.is_some(),
            probe: Probe::new(graph, full, pixels.judging())?,
            graph,
            full,
            method,
            as_it_is: false,
            survey,
            hosts,
            objective: None,
            shared: Vec::new(),
            packed: PerOperator::default(),
            values: PerOperator::default(),
            logit_scale: None,
            layers: Vec::new(),
            logits: None,
            judgement: None,
            seconds: Vec::new(),
            notes: Vec::new(),
            uncompensated: Vec::new(),
        })
    }

    fn run(mut self, pixels: Parts, progress: &dyn Progress) -> Result<Packed> {
        let last_uses = self.graph.last_uses();
        self.start(pixels)?;
        progress.start("layers", last_uses.len());
        for (id, dead) in last_uses.enumerate().skip(1) {
            self.visit(id).map_err(|error| error.at_node(&self.graph.nodes[id].name))?;
            let dead = dead.iter().filter(|&&dead| dead != OperatorId::INPUT);
            dead.for_each(|&dead| self.values[dead] = None);
            advance(progress, 1)?;
        }
        self.finish()
    }

    fn start(&mut self, pixels: Parts) -> Result<()> {
        self.packed.push(pack_node(&self.graph.nodes[OperatorId::INPUT], &[])?.node);
        if self.method == Method::Compensated {
            self.teacher.start(&pixels.fitting)?;
        }
        self.values.push(Some(pixels));
        Ok(())
    }

    fn visit(&mut self, id: OperatorId) -> Result<()> {
        let start = Instant::now();
        self.objective = self.objective_of(id)?;
        self.regularise(id)?;
        self.settle(id)?;
        if let QuantizedOp::Conv(_) = &self.graph.nodes[id].op {
            self.seconds.push((self.graph.nodes[id].name.clone(), start.elapsed().as_secs_f64()));
        }
        Ok(())
    }

    /// Fits the layer to its objective, packs and runs it.
    fn settle(&mut self, id: OperatorId) -> Result<()> {
        self.survey(id)?;
        let packing = self.fit(id)?;
        let packing = self.ranged(id, packing)?;
        self.objective = None;
        self.logit_scale = packing.logit_scale.or(self.logit_scale);
        let step = self.step(id, &packing.node);
        let value = if self.graph.nodes.is_last(id) { None } else { Some(self.execute(id, &step)?) };
        self.values.push(value);
        self.measure(id, &step, &packing)?;
        self.packed.push(packing.node);
        Ok(())
    }

    /// By node: those layers of fewer than 8 bits that add most noise, the noisiest first, as they would be with 8.
    fn spares(&self) -> Result<Vec<(PackedId, PackedNode)>> {
        let noise = |id: &OperatorId| {
            self.layers.iter().find(|layer| layer.node == id.packed()).map_or(0.0, LayerFidelity::noise)
        };
        let mut ids: Vec<OperatorId> = self.graph.nodes.ids().collect();
        ids.sort_by(|a, b| noise(b).total_cmp(&noise(a)).then(a.cmp(b)));
        let spare = |id: OperatorId| Some(self.spare(id).transpose()?.map(|node| (id.packed(), node)));
        ids.into_iter().filter_map(spare).take(SPARES).collect()
    }

    /// What a layer of fewer than 8 bits would be with 8.
    fn spare(&self, id: OperatorId) -> Result<Option<PackedNode>> {
        let node = &self.graph.nodes[id];
        let QuantizedOp::Conv(conv) = &node.op else { return Ok(None) };
        let Op::Conv(trained) = &self.full.graph.nodes[conv.source].op else { return Ok(None) };
        if conv.choice.precision == Precision::int8() || node.inputs[0] == OperatorId::INPUT {
            return Ok(None);
        }
        let (weights, factors) = closed_form(trained.weight.view(), Precision::int8())?;
        let [gain, bias] =
            [&trained.gain, &trained.bias].map(|values| values.iter().copied().map(f64::from).collect());
        let spare = QuantizedConv { weights, factors, gain, bias, ..(**conv).clone() };
        let node = QuantizedNode { op: QuantizedOp::Conv(Box::new(spare)), ..node.clone() };
        Ok(Some(pack_node(&node, &self.sources(id))?.node))
    }

    /// With what one may try more bits; none if no image was held back, or where only a survey is wanted.
    fn what_if(&mut self) -> Result<Option<WhatIf>> {
        let is_wanted = self.held_back && self.survey.is_none() && !self.as_it_is;
        let found = || Ok(WhatIf { logits: self.probe.take_answers(), spares: self.spares()? });
        is_wanted.then(found).transpose()
    }

    /// Compares what operator `id` yields with full precision.
    fn measure(&mut self, id: OperatorId, step: &Step, packing: &Packing) -> Result<()> {
        let Self { graph, probe, values, logit_scale, .. } = self;
        let codes = values[id].as_ref().map(Parts::judging);
        let yields = Yields { graph, values, id, codes, step, scale: *logit_scale };
        self.layers.extend(probe.layer(packing, &yields)?);
        if graph.nodes.is_last(id) {
            (self.logits, self.judgement) = probe.logits(&yields)?;
        }
        Ok(())
    }

    fn finish(mut self) -> Result<Packed> {
        let what_if = self.what_if()?;
        let pixels = self.values[OperatorId::INPUT].take();
        let pixels = pixels.ok_or_else(|| Error::new(ErrorKind::Shape, "the images were freed too early"))?;
        let last = self.graph.nodes.last().map_or(1.0, |node| node.quantizer.scale);
        let fidelity = Fidelity {
            images: self.probe.images(),
            held_back: self.held_back,
            logits: self.logits,
            judgement: self.judgement,
            layers: self.layers,
        };
        let (nodes, mut notes) = (self.packed.into_iter().collect(), self.notes);
        notes.extend(Note::on_fits(self.uncompensated));
        notes.extend(Note::on_logits(&fidelity, &nodes, self.method));
        Ok(Packed {
            logit_scale: self.logit_scale.unwrap_or(last),
            nodes,
            fidelity,
            seconds: self.seconds,
            notes,
            what_if,
            pixels,
        })
    }

    fn pack(&self, id: OperatorId) -> Result<Packing> {
        pack_node(&self.graph.nodes[id], &self.sources(id))
    }

    /// What operator `id` reads.
    fn sources(&self, id: OperatorId) -> Vec<PackInput> {
        self.graph.sources(&self.graph.nodes[id])
    }

    fn step(&self, id: OperatorId, packed: &PackedNode) -> Step {
        let operand = |&input: &OperatorId| Operand::of(&self.packed[input], self.graph.nodes[input].shape);
        let inputs: Vec<Operand> = self.graph.nodes[id].inputs.iter().map(operand).collect();
        Step::new(packed, &inputs, self.graph.nodes[id].shape, Kernels::default())
    }

    /// The activations that operator `id` reads.
    fn operands(&self, id: OperatorId) -> Result<Vec<&Parts>> {
        operands(self.graph, &self.values, id)
    }

    fn sum_statistics(&self, id: OperatorId, step: &Step) -> Result<SumStatistics> {
        let input = &self.operands(id)?[0].fitting;
        let mut statistics = SumStatistics::new(self.graph.nodes[id].shape.channels);
        for chunk in 0..input.chunks() {
            statistics.add(&step.sums(&input.chunk(chunk)?)?);
        }
        Ok(statistics)
    }

    fn execute(&self, id: OperatorId, step: &Step) -> Result<Parts> {
        let operands = self.operands(id)?;
        let run = |inputs: Vec<&Spool>| run(step, self.graph.nodes[id].shape, &inputs);
        let held_back: Option<Vec<&Spool>> = operands.iter().map(|parts| parts.held_back.as_ref()).collect();
        Ok(Parts {
            fitting: run(operands.iter().map(|parts| &parts.fitting).collect())?,
            held_back: held_back.map(run).transpose()?,
        })
    }
}

/// The codes that an operator makes of all images.
fn run(step: &Step, shape: Shape, inputs: &[&Spool]) -> Result<Spool> {
    let mut output = Spool::new(shape, inputs[0].images())?;
    for chunk in 0..inputs[0].chunks() {
        let batches: Result<Vec<Batch<u8>>> = inputs.iter().map(|input| input.chunk(chunk)).collect();
        output.push(&step.codes(&batches?.iter().collect::<Vec<_>>())?.data)?;
    }
    Ok(output)
}

#[cfg(test)]
mod tests;
