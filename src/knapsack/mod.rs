//! The multiple-choice knapsack problem with several budgets, solved to proven optimality.
//!
//! One item of every group, least total cost, and for every budget a total use within its limit. The method is branch
//! and bound: budgets enter the objective with prices (Lagrange multipliers) whose best values a simplex of a few rows
//! finds (`prices`); that bound equals the linear relaxation's. Items whose price alone exceeds the gap to the
//! best solution known are dropped (`search`).

mod incumbent;
mod prices;
mod reduce;
mod search;
mod set;

#[cfg(test)]
mod tests;

use reduce::Reduced;
use search::search;

/// Most items of a group.
pub(crate) const MAX_ITEMS: usize = set::MAX_PLACES;
/// Largest sum of uses: integers up to here are exact in `f64`.
pub(crate) const LARGEST_USE: u64 = 1 << 53;

/// One way to serve a group.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Item {
    /// What choosing it costs; finite.
    pub cost: f64,
    /// What choosing it uses of every budget.
    pub uses: Vec<u64>,
}

/// Groups of items of which one each must be chosen, and what may be used in total.
///
/// A group has at most [`MAX_ITEMS`] items, and the largest uses of all groups sum to at most [`LARGEST_USE`] per
/// budget.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Problem {
    /// The items of every group.
    pub groups: Vec<Vec<Item>>,
    /// The limit of every budget.
    pub limits: Vec<u64>,
}

/// How long and how exactly to search.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Effort {
    /// Smallest improvement worth finding, relative to the spread of costs.
    pub tolerance: f64,
    /// Most nodes of the search tree; a number and not a time, so that results are the same everywhere.
    pub nodes: usize,
}

impl Default for Effort {
    fn default() -> Self {
        Self { tolerance: 1e-11, nodes: 400_000 }
    }
}

/// The best choice found.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Selection {
    /// Index of the item chosen in every group.
    pub items: Vec<usize>,
    /// Total cost.
    pub cost: f64,
    /// No choice costs less, but for the tolerance; equal to `cost` where the search was complete.
    pub bound: f64,
    /// Total use of every budget.
    pub uses: Vec<u64>,
    /// Nodes of the search tree that were looked at.
    pub nodes: usize,
}

impl Problem {
    /// The cheapest choice within all limits; `None` if there is none (or none was found within `effort.nodes`).
    pub fn solve(&self, effort: Effort) -> Option<Selection> {
        let reduced = Reduced::new(self)?;
        let outcome = search(&reduced, effort);
        let places = outcome.places?;
        let items =
            reduced.groups.iter().zip(places).map(|(group, place)| group[usize::from(place)].index).collect();
        let mut selection = self.selection(items);
        selection.nodes = outcome.nodes;
        if outcome.bound < outcome.cost {
            selection.bound = selection.cost.min(reduced.base + outcome.bound * reduced.unit);
        }
        // The promise itself, evaluated in integers on the numbers that were given.
        selection.uses.iter().zip(&self.limits).all(|(used, limit)| used <= limit).then_some(selection)
    }

    /// What choosing `items` costs and uses.
    fn selection(&self, items: Vec<usize>) -> Selection {
        let chosen = || self.groups.iter().zip(&items).map(|(group, &item)| &group[item]);
        let uses = (0..self.limits.len()).map(|row| chosen().map(|item| item.uses[row]).sum()).collect();
        let cost = chosen().map(|item| item.cost).sum();
        Selection { cost, bound: cost, uses, nodes: 0, items }
    }
}
