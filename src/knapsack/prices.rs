//! The best prices of the budgets.
//!
//! With prices `λ ≥ 0` the groups are independent: `L(λ) = Σ_g min_i (c_gi + λ·u_gi) − Σ_r λ_r` is a lower bound of
//! every choice within the budgets. Its maximum is the linear program's optimum, found by column generation: a
//! column is a whole choice, a row a budget, and one more row makes the columns' weights sum to 1.

use super::reduce::ScaledItem;
use super::set::PlaceSet;

/// Smallest pivot, and smallest reduced cost that is not zero.
const EPSILON: f64 = 1e-10;
/// Most columns generated for one node.
const MAX_COLUMNS: usize = 300;

/// The items of every group that are still possible.
pub(super) type Alive = Vec<PlaceSet>;

/// A whole choice: the place of an item in every group.
#[derive(Debug, Clone)]
struct MasterColumn {
    /// Empty where nothing is chosen: for slack, and for the way out of a problem without solution.
    places: Vec<u8>,
    /// 1, then the use of every budget.
    entries: Vec<f64>,
    cost: f64,
}

/// A basis of the linear program: as many columns as there are rows.
#[derive(Debug, Clone)]
pub(super) struct Master {
    basis: Vec<MasterColumn>,
    inverse: Vec<Vec<f64>>,
}

/// The best bound and what it was found with.
#[derive(Debug, Clone)]
pub(super) struct Bound {
    pub value: f64,
    pub prices: Vec<f64>,
}

impl Master {
    /// The basis without choices: not choosing at all costs `without`, more than any choice.
    pub fn new(rows: usize, without: f64) -> Self {
        let unit = |row: usize| (0..=rows).map(|at| f64::from(u8::from(at == row))).collect::<Vec<f64>>();
        let column = |row: usize| MasterColumn {
            places: Vec::new(),
            entries: unit(row),
            cost: if row == 0 { without } else { 0.0 },
        };
        Self { basis: (0..=rows).map(column).collect(), inverse: (0..=rows).map(unit).collect() }
    }

    /// Choices of the basis that `alive` no longer allows cost as much as not choosing.
    pub fn restrict(&mut self, alive: &Alive, without: f64) {
        for column in self.basis.iter_mut().filter(|column| !column.places.is_empty()) {
            if !column.places.iter().zip(alive).all(|(&place, alive)| alive.contains(place)) {
                column.cost = without;
            }
        }
    }

    /// The choices of the basis and their weights.
    pub fn choices(&self) -> impl Iterator<Item = (f64, &[u8])> {
        let weighted = self.inverse.iter().zip(&self.basis).filter(|(_, column)| !column.places.is_empty());
        weighted.map(|(row, column)| (row.iter().sum(), column.places.as_slice()))
    }

    /// Raises the bound until it reaches `enough` or is the best possible; `see` is shown every choice on the way.
    pub fn raise(
        &mut self,
        groups: &[Vec<ScaledItem>],
        alive: &Alive,
        enough: f64,
        mut see: impl FnMut(&[u8], f64),
    ) -> Bound {
        let rows = self.basis.len() - 1;
        let mut best = Bound { value: f64::NEG_INFINITY, prices: vec![0.0; rows] };
        for _ in 0..MAX_COLUMNS {
            let duals = self.duals();
            let prices: Vec<f64> = duals[1..].iter().map(|dual| (-dual).max(0.0)).collect();
            if let Some(row) = (1..=rows).find(|&row| duals[row] > EPSILON) {
                self.enter(slack(row, rows));
                continue;
            }
            let (column, priced) = cheapest(groups, alive, &prices);
            see(&column.places, column.cost);
            let value = priced - prices.iter().sum::<f64>();
            let reduced = priced - duals[0];
            if value > best.value {
                best = Bound { value, prices };
            }
            if best.value >= enough || reduced >= -EPSILON || !self.enter(column) {
                break;
            }
        }
        best
    }

    fn duals(&self) -> Vec<f64> {
        let column = |at: usize| self.basis.iter().zip(&self.inverse).map(|(c, row)| c.cost * row[at]).sum();
        (0..self.basis.len()).map(column).collect()
    }

    /// Exchanges a column of the basis for `column`; `false` if none can leave.
    fn enter(&mut self, column: MasterColumn) -> bool {
        let dot = |row: &Vec<f64>| row.iter().zip(&column.entries).map(|(a, b)| a * b).sum::<f64>();
        let steps: Vec<f64> = self.inverse.iter().map(dot).collect();
        let weight = |row: usize| self.inverse[row].iter().sum::<f64>().max(0.0);
        let rows = (0..steps.len()).filter(|&row| steps[row] > EPSILON);
        let ratio = |row: usize| weight(row) / steps[row];
        let Some(leaving) = rows.min_by(|&a, &b| ratio(a).total_cmp(&ratio(b))) else { return false };
        let pivot: Vec<f64> = self.inverse[leaving].iter().map(|value| value / steps[leaving]).collect();
        for (row, values) in self.inverse.iter_mut().enumerate().filter(|(row, _)| *row != leaving) {
            values.iter_mut().zip(&pivot).for_each(|(value, pivot)| *value -= steps[row] * pivot);
        }
        self.inverse[leaving] = pivot;
        self.basis[leaving] = column;
        true
    }
}

fn slack(row: usize, rows: usize) -> MasterColumn {
    let entries = (0..=rows).map(|at| f64::from(u8::from(at == row))).collect();
    MasterColumn { places: Vec::new(), entries, cost: 0.0 }
}

/// What an item costs at these prices.
pub(super) fn priced(part: &ScaledItem, prices: &[f64]) -> f64 {
    part.cost + part.uses.iter().zip(prices).map(|(used, price)| used * price).sum::<f64>()
}

/// The choice that is cheapest at these prices, and what it costs.
fn cheapest(groups: &[Vec<ScaledItem>], alive: &Alive, prices: &[f64]) -> (MasterColumn, f64) {
    let mut column = MasterColumn {
        places: Vec::with_capacity(groups.len()),
        entries: vec![0.0; prices.len() + 1],
        cost: 0.0,
    };
    column.entries[0] = 1.0;
    let mut total = 0.0;
    for (group, alive) in groups.iter().zip(alive) {
        let (mut place, mut least) = (0, f64::INFINITY);
        for candidate in alive.places() {
            let cost = priced(&group[usize::from(candidate)], prices);
            if cost < least {
                (place, least) = (candidate, cost);
            }
        }
        let part = &group[usize::from(place)];
        total += least;
        column.cost += part.cost;
        column.entries[1..].iter_mut().zip(&part.uses).for_each(|(sum, used)| *sum += used);
        column.places.push(place);
    }
    (column, total)
}
