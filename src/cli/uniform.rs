//! The uniform model nearest in size to a planned one, for comparison.

use super::progress::Bars;
use fgq::{Conversion, ConvertOptions, Dataset, Graph, Plan, Preprocess, Summary};
use serde::Serialize;

/// What became of the uniform model, and which one is better.
#[derive(Debug, Serialize)]
pub struct Uniform {
    group: usize,
    bytes: usize,
    /// In dB.
    logits_sqnr: Option<f64>,
    /// `plan` or `uniform`: the one whose logits are nearer to full precision's.
    better: &'static str,
}

/// Converts the uniform model and compares its logits with those of the planned one.
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
    let logits = |fidelity: &Option<fgq::Fidelity>| fidelity.as_ref().and_then(|fidelity| fidelity.logits);
    let (ours, theirs) = (logits(&planned.model.fidelity), logits(&uniform.fidelity));
    Ok(Uniform {
        group,
        bytes: uniform.to_bytes()?.len(),
        logits_sqnr: theirs,
        better: if theirs > ours { "uniform" } else { "plan" },
    })
}

impl Uniform {
    /// In one line.
    pub fn line(&self) -> String {
        let logits = self.logits_sqnr.map_or("-".to_owned(), |logits| format!("{logits:.1} dB"));
        let verdict = match self.better {
            "plan" => "the plan is better",
            _ => "the uniform model is better",
        };
        format!(
            "ternary:{} is nearest in size: {} bytes, logits SQNR {logits}; {verdict}",
            self.group, self.bytes
        )
    }
}
