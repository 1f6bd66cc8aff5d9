//! One figure for every candidate of every layer.

use super::damage::{Damage, Perturbation};
#[cfg(feature = "train")]
use super::learned::learned;
use super::plannable::{Plannable, plannable};
use super::{Indicator, IndicatorOptions, known, size};
use crate::calibrate::{RangeMethod, Spool};
use crate::data::Images;
use crate::error::{Error, ErrorKind, Result};
use crate::format::{Preprocess, Quantizer};
use crate::graph::{Graph, NodeId, Op};
use crate::index::Per;
use crate::layerwise::{Method, Survey, fit_and_pack};
use crate::plan::{Choice, Indicators, LayerIndicators, Reason, choose};
use crate::precision::Precision;
use crate::prepare::{Calibration, Draft, Full, HeldBack};
use crate::progress::Progress;
use crate::quantize::{ActivationBits, QuantizedGraph, QuantizedOp, Structure};
use std::collections::BTreeMap;

/// Share of the standard deviation by which outputs are moved to see how much the logits mind.
const NOISE: f64 = 0.1;

/// Finds indicators for every layer but those on pixels, on `images`, which need no labels.
///
/// `known` may hold what an earlier call with the same network, images and options had saved; its layers are not
/// looked at again. `save` sees the indicators after every layer; [`Indicators::complete`] is false until the last, and where
/// only some layers were wanted.
///
/// # Errors
/// As for [`convert`](crate::convert()); `known` indicators that were found otherwise; whatever `save` returns.
pub fn indicate(
    graph: Graph,
    preprocess: &Preprocess,
    images: &dyn Images,
    options: &IndicatorOptions,
    known: Indicators,
    save: &mut dyn FnMut(&Indicators) -> Result<()>,
    progress: &dyn Progress,
) -> Result<Indicators> {
    options.check()?;
    let draft = draft(graph, preprocess)?;
    let layers = plannable(&draft, &draft.graph.shapes()?, options);
    known::check(&known, options, &layers)?;
    let possible = by_node(&layers, draft.choices.len(), |_| true);
    let draft = draft.reordered(&possible)?;
    let statistics = layers.iter().map(|layer| layer.node).collect();
    let held_back = HeldBack::Count(options.held_back.unwrap_or(options.measured));
    let structures = structures(&draft.graph, options)?;
    let read = layers.iter().map(|layer| draft.graph.nodes[layer.node].inputs[0]);
    let distributions = structures.values().flat_map(Structure::range_nodes).chain(read).collect();
    let wanted = Calibration { statistics, distributions, held_back, ..Calibration::default() };
    let prepared = draft.calibrate(images, &wanted, progress)?;
    let (full, pixels) = (&prepared.full, prepared.pixels);
    let mut found = known::started(known, options, pixels.images())?;
    let study = Study {
        full,
        damage: Damage::new(&full.graph, preprocess, pixels.judging(), options.measured)?,
        quantizers: quantizers(full, &structures, &pixels.fitting, options.range)?,
        options,
    };
    #[cfg(feature = "train")]
    if options.indicator.is_learned() && found.layers.len() < layers.len() {
        found.layers = learned(full, &pixels.fitting, &layers, options, progress)?;
    }
    let is_wanted = |name: &str| options.only.as_ref().is_none_or(|only| only.iter().any(|own| own == name));
    let is_new = |layer: &Plannable| {
        is_wanted(&layer.layer.name) && !found.layers.iter().any(|known| known.name == layer.layer.name)
    };
    let candidates = by_node(&layers, full.graph.nodes.len(), is_new);
    let mut see = |node: NodeId, converted: Vec<Op>| {
        if let Some(layer) = layers.iter().find(|layer| layer.node == node) {
            found.layers.push(study.layer(layer, &converted)?);
        }
        save(&found)
    };
    let survey = Survey { candidates: &candidates, see: &mut see };
    let mut quantized = eight_bits(full, &full.structure, &pixels.fitting, options.range)?;
    let packed = fit_and_pack(&mut quantized, full, Method::Compensated, pixels, Some(survey), progress)?;
    let order = |layer: &LayerIndicators| full.graph.nodes.iter().position(|node| node.name == layer.name);
    found.layers.sort_by_key(order);
    if found.layers.len() < layers.len() {
        save(&found)?;
        return Ok(found);
    }
    found.fixed = size::fixed(&quantized, packed, preprocess, options, &found)?;
    found.complete = true;
    save(&found)?;
    Ok(found)
}

/// The layers that [`indicate`] looks at and their candidates, with figures of 0, in a file of nothing but weights: no plan
/// for the network does more. That needs no image.
///
/// # Errors
/// As for [`indicate`], as far as images do not matter.
pub fn candidates(graph: Graph, preprocess: &Preprocess, options: &IndicatorOptions) -> Result<Indicators> {
    options.check()?;
    let draft = draft(graph, preprocess)?;
    let shapes = draft.graph.shapes()?;
    let layers = plannable(&draft, &shapes, options);
    Ok(Indicators {
        fixed: size::least(&draft.graph, &shapes, &layers),
        layers: layers.iter().map(Plannable::without_figures).collect(),
        alpha: 1.0,
        complete: true,
        ..Indicators::default()
    })
}

fn draft(graph: Graph, preprocess: &Preprocess) -> Result<Draft<'_>> {
    Draft::new(graph, preprocess, |graph| choose(graph, [Precision::ternary(4); 2], None, &[]))
}

/// The candidates of those layers that are wanted, by node; empty for all other nodes.
fn by_node(
    layers: &[Plannable],
    nodes: usize,
    wanted: impl Fn(&Plannable) -> bool,
) -> Per<NodeId, Vec<Precision>> {
    let mut candidates = Per::filled(Vec::new(), nodes);
    for layer in layers.iter().filter(|layer| wanted(layer)) {
        candidates[layer.node].clone_from(&layer.precisions);
    }
    candidates
}

/// Everything that figures of one layer are found with.
struct Study<'a> {
    full: &'a Full<'a>,
    damage: Damage<'a>,
    /// By bits, then by node: the quantizer of a convolution's input.
    quantizers: BTreeMap<u8, Per<NodeId, Option<Quantizer>>>,
    options: &'a IndicatorOptions,
}

impl Study<'_> {
    /// A layer's figures, `converted` being what its candidates for weights make of it.
    fn layer(&self, layer: &Plannable, converted: &[Op]) -> Result<LayerIndicators> {
        let rounded = layer.activation_bits.iter().filter_map(|bits| self.quantizers[bits][layer.node]);
        let changes: Vec<Perturbation> =
            converted.iter().map(Perturbation::Weights).chain(rounded.map(Perturbation::Input)).collect();
        Ok(layer.with(&self.figures(layer.node, &changes)?))
    }

    fn figures(&self, id: NodeId, changes: &[Perturbation]) -> Result<Vec<f64>> {
        let none = || Error::new(ErrorKind::Shape, "a layer without statistics");
        let statistics = self.full.observation.channels[id].as_ref().ok_or_else(none)?;
        match self.options.indicator {
            Indicator::Divergence => self.damage.of(id, statistics, changes),
            Indicator::OutputError => {
                let influence =
                    self.damage.of(id, statistics, &[Perturbation::Noise(NOISE)])?[0] / NOISE.powi(2);
                let errors = self.damage.output_errors(id, statistics, changes)?;
                Ok(errors.into_iter().map(|error| influence * error).collect())
            }
            #[cfg(feature = "train")]
            Indicator::Learned | Indicator::LearnedDamage => Ok(Vec::new()),
        }
    }
}

/// The integer operators for every number of bits with which convolutions may read, where those are tried.
fn structures(graph: &Graph, options: &IndicatorOptions) -> Result<BTreeMap<u8, Structure>> {
    let planned = Per::filled(None, graph.nodes.len());
    let with = |bits: u8| {
        let reading = ActivationBits { default: bits, planned: &planned, rules: &[] };
        Ok((bits, reading.narrowed(graph, Structure::new(graph)?)?))
    };
    let tried = options.activation_bits.iter().copied().filter(|_| !options.indicator.is_learned());
    tried.map(with).collect()
}

/// The network with 8-bit weights.
fn eight_bits(
    full: &Full,
    structure: &Structure,
    pixels: &Spool,
    range: RangeMethod,
) -> Result<QuantizedGraph> {
    let int8 = Choice { precision: Precision::int8(), reason: Reason::Default };
    let choice = |op: &Op| matches!(op, Op::Conv(_)).then_some(int8);
    let choices = full.graph.nodes.map(|node| choice(&node.op));
    full.assemble_as(structure, &choices, range, &[], pixels)
}

/// The quantizer of every convolution's input, for each number of bits.
fn quantizers(
    full: &Full,
    structures: &BTreeMap<u8, Structure>,
    pixels: &Spool,
    range: RangeMethod,
) -> Result<BTreeMap<u8, Per<NodeId, Option<Quantizer>>>> {
    let with = |(&bits, structure): (&u8, &Structure)| {
        let quantized = eight_bits(full, structure, pixels, range)?;
        let mut quantizers = Per::filled(None, full.graph.nodes.len());
        for node in &quantized.nodes {
            if let QuantizedOp::Conv(conv) = &node.op {
                quantizers[conv.source] = Some(quantized.nodes[node.inputs[0]].quantizer);
            }
        }
        Ok((bits, quantizers))
    };
    structures.iter().chain([(&8, &full.structure)]).map(with).collect()
}
