//! Statistics re-estimation: the affine of every ternary layer, so that mean and variance of its outputs
//! match full precision on the calibration images.
//!
//! Layers are visited in execution order, each on the integer activations that the layers before it, already
//! re-estimated and packed, really produce.

use crate::calibrate::{ChannelStatistics, Observation, Spool};
use crate::error::{Error, ErrorKind, Result};
use crate::format::{PackedNode, PackedOp};
use crate::pack::{Packing, Source, pack_node};
use crate::plan::Precision;
use crate::progress::Progress;
use crate::quantize::{QuantizedConv, QuantizedGraph, QuantizedOp};
use crate::runtime::{Kernels, Operand, Step, last_uses};
use crate::tensor::Batch;

/// A gain changes by at most this factor.
const MAX_CHANGE: f64 = 8.0;

/// The packed operators of a network, and the real value of one logit.
pub(crate) struct Packed {
    pub nodes: Vec<PackedNode>,
    pub logit_scale: f64,
}

/// Packs `graph` operator by operator, re-estimating ternary layers on the way.
///
/// # Errors
/// Parameters that integers cannot hold; a temporary file that cannot be written.
pub(crate) fn pack_and_reestimate(
    graph: &mut QuantizedGraph,
    observation: &Observation,
    pixels: Spool,
    progress: &dyn Progress,
) -> Result<Packed> {
    let inputs: Vec<Vec<usize>> = graph.nodes.iter().map(|node| node.inputs.clone()).collect();
    let dead_after = last_uses(&inputs);
    let mut walk = Walk { graph, observation, packed: Vec::new(), values: vec![], logit_scale: None };
    walk.start(pixels)?;
    progress.start("statistics", walk.graph.nodes.len());
    for (id, dead) in dead_after.iter().enumerate().skip(1) {
        walk.visit(id).map_err(|error| error.at_node(&walk.graph.nodes[id].name))?;
        dead.iter().for_each(|&dead| walk.values[dead] = None);
        progress.advance(1);
    }
    let last = walk.graph.nodes.last().map_or(1.0, |node| node.quantizer.scale);
    Ok(Packed { nodes: walk.packed, logit_scale: walk.logit_scale.unwrap_or(last) })
}

struct Walk<'a> {
    graph: &'a mut QuantizedGraph,
    observation: &'a Observation,
    packed: Vec<PackedNode>,
    /// Activations that are still to be read.
    values: Vec<Option<Spool>>,
    /// Known once a convolution or a sum has yielded logits.
    logit_scale: Option<f64>,
}

impl Walk<'_> {
    fn start(&mut self, pixels: Spool) -> Result<()> {
        self.packed.push(pack_node(&self.graph.nodes[0], &[])?.node);
        self.values.push(Some(pixels));
        Ok(())
    }

    fn visit(&mut self, id: usize) -> Result<()> {
        let mut packing = self.pack(id)?;
        if let Some(statistics) = self.full_precision(id) {
            let sums = self.sum_statistics(id, &self.step(id, &packing.node))?;
            if let QuantizedOp::Conv(conv) = &mut self.graph.nodes[id].op {
                match_statistics(conv, &sums, &statistics, &packing);
            }
            packing = self.pack(id)?;
        }
        self.logit_scale = packing.logit_scale.or(self.logit_scale);
        let last = id + 1 == self.graph.nodes.len();
        let value = if last { None } else { Some(self.execute(id, &self.step(id, &packing.node))?) };
        self.values.push(value);
        self.packed.push(packing.node);
        Ok(())
    }

    fn pack(&self, id: usize) -> Result<Packing> {
        let node = &self.graph.nodes[id];
        let source = |&input: &usize| {
            let node = &self.graph.nodes[input];
            Source { quantizer: node.quantizer, shape: node.shape }
        };
        pack_node(node, &node.inputs.iter().map(source).collect::<Vec<_>>())
    }

    fn step(&self, id: usize, packed: &PackedNode) -> Step {
        let operand = |&input: &usize| Operand::of(&self.packed[input], self.graph.nodes[input].shape);
        let inputs: Vec<Operand> = packed.inputs.iter().map(operand).collect();
        Step::new(packed, &inputs, self.graph.nodes[id].shape, Kernels::default())
    }

    /// The statistics that a ternary layer should have.
    fn full_precision(&self, id: usize) -> Option<ChannelStatistics> {
        match &self.graph.nodes[id].op {
            QuantizedOp::Conv(conv) if conv.choice.precision != Precision::Int8 => {
                self.observation.channels[conv.source].clone()
            }
            _ => None,
        }
    }

    fn spools(&self, id: usize) -> Result<Vec<&Spool>> {
        let spools = self.graph.nodes[id].inputs.iter().map(|&input| self.values[input].as_ref());
        let all: Option<Vec<&Spool>> = spools.collect();
        all.filter(|all| !all.is_empty())
            .ok_or_else(|| Error::new(ErrorKind::Shape, "activations were freed too early"))
    }

    fn sum_statistics(&self, id: usize, step: &Step) -> Result<SumStatistics> {
        let input = self.spools(id)?[0];
        let mut statistics = SumStatistics::new(self.graph.nodes[id].shape.channels);
        for chunk in 0..input.chunks() {
            statistics.add(&step.sums(&input.chunk(chunk)?)?);
        }
        Ok(statistics)
    }

    fn execute(&self, id: usize, step: &Step) -> Result<Spool> {
        let inputs = self.spools(id)?;
        let mut output = Spool::new(self.graph.nodes[id].shape, inputs[0].images())?;
        for chunk in 0..inputs[0].chunks() {
            let batches: Result<Vec<Batch<u8>>> = inputs.iter().map(|input| input.chunk(chunk)).collect();
            output.push(&step.codes(&batches?.iter().collect::<Vec<_>>())?.data)?;
        }
        Ok(output)
    }
}

/// Exact sums of each channel of 32-bit sums.
struct SumStatistics {
    count: i128,
    sums: Vec<i64>,
    squares: Vec<i128>,
}

impl SumStatistics {
    fn new(channels: usize) -> Self {
        Self { count: 0, sums: vec![0; channels], squares: vec![0; channels] }
    }

    fn add(&mut self, batch: &Batch<i32>) {
        for row in batch.data.chunks_exact(self.sums.len()) {
            for ((sum, square), &value) in self.sums.iter_mut().zip(&mut self.squares).zip(row) {
                *sum += i64::from(value);
                *square += i128::from(i64::from(value) * i64::from(value));
            }
            self.count += 1;
        }
    }

    fn mean(&self, channel: usize) -> f64 {
        self.sums[channel] as f64 / self.count as f64
    }

    fn deviation(&self, channel: usize) -> f64 {
        let sum = i128::from(self.sums[channel]);
        let variance = self.count * self.squares[channel] - sum * sum;
        (variance as f64).sqrt() / self.count as f64
    }
}

/// Sets gain and bias so that the outputs have the mean and variance of full precision.
fn match_statistics(
    conv: &mut QuantizedConv,
    sums: &SumStatistics,
    full: &ChannelStatistics,
    packing: &Packing,
) {
    let PackedOp::Conv(packed) = &packing.node.op else { return };
    for channel in 0..conv.outputs {
        let unit = packing.units[channel];
        let deviation = sums.deviation(channel) * unit.abs();
        let wanted = full.variance(channel).sqrt();
        let change = if deviation > 0.0 && wanted > 0.0 { wanted / deviation } else { 1.0 };
        let change = change.clamp(1.0 / MAX_CHANGE, MAX_CHANGE);
        let mean = (sums.mean(channel) - f64::from(packed.bias[channel])) * unit;
        conv.gain[channel] *= change;
        conv.bias[channel] = full.mean(channel) - change * mean;
    }
}
