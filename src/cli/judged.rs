//! What images say of a converted network, as `convert`, `inspect` and `eval` show it.

use fgq::{Fidelity, Judgement};
use serde::Serialize;

/// The share is in percent, the divergence in nats.
#[derive(Debug, Serialize)]
pub struct JudgementJson {
    agreement: f64,
    agreement_ci95: [f64; 2],
    divergence: f64,
    /// `null` for a single image.
    divergence_ci95: Option<[f64; 2]>,
}

impl JudgementJson {
    pub(super) fn agreement(&self) -> String {
        format!("{:.1}%", self.agreement)
    }

    pub(super) fn divergence(&self) -> String {
        format!("{:.4}", self.divergence)
    }
}

impl From<&Judgement> for JudgementJson {
    fn from(judgement: &Judgement) -> Self {
        Self {
            agreement: judgement.agreement_percent(),
            agreement_ci95: judgement.agreement_interval(),
            divergence: judgement.divergence,
            divergence_ci95: judgement.divergence_interval(),
        }
    }
}

/// The logits of a model against full precision's.
#[derive(Debug, Default, Serialize)]
pub struct LogitsJson {
    /// In dB.
    logits_sqnr: Option<f64>,
    judged_images: Option<usize>,
    /// Whether nothing was fitted to those images.
    held_back: Option<bool>,
    #[serde(flatten)]
    judgement: Option<JudgementJson>,
}

impl From<&Fidelity> for LogitsJson {
    fn from(fidelity: &Fidelity) -> Self {
        Self {
            logits_sqnr: fidelity.logits,
            judged_images: Some(fidelity.images),
            held_back: Some(fidelity.held_back),
            judgement: fidelity.judgement.as_ref().map(JudgementJson::from),
        }
    }
}

/// Names and values of what is known.
pub fn lines(fidelity: &Fidelity) -> Vec<(&'static str, String)> {
    let Fidelity { images, held_back, logits, judgement, .. } = fidelity;
    let kind = if *held_back { "held-back" } else { "calibration" };
    let agreement = |judgement: &Judgement| {
        let [low, high] = judgement.agreement_interval();
        let percent = judgement.agreement_percent();
        ("agreement", format!("{percent:.1}% of {images} {kind} images (95% interval {low:.1} to {high:.1})"))
    };
    let divergence = |judgement: &Judgement| ("divergence", divergence(judgement));
    let ratio = |logits: &f64| ("logits SQNR", format!("{logits:.1} dB on {images} images"));
    let judged = judgement.iter().flat_map(|judgement| [agreement(judgement), divergence(judgement)]);
    judged.chain(logits.iter().map(ratio)).collect()
}

/// The divergence with its interval.
pub fn divergence(judgement: &Judgement) -> String {
    let interval = judgement.divergence_interval();
    let interval = interval.map(|[low, high]| format!(" (95% interval {low:.4} to {high:.4})"));
    format!("{:.4} nats per image{}", judgement.divergence, interval.unwrap_or_default())
}
