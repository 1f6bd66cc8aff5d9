//! The best choice so far, and a quick way to a good one.

use super::reduce::{Reduced, ScaledItem};

/// The best choice within the budgets that was seen.
#[derive(Debug)]
pub(super) struct Incumbent<'a> {
    problem: &'a Reduced,
    pub places: Option<Vec<u8>>,
    pub cost: f64,
}

/// The exchange of one group's item.
#[derive(Debug, Clone, Copy)]
struct Exchange {
    group: usize,
    place: u8,
    worth: f64,
}

impl<'a> Incumbent<'a> {
    pub fn new(problem: &'a Reduced) -> Self {
        Self { problem, places: None, cost: f64::INFINITY }
    }

    /// Makes `places` the best if it is within the budgets and cheaper.
    pub fn offer(&mut self, places: &[u8], cost: f64) {
        if cost < self.cost && self.excess(&self.used(places)) == 0.0 {
            (self.places, self.cost) = (Some(places.to_vec()), cost);
        }
    }

    /// Brings `places` within the budgets, improves it, and offers it.
    pub fn offer_repaired(&mut self, mut places: Vec<u8>) {
        let mut used = self.used(&places);
        while self.excess(&used) > 0.0 {
            // The excess falls most for what it costs.
            let excess = self.excess(&used);
            let worth = |from: &ScaledItem, to: &ScaledItem, after: &[u64]| {
                (excess - self.excess(after)) / (to.cost - from.cost).max(1e-9)
            };
            let Some(exchange) = self.best_exchange(&places, &used, worth) else { return };
            self.apply(exchange, &mut places, &mut used);
        }
        let saved = |from: &ScaledItem, to: &ScaledItem, after: &[u64]| match self.excess(after) {
            0.0 => from.cost - to.cost,
            _ => 0.0,
        };
        while let Some(exchange) = self.best_exchange(&places, &used, saved) {
            self.apply(exchange, &mut places, &mut used);
        }
        let cost = self.chosen(&places).map(|part| part.cost).sum();
        self.offer(&places, cost);
    }

    fn part(&self, group: usize, place: u8) -> &'a ScaledItem {
        &self.problem.groups[group][usize::from(place)]
    }

    fn chosen(&self, places: &[u8]) -> impl Iterator<Item = &'a ScaledItem> {
        places.iter().enumerate().map(|(group, &place)| self.part(group, place))
    }

    fn used(&self, places: &[u8]) -> Vec<u64> {
        let rows = 0..self.problem.slack.len();
        rows.map(|row| self.chosen(places).map(|part| part.exact[row]).sum()).collect()
    }

    /// How far a use is beyond the budgets, relative to them.
    fn excess(&self, used: &[u64]) -> f64 {
        let over = |(&used, &slack): (&u64, &u64)| used.saturating_sub(slack) as f64 / slack.max(1) as f64;
        used.iter().zip(&self.problem.slack).map(over).sum()
    }

    fn apply(&self, exchange: Exchange, places: &mut [u8], used: &mut Vec<u64>) {
        let Exchange { group, place, .. } = exchange;
        *used = exchanged(used, self.part(group, places[group]), self.part(group, place));
        places[group] = place;
    }

    /// The exchange of one item that is worth most, if it is worth anything; `worth` sees both items and the use after.
    fn best_exchange(
        &self,
        places: &[u8],
        used: &[u64],
        worth: impl Fn(&ScaledItem, &ScaledItem, &[u64]) -> f64,
    ) -> Option<Exchange> {
        let mut best: Option<Exchange> = None;
        for (group, &current) in places.iter().enumerate() {
            let from = self.part(group, current);
            for place in (0..self.problem.groups[group].len() as u8).filter(|&place| place != current) {
                let to = self.part(group, place);
                let worth = worth(from, to, &exchanged(used, from, to));
                if worth > best.map_or(0.0, |best| best.worth) {
                    best = Some(Exchange { group, place, worth });
                }
            }
        }
        best
    }
}

fn exchanged(used: &[u64], from: &ScaledItem, to: &ScaledItem) -> Vec<u64> {
    let parts = from.exact.iter().zip(&to.exact);
    used.iter().zip(parts).map(|(used, (from, to))| used - from + to).collect()
}
