//! The exact solution for many groups at once, one in each lane of wide registers.

use super::closed_form::Solution;

/// Groups that advance together.
pub(super) const LANES: usize = 16;
/// Lanes whose running sums stay in registers.
const SCANNED: usize = 8;
/// Largest group that lanes are for; longer ones no longer fit the first-level cache.
pub(super) const LARGEST: usize = 256;

/// One magnitude of each group.
type Row = [f32; LANES];

/// Magnitudes of [`LANES`] groups of at most `group` weights.
#[derive(Debug)]
pub(super) struct Tile {
    rows: Vec<Row>,
}

impl Tile {
    pub(super) fn new(group: usize) -> Self {
        Self { rows: vec![[0.0; LANES]; group] }
    }

    /// Solves up to [`LANES`] groups of finite weights; the solutions of surplus lanes are those of zeros.
    ///
    /// A short group is filled up with zeros, which are never kept: they add nothing to the sum.
    #[inline(always)]
    pub(super) fn solve<'a>(&mut self, groups: impl Iterator<Item = &'a [f32]>) -> [Solution; LANES] {
        self.fill(groups);
        sort(&mut self.rows);
        self.best()
    }

    #[inline(always)]
    fn fill<'a>(&mut self, groups: impl Iterator<Item = &'a [f32]>) {
        let mut filled = 0;
        for (lane, group) in groups.take(LANES).enumerate() {
            let len = group.len().min(self.rows.len());
            let (own, surplus) = self.rows.split_at_mut(len);
            own.iter_mut().zip(group).for_each(|(row, weight)| row[lane] = weight.abs());
            surplus.iter_mut().for_each(|row| row[lane] = 0.0);
            filled = lane + 1;
        }
        self.rows.iter_mut().for_each(|row| row[filled..].fill(0.0));
    }

    /// [`solve`](super::solve) on sorted magnitudes: the same operations in the same order, so the same bits.
    #[inline(always)]
    fn best(&self) -> [Solution; LANES] {
        let mut found = [Solution { scale: 0.0, threshold: f64::INFINITY }; LANES];
        for first in (0..LANES).step_by(SCANNED) {
            for (lane, (sum, kept)) in (first..).zip(self.scan(first)) {
                let last = (kept as usize).checked_sub(1).and_then(|last| self.rows.get(last));
                if let Some(row) = last {
                    found[lane] = Solution { scale: sum / kept, threshold: f64::from(row[lane]) };
                }
            }
        }
        found
    }

    /// The sum and number of magnitudes to keep, for [`SCANNED`] lanes.
    #[inline(always)]
    fn scan(&self, first: usize) -> [(f64, f64); SCANNED] {
        let (mut sum, mut gain) = ([0.0f64; SCANNED], [0.0f64; SCANNED]);
        let (mut best, mut best_kept) = ([0.0f64; SCANNED], [0.0f64; SCANNED]);
        let mut kept = 0.0;
        for row in &self.rows {
            kept += 1.0;
            let row = &row[first..first + SCANNED];
            for lane in 0..SCANNED {
                sum[lane] += f64::from(row[lane]);
                let with = sum[lane] * sum[lane] / kept;
                let better = with > gain[lane];
                gain[lane] = if better { with } else { gain[lane] };
                best[lane] = if better { sum[lane] } else { best[lane] };
                best_kept[lane] = if better { kept } else { best_kept[lane] };
            }
        }
        std::array::from_fn(|lane| (best[lane], best_kept[lane]))
    }
}

/// Sorts every lane in descending order: Batcher's merge exchange (Knuth, volume 3, algorithm 5.2.2 M), a network
/// for any number of rows.
#[inline(always)]
fn sort(rows: &mut [Row]) {
    let top = rows.len().next_power_of_two() / 2;
    let mut part = top;
    while part > 0 {
        exchange(rows, part, 0, part);
        let mut span = top;
        while span > part {
            exchange(rows, part, part, span - part);
            span /= 2;
        }
        part /= 2;
    }
}

/// Brings rows `i` and `i + distance` in order, for every `i` with `i & part == offset`.
#[inline(always)]
fn exchange(rows: &mut [Row], part: usize, offset: usize, distance: usize) {
    let count = rows.len().saturating_sub(distance);
    for start in (offset..count).step_by(2 * part) {
        let len = part.min(count - start);
        let (upper, lower) = rows[start..start + distance + len].split_at_mut(distance);
        upper.iter_mut().zip(lower).for_each(|(upper, lower)| order(upper, lower));
    }
}

/// The larger of each pair goes up. Two loops of one choice each become two instructions.
#[inline(always)]
fn order(upper: &mut Row, lower: &mut Row) {
    let (x, y) = (*upper, *lower);
    for lane in 0..LANES {
        upper[lane] = if x[lane] > y[lane] { x[lane] } else { y[lane] };
    }
    for lane in 0..LANES {
        lower[lane] = if y[lane] < x[lane] { y[lane] } else { x[lane] };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A network that sorts all rows of zeros and ones sorts everything.
    #[test]
    fn every_length_is_sorted() {
        for count in 0..=12usize {
            for bits in 0..1usize << count {
                let mut rows: Vec<Row> = (0..count).map(|i| [(bits >> i & 1) as f32; LANES]).collect();
                sort(&mut rows);
                assert!(rows.is_sorted_by(|a, b| a[0] >= b[0]), "{count} rows, {bits:b}");
            }
        }
    }
}
