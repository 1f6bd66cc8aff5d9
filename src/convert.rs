//! The pipeline: a trained network and sample images become a packed ternary model.

mod nested;
mod remedy;

pub(crate) use nested::NestedFitted;

use crate::calibrate::{ActivationRule, ActivationSpread, Parts, RangeMethod, Spool};
use crate::data::{Images, Unreadable};
use crate::error::{Error, ErrorKind, Result};
use crate::format::{PackedId, PackedModel, PackedNode, PackedOp, Preprocess, Provenance};
use crate::graph::{Graph, NodeId};
use crate::index::Per;
use crate::layerwise::{Method, Note, Packed, fit_and_pack};
use crate::plan::{Choice, Pattern, Plan, choose, planned_activations};
use crate::precision::{Precision, USUAL_SCALE};
use crate::prepare::{Calibration, Draft, Full, HeldBack, Prepared};
use crate::progress::Progress;
use crate::quantize::{ActivationBits, Operator, OperatorId, QuantizedGraph, QuantizedOp};
use std::collections::BTreeMap;

/// How [`convert`] converts.
#[derive(Debug, Clone)]
pub struct ConvertOptions {
    /// Group size of layers that no rule or pattern treats otherwise.
    pub group: usize,
    /// Group size of kernels larger than 1×1 instead, which bear large groups better.
    pub spatial_group: Option<usize>,
    /// Bits of the groups' scales, 1 to 8, where no rule or pattern says otherwise.
    pub scale_bits: u8,
    /// How the weights of ternary layers are found.
    pub method: Method,
    /// Precisions of weights and input activations, layer by layer.
    pub plan: Option<Plan>,
    /// Precision of the layers that a pattern names; the last match wins.
    pub overrides: Vec<(Pattern, Precision)>,
    /// Bits with which convolutions read activations, 2 to 8; the first and the last layer keep 8. A tensor that
    /// something else reads as well has 8 bits, and convolutions read a copy of it.
    pub activation_bits: u8,
    /// How activation ranges are chosen.
    pub range: RangeMethod,
    /// Divides the channels of activations of fewer than 8 bits by their standard deviations, where weights can take the
    /// factors up: as if every channel had a range of its own.
    pub channel_ranges: bool,
    /// Lets channels between layers change places, so that groups of ternary weights hold like magnitudes. The network
    /// computes the same.
    pub reorder: bool,
    /// Bits and ranges of the activation tensors that a pattern names; the last match wins.
    pub rules: Vec<(Pattern, ActivationRule)>,
    /// Images held back to judge, at most half of all; one in eight or so if nothing is said.
    pub held_back: Option<usize>,
    /// Ternary planes for layers that no rule or pattern treats otherwise, of which a session takes as many as it is told.
    pub nested: Option<Precision>,
    /// With `nested`, the bits with which layers read activations at each width, the lowest first; all 8 bits if there are
    /// none.
    pub nested_activations: Vec<u8>,
    /// With `nested`, settings to name: the name and the mean width of the weights.
    pub settings: Vec<(String, f64)>,
}

impl Default for ConvertOptions {
    fn default() -> Self {
        Self {
            group: 4,
            spatial_group: None,
            scale_bits: USUAL_SCALE,
            method: Method::default(),
            plan: None,
            overrides: Vec::new(),
            activation_bits: 8,
            range: RangeMethod::default(),
            channel_ranges: false,
            reorder: true,
            rules: Vec::new(),
            held_back: None,
            nested: None,
            nested_activations: Vec::new(),
            settings: Vec::new(),
        }
    }
}

impl ConvertOptions {
    fn check(&self) -> Result<()> {
        let argument = |message: String| Err(Error::new(ErrorKind::Argument, message));
        if self.group == 0 || self.spatial_group == Some(0) {
            return argument("a group size of 0; give at least 1".into());
        }
        if !(1..=8).contains(&self.scale_bits) {
            return argument(format!("scales of {} bits; give 1 to 8", self.scale_bits));
        }
        if let Some(nested) = self.nested {
            if !nested.is_ternary() || nested.planes() < 2 {
                return argument(format!(
                    "{nested} has nothing to switch between; use planes, as ternary:64*3"
                ));
            }
            if self.method != Method::Compensated {
                return argument("planes that switch are fitted with compensation only".into());
            }
            let bits = &self.nested_activations;
            if !bits.is_empty() && (bits.len() != nested.planes() || self.activation_bits != 8) {
                return argument(format!(
                    "bits of activations for {} widths are needed, and no others",
                    nested.planes()
                ));
            }
            bits.iter().try_for_each(|&bits| ActivationRule::Bits(bits).check())?;
        }
        ActivationRule::Bits(self.activation_bits).check()?;
        self.range.check()?;
        self.rules.iter().try_for_each(|(_, rule)| rule.check())
    }

    fn choices(&self, graph: &Graph) -> Result<Per<NodeId, Option<Choice>>> {
        choose(graph, self.defaults(), self.plan.as_ref(), &self.overrides)
    }

    fn bits<'a>(&'a self, planned: &'a Per<NodeId, Option<u8>>) -> ActivationBits<'a> {
        ActivationBits { default: self.activation_bits, planned, rules: &self.rules }
    }

    /// All that can be decided without images.
    ///
    /// # Errors
    /// As [`convert`], but for what images may cause.
    pub(crate) fn draft<'a>(&self, graph: Graph, preprocess: &'a Preprocess) -> Result<Draft<'a>> {
        self.check()?;
        let draft = Draft::new(graph, preprocess, |graph| self.choices(graph))?;
        let planned = planned_activations(&draft.graph, self.plan.as_ref())?;
        draft.narrowed(self.bits(&planned))
    }

    /// The draft with its channels in order, and what it wants of the images.
    fn ordered_draft<'a>(
        &self,
        graph: Graph,
        preprocess: &'a Preprocess,
    ) -> Result<(Draft<'a>, Calibration)> {
        let draft = self.draft(graph, preprocess)?;
        let wanted = self.calibration(&draft);
        Ok((if self.reorder { in_order(draft)? } else { draft }, wanted))
    }

    fn calibration(&self, draft: &Draft) -> Calibration {
        Calibration {
            equalised: if self.channel_ranges { draft.structure.narrow_readers() } else { Vec::new() },
            statistics: chosen_nodes(&draft.choices),
            held_back: self.held_back.map_or(HeldBack::Share, HeldBack::Count),
            ..Calibration::default()
        }
    }

    /// Precisions of 1×1 and of larger kernels where nothing says otherwise.
    fn defaults(&self) -> [Precision; 2] {
        if let Some(nested) = self.nested {
            return [nested; 2];
        }
        [self.group, self.spatial_group.unwrap_or(self.group)]
            .map(|group| Precision::ternary(group).with_scale_bits(self.scale_bits))
    }

    fn groups(&self) -> String {
        match self.spatial_group {
            Some(spatial) => format!("{},{spatial}", self.group),
            None => self.group.to_string(),
        }
    }

    /// Who converted with these options on so many images.
    pub(crate) fn provenance(&self, images: usize) -> Provenance {
        Provenance {
            generator: concat!("fgq ", env!("CARGO_PKG_VERSION")).into(),
            options: self.record(images),
            ..Provenance::default()
        }
    }

    /// The options as text, for the record in the file.
    fn record(&self, images: usize) -> BTreeMap<String, String> {
        let mut record = BTreeMap::from([
            ("method".into(), self.method.to_string()),
            ("group".into(), self.groups()),
            ("scale_bits".into(), self.scale_bits.to_string()),
            ("activation_bits".into(), self.activation_bits.to_string()),
            ("range".into(), self.range.to_string()),
            ("calibration_images".into(), images.to_string()),
        ]);
        let mut list = |key: &str, items: Vec<String>| {
            if !items.is_empty() {
                record.insert(key.into(), items.join(" "));
            }
        };
        list("channel_ranges", self.channel_ranges.then(|| "true".into()).into_iter().collect());
        list("nested", self.nested.iter().map(Precision::to_string).collect());
        list("nested_activations", self.nested_activations.iter().map(u8::to_string).collect());
        list("reorder", (!self.reorder).then(|| "false".into()).into_iter().collect());
        list("set", self.overrides.iter().map(|(p, to)| format!("{}={to}", p.as_str())).collect());
        list("act", self.rules.iter().map(|(p, to)| format!("{}={to}", p.as_str())).collect());
        record
    }
}

/// What [`convert`] made.
#[derive(Debug)]
pub struct Conversion {
    /// The packed model, with what was measured in `fidelity`; `provenance.source` and `source_sha256` are left to the
    /// caller.
    pub model: PackedModel,
    /// The precision of every convolution and why.
    pub choices: Vec<(String, Choice)>,
    /// The seconds that fitting, packing, running and measuring every convolution took, in execution order.
    pub seconds: Vec<(String, f64)>,
    /// What the user should know about the result.
    pub notes: Vec<Note>,
    /// Images that were fitted.
    pub fitted: usize,
    /// Images that were held back to judge; if there were too few for that, 0, and those that were fitted judge.
    pub held_back: usize,
    /// How the activations of full precision are spread over the fitted images, and the ranges that were chosen for them, in
    /// execution order.
    pub spreads: Vec<ActivationSpread>,
    /// Images that could not be read: name and error.
    pub unreadable: Vec<(String, Error)>,
}

impl Conversion {
    /// Places, among the images it was made from, of those that judged it.
    pub fn judges(&self, images: &dyn Images) -> Vec<usize> {
        let is_readable =
            |&index: &usize| self.unreadable.iter().all(|(name, _)| *name != images.name(index));
        let readable: Vec<usize> = (0..images.len()).filter(is_readable).collect();
        let places = match self.held_back {
            0 => (0..readable.len()).collect(),
            held_back => Parts::judging_places(readable.len(), held_back),
        };
        places.into_iter().map(|place| readable[place]).collect()
    }
}

/// Converts a trained network, calibrating on `images`, which need no labels.
///
/// Most images are fitted; from four on, every eighth or so is held back to judge the result: [`PackedModel::fidelity`].
///
/// The same network, images and options give the same model, on any number of threads.
///
/// # Errors
/// Options that cannot be used, patterns that match nothing, operators that integers cannot express, weights or
/// activations that are not finite, and no readable image.
pub fn convert(
    graph: Graph,
    preprocess: &Preprocess,
    images: &dyn Images,
    options: &ConvertOptions,
    progress: &dyn Progress,
) -> Result<Conversion> {
    match options.nested {
        Some(_) => {
            NestedFitted::new(graph, preprocess, images, options, progress)?.conversion(options, progress)
        }
        None => Fitted::new(graph, preprocess, images, options, progress)?.conversion(options),
    }
}

/// A network that has been fitted, with all that can be done with it further.
pub(crate) struct Fitted<'a> {
    pub full: Full<'a>,
    pub quantized: QuantizedGraph,
    pub packed: Packed,
    /// Places of the fitted images among those given.
    pub fitting: Vec<usize>,
    pub unreadable: Unreadable,
}

impl<'a> Fitted<'a> {
    /// As [`convert`].
    pub(crate) fn new(
        graph: Graph,
        preprocess: &'a Preprocess,
        images: &dyn Images,
        options: &ConvertOptions,
        progress: &dyn Progress,
    ) -> Result<Self> {
        let (draft, wanted) = options.ordered_draft(graph, preprocess)?;
        let Prepared { full, choices, pixels, fitting, unreadable } =
            draft.calibrate(images, &wanted, progress)?;
        let mut quantized = full.assemble(&choices, options.range, &options.rules, &pixels.fitting)?;
        let packed = fit_and_pack(&mut quantized, &full, options.method, pixels, None, progress)?;
        Ok(Self { full, quantized, packed, fitting, unreadable })
    }

    /// The packed model with what is to be said of it.
    pub(crate) fn conversion(self, options: &ConvertOptions) -> Result<Conversion> {
        let Self { full, quantized, packed, unreadable, .. } = self;
        let spreads = spreads(&full, &packed.nodes);
        let all = packed.pixels.images();
        let model = PackedModel {
            name: quantized.name.clone(),
            input: quantized.input,
            preprocess: full.preprocess.clone(),
            classes: Vec::new(),
            provenance: Provenance {
                plan: options.plan.as_ref().map(|plan| plan.for_model(convolutions(&packed.nodes))),
                ..options.provenance(all)
            },
            nodes: packed.nodes,
            logit_scale: packed.logit_scale,
            fidelity: Some(packed.fidelity),
            switching: None,
        };
        model.shapes()?;
        let held_back = packed.pixels.held_back.as_ref();
        let remedy = packed.what_if.as_ref().zip(held_back);
        let remedy =
            remedy.map(|(what_if, pixels)| remedy::remedy(&model, what_if, pixels)).transpose()?.flatten();
        let is_uniform = options.plan.is_none();
        let lossy =
            model.fidelity.as_ref().filter(|_| is_uniform).and_then(|it| Note::on_uniform(it, &packed.notes));
        let inputs = model.nodes.iter().filter_map(ternary_inputs);
        let grouping = Note::on_grouping(options.group, inputs).filter(|_| is_uniform);
        Ok(Conversion {
            model,
            choices: layer_choices(&quantized),
            seconds: packed.seconds,
            notes: grouping.into_iter().chain(packed.notes).chain(lossy).chain(remedy).collect(),
            fitted: packed.pixels.fitting.images(),
            held_back: held_back.map_or(0, Spool::images),
            spreads,
            unreadable,
        })
    }
}

/// How many channels the kernels of a ternary convolution read; `None` for everything else.
fn ternary_inputs(node: &PackedNode) -> Option<usize> {
    match &node.op {
        PackedOp::Conv(conv) if conv.weights.precision.is_ternary() => Some(conv.group_inputs),
        _ => None,
    }
}

/// Of all activations that have codes of their own; the input's codes are the pixels.
fn spreads(full: &Full, nodes: &Per<PackedId, PackedNode>) -> Vec<ActivationSpread> {
    let makers = full.structure.operators.enumerate().filter(|(_, operator)| !operator.kind.keeps_codes());
    let spread = |(id, operator): (OperatorId, &Operator)| {
        let node = nodes.get(id.packed()).filter(|node| node.name == operator.name)?;
        let histogram = full.observation.histograms[operator.value].as_ref()?;
        let has_codes = id != OperatorId::INPUT && !nodes.is_last(id.packed());
        has_codes.then(|| ActivationSpread::new(&node.name, histogram, &node.quantizer))
    };
    makers.filter_map(spread).collect()
}

/// Channels in the order that suits the precisions chosen.
fn in_order(draft: Draft) -> Result<Draft> {
    let chosen = |choice: &Option<Choice>| choice.map(|choice| choice.precision).into_iter().collect();
    let precisions = draft.choices.map(chosen);
    draft.reordered(&precisions)
}

/// Names of the convolutions.
fn convolutions(nodes: &Per<PackedId, PackedNode>) -> impl Iterator<Item = &str> {
    nodes.iter().filter(|node| matches!(node.op, PackedOp::Conv(_))).map(|node| node.name.as_str())
}

fn chosen_nodes(choices: &Per<NodeId, Option<Choice>>) -> Vec<NodeId> {
    choices.ids().filter(|&id| choices[id].is_some()).collect()
}

fn layer_choices(graph: &QuantizedGraph) -> Vec<(String, Choice)> {
    let choice = |node: &crate::quantize::QuantizedNode| match &node.op {
        QuantizedOp::Conv(conv) => Some((node.name.clone(), conv.choice)),
        _ => None,
    };
    graph.nodes.iter().filter_map(choice).collect()
}

#[cfg(test)]
mod tests;
