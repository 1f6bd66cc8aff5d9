//! Quantizers whose step and range are learned, and with them their bits (Uhlich et al., arXiv 1905.11452).

use super::super::parameters::Kind;
use crate::error::{Error, ErrorKind};
use crate::wide;
use std::f32::consts::LN_2;
use std::fmt;
use std::str::FromStr;

/// How far the step may move from where it starts, in powers of two.
const REACH: f32 = 256.0;

/// Which two numbers of a quantizer are learned; the third follows.
///
/// Steps are powers of two. U is for uniform levels; P for powers of two, of weights alone: activations are uniform.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Parametrization {
    /// Bits and step.
    U1,
    /// Bits and range.
    U2,
    /// Step and range.
    #[default]
    U3,
    /// Bits and the smallest power.
    P1,
    /// Bits and the largest power.
    P2,
    /// The smallest and the largest power.
    P3,
}

impl Parametrization {
    /// All of them.
    pub const ALL: [Self; 6] = [Self::U1, Self::U2, Self::U3, Self::P1, Self::P2, Self::P3];

    /// Whether levels are powers of two.
    pub(crate) fn is_of_powers(self) -> bool {
        matches!(self, Self::P1 | Self::P2 | Self::P3)
    }

    /// The same two numbers of uniform levels.
    pub(crate) fn uniform(self) -> Self {
        match self {
            Self::U1 | Self::P1 => Self::U1,
            Self::U2 | Self::P2 => Self::U2,
            Self::U3 | Self::P3 => Self::U3,
        }
    }

    /// Most bits of a code.
    pub(crate) fn most_bits(self) -> u8 {
        if self.is_of_powers() { 4 } else { 8 }
    }
}

impl fmt::Display for Parametrization {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

impl FromStr for Parametrization {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let named = |known: &Self| known.to_string().eq_ignore_ascii_case(text);
        Self::ALL.into_iter().find(named).ok_or_else(|| {
            let message = format!("unknown parametrization '{text}'; use U1, U2, U3, P1, P2 or P3");
            Error::new(ErrorKind::Argument, message)
        })
    }
}

/// Where a quantizer starts.
#[derive(Debug, Clone, Copy)]
pub(in crate::train) struct QuantizerStart {
    pub bits: u8,
    /// Whether there are levels below zero.
    pub is_signed: bool,
    pub step: f32,
    /// The largest value that levels may reach.
    pub bound: f32,
}

/// A quantizer with two parameters.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::train) struct ParametrizedQuantizer {
    parametrization: Parametrization,
    is_signed: bool,
    /// In the order in which [`Parametrization`] names them.
    parameters: Vec<f32>,
    /// Whether the bits stay as they are.
    is_fixed: bool,
    /// The least and the largest step.
    steps: [f32; 2],
    bound: f32,
}

/// The levels that the parameters of a quantizer stand for.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(in crate::train) struct LevelGrid {
    /// The least level above zero.
    pub step: f32,
    /// How many levels are above zero.
    pub count: u32,
    pub is_signed: bool,
    pub is_of_powers: bool,
}

impl LevelGrid {
    /// Bits of a code.
    pub(in crate::train) fn bits(self) -> u8 {
        let magnitude = u32::BITS - self.count.leading_zeros();
        magnitude as u8 + u8::from(self.is_signed)
    }

    /// The largest level in steps.
    pub(in crate::train) fn top(self) -> f32 {
        if self.is_of_powers { (self.count as f32 - 1.0).exp2() } else { self.count as f32 }
    }

    /// The largest level.
    pub(in crate::train) fn range(self) -> f32 {
        self.step * self.top()
    }

    fn bottom(self) -> f32 {
        if self.is_signed { -self.top() } else { 0.0 }
    }

    /// The level of a value, in steps.
    pub(in crate::train) fn level(self, value: f32) -> f32 {
        let ratio = value / self.step;
        if !self.is_of_powers {
            return ratio.round_ties_even().clamp(self.bottom(), self.top());
        }
        let size = ratio.abs();
        let magnitude = if size < 0.5 {
            0.0
        } else if size <= 1.0 {
            1.0
        } else {
            (0.5 + size.log2()).floor().exp2().min(self.top())
        };
        magnitude.copysign(value)
    }

    /// Derivative of the quantized value by the value. Between zero and the least power it is 1, where the paper, which
    /// has no zero, has 0: weights must be able to change their sign.
    fn slope(self, value: f32) -> f32 {
        let ratio = value / self.step;
        if ratio < self.bottom() || ratio > self.top() {
            return 0.0;
        }
        if self.is_of_powers && ratio.abs() > 1.0 { self.level(value) / ratio } else { 1.0 }
    }

    /// Derivatives of the quantized value by step and range.
    fn parameter_slopes(self, value: f32) -> [f32; 2] {
        let ratio = value / self.step;
        if ratio > self.top() {
            [0.0, 1.0]
        } else if ratio < self.bottom() {
            [0.0, if self.is_signed { -1.0 } else { 0.0 }]
        } else if !self.is_of_powers {
            [self.level(value) - ratio, 0.0]
        } else if (0.5..=1.0).contains(&ratio.abs()) {
            [ratio.signum(), 0.0]
        } else {
            [0.0; 2]
        }
    }
}

impl ParametrizedQuantizer {
    pub(in crate::train) fn new(parametrization: Parametrization, start: QuantizerStart) -> Self {
        let QuantizerStart { bits, is_signed, step, bound } = start;
        let step = power(step);
        let mut own = Self {
            parametrization,
            is_signed,
            parameters: vec![f32::from(bits), step],
            is_fixed: false,
            steps: [step / REACH, step * REACH],
            bound,
        };
        let range = step * LevelGrid { count: own.count(f32::from(bits)), ..own.grid_of(step, 1) }.top();
        own.parameters = match parametrization {
            Parametrization::U1 | Parametrization::P1 => vec![f32::from(bits), step],
            Parametrization::U2 | Parametrization::P2 => vec![f32::from(bits), range],
            Parametrization::U3 | Parametrization::P3 => vec![step, range],
        };
        own.settle();
        own
    }

    /// The same with bits that stay; only the step is learned from now on.
    pub(in crate::train) fn fix_bits(&mut self) {
        let grid = self.grid();
        self.parametrization = if grid.is_of_powers { Parametrization::P1 } else { Parametrization::U1 };
        self.parameters = vec![f32::from(grid.bits()), grid.step];
        self.is_fixed = true;
        self.settle();
    }

    fn sign_bits(&self) -> f32 {
        f32::from(u8::from(self.is_signed))
    }

    /// `2^(b − 1)`, without sign `2^b`.
    fn half(&self, bits: f32) -> f32 {
        (bits.round() - self.sign_bits()).exp2()
    }

    /// Levels above zero that codes of so many bits have: one code stands for zero.
    fn count(&self, bits: f32) -> u32 {
        (self.half(bits) as u32 - 1).max(1)
    }

    fn most(&self) -> u32 {
        self.count(f32::from(self.parametrization.most_bits()))
    }

    fn grid_of(&self, step: f32, count: u32) -> LevelGrid {
        let is_of_powers = self.parametrization.is_of_powers();
        LevelGrid { step, count: count.clamp(1, self.most()), is_signed: self.is_signed, is_of_powers }
    }

    /// The levels, whose step is a power of two.
    pub(in crate::train) fn grid(&self) -> LevelGrid {
        let [first, second] = [self.parameters[0], self.parameters[1]];
        match self.parametrization {
            Parametrization::U1 | Parametrization::P1 => self.grid_of(power(second), self.count(first)),
            Parametrization::U2 => {
                let count = self.count(first);
                self.grid_of(power(second / count as f32), count)
            }
            Parametrization::P2 => {
                let grid = self.grid_of(1.0, self.count(first));
                LevelGrid { step: power(second) / grid.top(), ..grid }
            }
            Parametrization::U3 => {
                let step = power(first);
                self.grid_of(step, (second / step).round() as u32)
            }
            Parametrization::P3 => {
                let step = power(first);
                self.grid_of(step, (power(second) / step).log2().round() as u32 + 1)
            }
        }
    }

    /// The two numbers.
    pub(in crate::train) fn state(&self) -> Vec<f32> {
        self.parameters.clone()
    }

    /// The two numbers, to go on from others.
    pub(in crate::train) fn state_mut(&mut self) -> &mut [f32] {
        &mut self.parameters
    }

    pub(in crate::train) fn parameters(&self) -> Vec<(Kind, &[f32])> {
        vec![(Kind::Step, &self.parameters)]
    }

    pub(in crate::train) fn parameters_mut(&mut self) -> Vec<(Kind, &mut [f32])> {
        vec![(Kind::Step, &mut self.parameters)]
    }

    /// Moves parameters that have left their ranges back.
    pub(in crate::train) fn settle(&mut self) {
        let ([low, high], most) = (self.steps, f32::from(self.parametrization.most_bits()));
        let tops = self.grid_of(1.0, self.most()).top();
        let range = |step: f32| (step * tops).min(self.bound.max(step));
        let [first, second] = [self.parameters[0], self.parameters[1]];
        let bits = first.clamp(1.0 + self.sign_bits(), most);
        self.parameters = match self.parametrization {
            Parametrization::U1 | Parametrization::P1 => {
                let top = self.grid_of(1.0, self.count(bits)).top();
                vec![bits, second.clamp(low, high.min(self.bound / top).max(low))]
            }
            Parametrization::U2 | Parametrization::P2 => vec![bits, second.clamp(low, range(high))],
            Parametrization::U3 | Parametrization::P3 => {
                let step = first.clamp(low, high);
                vec![step, second.clamp(step, range(step))]
            }
        };
    }

    pub(in crate::train) fn apply(&self, values: &[f32]) -> Vec<f32> {
        let grid = self.grid();
        if grid.is_of_powers {
            return values.iter().map(|&value| grid.step * grid.level(value)).collect();
        }
        let (inverse, low, high) = (1.0 / grid.step, grid.bottom(), grid.top());
        wide::map(values, |x| grid.step * (x * inverse).round_ties_even().clamp(low, high))
    }

    /// Gradients of the values.
    pub(in crate::train) fn backward(&self, values: &[f32], gradient: &[f32]) -> Vec<f32> {
        let grid = self.grid();
        if grid.is_of_powers {
            return values.iter().zip(gradient).map(|(&value, dy)| dy * grid.slope(value)).collect();
        }
        let [low, high] = [grid.step * grid.bottom(), grid.step * grid.top()];
        wide::map_pairs(values, gradient, |x, dy| if x >= low && x <= high { dy } else { 0.0 })
    }

    /// Gradients of the parameters.
    pub(in crate::train) fn parameter_gradient(&self, values: &[f32], gradient: &[f32]) -> [f32; 2] {
        let grid = self.grid();
        let of_value = |place: usize| {
            let slopes = grid.parameter_slopes(values[place]);
            slopes.map(|slope| f64::from(slope * gradient[place]))
        };
        self.of_parameters(wide::sums(values.len(), of_value).map(|sum| sum as f32))
    }

    /// Gradients of the parameters of the bits of a code before they are rounded up; none where they cannot be fewer.
    pub(in crate::train) fn bits_gradient(&self) -> [f32; 2] {
        let grid = self.grid();
        if self.is_fixed || grid.count == 1 {
            return [0.0; 2];
        }
        let (step, range) = (grid.step, grid.range());
        self.of_parameters(if grid.is_of_powers {
            let share = LN_2 * LN_2 * (grid.count as f32 + 1.0);
            [-1.0 / (step * share), 1.0 / (range * share)]
        } else {
            let sum = LN_2 * (step + range);
            [-range / (step * sum), 1.0 / sum]
        })
    }

    /// From gradients of step and range to those of the parameters; rounding to powers of two passes shares on.
    fn of_parameters(&self, [of_step, of_range]: [f32; 2]) -> [f32; 2] {
        let grid = self.grid();
        let [first, second] = [self.parameters[0], self.parameters[1]];
        let (step, top, half) = (grid.step, grid.top(), self.half(first));
        // By how many octaves the largest power moves with the bits.
        let octaves = LN_2 * half;
        let [of_first, of_second] = match self.parametrization {
            Parametrization::U1 => [of_range * octaves * step, (of_step + top * of_range) * step / second],
            Parametrization::U2 => [-of_step * octaves * step / top, of_step * step / second + of_range],
            Parametrization::U3 => [of_step * step / first, of_range],
            Parametrization::P1 => {
                [of_range * step * top * LN_2 * octaves, (of_step + top * of_range) * step / second]
            }
            Parametrization::P2 => {
                [-of_step * step * LN_2 * octaves, (of_step / top + of_range) * step * top / second]
            }
            Parametrization::P3 => [of_step * step / first, of_range * step * top / second],
        };
        [if self.is_fixed { 0.0 } else { of_first }, of_second]
    }

    /// Keeps gradients of steps and ranges within so many steps.
    pub(in crate::train) fn clip(&self, [first, second]: [f32; 2], steps: f32) -> [f32; 2] {
        let limit = steps * self.grid().step;
        let clip = |gradient: f32| gradient.clamp(-limit, limit);
        match self.parametrization {
            Parametrization::U3 | Parametrization::P3 => [clip(first), clip(second)],
            _ => [first, clip(second)],
        }
    }
}

/// The nearest power of two, by its logarithm.
fn power(value: f32) -> f32 {
    2f32.powi(value.log2().round() as i32)
}

/// The power of two with which levels of so many bits are nearest to `values`.
pub(in crate::train) fn nearest_step(parametrization: Parametrization, bits: u8, values: &[f32]) -> f32 {
    let largest = values.iter().fold(f32::MIN_POSITIVE, |largest, value| largest.max(value.abs()));
    let error = |step: f32| -> f64 {
        let start = QuantizerStart { bits, is_signed: true, step, bound: f32::INFINITY };
        let found = ParametrizedQuantizer::new(parametrization, start).apply(values);
        found.iter().zip(values).map(|(a, b)| f64::from(a - b).powi(2)).sum()
    };
    let steps = (0..10).map(|halvings| power(largest) / 2f32.powi(halvings));
    let errors = steps.map(|step| (step, error(step)));
    errors.min_by(|a, b| a.1.total_cmp(&b.1)).map_or(1.0, |(step, _)| step)
}

#[cfg(test)]
mod tests;
