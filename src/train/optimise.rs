//! Optimisers: from gradients to changes of parameters.

/// How gradients become changes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Descent {
    /// Stochastic gradient descent with momentum `v ← μv + g` (Sutskever et al., 2013, as PyTorch writes it).
    Sgd {
        /// 0 to below 1.
        momentum: f32,
    },
    /// Adam with weight decay beside the gradient (Loshchilov and Hutter, arXiv 1711.05101, algorithm 2).
    AdamW {
        /// How slowly the means of gradients and of their squares change.
        betas: [f32; 2],
        /// Added to the root of the mean square.
        epsilon: f32,
    },
}

impl Descent {
    /// AdamW with the usual means.
    pub const ADAM_W: Self = Self::AdamW { betas: [0.9, 0.999], epsilon: 1e-8 };
}

/// One tensor of parameters in one step.
#[derive(Debug)]
pub(super) struct Parameter<'a> {
    pub values: &'a mut [f32],
    pub gradient: &'a [f32],
    /// What a change of 1 means, per element or for all: rates are in these units.
    pub units: &'a [f32],
    /// Times the common rate.
    pub rate: f32,
    /// Weight decay: share of the value per unit of rate.
    pub decay: f32,
}

/// Means over past gradients of one tensor.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Means {
    pub first: Vec<f32>,
    pub second: Vec<f32>,
}

/// An optimiser with its memory.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Optimiser {
    method: Descent,
    /// Steps taken.
    pub steps: u64,
    /// By tensor, in the order in which they are given at every step.
    pub means: Vec<Means>,
}

impl Optimiser {
    pub(super) fn new(method: Descent) -> Self {
        Self { method, steps: 0, means: Vec::new() }
    }

    /// Changes all parameters once, at this rate.
    pub(super) fn step(&mut self, parameters: &mut [Parameter<'_>], rate: f32) {
        self.steps += 1;
        self.means.resize_with(parameters.len(), Means::default);
        let (method, steps) = (self.method, self.steps.min(1 << 24) as i32);
        for (parameter, means) in parameters.iter_mut().zip(&mut self.means) {
            parameter.decay(rate);
            match method {
                Descent::Sgd { momentum } => parameter.sgd(means, momentum, rate),
                Descent::AdamW { betas, epsilon } => parameter.adam(means, betas, epsilon, steps, rate),
            }
        }
    }
}

impl Parameter<'_> {
    fn decay(&mut self, rate: f32) {
        let keep = 1.0 - rate * self.rate * self.decay;
        if self.decay > 0.0 {
            self.values.iter_mut().for_each(|value| *value *= keep);
        }
    }

    fn unit(&self, index: usize) -> f32 {
        if self.units.len() == 1 { self.units[0] } else { self.units[index] }
    }

    fn sgd(&mut self, means: &mut Means, momentum: f32, rate: f32) {
        means.first.resize(self.values.len(), 0.0);
        let changes = self.values.iter_mut().zip(&mut means.first).zip(self.gradient);
        let change = |((value, velocity), gradient): ((&mut f32, &mut f32), &f32), unit: f32| {
            *velocity = momentum * *velocity + unit * gradient;
            *value -= rate * self.rate * unit * *velocity;
        };
        match self.units {
            &[unit] => changes.for_each(|tensor| change(tensor, unit)),
            units => changes.zip(units).for_each(|(tensor, unit)| change(tensor, *unit)),
        }
    }

    fn adam(&mut self, means: &mut Means, betas: [f32; 2], epsilon: f32, steps: i32, rate: f32) {
        means.first.resize(self.values.len(), 0.0);
        means.second.resize(self.values.len(), 0.0);
        let [first, second] = betas.map(|beta| 1.0 - beta.powi(steps));
        for index in 0..self.values.len() {
            let (unit, gradient) = (self.unit(index), self.gradient[index]);
            let own = unit * gradient;
            let mean = &mut means.first[index];
            *mean += (1.0 - betas[0]) * (own - *mean);
            let square = &mut means.second[index];
            *square += (1.0 - betas[1]) * (own * own - *square);
            let size = (*square / second).sqrt() + epsilon;
            self.values[index] -= rate * self.rate * unit * (*mean / first) / size;
        }
    }
}

/// Scales all gradients so that their norm is at most `limit` (Pascanu et al., arXiv 1211.5063, algorithm 1).
pub(super) fn clip(gradients: &mut [&mut [f32]], limit: f64) {
    let square: f64 =
        gradients.iter().flat_map(|values| values.iter()).map(|&value| f64::from(value).powi(2)).sum();
    let factor = (limit / square.sqrt()) as f32;
    if square.sqrt() > limit {
        gradients.iter_mut().flat_map(|values| values.iter_mut()).for_each(|value| *value *= factor);
    }
}

/// How the rate goes over the course of training, from 0 at its start to 1 at its end.
#[derive(Debug, Clone, PartialEq)]
pub enum RateSchedule {
    /// A tenth after each of these points.
    Steps(Vec<f64>),
    /// Half a cosine down to nothing (Loshchilov and Hutter, arXiv 1608.03983, equation 5), after a linear start.
    Cosine {
        /// Share of the course in which the rate rises.
        warm_up: f64,
    },
}

impl RateSchedule {
    /// The share of the full rate at `progress`.
    pub(super) fn at(&self, progress: f64) -> f64 {
        match self {
            Self::Steps(points) => points.iter().filter(|&&point| progress >= point).map(|_| 0.1).product(),
            Self::Cosine { warm_up } if progress < *warm_up => progress / warm_up,
            Self::Cosine { warm_up } => {
                let rest = ((progress - warm_up) / (1.0 - warm_up)).clamp(0.0, 1.0);
                0.5 * (1.0 + (std::f64::consts::PI * rest).cos())
            }
        }
    }
}

#[cfg(test)]
mod tests;
