//! Conversion towards a goal: the smallest model that keeps its answers, or the best one of a size.

use crate::convert::{Conversion, ConvertOptions, convert};
use crate::data::Images;
use crate::error::{Error, ErrorKind, Result};
use crate::eval::{GivenClass, ImageAnswer, answers};
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
/// On so many of them at most is found what a precision costs: there that is the larger part of the time.
const MEASURED: usize = 32;

/// What a model should be.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Goal {
    /// Percent of the images held back that must get full precision's class. The smallest model that does is wanted; without
    /// this the best one within the size.
    pub agreement: Option<f64>,
    /// Points of top-1 on the images held back that may be lost; they must have labels.
    pub max_drop: Option<f64>,
    /// Bytes of the file at most. Without this and the others: those of ternary weights in groups of 4 with scales of 8
    /// bits.
    pub max_size: Option<u64>,
}

impl Goal {
    /// Fewest images of which one can be held back to judge.
    pub const LEAST_IMAGES: usize = SHARE;

    /// The goal of a conversion with so many images: none if somebody says which precisions layers get, nor if nothing is
    /// asked for and there are too few images to judge.
    ///
    /// # Examples
    /// ```
    /// use fgq::Goal;
    /// let best_in_size = Goal::default();
    /// assert_eq!(best_in_size.of_conversion(false, 256), Some(best_in_size));
    /// assert_eq!(best_in_size.of_conversion(false, 2), None);
    /// assert_eq!(best_in_size.of_conversion(true, 256), None);
    /// ```
    pub fn of_conversion(self, gives_precisions: bool, images: usize) -> Option<Self> {
        let is_asked = self != Self::default();
        (!gives_precisions && (is_asked || images >= Self::LEAST_IMAGES)).then_some(self)
    }

    /// # Errors
    /// A share or drop that no model can have.
    pub fn check(&self) -> Result<()> {
        let argument = |message: String| Err(Error::new(ErrorKind::Argument, message));
        match (self.agreement, self.max_drop) {
            (Some(percent), _) if !(percent > 0.0 && percent <= 100.0) => {
                argument(format!("`agreement = {percent}`: give percent, above 0 and at most 100"))
            }
            (_, Some(drop)) if !(-100.0..=100.0).contains(&drop) => {
                argument(format!("`max_drop = {drop}`: give points, from −100 to 100"))
            }
            _ => Ok(()),
        }
    }

    /// Whether answers are asked for, not only a size.
    fn is_on_answers(&self) -> bool {
        self.agreement.is_some() || self.max_drop.is_some()
    }

    fn is_reached_by(&self, trial: &Trial) -> bool {
        self.agreement.is_none_or(|least| trial.judgement.agreement_percent() >= least)
            && self.max_drop.is_none_or(|most| trial.drop.is_some_and(|drop| drop <= most))
    }
}

/// A model that was tried.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Trial {
    /// Bytes that the plan was made for.
    pub max_size: u64,
    /// What the images held back say.
    pub judgement: Judgement,
    /// Points of top-1 lost on them, where a drop is asked for.
    pub drop: Option<f64>,
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
    options.draft(graph.clone(), preprocess)?;
    if images.len() < Goal::LEAST_IMAGES {
        let (found, least) = (images.len(), Goal::LEAST_IMAGES);
        let message = format!("{found} images; at least {least} are needed, so that one can judge");
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
    let drop = |conversion: &Conversion| drop_on_held_back(conversion, graph, images);
    let (trials, best) = (Vec::new(), None);
    SizeSearch { indicators, convert: &convert, drop: &drop, goal, trials, best }.run()
}

/// Points of top-1 that a model loses on the images that judged it.
fn drop_on_held_back(conversion: &Conversion, graph: &Graph, images: &dyn Images) -> Result<f64> {
    let found = answers(&conversion.model, graph, images, &conversion.judges(images), &())?;
    let lost = |answer: &ImageAnswer| {
        let unlabelled = || {
            let message = "an image without a label; a drop of top-1 needs class folders";
            Error::new(ErrorKind::Argument, message).at_node(&images.name(answer.image))
        };
        let label = answer.label.ok_or_else(unlabelled)?;
        let right =
            |answer: Option<GivenClass>| f64::from(u8::from(answer.is_some_and(|it| it.class == label)));
        Ok(right(answer.reference) - right(Some(answer.given)))
    };
    let lost: Vec<f64> = found.iter().map(lost).collect::<Result<_>>()?;
    Ok(100.0 * lost.iter().sum::<f64>() / lost.len().max(1) as f64)
}

fn indicator_options(options: &ConvertOptions, held_back: usize) -> Result<IndicatorOptions> {
    Ok(IndicatorOptions {
        indicator: Indicator::OutputError,
        precisions: CANDIDATES.iter().map(|name| name.parse()).collect::<Result<_>>()?,
        activation_bits: vec![options.activation_bits],
        range: options.range,
        measured: held_back.min(MEASURED),
        held_back: Some(held_back),
        ..IndicatorOptions::default()
    })
}

/// The search for a size.
struct SizeSearch<'a> {
    indicators: Indicators,
    convert: &'a dyn Fn(&Plan) -> Result<Conversion>,
    drop: &'a dyn Fn(&Conversion) -> Result<f64>,
    goal: &'a Goal,
    trials: Vec<Trial>,
    best: Option<(Trial, Plan, Conversion)>,
}

impl SizeSearch<'_> {
    fn run(mut self) -> Result<Reached> {
        let is_reached = if self.goal.is_on_answers() {
            self.smallest()?
        } else {
            let usual = || USUAL.parse().and_then(|precision| uniform_size(&self.indicators, precision));
            let size = self.goal.max_size.map_or_else(usual, Ok)?;
            self.try_size(size)?
        };
        let none = || Error::new(ErrorKind::Argument, "no size could be tried");
        let (_, plan, conversion) = self.best.ok_or_else(none)?;
        Ok(Reached { conversion, plan, trials: self.trials, is_reached })
    }

    /// Tries sizes by halving; whether one will do.
    fn smallest(&mut self) -> Result<bool> {
        let sizes = self.sizes()?;
        let (mut low, mut high) = (0, sizes.len());
        while low < high {
            let middle = (low + high) / 2;
            match self.try_size(sizes[middle])? {
                true => high = middle,
                false => low = middle + 1,
            }
        }
        // Between the largest that will not do and the smallest that will.
        if (1..sizes.len()).contains(&high) {
            let between = ((sizes[high - 1] as f64) * (sizes[high] as f64)).sqrt();
            self.try_size(between as u64)?;
        }
        Ok(high < sizes.len())
    }

    /// Sizes from the smallest plan to the one with the least damage, in equal ratios.
    fn sizes(&self) -> Result<Vec<u64>> {
        let max_size = self.goal.max_size;
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

    /// Converts within a size; whether that reaches the goal. It is the best so far if it does, or if it keeps more answers
    /// than another that does not.
    fn try_size(&mut self, max_size: u64) -> Result<bool> {
        let budgets = Budgets { max_size: Some(max_size), ..Budgets::default() };
        let plan = plan(&self.indicators, &budgets, &PlanOptions::default())?;
        let conversion = (self.convert)(&plan)?;
        let none = || Error::new(ErrorKind::Argument, "no image judged the conversion");
        let judgement = conversion.model.fidelity.as_ref().and_then(|it| it.judgement).ok_or_else(none)?;
        let drop = self.goal.max_drop.map(|_| (self.drop)(&conversion)).transpose()?;
        let trial = Trial { max_size, judgement, drop };
        let is_reached = self.goal.is_reached_by(&trial);
        let is_better = |best: &Trial| {
            !self.goal.is_reached_by(best) && trial.judgement.agreeing > best.judgement.agreeing
        };
        if is_reached || self.best.as_ref().is_none_or(|(best, ..)| is_better(best)) {
            self.best = Some((trial, plan, conversion));
        }
        self.trials.push(trial);
        Ok(is_reached)
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
