//! The uniform model nearest in size to a planned one, for comparison.

use super::judged::LogitsJson;
use super::progress::Bars;
use fgq::{
    Conversion, ConvertOptions, Dataset, Graph, Judgement, PackedModel, Plan, Preprocess, SizePoint, Summary,
};
use serde::Serialize;

/// What became of the uniform model, and which one is better.
#[derive(Debug, Serialize)]
pub struct Uniform {
    group: usize,
    bytes: usize,
    #[serde(flatten)]
    logits: LogitsJson,
    #[serde(skip)]
    judgement: Option<Judgement>,
    /// `plan` or `uniform`: the one whose class probabilities diverge less from full precision's on the images that judge.
    better: &'static str,
}

/// Converts the uniform model and compares it with the planned one.
pub fn compare(
    graph: Graph,
    preprocess: &Preprocess,
    images: &Dataset,
    (options, plan): (&ConvertOptions, &Plan),
    planned: &Conversion,
) -> anyhow::Result<Uniform> {
    let layers = Summary::new(&planned.model, 0)?.layers;
    let runs = layers.iter().map(|layer| (layer.name.as_str(), layer.weights, layer.shape[1]));
    let group = plan.nearest_uniform(runs);
    let options = ConvertOptions { plan: None, group, spatial_group: None, ..options.clone() };
    let mut uniform = fgq::convert(graph, preprocess, images, &options, &Bars::new())?.model;
    uniform.classes.clone_from(&planned.model.classes);
    let judgement = |model: &PackedModel| model.fidelity.as_ref()?.judgement;
    let (ours, theirs) = (judgement(&planned.model), judgement(&uniform));
    let divergence = |judgement: Option<Judgement>| judgement.map(|judgement| judgement.divergence);
    Ok(Uniform {
        group,
        bytes: uniform.to_bytes()?.len(),
        logits: uniform.fidelity.as_ref().map(LogitsJson::from).unwrap_or_default(),
        judgement: theirs,
        better: if divergence(theirs) < divergence(ours) { "uniform" } else { "plan" },
    })
}

impl Uniform {
    /// Its size and what it keeps.
    pub fn point(&self) -> Option<SizePoint> {
        let (name, bytes) = (format!("ternary:{} everywhere", self.group), self.bytes as u64);
        self.judgement.map(|judgement| SizePoint { name, bytes, judgement })
    }

    /// In one line.
    pub fn line(&self) -> String {
        let divergence = self.judgement.map_or("-".to_owned(), |found| format!("{:.4}", found.divergence));
        let verdict = match self.better {
            "plan" => "the plan is better",
            _ => "the uniform model is better",
        };
        format!(
            "ternary:{} is nearest in size: {} bytes, divergence {divergence}; {verdict}",
            self.group, self.bytes
        )
    }
}
