//! Weights behind planes of codes of which the first ones serve alone: one real number for every weight, rounded plane
//! after plane.

use super::weights::start_interval;
use crate::precision::{Arrangement, Precision};
use crate::quantize::{QuantizedConv, Weights};
use std::ops::Range;

/// Where a ternary level ends beyond which there is none, in steps.
const BEYOND: f32 = 1.5;

/// The weights of a convolution with ternary planes, in training. A plane rounds what the planes before it leave of the
/// latent weight, so that a code that changes is made up for by the planes after it. Codes are fitted by other means;
/// offsets that stay let rounding start at them.
#[derive(Debug, Clone)]
pub(in crate::train) struct PlaneQuantizer {
    /// With all planes.
    precision: Precision,
    arrangement: Arrangement,
    /// The largest scale in each plane.
    most: Vec<u8>,
    /// In weight steps, in storage order.
    pub latent: Vec<f32>,
    /// What is added to what a plane rounds, plane after plane.
    offsets: Vec<f32>,
    /// Scales of groups before rounding, in the order of [`Weights::scales`].
    pub scales: Vec<f32>,
    /// Real value of one weight step, per output channel.
    factors: Vec<f32>,
}

impl PlaneQuantizer {
    /// Starts at a fitted convolution's codes and, as far as they allow, at trained weights (in storage order, in units of
    /// the real weights).
    pub(in crate::train) fn new(conv: &QuantizedConv, trained: &[f32]) -> Self {
        let arrangement = conv.arrangement();
        let Weights { precision, levels, scales } = &conv.weights;
        let factors: Vec<f32> = conv.factors.iter().map(|&factor| factor as f32).collect();
        let in_steps = |(channel, factor): (&[f32], &f32)| -> Vec<f32> {
            let inverse = if *factor == 0.0 { 0.0 } else { 1.0 / factor };
            channel.iter().map(|weight| weight * inverse).collect()
        };
        let channels = trained.chunks_exact(arrangement.channel_len().max(1)).zip(&factors);
        let mut own = Self {
            precision: *precision,
            arrangement,
            most: precision.plane_scales(),
            latent: channels.flat_map(in_steps).collect(),
            offsets: vec![0.0; levels.len()],
            scales: scales.iter().map(|&scale| f32::from(scale)).collect(),
            factors,
        };
        own.start_at(levels);
        own
    }

    fn start_at(&mut self, levels: &[i8]) {
        let mut left = self.latent.clone();
        for plane in 0..self.precision.planes() {
            let mut offsets = vec![0.0; left.len()];
            self.each_group(plane, |scale, weights| {
                for (place, offset) in weights.clone().zip(&mut offsets[weights]) {
                    let level = f32::from(levels[plane * left.len() + place]);
                    let [low, high] = start_interval(level, 1.0);
                    *offset = left[place].clamp(scale * low, scale * high) - left[place];
                    left[place] -= scale * level;
                }
            });
            self.offsets[plane * left.len()..][..left.len()].copy_from_slice(&offsets);
        }
    }

    /// Calls `visit` with the rounded scale and the weights of every group of a plane.
    fn each_group(&self, plane: usize, mut visit: impl FnMut(f32, Range<usize>)) {
        let groups = self.arrangement.outputs * self.arrangement.channel_groups(self.precision);
        let most = f32::from(self.most[plane]);
        self.arrangement.groups(self.precision, 0..self.arrangement.outputs, |group, weights| {
            visit(self.scales[plane * groups + group].round().clamp(0.0, most), weights);
        });
    }

    /// The levels of a plane, given what the planes before it leave, of which it takes its part.
    fn round(&self, plane: usize, left: &mut [f32]) -> Vec<f32> {
        let offsets = &self.offsets[plane * left.len()..][..left.len()];
        let mut levels = vec![0.0; left.len()];
        self.each_group(plane, |scale, weights| {
            let inverse = if scale == 0.0 { 0.0 } else { 1.0 / scale };
            for place in weights {
                let level = ((left[place] + offsets[place]) * inverse).round_ties_even().clamp(-1.0, 1.0);
                levels[place] = level;
                left[place] -= scale * level;
            }
        });
        levels
    }

    /// The codes and scales of the first planes, as they would be packed.
    pub(in crate::train) fn weights(&self, planes: usize) -> Weights {
        let mut left = self.latent.clone();
        let (mut levels, mut scales) = (Vec::new(), Vec::new());
        for plane in 0..planes {
            levels.extend(self.round(plane, &mut left).into_iter().map(|level| level as i8));
            let groups = self.scales.len() / self.precision.planes();
            let most = f32::from(self.most[plane]);
            let own = &self.scales[plane * groups..][..groups];
            scales.extend(own.iter().map(|scale| scale.round().clamp(0.0, most) as u8));
        }
        Weights { precision: self.precision.with_planes(planes as u8), levels, scales }
    }

    /// The real weights of the first planes in storage order, without gains.
    pub(in crate::train) fn expand(&self, planes: usize) -> Vec<f32> {
        let mut left = self.latent.clone();
        (0..planes).for_each(|plane| {
            self.round(plane, &mut left);
        });
        let taken = self.latent.iter().zip(left).map(|(whole, left)| whole - left);
        taken.enumerate().map(|(place, taken)| self.factor(place) * taken.round()).collect()
    }

    fn factor(&self, place: usize) -> f32 {
        self.factors[place / self.arrangement.channel_len()]
    }

    /// What a change of one means, by weight: the first plane's distance between levels.
    pub(in crate::train) fn units(&self) -> Vec<f32> {
        let mut units = vec![1.0; self.latent.len()];
        self.each_group(0, |scale, weights| units[weights].fill(scale.max(1.0)));
        units
    }

    /// Gradients of latent weights and of scales, given those of the real weights of the first planes in storage order:
    /// what a plane leaves the next one rounds, so that a latent weight moves their sum as if there were no rounding
    /// (Bengio et al., arXiv 1308.3432), but not beyond the last plane's outermost levels; of the scales the last plane's
    /// alone moves it (Esser et al., arXiv 1902.08153, equation 3).
    pub(in crate::train) fn backward(&self, planes: usize, gradient: &[f32]) -> [Vec<f32>; 2] {
        let mut left = self.latent.clone();
        (0..planes - 1).for_each(|plane| {
            self.round(plane, &mut left);
        });
        let last = planes - 1;
        let read: Vec<f32> =
            left.iter().zip(&self.offsets[last * left.len()..]).map(|(l, o)| l + o).collect();
        let levels = self.round(last, &mut left);
        let (mut latent, mut scales) = (vec![0.0; left.len()], vec![0.0; self.scales.len()]);
        let mut group = last * self.scales.len() / self.precision.planes();
        self.each_group(last, |scale, weights| {
            let mut sum = 0.0;
            for place in weights {
                let dw = gradient[place] * self.factor(place);
                if scale == 0.0 {
                    continue;
                }
                let steps = read[place] / scale;
                let is_inside = steps.abs() <= BEYOND;
                sum += dw * (if is_inside { levels[place] - steps } else { levels[place] });
                latent[place] = if is_inside || dw * steps > 0.0 { dw } else { 0.0 };
            }
            scales[group] = sum;
            group += 1;
        });
        [latent, scales]
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::conv;
    use super::*;
    use crate::choices::noise;

    fn each(mut visit: impl FnMut(&QuantizedConv, PlaneQuantizer)) {
        for (seed, precision) in
            ["ternary:4*2", "ternary:64/4*2", "ternary:4*3", "ternary:64*3"].iter().enumerate()
        {
            let trained = noise(120, seed as u64);
            let conv = conv(precision.parse().unwrap(), &trained);
            // Trained weights that the codes are nearest to, and others.
            let other = noise(120, seed as u64 + 50);
            for trained in [&trained, &other] {
                visit(&conv, PlaneQuantizer::new(&conv, trained));
            }
        }
    }

    #[test]
    fn every_number_of_planes_starts_at_the_codes() {
        each(|conv, quantizer| {
            let Weights { precision, levels, scales } = &conv.weights;
            for planes in 1..=precision.planes() {
                let found = quantizer.weights(planes);
                assert_eq!(found.precision, precision.with_planes(planes as u8));
                assert_eq!(found.levels, levels[..planes * 120]);
                assert_eq!(found.scales, scales[..planes * scales.len() / precision.planes()]);
                let conv = QuantizedConv { weights: found, ..conv.clone() };
                let real = conv.expand();
                let channels = real.chunks_exact(40).zip(&conv.factors);
                let expected = channels.flat_map(|(channel, factor)| {
                    channel.iter().map(move |&w| *factor as f32 * f32::from(w))
                });
                assert_eq!(quantizer.expand(planes), expected.collect::<Vec<_>>(), "{precision}");
            }
        });
    }

    /// Whatever a plane rounds to, the planes after it make up for it: sums follow latent weights within half a step of
    /// the last plane, and gradients say so.
    #[test]
    fn sums_follow_latent_weights() {
        each(|conv, quantizer| {
            let planes = conv.weights.precision.planes();
            let mut moved = quantizer.clone();
            let by: Vec<f32> = noise(120, 9).iter().map(|by| 3.0 * by).collect();
            moved.latent.iter_mut().zip(&by).for_each(|(latent, by)| *latent += by);
            let [latent, _] = moved.backward(planes, &[1.0; 120]);
            let [before, after] = [&quantizer, &moved].map(|quantizer| quantizer.expand(planes));
            let [inside_before, _] = quantizer.backward(planes, &[1.0; 120]);
            let mut followed = 0;
            let last = planes - 1;
            let mut steps = vec![0.0; 120];
            quantizer.each_group(last, |scale, weights| steps[weights].fill(scale));
            for place in 0..120 {
                let factor = quantizer.factor(place);
                let reads = |of: &PlaneQuantizer| {
                    let mut left = of.latent.clone();
                    (0..last).for_each(|plane| {
                        of.round(plane, &mut left);
                    });
                    left[place] + of.offsets[last * 120 + place]
                };
                let inside = [&quantizer, &moved].iter().all(|of| reads(of).abs() <= BEYOND * steps[place]);
                if inside && steps[place] > 0.0 {
                    assert_eq!([latent[place], inside_before[place]], [factor; 2]);
                    let difference = (after[place] - before[place]) / factor - by[place];
                    assert!(difference.abs() <= steps[place] + 1e-3, "{difference} beside {}", steps[place]);
                    followed += 1;
                }
            }
            assert!(followed > 20, "{followed}");
        });
    }

    /// As if codes stayed, weights and scale of the first plane scaled together scale what they are rounded to (Euler's
    /// identity), wherever no weight is beyond the outermost levels.
    #[test]
    fn gradients_of_weights_and_scale_add_up_to_what_is_rounded() {
        each(|_, quantizer| {
            let gradient = noise(120, 11);
            let [latent, scales] = quantizer.backward(1, &gradient);
            let real = quantizer.expand(1);
            let mut group = 0;
            quantizer.each_group(0, |scale, weights| {
                let read = |place: usize| quantizer.latent[place] + quantizer.offsets[place];
                if scale > 0.0 && weights.clone().all(|place| read(place).abs() <= BEYOND * scale) {
                    let values: f32 = weights.clone().map(|place| read(place) * latent[place]).sum();
                    let expected: f32 = weights.map(|place| real[place] * gradient[place]).sum();
                    let sum = values + scale * scales[group];
                    assert!((sum - expected).abs() < 1e-3, "{sum} instead of {expected}");
                }
                group += 1;
            });
            assert!(scales[group..].iter().all(|&gradient| gradient == 0.0));
        });
    }

    #[test]
    fn weights_do_not_run_away() {
        each(|conv, mut quantizer| {
            quantizer.latent.fill(1000.0);
            quantizer.offsets.fill(0.0);
            for planes in 1..=conv.weights.precision.planes() {
                let outward: Vec<f32> = (0..120).map(|place| -quantizer.factor(place)).collect();
                let [out, _] = quantizer.backward(planes, &outward);
                let inward: Vec<f32> = outward.iter().map(|dw| -dw).collect();
                let [back, _] = quantizer.backward(planes, &inward);
                assert!(out.iter().all(|&dw| dw == 0.0) && back.iter().all(|&dw| dw >= 0.0));
            }
        });
    }
}
