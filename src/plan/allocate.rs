//! The plan with the least predicted damage within the budgets.

use super::budgets::{Budget, Budgets, Quantity};
use super::indicators::{ActivationCandidate, Indicators, LayerIndicators, WeightCandidate};
use super::record::{Plan, PlannedLayer, Uses};
use super::reversed::reversed;
use crate::error::{Error, ErrorKind, Result};
use crate::knapsack::{Effort, Item, Problem};

/// How exactly the nearest feasible budget is looked for, relative to what choices differ by.
const NEAREST: Effort = Effort { tolerance: 1e-4, nodes: 20_000 };

/// How to weigh and filter indicators.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct PlanOptions {
    /// Factor of the weights' indicators; `None`: as the indicators say.
    pub alpha: Option<f64>,
    /// What to do with an indicator that is smaller than with the next more bits.
    pub outliers: Outliers,
    /// A control: the plan with the most predicted damage that uses at least what the budgets allow.
    pub reversed: bool,
}

impl PlanOptions {
    /// Whether the options can be used, whatever the indicators.
    ///
    /// # Errors
    /// A factor that is negative or not finite.
    pub fn check(&self) -> Result<()> {
        match self.alpha.filter(|alpha| !alpha.is_finite() || *alpha < 0.0) {
            Some(alpha) => {
                let message = format!("alpha {alpha}; give a number of at least 0");
                Err(Error::new(ErrorKind::Argument, message))
            }
            None => Ok(()),
        }
    }
}

/// What to do with an indicator that is smaller than with the next more bits.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Outliers {
    /// Forbid that choice if the indicators are learned, as LIMPQ does; measured damage may well be smaller.
    #[default]
    Auto,
    /// Forbid that choice.
    Forbid,
    /// Take the indicator as it is.
    Keep,
}

/// A choice for one layer.
#[derive(Debug, Clone, Copy)]
struct Pair<'a> {
    layer: &'a LayerIndicators,
    weight: WeightCandidate<'a>,
    activation: ActivationCandidate,
    cost: f64,
}

/// The choices of every layer and the budgets they must keep.
#[derive(Debug)]
struct AllocationProblem<'a> {
    indicators: &'a Indicators,
    pairs: Vec<Vec<Pair<'a>>>,
    budgets: Vec<Budget>,
}

/// Finds the plan with the least `Σ (activation indicator + α · weight indicator)` that keeps all budgets.
///
/// # Errors
/// `Argument`: budgets that no plan keeps, with the nearest that one does, and options that cannot be used.
pub fn plan(indicators: &Indicators, budgets: &Budgets, options: &PlanOptions) -> Result<Plan> {
    options.check()?;
    let alpha = options.alpha.unwrap_or(indicators.alpha);
    if !indicators.complete {
        let message = "the indicators are not complete; finish them with `indicate`";
        return Err(Error::new(ErrorKind::Argument, message));
    }
    let indicators = &indicators.with_record(budgets);
    let choices = AllocationProblem::new(indicators, budgets, alpha, options.outliers)?;
    let turned = |problem: Problem| match options.reversed {
        true => reversed(problem, &choices.sums()),
        false => problem,
    };
    let selection = choices.problem().map(turned).and_then(|problem| problem.solve(Effort::default()));
    let selection = selection.ok_or_else(|| choices.infeasible())?;
    let chosen: Vec<Pair> =
        choices.pairs.iter().zip(&selection.items).map(|(pairs, &at)| pairs[at]).collect();
    let objective = chosen.iter().map(|pair| pair.cost).sum();
    let control = if options.reversed { ", reversed" } else { "" };
    Ok(Plan {
        objective,
        bound: objective - (selection.cost - selection.bound),
        alpha,
        source: indicators.source.clone(),
        method: indicators.method.clone() + control,
        network_sha256: indicators.network_sha256.clone(),
        budgets: budgets.clone(),
        uses: uses(indicators, &chosen),
        layers: chosen.iter().map(|pair| pair.planned(alpha)).collect(),
    })
}

/// The least `max_size` that any plan within the budgets keeps, but for 0.01% of what choices differ by.
pub(super) fn smallest(indicators: &Indicators, budgets: &Budgets, options: &PlanOptions) -> Result<u64> {
    let indicators = &indicators.with_record(&Budgets { max_size: Some(0), ..budgets.clone() });
    let choices = AllocationProblem::new(indicators, budgets, 1.0, options.outliers)?;
    let bits = choices.least(Budget::Size(0), &choices.budgets).ok_or_else(|| choices.infeasible())?;
    Ok((bits + indicators.fixed.bits).div_ceil(8))
}

impl<'a> AllocationProblem<'a> {
    fn new(indicators: &'a Indicators, budgets: &Budgets, alpha: f64, outliers: Outliers) -> Result<Self> {
        let forbid = match outliers {
            Outliers::Auto => indicators.are_learned(),
            Outliers::Forbid => true,
            Outliers::Keep => false,
        };
        let only = indicators.bits.as_deref();
        let pairs = |layer: &'a LayerIndicators| -> Result<Vec<Pair<'a>>> {
            let (mut weights, mut activations) = (layer.weights(only)?, layer.activations(only)?);
            if forbid {
                drop_outliers(&mut weights, |candidate| candidate.indicator);
                drop_outliers(&mut activations, |candidate| candidate.indicator);
            }
            let pair = |weight: WeightCandidate<'a>, activation: ActivationCandidate| {
                let cost = activation.indicator + alpha * weight.indicator;
                Pair { layer, weight, activation, cost }
            };
            let all = weights.iter().flat_map(|&weight| activations.iter().map(move |&a| pair(weight, a)));
            Ok(all.collect())
        };
        let pairs = indicators.layers.iter().map(pairs).collect::<Result<_>>()?;
        Ok(Self { indicators, pairs, budgets: budgets.set(indicators)? })
    }

    /// The quantities that budgets limit, and the least of the limits.
    fn limits(&self) -> Vec<(Quantity, i64)> {
        let mut limits: Vec<(Quantity, i64)> = Vec::new();
        for budget in &self.budgets {
            let (quantity, limit) = (budget.quantity(), budget.limit(self.indicators));
            match limits.iter_mut().find(|(other, _)| *other == quantity) {
                Some((_, least)) => *least = limit.min(*least),
                None => limits.push((quantity, limit)),
            }
        }
        limits
    }

    /// Whether the quantity of each limit is a sum over layers.
    fn sums(&self) -> Vec<bool> {
        self.limits().iter().map(|(quantity, _)| *quantity != Quantity::LargestActivation).collect()
    }

    /// `None` if a limit is below zero.
    fn problem(&self) -> Option<Problem> {
        let limits = self.limits();
        let rows: Vec<Quantity> = limits.iter().map(|(quantity, _)| *quantity).collect();
        let limits: Option<Vec<u64>> = limits.iter().map(|&(_, limit)| u64::try_from(limit).ok()).collect();
        Some(self.problem_of(&rows, limits?, |pair| pair.cost))
    }

    /// Limits on sums become limits of the problem; a limit on the largest forbids choices.
    fn problem_of(&self, rows: &[Quantity], limits: Vec<u64>, cost: impl Fn(&Pair) -> f64) -> Problem {
        let too_large = |pair: &Pair| {
            let mut limits = rows.iter().zip(&limits);
            limits.any(|(row, &limit)| *row == Quantity::LargestActivation && pair.uses(*row) > limit)
        };
        // What is too large uses more than there is of everything.
        let item = |pair: &Pair| {
            let too_large = too_large(pair);
            let used = |(row, &limit): (&Quantity, &u64)| match row {
                Quantity::LargestActivation => {
                    if too_large {
                        limit + 1
                    } else {
                        0
                    }
                }
                row => pair.uses(*row),
            };
            Item { cost: cost(pair), uses: rows.iter().zip(&limits).map(used).collect() }
        };
        let groups = self.pairs.iter().map(|pairs| pairs.iter().map(item).collect()).collect();
        Problem { groups, limits }
    }

    /// Which budgets are too tight, and what would do.
    fn infeasible(&self) -> Error {
        let impossible: Vec<Budget> =
            self.budgets.iter().copied().filter(|&budget| self.is_impossible(budget)).collect();
        let fields = |budgets: &[Budget], word: &str| {
            budgets.iter().map(|budget| budget.field()).collect::<Vec<_>>().join(word)
        };
        let nearest = |budgets: &[Budget]| -> Vec<Budget> {
            budgets.iter().filter_map(|&budget| self.nearest(budget)).collect()
        };
        let message = if impossible.is_empty() {
            format!(
                "no plan keeps these budgets together: {}; the nearest feasible, the others kept: {}",
                fields(&self.budgets, ", "),
                fields(&nearest(&self.budgets), " or ")
            )
        } else {
            format!(
                "no plan reaches {}; the nearest feasible {} {}",
                fields(&impossible, " and "),
                if impossible.len() == 1 { "is" } else { "are" },
                fields(&nearest(&impossible), " and ")
            )
        };
        Error::new(ErrorKind::Argument, message)
    }

    /// Whether no plan keeps this budget, whatever the others.
    fn is_impossible(&self, budget: Budget) -> bool {
        self.least(budget, &[]).is_none_or(|used| whole(used) > budget.limit(self.indicators))
    }

    /// The tightest budget in place of `budget` that a plan keeps, with the others if that is possible.
    fn nearest(&self, budget: Budget) -> Option<Budget> {
        let others = self.budgets.iter().filter(|other| other.quantity() != budget.quantity());
        let others: Vec<Budget> = others.copied().collect();
        let alone = || self.least(budget, &[]).filter(|_| self.is_impossible(budget));
        let used = self.least(budget, &others).or_else(alone)?;
        Some(budget.relaxed_to(used, self.indicators))
    }

    /// The least use of a budget's quantity in a plan that keeps `others`.
    fn least(&self, budget: Budget, others: &[Budget]) -> Option<u64> {
        let quantity = budget.quantity();
        if quantity == Quantity::LargestActivation {
            let least = |pairs: &Vec<Pair>| pairs.iter().map(|pair| pair.uses(quantity)).min();
            return self.pairs.iter().filter_map(least).max();
        }
        let rows: Vec<Quantity> = others.iter().map(|other| other.quantity()).collect();
        let limits = others.iter().map(|other| u64::try_from(other.limit(self.indicators)).ok());
        let problem =
            self.problem_of(&rows, limits.collect::<Option<_>>()?, |pair| pair.uses(quantity) as f64);
        let items = problem.solve(NEAREST)?.items;
        Some(self.pairs.iter().zip(items).map(|(pairs, at)| pairs[at].uses(quantity)).sum())
    }
}

/// Drops candidates whose figure is smaller than that of the candidate with the next more bits.
fn drop_outliers<T>(candidates: &mut Vec<T>, figure: impl Fn(&T) -> f64) {
    let figures: Vec<f64> = candidates.iter().map(figure).collect();
    let mut at = 0;
    candidates.retain(|_| {
        at += 1;
        at == 1 || figures[at - 1] >= figures[at - 2]
    });
}

fn whole(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

impl Pair<'_> {
    fn uses(&self, quantity: Quantity) -> u64 {
        let activation_bits = u64::from(self.activation.bits);
        match quantity {
            Quantity::FileBits => self.weight.file_bits,
            Quantity::WeightBits if self.layer.kept => 0,
            Quantity::WeightBits => self.weight.bits,
            Quantity::BitOps => self.bit_ops(),
            Quantity::Multiplications => self.weight.multiplications,
            Quantity::ActivationBits | Quantity::LargestActivation => {
                self.layer.activations.unwrap_or(0) * activation_bits
            }
        }
    }

    /// Every stored bit meets every bit of an activation as often as its weight is used.
    fn bit_ops(&self) -> u64 {
        let bits = u128::from(self.weight.bits) * u128::from(self.activation.bits);
        let operations =
            (bits * u128::from(self.layer.macs)).div_ceil(u128::from(self.layer.parameters.max(1)));
        u64::try_from(operations).unwrap_or(u64::MAX)
    }

    fn planned(&self, alpha: f64) -> PlannedLayer {
        PlannedLayer {
            name: self.layer.name.clone(),
            weights: self.weight.name.to_owned(),
            weight_bits: self.weight.bits as f64 / self.layer.parameters.max(1) as f64,
            activation_bits: self.activation.bits,
            parameters: self.layer.parameters,
            bits: self.weight.bits,
            damage: self.activation.indicator + alpha * self.weight.indicator,
            kept: self.layer.kept,
        }
    }
}

fn uses(indicators: &Indicators, chosen: &[Pair]) -> Uses {
    let sum = |quantity: Quantity| chosen.iter().map(|pair| pair.uses(quantity)).sum::<u64>();
    let weight_bits = sum(Quantity::WeightBits);
    let file_bits = sum(Quantity::FileBits) + indicators.fixed.bits;
    let known = indicators.layers.iter().all(|layer| layer.activations.is_some());
    let largest = chosen.iter().map(|pair| pair.uses(Quantity::LargestActivation)).max();
    Uses {
        bytes: file_bits.div_ceil(8),
        compression_ratio: 32.0 * indicators.parameters() as f64 / file_bits.max(1) as f64,
        mean_bits: weight_bits as f64 / indicators.averaged().max(1) as f64,
        bit_ops: sum(Quantity::BitOps),
        multiplications: sum(Quantity::Multiplications) + indicators.fixed.multiplications,
        largest_activation: largest.filter(|_| known).map(|bits| bits.div_ceil(8)),
        total_activation: known.then(|| sum(Quantity::ActivationBits).div_ceil(8)),
    }
}
