//! `fgq convert --dry-run`: what would be made, in how much time and memory.

use super::check::{ForecastJson, text};
use super::output::{Output, grouped, note};
use super::preprocess::Chosen;
use fgq::{ConvertOptions, Dataset, Goal, Graph};
use serde::Serialize;
use std::fmt::Write;
use std::path::Path;

/// How many conversions' time a goal takes, measured: with answers asked for, and with a size alone.
const TOWARDS_ANSWERS: f64 = 6.5;
const TOWARDS_SIZE: f64 = 3.5;
/// The same for every plane of a model that switches.
const A_PLANE: f64 = 1.5;
/// How much of the threads is used.
const USED: f64 = 0.8;

/// A forecast, and what the conversion would take.
#[derive(Serialize)]
struct DryRunJson<'a> {
    dry_run: bool,
    output: &'a Path,
    images: usize,
    /// Bytes at most, about.
    memory: f64,
    /// About, on as many threads as are used.
    seconds: f64,
    #[serde(flatten)]
    forecast: ForecastJson<'a>,
}

/// What a conversion is to do.
pub(super) struct Intention<'a> {
    pub graph: Graph,
    pub chosen: &'a Chosen,
    pub images: &'a Dataset,
    pub options: &'a ConvertOptions,
    pub goal: Option<&'a Goal>,
    pub classes: &'a [String],
    pub output: &'a Path,
}

impl Intention<'_> {
    /// Foretells; nothing is written.
    pub(super) fn foretell(self) -> anyhow::Result<Output> {
        let (factor, images) = (self.factor(), self.images.entries().len());
        let Self { graph, chosen, options, goal, classes, output, .. } = self;
        let forecast = fgq::check(graph, &chosen.preprocess, options, classes)?;
        let estimate = forecast.estimate(images, options.method);
        let seconds = factor * estimate.seconds / (USED * rayon::current_num_threads() as f64).max(1.0);
        if goal.is_some() {
            note(
                "precisions would be chosen by the images, towards the goal; shown is a model with ternary weights in groups",
            );
        }
        let mut text = text(&forecast)?;
        writeln!(text, "output                {} (not written)", output.display())?;
        writeln!(text, "images                {}", grouped(images))?;
        writeln!(text, "memory                about {:.0} MB", estimate.memory / 1e6)?;
        writeln!(text, "time                  about {}", duration(seconds))?;
        let forecast = ForecastJson::new(&forecast, chosen);
        Output::new(
            text,
            &DryRunJson { dry_run: true, output, images, memory: estimate.memory, seconds, forecast },
        )
    }

    /// How many times a conversion's time it takes.
    fn factor(&self) -> f64 {
        let planes = self.options.nested.map_or(1.0, |nested| A_PLANE * nested.planes() as f64);
        planes
            * match self.goal {
                Some(Goal { agreement: None, max_drop: None, .. }) => TOWARDS_SIZE,
                Some(_) => TOWARDS_ANSWERS,
                None => 1.0,
            }
    }
}

/// Two digits that count.
fn duration(seconds: f64) -> String {
    match seconds {
        s if s < 10.0 => format!("{s:.1} s"),
        s if s < 120.0 => format!("{s:.0} s"),
        s => format!("{:.0} min", s / 60.0),
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn times_are_short() {
        let shown = [0.42, 42.4, 119.9, 130.0, 7200.0].map(super::duration);
        assert_eq!(shown, ["0.4 s", "42 s", "120 s", "2 min", "120 min"]);
    }
}
