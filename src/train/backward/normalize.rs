//! Normalisation, by running statistics, by those of a batch, by those of an image; sums in 64 bits.

use super::{Backward, Single};
use crate::graph::{BatchNorm, GroupNorm, ValueView};
use crate::tensor::{Shape, Span};
use rayon::prelude::*;

/// With running statistics: gradients of the input, and of gamma and beta.
pub(super) fn running(norm: &BatchNorm, (values, shape): ValueView<'_>, gradient: &[f32]) -> Single {
    let mut input = Vec::with_capacity(values.len());
    let mut parameters = vec![Vec::new(); 2];
    let planes = values.chunks_exact(shape.positions()).zip(gradient.chunks_exact(shape.positions()));
    for (channel, (xs, dys)) in planes.enumerate() {
        let factor = factor(norm, f64::from(norm.variance[channel]));
        let scale = (f64::from(norm.gamma[channel]) * factor) as f32;
        input.extend(dys.iter().map(|dy| scale * dy));
        let mean = f64::from(norm.mean[channel]);
        let gamma: f64 =
            xs.iter().zip(dys).map(|(&x, &dy)| (f64::from(x) - mean) * factor * f64::from(dy)).sum();
        parameters[0].push(gamma as f32);
        parameters[1].push(dys.iter().map(|&dy| f64::from(dy)).sum::<f64>() as f32);
    }
    (vec![input], parameters)
}

fn factor(norm: &BatchNorm, variance: f64) -> f64 {
    1.0 / (variance + f64::from(norm.epsilon)).sqrt()
}

/// Mean and variance of every channel over a batch.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::train) struct Moments {
    pub mean: Vec<f64>,
    /// Over the number of values, not one less.
    pub variance: Vec<f64>,
    /// Values of a channel.
    pub count: usize,
}

/// A batch normalised by its own moments (Ioffe and Szegedy, arXiv 1502.03167, algorithm 1).
pub(in crate::train) fn batch_norm(
    norm: &BatchNorm,
    batch: &[&[f32]],
    shape: Shape,
) -> (Vec<Vec<f32>>, Moments) {
    let moments = Moments::of(batch, shape);
    let apply = |values: &&[f32]| {
        let mut result = Vec::with_capacity(values.len());
        for (channel, plane) in values.chunks_exact(shape.positions()).enumerate() {
            let scale = f64::from(norm.gamma[channel]) * factor(norm, moments.variance[channel]);
            let shift = f64::from(norm.beta[channel]) - moments.mean[channel] * scale;
            let (scale, shift) = (scale as f32, shift as f32);
            result.extend(plane.iter().map(|x| scale * x + shift));
        }
        result
    };
    (batch.par_iter().map(apply).collect(), moments)
}

impl Moments {
    fn of(batch: &[&[f32]], shape: Shape) -> Self {
        let count = batch.len() * shape.positions();
        let of_channel = |channel: usize| {
            let values = || batch.iter().flat_map(|values| plane(values, channel, shape));
            let mean = values().map(|&x| f64::from(x)).sum::<f64>() / count as f64;
            (mean, values().map(|&x| (f64::from(x) - mean).powi(2)).sum::<f64>() / count as f64)
        };
        let (mean, variance) = (0..shape.channels).into_par_iter().map(of_channel).unzip();
        Self { mean, variance, count }
    }

    /// Moves running statistics towards these, the variance being that of a sample (as PyTorch does it).
    #[cfg_attr(not(test), expect(dead_code, reason = "networks that are tuned have their batch norm folded"))]
    pub(in crate::train) fn blend_into(&self, norm: &mut BatchNorm, momentum: f64) {
        let sample = self.count as f64 / (self.count.max(2) - 1) as f64;
        let blend =
            |old: &mut f32, new: f64| *old = ((1.0 - momentum) * f64::from(*old) + momentum * new) as f32;
        norm.mean.iter_mut().zip(&self.mean).for_each(|(old, new)| blend(old, *new));
        norm.variance.iter_mut().zip(&self.variance).for_each(|(old, new)| blend(old, new * sample));
    }
}

/// The gradients of [`batch_norm`]; statistics depend on every image.
pub(in crate::train) fn batch_norm_by(
    norm: &BatchNorm,
    moments: &Moments,
    batch: &[&[f32]],
    gradients: &[&[f32]],
    shape: Shape,
) -> Backward {
    let sums = |channel: usize| {
        let (mean, factor) = (moments.mean[channel], factor(norm, moments.variance[channel]));
        let mut sums = [0.0; 2];
        for (values, gradient) in batch.iter().zip(gradients) {
            for (&x, &dy) in plane(values, channel, shape).iter().zip(plane(gradient, channel, shape)) {
                sums[0] += (f64::from(x) - mean) * factor * f64::from(dy);
                sums[1] += f64::from(dy);
            }
        }
        sums
    };
    let sums: Vec<[f64; 2]> = (0..shape.channels).into_par_iter().map(sums).collect();
    let count = moments.count as f64;
    let input = |(values, gradient): (&&[f32], &&[f32])| {
        let mut input = Vec::with_capacity(values.len());
        for (channel, sums) in sums.iter().enumerate() {
            let (mean, factor) = (moments.mean[channel], factor(norm, moments.variance[channel]));
            let scale = f64::from(norm.gamma[channel]) * factor;
            let [gamma, beta] = sums.map(|sum| sum / count);
            let pairs = plane(values, channel, shape).iter().zip(plane(gradient, channel, shape));
            input.extend(pairs.map(|(&x, &dy)| {
                (scale * (f64::from(dy) - beta - (f64::from(x) - mean) * factor * gamma)) as f32
            }));
        }
        vec![input]
    };
    Backward {
        inputs: batch.par_iter().zip(gradients.par_iter()).map(input).collect(),
        parameters: [0, 1].map(|which| sums.iter().map(|sums| sums[which] as f32).collect()).into(),
    }
}

fn plane<'a>(values: &&'a [f32], channel: usize, shape: Shape) -> &'a [f32] {
    &values[channel * shape.positions()..][..shape.positions()]
}

/// By an image's own statistics: gradients of the input, and of gamma and beta.
pub(super) fn group_norm(norm: &GroupNorm, (values, shape): ValueView<'_>, gradient: &[f32]) -> Single {
    let (positions, size) = (shape.positions(), shape.channels / norm.groups);
    let mut own = Group {
        norm,
        values,
        gradient,
        positions,
        input: vec![0.0; values.len()],
        sums: vec![[0.0; 2]; shape.channels],
    };
    for group in 0..norm.groups {
        let channels = group * size..(group + 1) * size;
        match norm.span {
            Span::Image => own.add(channels.start * positions..channels.end * positions),
            Span::Position => (0..positions)
                .for_each(|position| own.add(channels.clone().map(|channel| channel * positions + position))),
        }
    }
    let parameters = [0, 1].map(|which| own.sums.iter().map(|sums| sums[which] as f32).collect()).into();
    (vec![own.input], parameters)
}

struct Group<'a> {
    norm: &'a GroupNorm,
    values: &'a [f32],
    gradient: &'a [f32],
    positions: usize,
    input: Vec<f32>,
    /// Gradients of gamma and beta, per channel.
    sums: Vec<[f64; 2]>,
}

impl Group<'_> {
    /// Takes the values at `places`, which were normalised together.
    fn add(&mut self, places: impl Iterator<Item = usize> + Clone) {
        let value = |place: usize| f64::from(self.values[place]);
        let count = places.clone().count() as f64;
        let mean = places.clone().map(value).sum::<f64>() / count;
        let variance = places.clone().map(|place| (value(place) - mean).powi(2)).sum::<f64>() / count;
        let factor = 1.0 / (variance + f64::from(self.norm.epsilon)).sqrt();
        let normalised = |place: usize| (value(place) - mean) * factor;
        let scaled = |place: usize| {
            f64::from(self.gradient[place]) * f64::from(self.norm.gamma[place / self.positions])
        };
        let sum = places.clone().map(scaled).sum::<f64>() / count;
        let product = places.clone().map(|place| scaled(place) * normalised(place)).sum::<f64>() / count;
        for place in places {
            self.input[place] = (factor * (scaled(place) - sum - normalised(place) * product)) as f32;
            let dy = f64::from(self.gradient[place]);
            let [gamma, beta] = &mut self.sums[place / self.positions];
            *gamma += dy * normalised(place);
            *beta += dy;
        }
    }
}
