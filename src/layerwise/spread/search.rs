//! Ways out of a local optimum: the scale of one group is kicked, then codes and scales settle anew.

use super::Block;
use super::state::State;
use crate::wide::Width;
use std::hint::select_unpredictable as select;

/// What the scale of a group is multiplied by, one factor for each pass over the groups.
const KICKS: [f32; 6] = [0.8, 1.25, 0.9, 1.1, 0.65, 1.5];
/// Kicks times inputs per output channel, which bounds the time.
const EFFORT: usize = 1 << 16;
/// Changes of codes in a row that may pass without a gain.
const DEPTH: usize = 6;
/// Rounds in which codes and scales settle after a kick.
const ROUNDS: usize = 3;
/// A kick must gain this much, relative to the error there is, so that rounding errors are no gain.
const LEAST_GAIN: f64 = 1e-6;
/// Codes that are compared at a time.
const LANES: usize = 16;

impl State<'_> {
    /// Kicks one group after another and keeps what is better once codes and scales have settled (iterated local
    /// search: Lourenço, Martin and Stützle, arXiv math/0102188).
    pub(super) fn search(&mut self) {
        let mut trial = self.clone();
        let blocks = &self.problem.blocks;
        let kicks = KICKS.iter().flat_map(|&factor| blocks.iter().map(move |block| (block, factor)));
        for (block, factor) in kicks.take(EFFORT / self.codes.len()) {
            if !trial.kick(block, factor) {
                continue;
            }
            trial.settle();
            if trial.error < self.error * (1.0 - LEAST_GAIN) {
                self.copy(&trial);
            } else {
                trial.copy(self);
            }
        }
    }

    /// Multiplies the scale of a block, unless the block is zero.
    fn kick(&mut self, block: &Block, factor: f32) -> bool {
        let old = self.scale(block);
        let new = (old * factor).round().clamp(1.0, self.largest);
        if old > 0.0 && new != old {
            self.set_scale(block, new);
        }
        old > 0.0 && new != old
    }

    /// Changes codes, then the scales of their blocks, as long as that helps.
    fn settle(&mut self) {
        let problem = self.problem;
        for _ in 0..ROUNDS {
            let before = self.error;
            let changed = self.change_codes();
            let mut touched: Vec<usize> = changed.iter().map(|&index| problem.block_of[index]).collect();
            touched.sort_unstable();
            touched.dedup();
            for place in touched {
                self.fit_scale(&problem.blocks[place]);
            }
            if self.error >= before * (1.0 - LEAST_GAIN) {
                break;
            }
        }
    }

    /// Changes the code that costs least, then the next, each at most once and even if the error rises; what follows
    /// the least error is undone (variable depth: Kernighan and Lin, Bell System Technical Journal 49, 1970).
    fn change_codes(&mut self) -> Vec<usize> {
        let mut moves: Vec<(usize, f32)> = Vec::new();
        let mut barrier: Vec<f32> =
            self.scales.iter().map(|&scale| if scale == 0.0 { f32::INFINITY } else { 0.0 }).collect();
        let (mut kept, mut least, mut gradient) = (0, self.error, self.gradient.clone());
        while moves.len() < kept + DEPTH {
            let Some(index) = self.cheapest(&barrier) else { break };
            moves.push((index, self.codes[index]));
            self.set_code(index, self.best_change(index));
            barrier[index] = f32::INFINITY;
            if self.error < least * (1.0 - LEAST_GAIN) {
                (kept, least) = (moves.len(), self.error);
                gradient.copy_from_slice(&self.gradient);
            }
        }
        moves[kept..].iter().for_each(|&(index, code)| self.codes[index] = code);
        (self.error, self.gradient) = (least, gradient);
        moves[..kept].iter().map(|&(index, _)| index).collect()
    }

    /// The other code of a weight that adds least to the error.
    fn best_change(&self, index: usize) -> f32 {
        let code = self.codes[index];
        let [first, second] =
            costs(code, self.scales[index], self.gradient[index], self.problem.diagonal[index]);
        let others = if code == 0.0 { [1.0, -1.0] } else { [0.0, -code] };
        others[usize::from(first > second)]
    }

    /// The weight whose best change adds least to the error, once what `barrier` has for it is added.
    fn cheapest(&self, barrier: &[f32]) -> Option<usize> {
        Width::widest().run(
            #[inline(always)]
            || self.cheapest_in_lanes(barrier),
        )
    }

    #[inline(always)]
    fn cheapest_in_lanes(&self, barrier: &[f32]) -> Option<usize> {
        let diagonal = &self.problem.diagonal;
        let (whole, len) = (barrier.len() / LANES * LANES, barrier.len());
        let (mut least, mut at) = ([f32::INFINITY; LANES], [usize::MAX; LANES]);
        for start in (0..whole).step_by(LANES) {
            let codes = &self.codes[start..start + LANES];
            let scales = &self.scales[start..start + LANES];
            let gradient = &self.gradient[start..start + LANES];
            let (diagonal, barrier) = (&diagonal[start..start + LANES], &barrier[start..start + LANES]);
            for lane in 0..LANES {
                let cost = cost(codes[lane], scales[lane], gradient[lane], diagonal[lane]) + barrier[lane];
                at[lane] = select(cost < least[lane], start, at[lane]);
                least[lane] = select(cost < least[lane], cost, least[lane]);
            }
        }
        let mut best = (f32::INFINITY, None);
        let lanes =
            (0..LANES).filter(|&lane| at[lane] != usize::MAX).map(|lane| (least[lane], at[lane] + lane));
        let rest = (whole..len).map(|index| {
            let cost = cost(self.codes[index], self.scales[index], self.gradient[index], diagonal[index]);
            (cost + barrier[index], index)
        });
        for (cost, index) in lanes.chain(rest) {
            if cost < best.0 || cost == best.0 && best.1.is_some_and(|best| index < best) {
                best = (cost, Some(index));
            }
        }
        best.1
    }
}

/// What the best change of one code adds to the error.
#[inline(always)]
fn cost(code: f32, scale: f32, gradient: f32, diagonal: f32) -> f32 {
    let [first, second] = costs(code, scale, gradient, diagonal);
    select(first <= second, first, second)
}

/// What the two other codes add to the error: +1 and −1 instead of zero, else zero and the opposite.
#[inline(always)]
fn costs(code: f32, scale: f32, gradient: f32, diagonal: f32) -> [f32; 2] {
    let slope = gradient * scale;
    let curvature = diagonal * scale * scale;
    let is_zero = code == 0.0;
    let first = select(is_zero, curvature - 2.0 * slope, curvature + 2.0 * slope * code);
    let second = select(is_zero, curvature + 2.0 * slope, 4.0 * (curvature + slope * code));
    [first, second]
}

#[cfg(test)]
mod tests;
