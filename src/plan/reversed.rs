//! A control: the worst plan that has as much to use. If it is not worse than others, indicators say nothing.

use crate::knapsack::{Item, Problem};

/// The problem whose solution has the most cost among all that use at least the limits of `sums`, which are rows of the
/// problem; the others stay as they are.
pub(super) fn reversed(problem: Problem, sums: &[bool]) -> Problem {
    let Problem { mut groups, mut limits } = problem;
    let most = |group: &[Item], row: usize| group.iter().map(|item| item.uses[row]).max().unwrap_or(0);
    for row in (0..limits.len()).filter(|&row| sums[row]) {
        let all: u64 = groups.iter().map(|group| most(group, row)).sum();
        limits[row] = all.saturating_sub(limits[row]);
        for group in &mut groups {
            let most = most(group, row);
            group.iter_mut().for_each(|item| item.uses[row] = most - item.uses[row]);
        }
    }
    for group in &mut groups {
        let most = group.iter().map(|item| item.cost).fold(f64::NEG_INFINITY, f64::max);
        group.iter_mut().for_each(|item| item.cost = most - item.cost);
    }
    Problem { groups, limits }
}
