//! Conversion to a model that switches: planes are fitted one after another, each on what the planes before it left and
//! with them as they are; then gains and biases for every pair of neighbouring widths (`docs/switching.md`).

mod changes;
mod passes;
mod settings;

use super::{Conversion, ConvertOptions, Fitted};
use crate::calibrate::Parts;
use crate::data::Images;
use crate::error::{Error, ErrorKind, Result};
use crate::format::{
    PackedNode, PackedOp, Preprocess, SwitchedCopy, SwitchedLayer, Switching, switching_before,
};
use crate::graph::{Graph, NodeId};
use crate::layerwise::{Method, Packed, fit_and_pack};
use crate::plan::Choice;
use crate::prepare::{Draft, Full, Prepared};
use crate::progress::Progress;
use crate::quantize::{
    Nest, OperatorId, OperatorKind, Plain, QuantizedConv, QuantizedGraph, QuantizedNode, QuantizedOp,
};
use passes::Pass;

/// Bits of activations at most.
const WIDEST: u8 = 8;

/// The network at one width of all layers.
struct UniformWidth {
    quantized: QuantizedGraph,
    nodes: Vec<PackedNode>,
    logit_scale: f64,
}

/// Converts with planes of `whole` for all layers that nothing says otherwise of.
///
/// # Errors
/// As `convert`, and a method or a layer that cannot switch.
pub(super) fn convert(
    graph: Graph,
    preprocess: &Preprocess,
    images: &dyn Images,
    options: &ConvertOptions,
    progress: &dyn Progress,
) -> Result<Conversion> {
    let (mut draft, wanted) = options.ordered_draft(graph, preprocess)?;
    let planes = draft.choices.iter().flatten().map(|choice| choice.precision.planes()).max().unwrap_or(1);
    let own = switching(&draft, planes)?;
    if !options.nested_activations.is_empty() {
        draft.structure = draft.structure.with_own_copies(&own, WIDEST);
    }
    let Prepared { full, choices, pixels, fitting, unreadable } =
        draft.calibrate(images, &wanted, progress)?;
    let mut nesting = Nesting { full, choices, own, options, planes, below: Vec::new() };
    let (mut quantized, mut packed) = nesting.fitted(1, pixels, progress)?;
    for width in 2..=planes {
        let Packed { pixels, nodes, logit_scale, .. } = packed;
        nesting.below.push(UniformWidth { quantized, nodes, logit_scale });
        (quantized, packed) = nesting.fitted(width, pixels, progress)?;
    }
    let top = UniformWidth { quantized, nodes: packed.nodes.clone(), logit_scale: packed.logit_scale };
    let (layers, pixels) = nesting.layers(&top, packed.pixels, progress)?;
    packed.pixels = pixels;
    let judged = packed.what_if.as_ref().map(|what_if| what_if.logits.clone());
    let copies = nesting.switched_copies(&top);
    let full = nesting.full;
    let held_back = packed.pixels.held_back.as_ref().map(settings::pixels).transpose()?;
    let fitted = Fitted { full, quantized: top.quantized, packed, fitting, unreadable };
    let mut conversion = fitted.conversion(options)?;
    let widths = (1..=planes as u8).collect();
    let switching = Switching { widths, layers, copies, settings: Vec::new() };
    conversion.model.switching = Some(switching);
    conversion.model.shapes()?;
    if let Some((logits, pixels)) = judged.zip(held_back) {
        let settings = settings::settings(&conversion.model, &options.settings, &logits, &pixels, progress)?;
        conversion.model.switching.iter_mut().for_each(|switching| switching.settings.clone_from(&settings));
    }
    Ok(conversion)
}

/// The layers that are to switch, by node of the graph: all that have so many planes.
fn switching(draft: &Draft, planes: usize) -> Result<Vec<NodeId>> {
    let switches = |id: &NodeId| draft.choices[*id].is_some_and(|choice| choice.precision.planes() == planes);
    let own: Vec<NodeId> = (0..draft.choices.len()).filter(switches).collect();
    for operator in draft.structure.operators.iter() {
        if let OperatorKind::Conv { source, .. } = operator.kind
            && own.contains(&source)
            && operator.inputs[0] == OperatorId::INPUT
        {
            let message = "a layer that reads pixels cannot switch; give it one precision with --set";
            return Err(Error::new(ErrorKind::Argument, message).at_node(&operator.name));
        }
    }
    Ok(own)
}

/// What all widths have in common, and those that are done.
struct Nesting<'a> {
    full: Full<'a>,
    /// By node, with all planes.
    choices: Vec<Option<Choice>>,
    /// Layers that switch, by node of the graph.
    own: Vec<NodeId>,
    options: &'a ConvertOptions,
    planes: usize,
    below: Vec<UniformWidth>,
}

impl Nesting<'_> {
    /// The network with so many planes, of which all but the last are those of the width before.
    fn fitted(
        &mut self,
        width: usize,
        pixels: Parts,
        progress: &dyn Progress,
    ) -> Result<(QuantizedGraph, Packed)> {
        let narrow =
            |choice: Choice| Choice { precision: choice.precision.with_planes(width as u8), ..choice };
        let choices: Vec<Option<Choice>> = self.choices.iter().map(|choice| choice.map(narrow)).collect();
        let options = self.options;
        if let Some(&bits) = options.nested_activations.get(width - 1) {
            let copies: Vec<OperatorId> =
                self.full.structure.operators.ids().filter(|&id| self.is_copy(id)).collect();
            copies.into_iter().for_each(|id| self.full.structure.operators[id].bits = bits);
        }
        let mut quantized = self.full.assemble(&choices, options.range, &options.rules, &pixels.fitting)?;
        for id in quantized.nodes.ids().collect::<Vec<_>>() {
            self.nest(&mut quantized, id);
        }
        let packed = fit_and_pack(&mut quantized, &self.full, Method::Compensated, pixels, None, progress)?;
        Ok((quantized, packed))
    }

    /// Whether a layer switches.
    fn switches(&self, conv: &QuantizedConv) -> bool {
        self.own.contains(&conv.source)
    }

    /// The operator that reads a copy whose bits switch.
    fn reader(&self, copy: OperatorId) -> Option<OperatorId> {
        let operators = &self.full.structure.operators;
        let reads = |id: &OperatorId| match operators[*id].kind {
            OperatorKind::Conv { source, .. } => {
                self.own.contains(&source) && operators[*id].inputs[0] == copy
            }
            _ => false,
        };
        operators.ids().find(reads).filter(|_| !self.options.nested_activations.is_empty())
    }

    /// Whether an operator is a copy whose bits switch.
    fn is_copy(&self, id: OperatorId) -> bool {
        let is_narrow = self.full.structure.operators[id].kind == OperatorKind::Plain(Plain::Narrow);
        is_narrow && self.reader(id).is_some()
    }

    /// The copies whose bits switch, with what they are at lower widths.
    fn switched_copies(&self, top: &UniformWidth) -> Vec<SwitchedCopy> {
        let copy = |id: OperatorId| {
            let node = id.index();
            let lower = self.below.iter().filter_map(|uniform| match &uniform.nodes[node] {
                PackedNode { op: PackedOp::Narrow(by), quantizer, .. } => Some((*by, *quantizer)),
                _ => None,
            });
            SwitchedCopy { node, lower: lower.collect() }
        };
        top.quantized.nodes.ids().filter(|&id| self.is_copy(id)).map(copy).collect()
    }

    /// Says of a layer what of it is given by the width before.
    fn nest(&self, quantized: &mut QuantizedGraph, id: OperatorId) {
        let before = self.below.last().map(|uniform| &uniform.quantized.nodes[id]);
        let is_copy = self.is_copy(id);
        let node = &mut quantized.nodes[id];
        if let Some(before) = before.filter(|_| !is_copy) {
            (node.quantizer, node.range) = (before.quantizer, None);
        }
        let QuantizedOp::Conv(conv) = &mut node.op else { return };
        let before = before.and_then(|before| match &before.op {
            QuantizedOp::Conv(conv) => Some(conv),
            _ => None,
        });
        if self.switches(conv) {
            let whole = self.choices[conv.source].map_or(conv.choice.precision, |choice| choice.precision);
            let kept = before.map(|before| (before.weights.clone(), before.factors.clone()));
            conv.nest = Some(Nest { whole, kept });
        } else if let Some(before) = before {
            **conv = QuantizedConv { nest: Some(Nest::fixed(before)), ..(**before).clone() };
        }
    }

    /// The layers that switch, or follow one that does, with their changes of gains and biases.
    fn layers(
        &self,
        top: &UniformWidth,
        mut pixels: Parts,
        progress: &dyn Progress,
    ) -> Result<(Vec<SwitchedLayer>, Parts)> {
        let switching: Vec<usize> = self.switching(top);
        let before = switching_before(&top.nodes, &switching);
        let mut passes = Vec::new();
        for places in passes::assignments(self.planes, &switching, &before) {
            let (pass, back) = self.pass(top, &before, places, pixels, progress)?;
            pixels = back;
            passes.push(pass);
        }
        let ids = top.quantized.nodes.ids();
        let layer = |id: OperatorId| self.layer(top, &switching, &before, &passes, id);
        Ok((ids.filter_map(layer).collect(), pixels))
    }

    fn switching(&self, top: &UniformWidth) -> Vec<usize> {
        let switches = |id: &OperatorId| match &top.quantized.nodes[*id].op {
            QuantizedOp::Conv(conv) => self.switches(conv),
            _ => false,
        };
        top.quantized.nodes.ids().filter(switches).map(OperatorId::index).collect()
    }

    /// The network with the width of `places` in every layer, gains and biases re-estimated on what it makes of the images.
    fn pass(
        &self,
        top: &UniformWidth,
        before: &[Option<usize>],
        places: Vec<usize>,
        pixels: Parts,
        progress: &dyn Progress,
    ) -> Result<(Pass, Parts)> {
        let mut quantized = top.quantized.clone();
        for id in quantized.nodes.ids().collect::<Vec<_>>() {
            let from = match &quantized.nodes[id].op {
                QuantizedOp::Conv(conv) if !self.switches(conv) => before[id.index()],
                QuantizedOp::Conv(_) => Some(id.index()),
                _ => self.reader(id).map(OperatorId::index),
            };
            let uniform = from.and_then(|node| self.below.get(places[node])).unwrap_or(top);
            quantized.nodes[id] = QuantizedNode { range: None, ..uniform.quantized.nodes[id].clone() };
        }
        let packed = fit_and_pack(&mut quantized, &self.full, Method::ClosedForm, pixels, None, progress)?;
        let Packed { nodes, logit_scale, pixels, .. } = packed;
        Ok((Pass { places, uniform: UniformWidth { quantized, nodes, logit_scale } }, pixels))
    }

    fn layer(
        &self,
        top: &UniformWidth,
        switching: &[usize],
        before: &[Option<usize>],
        passes: &[Pass],
        id: OperatorId,
    ) -> Option<SwitchedLayer> {
        let node = id.index();
        let (own, before) = (switching.contains(&node), before[node]);
        if !matches!(top.quantized.nodes[id].op, QuantizedOp::Conv(_)) || !(own || before.is_some()) {
            return None;
        }
        let [befores, owns] = [before.is_some(), own].map(|many| if many { self.planes } else { 1 });
        let pairs = (0..befores).flat_map(|before| (0..owns).map(move |own| (before, own)));
        let (mut shifts, mut changes) = (Vec::new(), Vec::new());
        for (at_before, at_own) in pairs.take(befores * owns - 1) {
            let uniform = match (before, own) {
                (Some(before), true) if at_before != at_own => passes
                    .iter()
                    .find(|pass| pass.places[before] == at_before && pass.places[node] == at_own)
                    .map(|pass| &pass.uniform)?,
                _ => self.below.get(if own { at_own } else { at_before })?,
            };
            let (shift, mut changed) = changes::changes(&self.full, top, uniform, id);
            shifts.push(shift);
            changes.append(&mut changed);
        }
        Some(SwitchedLayer { node, own, shifts, changes })
    }
}
