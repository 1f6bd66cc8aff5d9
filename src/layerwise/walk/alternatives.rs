//! The ways to fit a layer, and the one that the images that judge like best: no fit may be worse than none.

use super::{Walk, is_compensated, run};
use crate::calibrate::{Parts, Spool};
use crate::error::Result;
use crate::layerwise::method::Method;
use crate::layerwise::note::Note;
use crate::layerwise::statistics::{Matched, match_statistics};
use crate::layerwise::yields::Yields;
use crate::pack::Packing;
use crate::precision::Precision;
use crate::quantize::{OperatorId, QuantizedOp};

/// How the weights of a layer are found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fit {
    /// As they were assembled.
    Assembled,
    /// Assembled, with the mean of every output re-estimated.
    Mean,
    /// Assembled, with mean and variance of every output re-estimated.
    MeanAndVariance,
    /// Fitted to the outputs of full precision.
    Compensated,
}

impl Walk<'_> {
    /// The operator that runs: a convolution fitted in the best of its ways.
    pub(super) fn fit(&mut self, id: OperatorId) -> Result<Packing> {
        let fits = self.fits(id);
        let QuantizedOp::Conv(assembled) = self.graph.nodes[id].op.clone() else { return self.pack(id) };
        let mut best: Option<(f64, Fit, Packing, QuantizedOp)> = None;
        for &fit in &fits {
            self.graph.nodes[id].op = QuantizedOp::Conv(assembled.clone());
            let packing = self.fitted_by(id, fit)?;
            let error = if fits.len() > 1 { self.error(id, &packing)? } else { 0.0 };
            if best.as_ref().is_none_or(|best| error < best.0) {
                best = Some((error, fit, packing, self.graph.nodes[id].op.clone()));
            }
        }
        let Some((_, fit, packing, op)) = best else { return self.pack(id) };
        self.graph.nodes[id].op = op;
        let is_int8 = assembled.choice.precision == Precision::int8();
        if fits[0] == Fit::Compensated && fit != Fit::Compensated && !is_int8 {
            self.uncompensated.push(self.graph.nodes[id].name.clone());
        }
        Ok(packing)
    }

    /// The ways worth trying, the one to take if nothing can judge first.
    fn fits(&self, id: OperatorId) -> Vec<Fit> {
        let node = &self.graph.nodes[id];
        let QuantizedOp::Conv(conv) = &node.op else { return Vec::new() };
        let is_int8 = conv.choice.precision == Precision::int8();
        let has_statistics = self.full.observation.channels[conv.source].is_some();
        if self.as_it_is {
            return vec![Fit::Assembled];
        }
        match &conv.nest {
            Some(nest) if nest.is_whole() => {
                let fits = [Fit::Assembled, Fit::Mean];
                return fits[..if self.held_back && has_statistics { 2 } else { 1 }].to_vec();
            }
            Some(_) if self.objective.is_some() => return vec![Fit::Compensated],
            _ => {}
        }
        let assembled = match (is_int8, has_statistics) {
            (false, true) => vec![Fit::MeanAndVariance],
            (true, true) if self.method == Method::Compensated && node.inputs[0] != OperatorId::INPUT => {
                vec![Fit::Assembled, Fit::Mean]
            }
            _ => vec![Fit::Assembled],
        };
        let is_compensated =
            self.objective.is_some() && is_compensated(conv.choice.precision, node, self.method);
        let compensated = is_compensated.then_some(Fit::Compensated);
        let all: Vec<Fit> = compensated.into_iter().chain(assembled).collect();
        all[..if self.held_back { all.len() } else { 1 }].to_vec()
    }

    fn fitted_by(&mut self, id: OperatorId, fit: Fit) -> Result<Packing> {
        match fit {
            Fit::Assembled => {}
            Fit::Mean => self.re_estimate(id, Matched::Mean)?,
            Fit::MeanAndVariance => self.re_estimate(id, Matched::MeanAndVariance)?,
            Fit::Compensated => self.compensate(id)?,
        }
        self.pack(id)
    }

    /// Moments that are known spare a run.
    pub(super) fn re_estimate(&mut self, id: OperatorId, matched: Matched) -> Result<()> {
        let QuantizedOp::Conv(conv) = &self.graph.nodes[id].op else { return Ok(()) };
        if let (Some(objective), Some(full)) = (&self.objective, &self.full.observation.channels[conv.source])
        {
            let fitted = objective.matched(conv, full, matched);
            self.graph.nodes[id].op = QuantizedOp::Conv(Box::new(fitted));
            return Ok(());
        }
        let packing = self.pack(id)?;
        let sums = self.sum_statistics(id, &self.step(id, &packing.node))?;
        let QuantizedOp::Conv(conv) = &mut self.graph.nodes[id].op else { return Ok(()) };
        if let Some(statistics) = &self.full.observation.channels[conv.source] {
            match_statistics(conv, &sums, statistics, &packing, matched);
        }
        Ok(())
    }

    fn compensate(&mut self, id: OperatorId) -> Result<()> {
        let node = &self.graph.nodes[id];
        let (QuantizedOp::Conv(conv), Some(objective)) = (&node.op, &self.objective) else { return Ok(()) };
        let (fitted, raised) = objective.fit(conv)?;
        if raised > 1.0 {
            self.notes.push(Note::Damped { layer: node.name.clone(), factor: raised });
        }
        self.graph.nodes[id].op = QuantizedOp::Conv(Box::new(fitted));
        Ok(())
    }

    /// How far what operator `id` yields is from full precision, on the images that judge.
    pub(super) fn error(&mut self, id: OperatorId, packing: &Packing) -> Result<f64> {
        let step = self.step(id, &packing.node);
        let inputs: Vec<&Spool> = self.operands(id)?.into_iter().map(Parts::judging).collect();
        let is_last = self.graph.nodes.is_last(id);
        let codes = if is_last { None } else { Some(run(&step, self.graph.nodes[id].shape, &inputs)?) };
        let scale = packing.logit_scale.or(self.logit_scale);
        let Self { graph, values, probe, .. } = self;
        probe.error(&Yields { graph, values, id, codes: codes.as_ref(), step: &step, scale })
    }
}
