//! The exact solution for many groups at once, one in each lane of wide registers.

use std::hint::select_unpredictable as select;

/// Groups that advance together.
pub(super) const LANES: usize = 16;
/// Lanes whose running sums stay in registers.
const SCANNED: usize = 8;
/// Largest group that lanes are for; longer ones no longer fit the first-level cache.
pub(super) const LARGEST: usize = 256;

/// One magnitude of each group.
type LaneValues = [f32; LANES];

/// The best approximations of [`LANES`] groups; see [`Solution`](super::closed_form::Solution).
#[derive(Debug, Clone, Copy)]
pub(super) struct Solutions {
    /// Real scales.
    pub scales: [f64; LANES],
    /// Smallest magnitudes that keep their sign; infinite if every code is zero.
    pub thresholds: [f64; LANES],
}

/// Magnitudes of [`LANES`] groups of at most `group` weights.
#[derive(Debug)]
pub(super) struct GroupLanes {
    rows: Vec<LaneValues>,
}

impl GroupLanes {
    pub(super) fn new(group: usize) -> Self {
        Self { rows: vec![[0.0; LANES]; group] }
    }

    /// Solves the groups of `weights`, which are finite: runs of `run` weights, cut into groups that are filled up with
    /// zeros. Zeros are never kept, because they add nothing to the sum.
    #[inline(always)]
    pub(super) fn solve_all(&mut self, weights: &[f32], run: usize, mut found: impl FnMut(&Solutions)) {
        let group = self.rows.len();
        if run.is_multiple_of(group) {
            for weights in weights.chunks(group * LANES) {
                self.fill_whole(weights);
                found(&self.solve());
            }
            return;
        }
        let mut groups = weights.chunks(run).flat_map(|run| run.chunks(group)).peekable();
        while groups.peek().is_some() {
            self.fill(groups.by_ref().take(LANES));
            found(&self.solve());
        }
    }

    /// Takes groups without gaps.
    #[inline(always)]
    fn fill_whole(&mut self, weights: &[f32]) {
        match self.rows.as_mut_slice() {
            [a, b, c, d] if weights.len() == 4 * LANES => {
                for (lane, group) in weights.as_chunks::<4>().0.iter().enumerate().take(LANES) {
                    [a[lane], b[lane], c[lane], d[lane]] = group.map(f32::abs);
                }
            }
            rows => {
                let group = rows.len();
                self.fill(weights.chunks(group));
            }
        }
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
        if filled < LANES {
            self.rows.iter_mut().for_each(|row| row[filled..].fill(0.0));
        }
    }

    #[inline(always)]
    fn solve(&mut self) -> Solutions {
        match self.rows.as_mut_slice() {
            // The same network, without loops.
            [a, b, c, d] => {
                order(a, c);
                order(b, d);
                order(a, b);
                order(c, d);
                order(b, c);
            }
            rows => sort(rows),
        }
        self.best()
    }

    /// [`solve`](super::solve) on sorted magnitudes: the same operations in the same order, so the same bits.
    #[inline(always)]
    fn best(&self) -> Solutions {
        let mut found = Solutions { scales: [0.0; LANES], thresholds: [0.0; LANES] };
        for first in (0..LANES).step_by(SCANNED) {
            let scales = &mut found.scales[first..first + SCANNED];
            scan(&self.rows, first, scales, &mut found.thresholds[first..first + SCANNED]);
        }
        found
    }
}

/// Scales and thresholds of [`SCANNED`] lanes from `first` on.
#[inline(always)]
fn scan(rows: &[LaneValues], first: usize, scales: &mut [f64], thresholds: &mut [f64]) {
    let (mut sum, mut gain) = ([0.0f64; SCANNED], [0.0f64; SCANNED]);
    let (mut best, mut best_kept) = ([0.0f64; SCANNED], [1.0f64; SCANNED]);
    let mut threshold = [f64::INFINITY; SCANNED];
    let mut kept = 0.0;
    for row in rows {
        kept += 1.0;
        let row = &row[first..first + SCANNED];
        for lane in 0..SCANNED {
            let magnitude = f64::from(row[lane]);
            sum[lane] += magnitude;
            let with = sum[lane] * sum[lane] / kept;
            let better = with > gain[lane];
            gain[lane] = select(better, with, gain[lane]);
            best[lane] = select(better, sum[lane], best[lane]);
            best_kept[lane] = select(better, kept, best_kept[lane]);
            threshold[lane] = select(better, magnitude, threshold[lane]);
        }
    }
    for lane in 0..SCANNED {
        scales[lane] = best[lane] / best_kept[lane];
        thresholds[lane] = threshold[lane];
    }
}

/// Sorts every lane in descending order: Batcher's merge exchange (Knuth, volume 3, algorithm 5.2.2 M), a network
/// for any number of rows.
#[inline(always)]
fn sort(rows: &mut [LaneValues]) {
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
fn exchange(rows: &mut [LaneValues], part: usize, offset: usize, distance: usize) {
    let count = rows.len().saturating_sub(distance);
    for start in (offset..count).step_by(2 * part) {
        let len = part.min(count - start);
        let (upper, lower) = rows[start..start + distance + len].split_at_mut(distance);
        for (upper, lower) in upper.iter_mut().zip(lower) {
            order(upper, lower);
        }
    }
}

/// The larger of each pair goes up.
#[inline(always)]
fn order(upper: &mut LaneValues, lower: &mut LaneValues) {
    let (x, y) = (*upper, *lower);
    for lane in 0..LANES {
        upper[lane] = select(x[lane] > y[lane], x[lane], y[lane]);
    }
    for lane in 0..LANES {
        lower[lane] = select(y[lane] < x[lane], y[lane], x[lane]);
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
                let mut rows: Vec<LaneValues> = (0..count).map(|i| [(bits >> i & 1) as f32; LANES]).collect();
                sort(&mut rows);
                assert!(rows.is_sorted_by(|a, b| a[0] >= b[0]), "{count} rows, {bits:b}");
            }
        }
    }
}
