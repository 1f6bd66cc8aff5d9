//! Branch and bound.

use super::Effort;
use super::incumbent::Incumbent;
use super::prices::{Alive, Bound, Master, priced};
use super::reduce::{Reduced, ScaledItem};
use super::set::PlaceSet;
use std::cmp::Ordering;
use std::collections::BinaryHeap;
use std::rc::Rc;

/// A costly heuristic runs at one node of so many.
const REPAIR_EVERY: usize = 16;
/// Weights of the linear program below this are rounding.
const NEGLIGIBLE: f64 = 1e-9;

/// What the search found, in the costs of the reduced problem.
#[derive(Debug)]
pub(super) struct Outcome {
    /// The place of the item chosen in every group.
    pub places: Option<Vec<u8>>,
    /// What they cost.
    pub cost: f64,
    /// No choice costs less, but for the tolerance.
    pub bound: f64,
    pub nodes: usize,
}

/// A part of the tree: what is still possible there, and the prices to start from.
#[derive(Clone)]
struct Subproblem {
    alive: Alive,
    master: Master,
}

/// A part that was not looked at: one item of a group of its parent.
struct Open {
    parent: Rc<Subproblem>,
    group: usize,
    place: u8,
    /// No choice in it costs less.
    floor: f64,
    /// Of equal floors the older is taken first, so that the order is always the same.
    age: usize,
}

struct BranchAndBound<'a> {
    problem: &'a Reduced,
    incumbent: Incumbent<'a>,
    tolerance: f64,
    /// More than any choice costs.
    without: f64,
    nodes: usize,
    /// The least floor on top.
    open: BinaryHeap<Open>,
    opened: usize,
}

/// Looks for the cheapest choice within the budgets.
pub(super) fn search(problem: &Reduced, effort: Effort) -> Outcome {
    let most = |group: &Vec<ScaledItem>| group.iter().map(|part| part.cost).fold(0.0, f64::max);
    let mut search = BranchAndBound {
        problem,
        incumbent: Incumbent::new(problem),
        tolerance: effort.tolerance,
        without: 1.0 + problem.groups.iter().map(most).sum::<f64>(),
        nodes: 0,
        open: BinaryHeap::new(),
        opened: 0,
    };
    let alive = problem.groups.iter().map(|group| PlaceSet::all(group.len())).collect();
    search.descend(Subproblem { alive, master: Master::new(problem.slack.len(), search.without) });
    while search.nodes < effort.nodes
        && let Some(open) = search.open.pop()
    {
        if open.floor < search.cutoff() {
            search.descend(open.enter());
        }
    }
    search.outcome()
}

impl BranchAndBound<'_> {
    /// Choices that cost this much are of no interest.
    fn cutoff(&self) -> f64 {
        (self.incumbent.cost - self.tolerance).min(self.without)
    }

    fn outcome(self) -> Outcome {
        let floor = self.open.peek().map_or(f64::INFINITY, |open| open.floor);
        let Incumbent { places, cost, .. } = self.incumbent;
        Outcome {
            places,
            cost,
            bound: if floor < cost - self.tolerance { floor } else { cost },
            nodes: self.nodes,
        }
    }

    /// Follows the most promising parts down to where there is nothing left to find.
    fn descend(&mut self, mut node: Subproblem) {
        while let Some(bound) = self.bound(&mut node)
            && bound.value < self.cutoff()
            && let Some(next) = self.branch(node, &bound)
        {
            node = next.enter();
        }
    }

    /// The node's best bound; `None` if nothing is possible there.
    fn bound(&mut self, node: &mut Subproblem) -> Option<Bound> {
        self.nodes += 1;
        self.make_possible(&mut node.alive)?;
        node.master.restrict(&node.alive, 10.0 * self.without);
        let (enough, incumbent) = (self.cutoff(), &mut self.incumbent);
        let offer = |places: &[u8], cost| incumbent.offer(places, cost);
        let bound = node.master.raise(&self.problem.groups, &node.alive, enough, offer);
        if self.nodes % REPAIR_EVERY == 1 {
            node.master.choices().for_each(|(_, places)| self.incumbent.offer_repaired(places.to_vec()));
        }
        Some(bound)
    }

    /// Drops items that the least use of the other groups leaves no room for; `None` if that is too much already.
    fn make_possible(&self, alive: &mut Alive) -> Option<()> {
        for (row, &slack) in self.problem.slack.iter().enumerate() {
            let used = |group: usize, place: u8| self.problem.groups[group][usize::from(place)].exact[row];
            let least =
                |group: usize, set: PlaceSet| set.places().map(|place| used(group, place)).min().unwrap_or(0);
            let total: u64 = alive.iter().enumerate().map(|(group, &set)| least(group, set)).sum();
            let left = slack.checked_sub(total)?;
            for (group, set) in alive.iter_mut().enumerate().filter(|(_, set)| set.len() > 1) {
                let room = left + least(group, *set);
                set.retain(|place| used(group, place) <= room);
            }
        }
        Some(())
    }

    /// Splits a node by the items of one group; returns the most promising part.
    fn branch(&mut self, mut node: Subproblem, bound: &Bound) -> Option<Open> {
        let group = self.most_divided(&node, bound)?;
        let gap = self.cutoff() - bound.value;
        let mut regrets = Vec::new();
        for (at, set) in node.alive.iter_mut().enumerate() {
            // Items that cost too much at these prices lead to nothing better.
            let all = regrets_of(&self.problem.groups[at], *set, bound);
            set.retain(|place| all.iter().any(|&(other, regret)| other == place && regret < gap));
            if at == group {
                regrets = all;
            }
        }
        let parent = Rc::new(node);
        let mut parts = Vec::with_capacity(regrets.len());
        for (place, regret) in regrets.into_iter().filter(|(_, regret)| *regret < gap) {
            self.opened += 1;
            let floor = bound.value + regret;
            parts.push(Open { parent: parent.clone(), group, place, floor, age: self.opened });
        }
        parts.sort();
        let first = parts.pop();
        self.open.extend(parts);
        first
    }

    /// The group among whose items the linear program is undecided, where that matters most to the budgets; `None`
    /// if each has one item left.
    fn most_divided(&self, node: &Subproblem, bound: &Bound) -> Option<usize> {
        let choices: Vec<(f64, &[u8])> = node.master.choices().collect();
        let score = |group: usize| {
            let weight = |place: u8| -> f64 {
                choices.iter().filter(|(_, places)| places[group] == place).map(|(weight, _)| weight).sum()
            };
            let weights: Vec<(u8, f64)> =
                node.alive[group].places().map(|place| (place, weight(place))).collect();
            let largest = weights.iter().map(|(_, weight)| *weight).fold(0.0, f64::max);
            let used = weights.iter().filter(|(_, weight)| *weight > NEGLIGIBLE);
            let parts: Vec<&ScaledItem> =
                used.map(|(place, _)| &self.problem.groups[group][usize::from(*place)]).collect();
            (1.0 - largest).max(0.0) * price_spread(&parts, &bound.prices)
        };
        let divided = (0..node.alive.len()).filter(|&group| node.alive[group].len() > 1);
        divided.map(|group| (score(group), group)).max_by(|a, b| a.0.total_cmp(&b.0)).map(|(_, group)| group)
    }
}

/// What every item of a set costs above the cheapest at the bound's prices.
fn regrets_of(group: &[ScaledItem], set: PlaceSet, bound: &Bound) -> Vec<(u8, f64)> {
    let costs: Vec<(u8, f64)> =
        set.places().map(|place| (place, priced(&group[usize::from(place)], &bound.prices))).collect();
    let least = costs.iter().map(|(_, cost)| *cost).fold(f64::INFINITY, f64::min);
    costs.into_iter().map(|(place, cost)| (place, cost - least)).collect()
}

/// How far items differ in what they use, at these prices.
fn price_spread(parts: &[&ScaledItem], prices: &[f64]) -> f64 {
    let spread = |(row, price): (usize, &f64)| {
        let uses = || parts.iter().map(|part| part.uses[row]);
        price * (uses().fold(0.0, f64::max) - uses().fold(f64::INFINITY, f64::min)).max(0.0)
    };
    prices.iter().enumerate().map(spread).sum()
}

impl Open {
    /// The node of this part.
    fn enter(self) -> Subproblem {
        let Self { parent, group, place, .. } = self;
        let Subproblem { mut alive, master } = Rc::unwrap_or_clone(parent);
        alive[group] = PlaceSet::of(place);
        Subproblem { alive, master }
    }
}

impl Ord for Open {
    /// The least floor is the greatest, as the heap gives the greatest first.
    fn cmp(&self, other: &Self) -> Ordering {
        other.floor.total_cmp(&self.floor).then(other.age.cmp(&self.age))
    }
}

impl PartialOrd for Open {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Open {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Open {}
