//! The pipeline: a trained network and sample images become a packed ternary model.

use crate::calibrate::{ActivationRule, CHUNK, Observer, RangeMethod, Spool};
use crate::channels::{equalise, reorder};
use crate::data::Images;
use crate::error::{Error, ErrorKind, Result};
use crate::fold::fold;
use crate::format::{PackedModel, PackedNode, PackedOp, Preprocess, Provenance};
use crate::graph::{Graph, NodeId};
use crate::layerwise::{Full, Method, Note, fit_and_pack};
use crate::plan::{Choice, Pattern, Plan, choose, planned_activations};
use crate::precision::Precision;
use crate::progress::Progress;
use crate::quantize::{ActivationBits, Assembly, QuantizedGraph, QuantizedOp, Structure, assemble};
use rayon::prelude::*;
use std::collections::BTreeMap;

/// Bits of the groups' scales: with fewer the fit would lose, with more only the file grows (`docs/method.md`).
pub(crate) const SCALE_BITS: u8 = 4;

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
    /// Precisions of weights and input activations, layer by layer. A tensor that several layers read gets the most
    /// bits that one of them wants.
    pub plan: Option<Plan>,
    /// Precision of the layers that a pattern names; the last match wins.
    pub overrides: Vec<(Pattern, Precision)>,
    /// Bits of activations, 4 or 8. The inputs of the first and last layer, and tensors that no convolution
    /// reads, keep 8.
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
}

impl Default for ConvertOptions {
    fn default() -> Self {
        Self {
            group: 4,
            spatial_group: None,
            scale_bits: SCALE_BITS,
            method: Method::default(),
            plan: None,
            overrides: Vec::new(),
            activation_bits: 8,
            range: RangeMethod::default(),
            channel_ranges: false,
            reorder: true,
            rules: Vec::new(),
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
        if ![4, 8].contains(&self.activation_bits) {
            return argument(format!("{} activation bits; give 4 or 8", self.activation_bits));
        }
        Ok(())
    }

    /// Precisions of 1×1 and of larger kernels where nothing says otherwise.
    fn defaults(&self) -> [Precision; 2] {
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
    /// Images that were used.
    pub images: usize,
    /// Images that could not be read: name and error.
    pub unreadable: Vec<(String, Error)>,
}

/// Converts a trained network, calibrating on `images`, which need no labels.
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
    options.check()?;
    preprocess.check_input(graph.input.channels, graph.input.height, graph.input.width)?;
    let graph = fold(graph)?;
    let structure = Structure::new(&graph)?;
    let choices = choose(&graph, options.defaults(), options.plan.as_ref(), &options.overrides)?;
    let precisions = |id: NodeId| choices[id].map(|choice| choice.precision).into_iter().collect();
    let graph = if options.reorder { reorder(graph, precisions)? } else { graph };
    let (pixels, unreadable) = read_pixels(&graph, preprocess, images, progress)?;
    let calibrated = pixels.images();
    let planned_activations = planned_activations(&graph, options.plan.as_ref())?;
    let bits = ActivationBits {
        default: options.activation_bits,
        planned: &planned_activations,
        rules: &options.rules,
    };
    let graph = match options.channel_ranges {
        true => {
            let narrow = bits.narrow_readers(&graph, &structure);
            equalise(graph, preprocess, &pixels, &narrow)?
        }
        false => graph,
    };
    let observer = Observer {
        graph: &graph,
        preprocess,
        histograms: &structure.range_nodes(),
        channels: &ternary_nodes(&choices),
    };
    let observation = observer.run(&pixels, progress)?;
    let mut quantized = assemble(&Assembly {
        graph: &graph,
        structure: &structure,
        observation: &observation,
        preprocess,
        choices: &choices,
        bits,
        range: options.range,
        pixels: &pixels,
    })?;
    let full = Full { graph: &graph, structure: &structure, preprocess, observation: &observation };
    let packed = fit_and_pack(&mut quantized, full, options.method, pixels, None, progress)?;
    let model = PackedModel {
        name: quantized.name.clone(),
        input: quantized.input,
        preprocess: preprocess.clone(),
        classes: Vec::new(),
        provenance: Provenance {
            plan: options.plan.as_ref().map(|plan| plan.for_model(convolutions(&packed.nodes))),
            ..options.provenance(calibrated)
        },
        nodes: packed.nodes,
        logit_scale: packed.logit_scale,
        fidelity: Some(packed.fidelity),
    };
    model.shapes()?;
    Ok(Conversion {
        model,
        choices: layer_choices(&quantized),
        seconds: packed.seconds,
        notes: packed.notes,
        images: calibrated,
        unreadable,
    })
}

/// Names of the convolutions.
fn convolutions(nodes: &[PackedNode]) -> impl Iterator<Item = &str> {
    nodes.iter().filter(|node| matches!(node.op, PackedOp::Conv(_))).map(|node| node.name.as_str())
}

fn ternary_nodes(choices: &[Option<Choice>]) -> Vec<NodeId> {
    let ternary =
        |choice: &Option<Choice>| choice.is_some_and(|choice| choice.precision != Precision::int8());
    (0..choices.len()).filter(|&id| ternary(&choices[id])).collect()
}

fn layer_choices(graph: &QuantizedGraph) -> Vec<(String, Choice)> {
    let choice = |node: &crate::quantize::QuantizedNode| match &node.op {
        QuantizedOp::Conv(conv) => Some((node.name.clone(), conv.choice)),
        _ => None,
    };
    graph.nodes.iter().filter_map(choice).collect()
}

/// Pixels of all readable images, and the names of the others.
pub(crate) fn read_pixels(
    graph: &Graph,
    preprocess: &Preprocess,
    images: &dyn Images,
    progress: &dyn Progress,
) -> Result<(Spool, Vec<(String, Error)>)> {
    progress.start("reading images", images.len());
    let mut spool = Spool::new(graph.input, images.len())?;
    let (mut pending, mut unreadable) = (Vec::new(), Vec::new());
    for first in (0..images.len()).step_by(CHUNK) {
        let indices = first..images.len().min(first + CHUNK);
        let count = indices.len();
        let read: Vec<_> =
            indices.into_par_iter().map(|index| (index, images.pixels(index, preprocess))).collect();
        for (index, pixels) in read {
            match pixels {
                Ok(pixels) => pending.extend(pixels),
                Err(error) => unreadable.push((images.name(index), error)),
            }
        }
        flush(&mut spool, &mut pending, graph.input.len() * CHUNK)?;
        progress.advance(count);
    }
    spool.push(&pending)?;
    if spool.images() == 0 {
        let error =
            Error::new(ErrorKind::Image, format!("none of {} calibration images can be read", images.len()));
        return Err(match unreadable.into_iter().next() {
            Some((_, cause)) => error.because(cause),
            None => error,
        });
    }
    Ok((spool, unreadable))
}

/// Moves whole chunks to the spool.
fn flush(spool: &mut Spool, pending: &mut Vec<u8>, chunk_len: usize) -> Result<()> {
    while pending.len() >= chunk_len {
        let rest = pending.split_off(chunk_len);
        spool.push(&std::mem::replace(pending, rest))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
