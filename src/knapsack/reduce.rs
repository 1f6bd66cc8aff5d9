//! Smaller, scaled equivalents: impossible and dominated items, budgets that cannot bind.

use super::{Item, Problem};

/// A scaled item.
#[derive(Debug, Clone)]
pub(super) struct ScaledItem {
    /// Its index in the group it comes from.
    pub index: usize,
    /// Cost above the group's least, relative to the largest such difference.
    pub cost: f64,
    /// Use above the group's least, relative to what the budget leaves beyond the least of all groups.
    pub uses: Vec<f64>,
    /// Use above the group's least.
    pub exact: Vec<u64>,
}

/// A problem in which the least use is 0 and all that is left of every budget is 1.
#[derive(Debug)]
pub(super) struct Reduced {
    pub groups: Vec<Vec<ScaledItem>>,
    /// What every budget leaves beyond the least use of all groups.
    pub slack: Vec<u64>,
    /// Cost of the cheapest items, and of one unit of what parts cost beyond them.
    pub base: f64,
    pub unit: f64,
}

impl Reduced {
    /// `None` if a limit is below the least use of all groups.
    pub fn new(problem: &Problem) -> Option<Self> {
        let mut groups: Vec<Vec<(usize, &Item)>> =
            problem.groups.iter().map(|group| group.iter().enumerate().collect()).collect();
        let slack = drop_impossible(&mut groups, &problem.limits)?;
        let rows: Vec<usize> = (0..slack.len()).filter(|&row| can_bind(&groups, row, slack[row])).collect();
        groups.iter_mut().for_each(|group| drop_dominated(group, &rows));
        let spread = groups.iter().map(|group| cost_spread(group)).fold(0.0, f64::max);
        let unit = if spread > 0.0 { spread } else { 1.0 };
        let slack: Vec<u64> = rows.iter().map(|&row| slack[row]).collect();
        let base = groups.iter().map(|group| cheapest(group)).sum();
        let groups = groups.iter().map(|group| parts(group, &rows, &slack, unit)).collect();
        Some(Self { groups, slack, base, unit })
    }
}

fn least(group: &[(usize, &Item)], row: usize) -> u64 {
    group.iter().map(|(_, item)| item.uses[row]).min().unwrap_or(0)
}

/// Drops items that no choice in the other groups can make room for, and returns the slack of every budget.
fn drop_impossible(groups: &mut [Vec<(usize, &Item)>], limits: &[u64]) -> Option<Vec<u64>> {
    let mut slack = Vec::with_capacity(limits.len());
    let mut changed = true;
    while changed {
        changed = false;
        slack.clear();
        for (row, &limit) in limits.iter().enumerate() {
            let used: u64 = groups.iter().map(|group| least(group, row)).sum();
            let left = limit.checked_sub(used)?;
            slack.push(left);
            for group in groups.iter_mut() {
                let (least, before) = (least(group, row), group.len());
                group.retain(|(_, item)| item.uses[row] - least <= left);
                changed |= group.len() < before;
            }
        }
    }
    groups.iter().all(|group| !group.is_empty()).then_some(slack)
}

fn can_bind(groups: &[Vec<(usize, &Item)>], row: usize, slack: u64) -> bool {
    let most = |group: &Vec<(usize, &Item)>| group.iter().map(|(_, item)| item.uses[row]).max().unwrap_or(0);
    groups.iter().map(|group| most(group) - least(group, row)).sum::<u64>() > slack
}

/// Drops items that cost no less and use no less than another; of equals the first stays.
fn drop_dominated(group: &mut Vec<(usize, &Item)>, rows: &[usize]) {
    let covers = |a: &Item, b: &Item| a.cost <= b.cost && rows.iter().all(|&row| a.uses[row] <= b.uses[row]);
    let all = group.clone();
    let beaten = |at: usize, item: &Item| {
        let mut others = all.iter().enumerate().filter(|(other, _)| *other != at);
        others.any(|(other, (_, by))| covers(by, item) && (other < at || !covers(item, by)))
    };
    let mut at = 0;
    group.retain(|(_, item)| {
        at += 1;
        !beaten(at - 1, item)
    });
}

fn cost_spread(group: &[(usize, &Item)]) -> f64 {
    group.iter().map(|(_, item)| item.cost).fold(f64::NEG_INFINITY, f64::max) - cheapest(group)
}

fn cheapest(group: &[(usize, &Item)]) -> f64 {
    group.iter().map(|(_, item)| item.cost).fold(f64::INFINITY, f64::min)
}

fn parts(group: &[(usize, &Item)], rows: &[usize], slack: &[u64], unit: f64) -> Vec<ScaledItem> {
    let cheapest = cheapest(group);
    let part = |&(index, item): &(usize, &Item)| {
        let exact: Vec<u64> = rows.iter().map(|&row| item.uses[row] - least(group, row)).collect();
        // A budget that can bind leaves something: else only the least use is possible.
        let uses = exact.iter().zip(slack).map(|(&used, &slack)| used as f64 / slack.max(1) as f64).collect();
        ScaledItem { index, cost: (item.cost - cheapest) / unit, uses, exact }
    };
    group.iter().map(part).collect()
}
