//! One figure for every candidate of every layer.

use super::damage::{Change, Damage, TEMPERATURE};
use super::size;
use crate::calibrate::{Observer, RangeMethod, Spool};
use crate::channels::reorder;
use crate::convert::{SCALE_BITS, read_pixels};
use crate::data::Images;
use crate::error::{Error, ErrorKind, Result};
use crate::fold::fold;
use crate::format::{Preprocess, Quantizer};
use crate::graph::{Graph, Node, NodeId, Op};
use crate::layerwise::{Full, Method, Survey, fit_and_pack};
use crate::plan::{Choice, Indicators, LayerIndicators, Reason, choose};
use crate::precision::Precision;
use crate::progress::Progress;
use crate::quantize::{ActivationBits, Assembly, QuantizedGraph, QuantizedOp, Structure, assemble};
use crate::tensor::Shape;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::FromStr;

/// Share of the standard deviation by which outputs are moved to see how much the logits mind.
const NOISE: f64 = 0.1;
/// Bytes that a precision with scales adds to the file's JSON, besides the layer's name and two places in the file: the
/// entry of its scales and its own.
const SCALES_ENTRY: u64 = 72;

/// What stands for the damage of a precision.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Indicator {
    /// Divergence of the softened class probabilities from full precision's with only that layer converted and fitted.
    #[default]
    Divergence,
    /// Error of that layer's outputs, times how much the logits mind noise there: one run per layer in place of one
    /// for each of its precisions.
    OutputError,
}

impl fmt::Display for Indicator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Divergence => "divergence",
            Self::OutputError => "output-error",
        })
    }
}

impl FromStr for Indicator {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        match text {
            "divergence" => Ok(Self::Divergence),
            "output-error" => Ok(Self::OutputError),
            _ => {
                let message = format!("unknown indicator '{text}'; use divergence or output-error");
                Err(Error::new(ErrorKind::Argument, message))
            }
        }
    }
}

/// How [`indicate`] finds indicators.
#[derive(Debug, Clone)]
pub struct IndicatorOptions {
    /// What stands for the damage.
    pub indicator: Indicator,
    /// Candidates for weights. Groups larger than a layer's are left out where a smaller one is the same.
    pub precisions: Vec<Precision>,
    /// Candidates for input activations, each 4 or 8.
    pub activation_bits: Vec<u8>,
    /// How activation ranges are chosen.
    pub range: RangeMethod,
    /// On how many of the images the logits are compared.
    pub measured: usize,
    /// Names of the classes, which will be part of the file; they do not change the indicators.
    pub classes: Vec<String>,
}

impl Default for IndicatorOptions {
    fn default() -> Self {
        let ternary = |group| Precision::ternary(group).with_scale_bits(SCALE_BITS);
        Self {
            indicator: Indicator::default(),
            precisions: vec![
                ternary(4),
                ternary(8),
                ternary(16),
                ternary(64),
                Precision::int(3),
                Precision::int(4),
                Precision::int8(),
            ],
            activation_bits: vec![8, 4],
            range: RangeMethod::default(),
            measured: 64,
            classes: Vec::new(),
        }
    }
}

impl IndicatorOptions {
    fn check(&self) -> Result<()> {
        let argument = |message: &str| Err(Error::new(ErrorKind::Argument, message));
        if self.precisions.is_empty() || self.activation_bits.is_empty() {
            return argument("no candidates; give at least one for weights and one for activations");
        }
        if !self.activation_bits.iter().all(|bits| [4, 8].contains(bits)) {
            return argument("activations have 4 or 8 bits");
        }
        if self.measured == 0 {
            return argument("no images to compare logits on; give at least 1");
        }
        Ok(())
    }

    /// In one line: what [`Indicators::method`] then is.
    pub fn method(&self) -> String {
        format!(
            "{}, {} and {} bits, range {}, logits over {TEMPERATURE} of {} images spread evenly",
            self.indicator,
            self.precisions.iter().map(Precision::to_string).collect::<Vec<_>>().join(" "),
            self.activation_bits.iter().map(u8::to_string).collect::<Vec<_>>().join(" "),
            self.range,
            self.measured
        )
    }

    /// The candidates that differ for runs of `inputs` input channels; no groups where a weight shares its scale with
    /// none.
    fn precisions_for(&self, inputs: usize) -> Vec<Precision> {
        let mut kept: Vec<Precision> = Vec::new();
        for &precision in
            self.precisions.iter().filter(|&&precision| inputs > 1 || precision.group().is_none())
        {
            if !kept.iter().any(|&other| other.within(inputs) == precision.within(inputs)) {
                kept.push(precision);
            }
        }
        kept
    }
}

/// Finds indicators for every layer but those on pixels, on `images`, which need no labels.
///
/// `known` may hold what an earlier call with the same network, images and options had saved; its layers are not
/// looked at again. `save` sees the indicators after every layer; [`Indicators::complete`] is false until the last.
///
/// # Errors
/// As for [`convert`](crate::convert); `known` indicators that were found otherwise; whatever `save` returns.
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
    preprocess.check_input(graph.input.channels, graph.input.height, graph.input.width)?;
    let graph = fold(graph)?;
    let structure = Structure::new(&graph)?;
    let (pixels, _) = read_pixels(&graph, preprocess, images, progress)?;
    let mut found = started(known, options, pixels.images())?;
    let choices = choose(&graph, [Precision::ternary(4); 2], None, &[])?;
    let possible = |(node, &choice): (&Node, &Option<Choice>)| match &node.op {
        Op::Conv(conv) if is_planned(choice) => options.precisions_for(conv.weight.dim().1),
        _ => Vec::new(),
    };
    let possible: Vec<Vec<Precision>> = graph.nodes.iter().zip(&choices).map(possible).collect();
    let graph = reorder(graph, |id| possible[id].clone())?;
    let layers: Vec<NodeId> = (0..choices.len()).filter(|&id| is_planned(choices[id])).collect();
    let observer =
        Observer { graph: &graph, preprocess, histograms: &structure.range_nodes(), channels: &layers };
    let observation = observer.run(&pixels, progress)?;
    let full = Full { graph: &graph, structure: &structure, preprocess, observation: &observation };
    let study = Study {
        full,
        damage: Damage::new(&graph, preprocess, &pixels, options.measured)?,
        shapes: graph.shapes()?,
        quantizers: quantizers(full, &pixels, options)?,
        digits: weights(&graph).to_string().len(),
        choices,
        options,
    };
    study.check_known(&found)?;
    let candidates: Vec<Vec<Precision>> =
        (0..graph.nodes.len()).map(|id| study.candidates(id, &found)).collect();
    let mut see = |node: NodeId, converted: Vec<Op>| {
        found.layers.push(study.layer(node, &candidates[node], &converted)?);
        save(&found)
    };
    let survey = Survey { candidates: &candidates, see: &mut see };
    let mut quantized = eight_bits(study.full, &pixels, options.range, 8)?;
    let packed =
        fit_and_pack(&mut quantized, study.full, Method::Compensated, pixels, Some(survey), progress)?;
    let order = |layer: &LayerIndicators| graph.nodes.iter().position(|node| node.name == layer.name);
    found.layers.sort_by_key(order);
    found.fixed = size::fixed(&quantized, packed, preprocess, options, &found)?;
    found.complete = true;
    save(&found)?;
    Ok(found)
}

/// What is known already, if it was found in the same way.
fn started(known: Indicators, options: &IndicatorOptions, images: usize) -> Result<Indicators> {
    let method = options.method();
    let same = known.method == method && known.images == Some(images as u64);
    if !known.layers.is_empty() && !same {
        let message = format!(
            "the indicators that are there were found otherwise ({} on {} images); \
             choose another file or delete this one",
            known.method,
            known.images.unwrap_or(0)
        );
        return Err(Error::new(ErrorKind::Argument, message));
    }
    Ok(Indicators { method, images: Some(images as u64), alpha: 1.0, complete: false, ..known })
}

/// Number of weights.
fn weights(graph: &Graph) -> usize {
    let len = |op: &Op| match op {
        Op::Conv(conv) => conv.weight.len(),
        _ => 0,
    };
    graph.nodes.iter().map(|node| len(&node.op)).sum()
}

/// Whether a node with this default is a convolution that there is a choice for. One on pixels has too few weights.
fn is_planned(choice: Option<Choice>) -> bool {
    choice.is_some_and(|choice| choice.reason != Reason::First)
}

/// Everything that figures of one layer are found with.
struct Study<'a> {
    full: Full<'a>,
    damage: Damage<'a>,
    shapes: Vec<Shape>,
    /// By bits, then by node: the quantizer of a convolution's input.
    quantizers: BTreeMap<u8, Vec<Option<Quantizer>>>,
    /// By node: what convolutions have without a plan.
    choices: Vec<Option<Choice>>,
    /// Digits of a place in the file.
    digits: usize,
    options: &'a IndicatorOptions,
}

impl Study<'_> {
    /// Refuses layers that the network has not, or not so.
    fn check_known(&self, known: &Indicators) -> Result<()> {
        let nodes = &self.full.graph.nodes;
        for (index, layer) in known.layers.iter().enumerate() {
            let id =
                (0..nodes.len()).find(|&id| nodes[id].name == layer.name && is_planned(self.choices[id]));
            let twice = known.layers[..index].iter().any(|other| other.name == layer.name);
            let fits = |id| self.sizes(id) == Some(sizes_of(layer)) && self.is_kept(id) == layer.kept;
            if twice || !id.is_some_and(fits) {
                let message = "the indicators that are there do not fit this layer of the network; \
                               choose another file or delete this one";
                return Err(Error::new(ErrorKind::Format, message).at_node(&layer.name));
            }
        }
        Ok(())
    }

    /// Weights, products and inputs of a convolution.
    fn sizes(&self, id: NodeId) -> Option<(u64, u64, u64)> {
        let Op::Conv(conv) = &self.full.graph.nodes[id].op else { return None };
        let weights = conv.weight.len() as u64;
        Some((weights, weights * self.shapes[id].positions() as u64, conv.weight.dim().1 as u64))
    }

    /// What to try for a node: nothing if it is no layer to plan, or known.
    fn candidates(&self, id: NodeId, found: &Indicators) -> Vec<Precision> {
        let node = &self.full.graph.nodes[id];
        match &node.op {
            Op::Conv(conv)
                if is_planned(self.choices[id])
                    && !found.layers.iter().any(|layer| layer.name == node.name) =>
            {
                let mut precisions = self.options.precisions_for(conv.weight.dim().1);
                if self.is_kept(id) && !precisions.contains(&Precision::int8()) {
                    precisions.push(Precision::int8());
                }
                precisions
            }
            _ => Vec::new(),
        }
    }

    /// Whether a convolution has 8 bits without a plan.
    fn is_kept(&self, id: NodeId) -> bool {
        self.choices[id].is_some_and(|choice| choice.precision == Precision::int8())
    }

    /// Candidates for the bits of a convolution's input: the classifier's always has 8.
    fn activation_bits(&self, id: NodeId) -> Vec<u8> {
        match self.choices[id].map(|choice| choice.reason) {
            Some(Reason::Classifier) => vec![8],
            _ => self.options.activation_bits.clone(),
        }
    }

    fn layer(&self, id: NodeId, candidates: &[Precision], converted: &[Op]) -> Result<LayerIndicators> {
        let node = &self.full.graph.nodes[id];
        let none = || Error::new(ErrorKind::Shape, "no convolution").at_node(&node.name);
        let (parameters, macs, inputs) = self.sizes(id).ok_or_else(none)?;
        let weights: Vec<Change> = converted.iter().map(Change::Weights).collect();
        let bits = self.activation_bits(id);
        let rounded = bits.iter().filter_map(|bits| self.quantizers[bits][id]).map(Change::Input);
        let changes: Vec<Change> = weights.into_iter().chain(rounded).collect();
        let figures = self.figures(id, &changes)?;
        let (weight, activation) = figures.split_at(converted.len());
        Ok(LayerIndicators {
            name: node.name.clone(),
            parameters,
            macs,
            inputs: Some(inputs),
            description: SCALES_ENTRY + (node.name.len() + 2 * self.digits) as u64,
            activations: Some(self.shapes[node.inputs[0]].len() as u64),
            weight: candidates.iter().map(Precision::to_string).zip(weight.iter().copied()).collect(),
            activation: bits.iter().map(u8::to_string).zip(activation.iter().copied()).collect(),
            kept: self.is_kept(id),
        })
    }

    fn figures(&self, id: NodeId, changes: &[Change]) -> Result<Vec<f64>> {
        let none = || Error::new(ErrorKind::Shape, "a layer without statistics");
        let statistics = self.full.observation.channels[id].as_ref().ok_or_else(none)?;
        match self.options.indicator {
            Indicator::Divergence => self.damage.of(id, statistics, changes),
            Indicator::OutputError => {
                let influence = self.damage.of(id, statistics, &[Change::Noise(NOISE)])?[0] / NOISE.powi(2);
                let errors = self.damage.output_errors(id, statistics, changes)?;
                Ok(errors.into_iter().map(|error| influence * error).collect())
            }
        }
    }
}

/// Weights, products and inputs of a layer.
fn sizes_of(layer: &LayerIndicators) -> (u64, u64, u64) {
    (layer.parameters, layer.macs, layer.inputs.unwrap_or(0))
}

fn eight_bits(full: Full, pixels: &Spool, range: RangeMethod, activation_bits: u8) -> Result<QuantizedGraph> {
    let Full { graph, structure, preprocess, observation } = full;
    let int8 = Choice { precision: Precision::int8(), reason: Reason::Default };
    let choice = |op: &Op| matches!(op, Op::Conv(_)).then_some(int8);
    let choices: Vec<Option<Choice>> = graph.nodes.iter().map(|node| choice(&node.op)).collect();
    assemble(&Assembly {
        graph,
        structure,
        observation,
        preprocess,
        choices: &choices,
        bits: ActivationBits {
            default: activation_bits,
            planned: &vec![None; graph.nodes.len()],
            rules: &[],
        },
        range,
        pixels,
    })
}

/// The quantizer of every convolution's input, for each number of bits.
fn quantizers(
    full: Full,
    pixels: &Spool,
    options: &IndicatorOptions,
) -> Result<BTreeMap<u8, Vec<Option<Quantizer>>>> {
    let with = |bits: u8| {
        let quantized = eight_bits(full, pixels, options.range, bits)?;
        let mut quantizers = vec![None; full.graph.nodes.len()];
        for node in &quantized.nodes {
            if let QuantizedOp::Conv(conv) = &node.op {
                quantizers[conv.source] = Some(quantized.nodes[node.inputs[0]].quantizer);
            }
        }
        Ok((bits, quantizers))
    };
    let bits: BTreeSet<u8> = options.activation_bits.iter().copied().chain([8]).collect();
    bits.into_iter().map(with).collect()
}

#[cfg(test)]
mod tests;
