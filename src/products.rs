//! Matrix products whose second factor is not copied: its lines are read where they lie, wherever they start.

use crate::wide::{MultiplyAdd, Products, multiply};

/// Lanes of a vector.
pub(crate) const LANES: usize = 16;

/// Values past the end of the last line that spare a product a copy of the ends of all lines.
pub(crate) const SLACK: usize = LANES;

/// A vector.
type ProductLanes = [f32; LANES];

/// Lines of one length in one slice.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Lines<'a> {
    pub data: &'a [f32],
    pub starts: &'a [usize],
}

/// Where lines start that lie one after another.
pub(crate) fn line_starts(lines: usize, length: usize) -> Vec<usize> {
    (0..lines).map(|line| line * length).collect()
}

/// `out[o][q] = Σ_k left[o][k] · right[k][q]` for `q` below `length`.
pub(crate) fn product(left: Lines<'_>, right: Lines<'_>, length: usize, out: &mut [f32]) {
    multiply(LineProduct { left, right, length, out, onto: false });
}

/// The same, added to what `out` holds.
pub(crate) fn add_product(left: Lines<'_>, right: Lines<'_>, length: usize, out: &mut [f32]) {
    multiply(LineProduct { left, right, length, out, onto: true });
}

struct LineProduct<'a> {
    left: Lines<'a>,
    right: Lines<'a>,
    length: usize,
    out: &'a mut [f32],
    /// Whether sums begin with what `out` holds.
    onto: bool,
}

impl Products for LineProduct<'_> {
    #[inline(always)]
    fn run<M: MultiplyAdd, const LINES: usize, const VECTORS: usize>(mut self) {
        let last = self.right.starts.iter().max().copied().unwrap_or(0);
        let fits = last + self.length.next_multiple_of(LANES) <= self.right.data.len();
        let whole = if fits { self.length } else { self.length / LANES * LANES };
        for first in (0..whole).step_by(VECTORS * LANES) {
            match (whole - first).div_ceil(LANES) {
                1 => self.columns::<M, LINES, 1>(self.right, [first; 2]),
                2 => self.columns::<M, LINES, 2>(self.right, [first; 2]),
                _ => self.columns::<M, LINES, VECTORS>(self.right, [first; 2]),
            }
        }
        if whole < self.length {
            let (data, starts) = self.ends(whole);
            self.columns::<M, LINES, 1>(Lines { data: &data, starts: &starts }, [0, whole]);
        }
    }
}

impl LineProduct<'_> {
    /// What lines hold from a column on, each filled up to a vector.
    fn ends(&self, first: usize) -> (Vec<f32>, Vec<usize>) {
        let Lines { data, starts } = self.right;
        let mut ends = vec![0.0; starts.len() * LANES];
        for (end, &start) in ends.chunks_exact_mut(LANES).zip(starts) {
            end[..self.length - first].copy_from_slice(&data[start + first..start + self.length]);
        }
        (ends, (0..starts.len()).map(|line| line * LANES).collect())
    }

    /// Some columns of all lines of results, read at one place and written at another.
    #[inline(always)]
    fn columns<M: MultiplyAdd, const LINES: usize, const V: usize>(
        &mut self,
        right: Lines<'_>,
        places: [usize; 2],
    ) {
        let lines = self.left.starts.len();
        for first in (0..lines).step_by(LINES) {
            match lines - first {
                1 => self.block::<M, 1, V>(right, first, places),
                2..=4 => self.block::<M, 4, V>(right, first, places),
                _ => self.block::<M, LINES, V>(right, first, places),
            }
        }
    }

    #[inline(always)]
    fn block<M: MultiplyAdd, const L: usize, const V: usize>(
        &mut self,
        right: Lines<'_>,
        first: usize,
        [from, to]: [usize; 2],
    ) {
        let Lines { data, starts } = self.left;
        let last = starts.len() - 1;
        let left = std::array::from_fn(|line| &data[starts[last.min(first + line)]..][..right.starts.len()]);
        let (length, lines) = (self.length, L.min(starts.len() - first));
        let columns = (V * LANES).min(length - to);
        let place = |line: usize| (first + line) * length + to;
        let mut sums = [[[0.0; LANES]; V]; L];
        // What is whole goes between registers and results without a place in memory.
        if lines == L && columns == V * LANES {
            if self.onto {
                for (line, sums) in sums.iter_mut().enumerate() {
                    vectors(self.out, place(line)).into_iter().for_each(|held| *sums = *held);
                }
            }
            let sums = weighted::<M, L, V>(left, right, from, sums);
            for (line, sums) in sums.iter().enumerate() {
                vectors(self.out, place(line)).into_iter().for_each(|target| *target = *sums);
            }
            return;
        }
        if self.onto {
            for (line, sums) in sums.iter_mut().enumerate().take(lines) {
                copy(&self.out[place(line)..][..columns], sums.as_flattened_mut());
            }
        }
        let sums = weighted::<M, L, V>(left, right, from, sums);
        for (line, sums) in sums.iter().enumerate().take(lines) {
            copy(sums.as_flattened(), &mut self.out[place(line)..][..columns]);
        }
    }
}

/// So many vectors from a place on.
#[inline(always)]
fn vectors<const V: usize>(values: &mut [f32], first: usize) -> Option<&mut [ProductLanes; V]> {
    values[first..].as_chunks_mut::<LANES>().0.first_chunk_mut()
}

/// As much as both have. Whole vectors need no call.
#[inline(always)]
fn copy(source: &[f32], target: &mut [f32]) {
    let length = source.len().min(target.len());
    let (vectors, rest) = source[..length].as_chunks::<LANES>();
    let (targets, target_rest) = target[..length].as_chunks_mut::<LANES>();
    targets.iter_mut().zip(vectors).for_each(|(target, vector)| *target = *vector);
    target_rest.copy_from_slice(rest);
}

/// Adds weighted lines to sums. In a function of its own, or the compiler keeps the sums in memory.
#[inline(always)]
fn weighted<M: MultiplyAdd, const L: usize, const V: usize>(
    left: [&[f32]; L],
    lines: Lines<'_>,
    from: usize,
    mut sums: [[ProductLanes; V]; L],
) -> [[ProductLanes; V]; L] {
    for (k, &start) in lines.starts.iter().enumerate() {
        let values = lines.data[start + from..][..V * LANES].as_chunks::<LANES>().0;
        for vector in 0..V {
            let values = values[vector];
            for line in 0..L {
                for lane in 0..LANES {
                    let sum = &mut sums[line][vector][lane];
                    *sum = M::multiply_add(left[line][k], values[lane], *sum);
                }
            }
        }
    }
    sums
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::choices::noise;

    #[test]
    fn products_equal_their_definition() {
        let shapes = [(1, 1, 1), (3, 5, 16), (4, 4, 63), (5, 9, 64), (9, 2, 129), (7, 13, 200), (17, 3, 48)];
        for (outputs, depth, length) in shapes {
            for slack in [0, SLACK] {
                let [data, weights] = [(400 + slack, 1), (300, 2)].map(|(length, seed)| noise(length, seed));
                let starts: Vec<usize> = (0..depth).map(|k| k * 37 % (401 - length)).collect();
                let rows: Vec<usize> = (0..outputs).map(|o| o * 29 % (301 - depth)).collect();
                let [left, right] =
                    [(&weights, &rows), (&data, &starts)].map(|(data, starts)| Lines { data, starts });
                let mut out = vec![9.0; outputs * length];
                product(left, right, length, &mut out);
                let sum = |o: usize, q: usize| -> f32 {
                    (0..depth).map(|k| weights[rows[o] + k] * data[starts[k] + q]).sum()
                };
                for (place, found) in out.iter().enumerate() {
                    let expected = sum(place / length, place % length);
                    assert!((found - expected).abs() < 1e-4, "{outputs} {depth} {length} {slack}");
                }
                let once = out.clone();
                add_product(left, right, length, &mut out);
                assert!(out.iter().zip(once).all(|(twice, once)| (twice - 2.0 * once).abs() < 1e-4));
            }
        }
    }
}
