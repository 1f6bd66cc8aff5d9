//! Which channels share groups.

use crate::graph::Conv;
use crate::wide::Width;
use std::hint::select_unpredictable as select;
use std::ops::Range;

/// Rows that advance together.
const LANES: usize = 16;
/// Rounds in which a row's scale and the weights that it keeps find each other.
const ROUNDS: usize = 3;
/// Magnitudes looked at per order at most, which bounds the time.
const EFFORT: usize = 1 << 30;
/// A change must gain this much of all energy, so that rounding errors are no gain.
const LEAST_GAIN: f64 = 1e-9;

/// Channels as one ternary layer reads them.
#[derive(Debug)]
pub(super) struct View {
    /// Group size.
    group: usize,
    /// The layer's input that is the first of these channels.
    first: usize,
    /// Magnitudes of the weights that read a channel, relative to all weights of their output: one for each output and
    /// tap, channel by channel.
    magnitudes: Vec<[f32; LANES]>,
    /// Items of `magnitudes` per channel.
    blocks: usize,
}

impl View {
    pub(super) fn new(conv: &Conv, first: usize, channels: usize, group: usize) -> Self {
        let (outputs, _, height, width) = conv.weight.dim();
        let rows = outputs * height * width;
        let blocks = rows.div_ceil(LANES);
        let mut magnitudes = vec![[0.0; LANES]; channels * blocks];
        for (output, weights) in conv.weight.outer_iter().enumerate() {
            let energy: f64 = weights.iter().map(|&weight| f64::from(weight).powi(2)).sum();
            let factor = if energy > 0.0 { energy.sqrt().recip() } else { 0.0 };
            for channel in 0..channels {
                for (tap, &weight) in weights.index_axis(ndarray::Axis(0), first + channel).iter().enumerate()
                {
                    let row = output * height * width + tap;
                    magnitudes[channel * blocks + row / LANES][row % LANES] =
                        (f64::from(weight).abs() * factor) as f32;
                }
            }
        }
        Self { group, first, magnitudes, blocks }
    }

    /// The group of a place.
    fn group_of(&self, place: usize) -> usize {
        (self.first + place) / self.group - self.first / self.group
    }

    /// The places of a group, as far as they are in the axis.
    fn places(&self, group: usize, channels: usize) -> Range<usize> {
        let start = (self.first / self.group + group) * self.group;
        start.saturating_sub(self.first)..(start + self.group - self.first).min(channels)
    }

    /// The energy that ternary values can take up if these channels share a scale per row: the sum of squares less the
    /// least error, nearly. From the mean of all magnitudes on, those above half the scale are kept, and their mean is
    /// the next scale.
    fn captured(&self, channels: &[usize]) -> f64 {
        Width::widest().run(
            #[inline(always)]
            || self.captured_in_lanes(channels),
        )
    }

    #[inline(always)]
    fn captured_in_lanes(&self, channels: &[usize]) -> f64 {
        let mut total = [0.0; LANES];
        for block in 0..self.blocks {
            let mut threshold = [-1.0; LANES];
            let mut energy = [0.0; LANES];
            for _ in 0..=ROUNDS {
                let (mut sum, mut count) = ([0f32; LANES], [0f32; LANES]);
                for &channel in channels {
                    let magnitudes = &self.magnitudes[channel * self.blocks + block];
                    for lane in 0..LANES {
                        let kept = magnitudes[lane] > threshold[lane];
                        sum[lane] += select(kept, magnitudes[lane], 0.0);
                        count[lane] += select(kept, 1.0, 0.0);
                    }
                }
                for lane in 0..LANES {
                    let mean = sum[lane] / count[lane].max(1.0);
                    energy[lane] = mean * sum[lane];
                    threshold[lane] = 0.5 * mean;
                }
            }
            for lane in 0..LANES {
                total[lane] += f64::from(energy[lane]);
            }
        }
        total.iter().sum()
    }
}

/// The channel for every place: two change places as long as ternary values take up more energy of all layers together.
pub(super) fn grouped(views: &[View], channels: usize) -> Vec<usize> {
    let mut search = GroupingSearch::new(views, channels);
    while search.effort < EFFORT && search.pass() {}
    search.order
}

struct GroupingSearch<'a> {
    views: &'a [View],
    order: Vec<usize>,
    /// What each group of each view takes up.
    captured: Vec<Vec<f64>>,
    least_gain: f64,
    effort: usize,
}

impl<'a> GroupingSearch<'a> {
    fn new(views: &'a [View], channels: usize) -> Self {
        let order: Vec<usize> = (0..channels).collect();
        let of_view = |view: &View| -> Vec<f64> {
            let groups = (0..=view.group_of(channels.max(1) - 1)).map(|group| view.places(group, channels));
            groups.map(|places| view.captured(&order[places])).collect()
        };
        let captured: Vec<Vec<f64>> = views.iter().map(of_view).collect();
        let least_gain = LEAST_GAIN * captured.iter().flatten().sum::<f64>();
        Self { views, order, captured, least_gain, effort: 0 }
    }

    /// Tries all pairs, near ones first; whether one changed places.
    fn pass(&mut self) -> bool {
        let mut changed = false;
        for distance in 1..self.order.len() {
            for place in 0..self.order.len() - distance {
                if self.effort >= EFFORT {
                    return changed;
                }
                changed |= self.swap(place, place + distance);
            }
        }
        changed
    }

    /// Lets two channels change places if that is better.
    fn swap(&mut self, a: usize, b: usize) -> bool {
        self.order.swap(a, b);
        let mut gain = 0.0;
        let mut now = Vec::new();
        for (index, view) in self.views.iter().enumerate() {
            let groups = [view.group_of(a), view.group_of(b)];
            for group in groups.into_iter().filter(|_| groups[0] != groups[1]) {
                let channels = &self.order[view.places(group, self.order.len())];
                let captured = view.captured(channels);
                self.effort += view.blocks * LANES * channels.len();
                gain += captured - self.captured[index][group];
                now.push((index, group, captured));
            }
        }
        if gain <= self.least_gain {
            self.order.swap(a, b);
            return false;
        }
        now.into_iter().for_each(|(index, group, captured)| self.captured[index][group] = captured);
        true
    }
}

#[cfg(test)]
mod tests;
