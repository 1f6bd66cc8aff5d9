//! Conversion towards a goal: the smallest model that keeps its answers, or the best one of a size.

use crate::convert::{Conversion, ConvertOptions, convert};
use crate::data::Images;
use crate::error::{Error, ErrorKind, Result};
use crate::format::Preprocess;
use crate::graph::Graph;
use crate::indicate::{Indicator, IndicatorOptions, indicate};
use crate::judge::Judgement;
use crate::plan::{Budgets, Indicators, Plan, PlanOptions, frontier, plan};
use crate::precision::Precision;
use crate::progress::Progress;
use std::collections::BTreeMap;

/// Precisions that layers may get.
const CANDIDATES: [&str; 7] = ["ternary:16/4", "ternary:4/4", "int3", "int4", "int5", "int6", "int8"];
/// What the size of a model is measured by where no other is wanted.
const USUAL: &str = "ternary:4";
/// Sizes among which the smallest that will do is sought.
const SIZES: usize = 9;
/// One image in this many is held back, and no more than that many: the goal is judged by them.
const SHARE: usize = 4;
const MOST_HELD_BACK: usize = 256;

/// What a model should be.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Goal {
    /// Percent of the images held back that must get full precision's class. The smallest model that does is wanted; without
    /// this the best one within the size.
    pub agreement: Option<f64>,
    /// Bytes of the file at most. Without this and `agreement`: those of ternary weights in groups of 4 with scales of 8
    /// bits.
    pub max_size: Option<u64>,
}

impl Goal {
    /// # Errors
    /// A share that no model can have.
    pub fn check(&self) -> Result<()> {
        match self.agreement {
            Some(percent) if !(percent > 0.0 && percent <= 100.0) => {
                let message = format!("`agreement = {percent}`: give percent, above 0 and at most 100");
                Err(Error::new(ErrorKind::Argument, message))
            }
            _ => Ok(()),
        }
    }
}

/// A model that was tried.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Trial {
    /// Bytes that the plan was made for.
    pub max_size: u64,
    /// What the images held back say.
    pub judgement: Judgement,
}

/// What [`convert_to`] found.
#[derive(Debug)]
pub struct Reached {
    /// The smallest model that reaches the goal or, if none does, the one that keeps most answers.
    pub conversion: Conversion,
    /// Its precisions.
    pub plan: Plan,
    /// All models that were tried, in the order of trying.
    pub trials: Vec<Trial>,
    /// Whether the goal is reached.
    pub is_reached: bool,
}

/// Converts a network with precisions chosen layer by layer so that the goal is reached: finds what every precision costs in
/// every layer ([`indicate`]), plans for a size, converts, and halves the range of sizes until the smallest that will do is
/// known. Images held back judge; nothing is fitted to them.
///
/// `options` say all but the precision of weights; its plan and group sizes are not used.
///
/// # Errors
/// As for [`indicate`], [`plan`](crate::plan) and [`convert`]; fewer than four images, since none can then be held back.
pub fn convert_to(
    graph: &Graph,
    preprocess: &Preprocess,
    images: &dyn Images,
    options: &ConvertOptions,
    goal: &Goal,
    progress: &dyn Progress,
) -> Result<Reached> {
    goal.check()?;
    if images.len() < SHARE {
        let message = format!("{} images; at least {SHARE} are needed, so that one can judge", images.len());
        return Err(Error::new(ErrorKind::Argument, message));
    }
    let held_back = (images.len() / SHARE).min(MOST_HELD_BACK);
    let options = ConvertOptions { held_back: Some(held_back), ..options.clone() };
    let wanted = indicator_options(&options, held_back)?;
    let known = Indicators::default();
    let indicators = indicate(graph.clone(), preprocess, images, &wanted, known, &mut |_| Ok(()), progress)?;
    let convert = |plan: &Plan| {
        let options = ConvertOptions { plan: Some(plan.clone()), ..options.clone() };
        convert(graph.clone(), preprocess, images, &options, progress)
    };
    SizeSearch { indicators, convert: &convert, trials: Vec::new(), best: None }.run(goal)
}

fn indicator_options(options: &ConvertOptions, held_back: usize) -> Result<IndicatorOptions> {
    Ok(IndicatorOptions {
        indicator: Indicator::OutputError,
        precisions: CANDIDATES.iter().map(|name| name.parse()).collect::<Result<_>>()?,
        activation_bits: vec![options.activation_bits],
        range: options.range,
        measured: held_back,
        classes: Vec::new(),
    })
}

/// The search for a size.
struct SizeSearch<'a> {
    indicators: Indicators,
    convert: &'a dyn Fn(&Plan) -> Result<Conversion>,
    trials: Vec<Trial>,
    best: Option<(Plan, Conversion)>,
}

impl SizeSearch<'_> {
    fn run(mut self, goal: &Goal) -> Result<Reached> {
        let is_reached = match goal.agreement {
            Some(percent) => self.smallest(percent, goal.max_size)?,
            None => {
                let usual = USUAL.parse().and_then(|precision| uniform_size(&self.indicators, precision));
                self.try_size(goal.max_size.map_or(usual, Ok)?, 0.0)?
            }
        };
        let none = || Error::new(ErrorKind::Argument, "no size could be tried");
        let (plan, conversion) = self.best.ok_or_else(none)?;
        Ok(Reached { conversion, plan, trials: self.trials, is_reached })
    }

    /// Tries sizes by halving; whether one will do.
    fn smallest(&mut self, percent: f64, max_size: Option<u64>) -> Result<bool> {
        let sizes = self.sizes(max_size)?;
        let (mut low, mut high) = (0, sizes.len());
        while low < high {
            let middle = (low + high) / 2;
            match self.try_size(sizes[middle], percent)? {
                true => high = middle,
                false => low = middle + 1,
            }
        }
        // Between the largest that will not do and the smallest that will.
        if (1..sizes.len()).contains(&high) {
            let between = ((sizes[high - 1] as f64) * (sizes[high] as f64)).sqrt();
            self.try_size(between as u64, percent)?;
        }
        Ok(high < sizes.len())
    }

    /// Sizes from the smallest plan to the one with the least damage, in equal ratios.
    fn sizes(&self, max_size: Option<u64>) -> Result<Vec<u64>> {
        let ends = frontier(&self.indicators, &Budgets::default(), &PlanOptions::default(), 2)?;
        let least = ends.first().map_or(0, |point| point.bytes);
        let most = ends.last().map_or(0, |point| point.bytes).min(max_size.unwrap_or(u64::MAX));
        if most < least {
            let budgets = Budgets { max_size, ..Budgets::default() };
            plan(&self.indicators, &budgets, &PlanOptions::default())?;
        }
        let ratio = (most as f64 / least.max(1) as f64).powf(1.0 / (SIZES - 1) as f64);
        let mut sizes: Vec<u64> =
            (0..SIZES - 1).map(|step| (least as f64 * ratio.powi(step as i32)).ceil() as u64).collect();
        sizes.push(most);
        sizes.dedup();
        Ok(sizes)
    }

    /// Converts within a size; whether that keeps enough answers. It is the best so far if it does, or if it keeps more than
    /// another that does not.
    fn try_size(&mut self, max_size: u64, percent: f64) -> Result<bool> {
        let budgets = Budgets { max_size: Some(max_size), ..Budgets::default() };
        let plan = plan(&self.indicators, &budgets, &PlanOptions::default())?;
        let conversion = (self.convert)(&plan)?;
        let judged = |conversion: &Conversion| conversion.model.fidelity.as_ref()?.judgement;
        let agreement =
            |conversion| judged(conversion).map_or(0.0, |judgement| judgement.agreement_percent());
        let (ours, best) = (agreement(&conversion), self.best.as_ref().map(|(_, best)| agreement(best)));
        let will_do = ours >= percent;
        self.trials.extend(judged(&conversion).map(|judgement| Trial { max_size, judgement }));
        if will_do || best.is_none_or(|best| best < percent && ours > best) {
            self.best = Some((plan, conversion));
        }
        Ok(will_do)
    }
}

/// Bytes of the file with this precision in all layers that have no reason for 8 bits.
fn uniform_size(indicators: &Indicators, precision: Precision) -> Result<u64> {
    let mut uniform = indicators.clone();
    for layer in &mut uniform.layers {
        let precision = if layer.kept { Precision::int8() } else { precision };
        layer.weight = BTreeMap::from([(precision.to_string(), 0.0)]);
    }
    Ok(plan(&uniform, &Budgets::default(), &PlanOptions::default())?.uses.bytes)
}

#[cfg(test)]
mod tests;
