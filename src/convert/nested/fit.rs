//! Planes are fitted one after another, each on what the planes before it left and with them as they are; then gains and
//! biases for every pair of neighbouring widths.

use super::circuit;
use crate::calibrate::Parts;
use crate::convert::ConvertOptions;
use crate::error::{Error, ErrorKind, Result};
use crate::format::{PackedId, PackedNode, switching_before};
use crate::graph::NodeId;
use crate::index::Per;
use crate::layerwise::{Method, Packed, fit_and_pack};
use crate::plan::Choice;
use crate::prepare::{Draft, Full};
use crate::progress::Progress;
use crate::quantize::{
    Nest, NestedGraph, OperatorId, OperatorKind, PerOperator, Plain, QuantizedConv, QuantizedGraph,
    QuantizedOp, Structure, WidthVariant,
};

/// Bits of activations at most.
const WIDEST: u8 = 8;

/// What is to switch.
pub(super) struct NestPlan {
    /// Planes of layers that switch.
    planes: usize,
    /// Those layers, by node of the graph.
    sources: Vec<NodeId>,
}

/// All layers that have the most planes switch; each reads a copy of its own, if activations switch too.
///
/// # Errors
/// A layer that cannot switch.
pub(super) fn planned<'a>(mut draft: Draft<'a>, options: &ConvertOptions) -> Result<(Draft<'a>, NestPlan)> {
    let planes = draft.choices.iter().flatten().map(|choice| choice.precision.planes()).max().unwrap_or(1);
    if planes < 2 {
        let message = "no layer would switch: the first and the last keep 8 bits unless --set says otherwise";
        return Err(Error::new(ErrorKind::Argument, message));
    }
    let switches = |id: &NodeId| draft.choices[*id].is_some_and(|choice| choice.precision.planes() == planes);
    let sources: Vec<NodeId> = draft.choices.ids().filter(switches).collect();
    for operator in draft.structure.operators.iter() {
        if let OperatorKind::Conv { source, .. } = operator.kind
            && sources.contains(&source)
            && operator.inputs[0] == OperatorId::INPUT
        {
            let message = "a layer that reads pixels cannot switch; give it one precision with --set";
            return Err(Error::new(ErrorKind::Argument, message).at_node(&operator.name));
        }
    }
    if !options.nested_activations.is_empty() {
        draft.structure = draft.structure.with_own_copies(&sources, WIDEST);
    }
    Ok((draft, NestPlan { planes, sources }))
}

/// What all widths have in common.
pub(super) struct Nesting<'a, 'b> {
    pub full: Full<'a>,
    /// By node, with all planes.
    pub choices: Per<NodeId, Option<Choice>>,
    pub plan: NestPlan,
    pub options: &'b ConvertOptions,
}

impl Nesting<'_, '_> {
    /// The network at all widths and pairs, and packed with all planes.
    pub(super) fn fitted(&mut self, pixels: Parts, progress: &dyn Progress) -> Result<(NestedGraph, Packed)> {
        let (mut graph, mut packed) = self.with_planes(1, None, pixels, progress)?;
        let own = self.own();
        let mut nested = NestedGraph {
            variants: Vec::new(),
            widths: self.plan.planes,
            before: before(&packed.nodes, &own),
            copies: self.copies(&own),
            own,
        };
        let everywhere = |place: usize| nested.before.iter().map(|_| place).collect();
        nested.variants.push(WidthVariant { places: everywhere(0), graph });
        for place in 1..nested.widths {
            let below = nested.variants.last().map(|variant| &variant.graph);
            (graph, packed) = self.with_planes(place + 1, below, packed.pixels, progress)?;
            let places = nested.before.iter().map(|_| place).collect();
            nested.variants.push(WidthVariant { places, graph });
        }
        for places in circuit::assignments(nested.widths, &nested.own, &nested.before) {
            let (graph, pixels) = self.with_places(&nested, &places, packed.pixels, progress)?;
            nested.variants.push(WidthVariant { places, graph });
            packed.pixels = pixels;
        }
        Ok((nested, packed))
    }

    /// The layers that switch.
    fn own(&self) -> Vec<OperatorId> {
        let switches = |id: &OperatorId| match self.operator(*id) {
            OperatorKind::Conv { source, .. } => self.plan.sources.contains(source),
            _ => false,
        };
        self.full.structure.operators.ids().filter(switches).collect()
    }

    /// The copies whose bits switch, with their readers.
    fn copies(&self, own: &[OperatorId]) -> Vec<[OperatorId; 2]> {
        if self.options.nested_activations.is_empty() {
            return Vec::new();
        }
        let Structure { operators, .. } = &self.full.structure;
        let is_copy = |id: &OperatorId| *self.operator(*id) == OperatorKind::Plain(Plain::Narrow);
        let reader = |copy: OperatorId| {
            let reader = own.iter().find(|&&reader| operators[reader].inputs[0] == copy);
            reader.map(|&reader| [copy, reader])
        };
        operators.ids().filter(is_copy).filter_map(reader).collect()
    }

    fn operator(&self, id: OperatorId) -> &OperatorKind {
        &self.full.structure.operators[id].kind
    }

    /// The network with so many planes, of which all but the last are those of the width below.
    fn with_planes(
        &mut self,
        planes: usize,
        below: Option<&QuantizedGraph>,
        pixels: Parts,
        progress: &dyn Progress,
    ) -> Result<(QuantizedGraph, Packed)> {
        let narrow =
            |choice: Choice| Choice { precision: choice.precision.with_planes(planes as u8), ..choice };
        let choices = self.choices.map(|choice| choice.map(narrow));
        let copies = self.copies(&self.own());
        let options = self.options;
        if let Some(&bits) = options.nested_activations.get(planes - 1) {
            copies.iter().for_each(|&[copy, _]| self.full.structure.operators[copy].bits = bits);
        }
        let mut quantized = self.full.assemble(&choices, options.range, &options.rules, &pixels.fitting)?;
        for id in quantized.nodes.ids().collect::<Vec<_>>() {
            let is_copy = copies.iter().any(|&[copy, _]| copy == id);
            self.nest(&mut quantized, below, id, is_copy);
        }
        let packed = fit_and_pack(&mut quantized, &self.full, Method::Compensated, pixels, None, progress)?;
        Ok((quantized, packed))
    }

    /// Says of a layer what of it is given by the width below.
    fn nest(
        &self,
        quantized: &mut QuantizedGraph,
        below: Option<&QuantizedGraph>,
        id: OperatorId,
        is_copy: bool,
    ) {
        let below = below.map(|graph| &graph.nodes[id]);
        let node = &mut quantized.nodes[id];
        if let Some(below) = below.filter(|_| !is_copy) {
            (node.quantizer, node.range) = (below.quantizer, None);
        }
        let QuantizedOp::Conv(conv) = &mut node.op else { return };
        let below = below.and_then(|below| match &below.op {
            QuantizedOp::Conv(conv) => Some(conv),
            _ => None,
        });
        if self.plan.sources.contains(&conv.source) {
            let whole = self.choices[conv.source].map_or(conv.choice.precision, |choice| choice.precision);
            let kept = below.map(|below| (below.weights.clone(), below.factors.clone()));
            conv.nest = Some(Nest { whole, kept });
        } else if let Some(below) = below {
            **conv = QuantizedConv { nest: Some(Nest::fixed(below)), ..(**below).clone() };
        }
    }

    /// The network with widths of its own in every layer, gains and biases re-estimated on what it makes of the images.
    fn with_places(
        &self,
        nested: &NestedGraph,
        places: &PerOperator<usize>,
        pixels: Parts,
        progress: &dyn Progress,
    ) -> Result<(QuantizedGraph, Parts)> {
        let mut quantized = nested.top().clone();
        for id in quantized.nodes.ids().collect::<Vec<_>>() {
            let reader = nested.copies.iter().find(|[copy, _]| *copy == id).map(|&[_, reader]| reader);
            let from = Some(id).filter(|id| nested.own.contains(id)).or(reader).or(nested.before[id]);
            let is_conv = matches!(quantized.nodes[id].op, QuantizedOp::Conv(_));
            if let Some(from) = from.filter(|_| is_conv || reader.is_some()) {
                quantized.nodes[id] = nested.variants[places[from]].graph.nodes[id].clone();
            }
            quantized.nodes[id].range = None;
        }
        let packed = fit_and_pack(&mut quantized, &self.full, Method::ClosedForm, pixels, None, progress)?;
        Ok((quantized, packed.pixels))
    }
}

/// Of every operator the layer before that switches.
fn before(nodes: &Per<PackedId, PackedNode>, own: &[OperatorId]) -> PerOperator<Option<OperatorId>> {
    let switching: Vec<PackedId> = own.iter().copied().map(OperatorId::packed).collect();
    switching_before(nodes, &switching).into_iter().map(|before| before.map(OperatorId::of)).collect()
}
