//! The uniform model nearest in size to a planned one, for comparison.

use super::judged::LogitsJson;
use super::progress::Bars;
use fgq::{Conversion, ConvertOptions, Dataset, Graph, PackedModel, Plan, Preprocess, Summary};
use serde::Serialize;

/// What became of the uniform model, and which one is better.
#[derive(Debug, Serialize)]
pub struct Uniform {
    group: usize,
    bytes: usize,
    #[serde(flatten)]
    logits: LogitsJson,
    #[serde(skip)]
    divergence: Option<f64>,
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
    let divergence = |model: &PackedModel| Some(model.fidelity.as_ref()?.judgement?.divergence);
    let (ours, theirs) = (divergence(&planned.model), divergence(&uniform));
    Ok(Uniform {
        group,
        bytes: uniform.to_bytes()?.len(),
        logits: uniform.fidelity.as_ref().map(LogitsJson::from).unwrap_or_default(),
        divergence: theirs,
        better: if theirs < ours { "uniform" } else { "plan" },
    })
}

impl Uniform {
    /// In one line.
    pub fn line(&self) -> String {
        let divergence = self.divergence.map_or("-".to_owned(), |nats| format!("{nats:.4}"));
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
