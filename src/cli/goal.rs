//! What a conversion is to reach, and what was tried on the way.

use super::amount::bytes;
use super::output::{grouped, warn};
use super::progress::Bars;
use fgq::{Conversion, ConvertOptions, Dataset, Goal, Graph, Preprocess, Reached, SizePoint, Trial};
use serde::Serialize;

/// What the model should be; precisions are then chosen layer by layer.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Goal (without --group, --set, --method and --plan)")]
#[group(multiple = true, conflicts_with_all = ["group", "set", "method", "plan", "nested"])]
pub(super) struct GoalArgs {
    /// The smallest model that gives full precision's answer to this share of the images held back, in percent
    #[arg(long, value_name = "PERCENT")]
    keep: Option<f64>,
    /// As --keep, or with it: at most so many points of top-1 lost on the images held back; --calib must have class folders
    #[arg(long, value_name = "POINTS", allow_negative_numbers = true)]
    pub(super) max_drop: Option<f64>,
    /// Bytes of the file at most, as in 4MB [default without --keep: what --group 4 --scale-bits 8 would take]
    #[arg(long, value_name = "BYTES", value_parser = bytes)]
    budget: Option<u64>,
}

impl GoalArgs {
    /// What is asked for.
    pub(super) fn goal(&self) -> Goal {
        Goal { agreement: self.keep, max_drop: self.max_drop, max_size: self.budget }
    }
}

/// The model that comes nearest to the goal, and what was tried.
pub(super) fn towards(
    goal: &Goal,
    graph: Graph,
    preprocess: &Preprocess,
    images: &Dataset,
    options: &ConvertOptions,
) -> fgq::Result<(Conversion, Option<GoalJson>)> {
    let reached = fgq::convert_to(&graph, preprocess, images, options, goal, &Bars::new())?;
    let json = GoalJson::new(goal, &reached);
    if !reached.is_reached {
        warn(format!("no model reaches the goal; the best one found is written: {}", json.line()));
    }
    Ok((reached.conversion, Some(json)))
}

/// A goal and the models that were tried.
#[derive(Serialize)]
pub(super) struct GoalJson {
    #[serde(skip_serializing_if = "Option::is_none")]
    keep: Option<f64>,
    pub(super) is_reached: bool,
    tried: Vec<TrialJson>,
    #[serde(skip)]
    pub(super) points: Vec<SizePoint>,
}

#[derive(Serialize)]
struct TrialJson {
    max_size: u64,
    agreement: f64,
    agreement_ci95: [f64; 2],
    #[serde(skip_serializing_if = "Option::is_none")]
    drop: Option<f64>,
}

impl GoalJson {
    fn new(goal: &Goal, reached: &Reached) -> Self {
        let trial = |trial: &Trial| TrialJson {
            max_size: trial.max_size,
            agreement: trial.judgement.agreement_percent(),
            agreement_ci95: trial.judgement.agreement_interval(),
            drop: trial.drop,
        };
        let point = |Trial { max_size, judgement, .. }: &Trial| SizePoint {
            name: format!("tried within {} bytes", grouped(*max_size as usize)),
            bytes: *max_size,
            judgement: *judgement,
        };
        Self {
            points: reached.trials.iter().map(point).collect(),
            keep: goal.agreement,
            is_reached: reached.is_reached,
            tried: reached.trials.iter().map(trial).collect(),
        }
    }

    /// What was tried, in one line.
    pub(super) fn line(&self) -> String {
        let tried = |trial: &TrialJson| {
            let [low, high] = trial.agreement_ci95;
            let size = grouped(trial.max_size as usize);
            let drop = trial.drop.map(|drop| format!(", drop {drop:.1}")).unwrap_or_default();
            format!("{size} bytes {:.1}% ({low:.1} to {high:.1}){drop}", trial.agreement)
        };
        self.tried.iter().map(tried).collect::<Vec<_>>().join("; ")
    }
}
