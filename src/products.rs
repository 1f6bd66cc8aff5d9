//! Matrix products whose second factor is not copied: its lines are read where they lie, wherever they start.

use crate::wide::{MultiplyAdd, Products, multiply};

/// Lanes of a vector.
const LANES: usize = 16;

/// Lines of the first factor, and of results, that are taken together.
const LINES: usize = 4;

/// Values that a product may read past the end of a line.
pub(crate) const SLACK: usize = 4 * LANES;

/// `out[o][q] = Σ_k weights[o][k] · data[starts[k] + q]` for `q` below `length`.
///
/// `data` must go on for [`SLACK`] values after the last line.
pub(crate) fn product(weights: &[f32], starts: &[usize], data: &[f32], length: usize, out: &mut [f32]) {
    if weights.len() == starts.len() {
        let weights = weights.as_chunks::<1>().0;
        return multiply(ProductPanel { weights, starts, data, length, out });
    }
    let depth = starts.len().max(1);
    let mut panel: Vec<[f32; LINES]> = Vec::with_capacity(depth);
    let outputs = weights.chunks(LINES * depth).zip(out.chunks_mut(LINES * length.max(1)));
    for (weights, out) in outputs {
        panel.clear();
        let lines = weights.len() / depth;
        panel
            .extend((0..depth).map(|k| std::array::from_fn(|line| weights[line.min(lines - 1) * depth + k])));
        multiply(ProductPanel { weights: &panel, starts, data, length, out });
    }
}

/// Some lines of a product.
struct ProductPanel<'a, const L: usize> {
    weights: &'a [[f32; L]],
    starts: &'a [usize],
    data: &'a [f32],
    length: usize,
    out: &'a mut [f32],
}

impl<const L: usize> Products for ProductPanel<'_, L> {
    #[inline(always)]
    fn run<M: MultiplyAdd, const VECTORS: usize>(self) {
        let step = LANES * VECTORS;
        for first in (0..self.length).step_by(step) {
            let sums = self.block::<M, VECTORS>(first);
            let columns = step.min(self.length - first);
            for (out, sums) in self.out.chunks_exact_mut(self.length).zip(&sums) {
                out[first..][..columns].copy_from_slice(&sums.as_flattened()[..columns]);
            }
        }
    }
}

impl<const L: usize> ProductPanel<'_, L> {
    #[inline(always)]
    fn block<M: MultiplyAdd, const VECTORS: usize>(&self, first: usize) -> [[[f32; LANES]; VECTORS]; L] {
        let mut sums = [[[0.0; LANES]; VECTORS]; L];
        for (weights, &start) in self.weights.iter().zip(self.starts) {
            let (values, _) = self.data[start + first..][..LANES * VECTORS].as_chunks::<LANES>();
            for vector in 0..VECTORS {
                let values = values[vector];
                for line in 0..L {
                    for lane in 0..LANES {
                        let sum = &mut sums[line][vector][lane];
                        *sum = M::multiply_add(weights[line], values[lane], *sum);
                    }
                }
            }
        }
        sums
    }
}

/// Lines of one length in one slice.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Lines<'a> {
    pub data: &'a [f32],
    pub starts: &'a [usize],
}

/// Adds `Σ_q left[o][q] · right[k][q]` for `q` below `length` to `sums[o][k]`.
pub(crate) fn add_dots(left: Lines<'_>, right: Lines<'_>, length: usize, sums: &mut [f32]) {
    multiply(Dots { left, right, length, sums });
}

struct Dots<'a> {
    left: Lines<'a>,
    right: Lines<'a>,
    length: usize,
    sums: &'a mut [f32],
}

impl Products for Dots<'_> {
    #[inline(always)]
    fn run<M: MultiplyAdd, const VECTORS: usize>(self) {
        match self.left.starts.len() {
            1 => self.in_blocks::<M, 1>(),
            _ => self.in_blocks::<M, LINES>(),
        }
    }
}

/// So many from `first` on, the last of all repeated.
#[inline(always)]
fn some_of<const L: usize>(starts: &[usize], first: usize) -> [usize; L] {
    std::array::from_fn(|line| starts[(first + line).min(starts.len() - 1)])
}

impl<'a> Dots<'a> {
    #[inline(always)]
    fn in_blocks<M: MultiplyAdd, const L: usize>(self) {
        let depth = self.right.starts.len();
        for first in (0..self.left.starts.len()).step_by(L) {
            let left = some_of::<L>(self.left.starts, first);
            for second in (0..depth).step_by(LINES) {
                let dots = self.block::<M, L>(left, some_of(self.right.starts, second));
                for (line, dots) in dots.iter().enumerate().take(self.left.starts.len() - first) {
                    let sums = &mut self.sums[(first + line) * depth + second..];
                    sums.iter_mut().take(depth - second).zip(dots).for_each(|(sum, dot)| *sum += dot);
                }
            }
        }
    }

    #[inline(always)]
    fn block<M: MultiplyAdd, const L: usize>(
        &self,
        left: [usize; L],
        right: [usize; LINES],
    ) -> [[f32; LINES]; L] {
        let whole = self.length / LANES * LANES;
        let vectors = |data: &'a [f32], start: usize| data[start..][..whole].as_chunks().0;
        let lefts = left.map(|start| vectors(self.left.data, start));
        let sums = sums::<M, L>(lefts, right.map(|start| vectors(self.right.data, start)), whole / LANES);
        let rest = |data: &'a [f32], start: usize| &data[start..][whole..self.length];
        std::array::from_fn(|line| {
            std::array::from_fn(|column| {
                let pairs = rest(self.left.data, left[line]).iter().zip(rest(self.right.data, right[column]));
                total(sums[line][column]) + pairs.map(|(a, b)| a * b).sum::<f32>()
            })
        })
    }
}

/// The products of every pair, summed lane by lane. In a function of its own, or the compiler keeps the sums in memory.
#[inline(always)]
fn sums<M: MultiplyAdd, const L: usize>(
    lefts: [&[[f32; LANES]]; L],
    rights: [&[[f32; LANES]]; LINES],
    vectors: usize,
) -> [[[f32; LANES]; LINES]; L] {
    let mut sums = [[[0.0; LANES]; LINES]; L];
    for place in 0..vectors {
        for column in 0..LINES {
            let b = rights[column][place];
            for line in 0..L {
                let a = lefts[line][place];
                for lane in 0..LANES {
                    let sum = &mut sums[line][column][lane];
                    *sum = M::multiply_add(a[lane], b[lane], *sum);
                }
            }
        }
    }
    sums
}

#[inline(always)]
fn total(mut lanes: [f32; LANES]) -> f32 {
    for half in [8, 4, 2, 1] {
        for lane in 0..half {
            lanes[lane] += lanes[lane + half];
        }
    }
    lanes[0]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::choices::noise;

    fn close(found: &[f32], expected: &[f32]) -> bool {
        found.len() == expected.len() && found.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-4)
    }

    #[test]
    fn products_and_dots_equal_their_definition() {
        for (outputs, depth, length) in
            [(1, 1, 1), (3, 5, 16), (4, 4, 63), (5, 9, 64), (9, 2, 129), (7, 13, 200)]
        {
            let data = noise(400 + SLACK, 1);
            let starts: Vec<usize> = (0..depth).map(|k| k * 37 % (400 - length)).collect();
            let weights = noise(outputs * depth, 2);
            let mut out = vec![9.0; outputs * length];
            product(&weights, &starts, &data, length, &mut out);
            let sum = |o: usize, q: usize| -> f32 {
                (0..depth).map(|k| weights[o * depth + k] * data[starts[k] + q]).sum()
            };
            let expected: Vec<f32> =
                (0..outputs).flat_map(|o| (0..length).map(move |q| (o, q))).map(|(o, q)| sum(o, q)).collect();
            assert!(close(&out, &expected), "{outputs} {depth} {length}");
            let other = noise(outputs * length, 3);
            let left: Vec<usize> = (0..outputs).map(|o| o * length).collect();
            let mut sums = vec![0.5; outputs * depth];
            let lines = Lines { data: &other, starts: &left };
            add_dots(lines, Lines { data: &data, starts: &starts }, length, &mut sums);
            let dot = |o: usize, k: usize| -> f32 {
                (0..length).map(|q| other[o * length + q] * data[starts[k] + q]).sum()
            };
            let expected: Vec<f32> = (0..outputs)
                .flat_map(|o| (0..depth).map(move |k| (o, k)))
                .map(|(o, k)| 0.5 + dot(o, k))
                .collect();
            assert!(close(&sums, &expected), "{outputs} {depth} {length}");
        }
    }
}
