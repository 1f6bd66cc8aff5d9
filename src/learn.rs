//! Conversion by training alone: weights and the precision of every tensor are learned under budgets.

use crate::convert::{Conversion, ConvertOptions, Fitted};
use crate::data::{Images, labels_at, labels_of};
use crate::error::{Error, ErrorKind, Result};
use crate::format::Preprocess;
use crate::graph::{Graph, NodeId, Op};
use crate::index::Per;
use crate::layerwise::measure_and_pack;
use crate::plan::{Choice, Reason};
use crate::precision::Precision;
use crate::prepare::{Calibration, Draft, Prepared};
use crate::progress::Progress;
use crate::quantize::{QuantizedGraph, Structure};
use crate::report::training_page;
use crate::train::{
    Course, Epoch, LearnedEpoch, LearnedGraph, Lesson, MemoryBudgets, MemoryUse, Parametrization,
    PrecisionRules, Tutoring, free_makers, learn_precision,
};
use std::collections::BTreeMap;
use std::path::PathBuf;

/// Bits that weights and activations start with, and activations under a budget (Uhlich et al.).
const START: u8 = 4;
const START_WITHIN_BUDGETS: u8 = 6;

/// How [`learn`] learns.
#[derive(Debug, Clone)]
pub struct LearnOptions {
    /// How the network is trained.
    pub course: Course,
    /// What it may take in the end.
    pub budgets: MemoryBudgets,
    /// Which numbers of a quantizer are learned.
    pub parametrization: Parametrization,
    /// Bits of weights and activations that stay; otherwise they are learned.
    pub fixed: Option<[u8; 2]>,
    /// Whether the images' labels are learned.
    pub labels: bool,
    /// Whether full precision's answers are learned.
    pub imitates: bool,
    /// Share of a label that is spread over all classes, 0 to below 1.
    pub smoothing: f64,
    /// A file that says after every epoch where training stands; if it is there at the start, training goes on from it, to
    /// the same model as without a break.
    pub checkpoint: Option<PathBuf>,
}

impl Default for LearnOptions {
    fn default() -> Self {
        Self {
            course: Course { batch: 32, rate: 2e-3, weight_rate: 1.0, ..Course::default() },
            budgets: MemoryBudgets::default(),
            parametrization: Parametrization::default(),
            fixed: None,
            labels: true,
            imitates: true,
            smoothing: 0.1,
            checkpoint: None,
        }
    }
}

impl LearnOptions {
    fn check(&self) -> Result<()> {
        self.course.check()?;
        let refuse = |message: String| Err(Error::new(ErrorKind::Argument, message));
        let most = self.parametrization.most_bits();
        match self.fixed {
            Some([weights, _]) if !(2..=most).contains(&weights) => {
                return refuse(format!("`fixed` weights of {weights} bits; give 2 to {most}"));
            }
            Some([_, activations]) if !(2..=8).contains(&activations) => {
                return refuse(format!("`fixed` activations of {activations} bits; give 2 to 8"));
            }
            _ => {}
        }
        if !(0.0..1.0).contains(&self.smoothing) {
            return refuse(format!("`smoothing = {}`; give a share from 0 to below 1", self.smoothing));
        }
        if !self.labels && !self.imitates {
            return refuse(
                "with neither labels nor imitation there is nothing to learn from; choose one".into(),
            );
        }
        Ok(())
    }

    fn rules(&self) -> PrecisionRules {
        PrecisionRules {
            parametrization: self.parametrization,
            weight_bits: self.fixed.map_or(START, |[weights, _]| weights),
            fixed: self.fixed.is_some(),
            budgets: self.budgets,
        }
    }

    /// Bits that activations start with.
    fn activation_bits(&self) -> u8 {
        let start = if self.budgets.is_any() { START_WITHIN_BUDGETS } else { START };
        self.fixed.map_or(start, |[_, activations]| activations)
    }

    /// As text, for the record in the file.
    fn record(&self) -> BTreeMap<String, String> {
        let mut record = self.course.record("learned");
        let mut note = |key: &str, value: String| record.insert(format!("learned_{key}"), value);
        note("parametrization", self.parametrization.to_string());
        note("labels", self.labels.to_string());
        note("imitates", self.imitates.to_string());
        note("smoothing", self.smoothing.to_string());
        if let Some([weights, activations]) = self.fixed {
            note("fixed", format!("{weights},{activations}"));
        }
        let MemoryBudgets { weights, largest_activation, activations } = self.budgets;
        let budgets = [
            ("max_weights", weights),
            ("max_activation", largest_activation),
            ("max_activations", activations),
        ];
        budgets.into_iter().filter_map(|(key, budget)| Some((key, budget?))).for_each(|(key, budget)| {
            note(key, budget.to_string());
        });
        record
    }
}

/// What [`learn`] made.
#[derive(Debug)]
pub struct Learning {
    /// The best model within the budgets, and what it takes; none if no epoch held them.
    pub best: Option<(Conversion, MemoryUse)>,
    /// Epoch after epoch.
    pub curve: Vec<LearnedEpoch>,
}

impl Learning {
    /// A self-contained web page on how training went.
    pub fn to_html(&self, title: &str) -> String {
        let epochs: Vec<Epoch> = self.curve.iter().map(|it| it.epoch).collect();
        training_page(title, &epochs, &[])
    }
}

/// Learns weights and the bits of every tensor on `images`, of which some are held back to choose the epoch.
///
/// # Errors
/// Options that cannot be used, images without labels where they are wanted, operators that integers cannot express, too
/// few images, values that training drives beyond what is finite.
pub fn learn(
    graph: Graph,
    preprocess: &Preprocess,
    images: &dyn Images,
    options: &LearnOptions,
    progress: &dyn Progress,
) -> Result<Learning> {
    options.check()?;
    let labels = if options.labels { labels_of(images)? } else { Vec::new() };
    let prepared = Draft::new(graph, preprocess, |graph| Ok(eight_bits(graph)))?.calibrate(
        images,
        &Calibration::default(),
        progress,
    )?;
    let start = starting(&prepared, options.activation_bits())?;
    let Prepared { full, pixels, fitting, unreadable, .. } = prepared;
    let labels = labels_at(&labels, &fitting);
    let lesson = Lesson {
        imitation: options.imitates.then_some(options.course.imitation),
        labels: &labels,
        smoothing: options.smoothing,
    };
    let told = Tutoring { course: &options.course, lesson, checkpoint: options.checkpoint.as_deref() };
    let LearnedGraph { graph, curve } =
        learn_precision(&start, &full, &pixels, told, &options.rules(), progress)?;
    let Some((mut quantized, memory)) = graph else { return Ok(Learning { best: None, curve }) };
    let packed = measure_and_pack(&mut quantized, &full, pixels, progress)?;
    let fitted = Fitted { full, quantized, packed, fitting, unreadable };
    let mut conversion = fitted.conversion(&ConvertOptions::default())?;
    conversion.model.provenance.options = options.record();
    Ok(Learning { best: Some((conversion, memory)), curve })
}

fn eight_bits(graph: &Graph) -> Per<NodeId, Option<Choice>> {
    let choice = Choice { precision: Precision::int8(), reason: Reason::Learned };
    graph.nodes.iter().map(|node| matches!(node.op, Op::Conv(_)).then_some(choice)).collect()
}

/// The network with 8-bit weights and so many bits in activations that are free to have them.
fn starting(prepared: &Prepared, bits: u8) -> Result<QuantizedGraph> {
    let Prepared { full, choices, pixels, .. } = prepared;
    let assemble = |structure: &Structure| {
        full.assemble_as(structure, choices, Default::default(), &[], &pixels.fitting)
    };
    let mut structure = full.structure.clone();
    for id in free_makers(&assemble(&structure)?) {
        structure.operators[id].bits = bits;
    }
    assemble(&structure)
}
