//! Activations rounded to codes, with a step that can be learned.

use super::super::parameters::Kind;
use super::drop::DropMask;
use crate::format::Quantizer;
use crate::wide;

/// Rounds values to the codes of a [`Quantizer`] and back to real numbers.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::train) struct ActivationQuantizer {
    /// The real value of one step; one number, a vector so that it is a parameter like others.
    step: Vec<f32>,
    zero_point: u8,
    max: u8,
    /// Values that pass as they are.
    pub drop: Option<DropMask>,
}

impl ActivationQuantizer {
    pub(in crate::train) fn new(quantizer: &Quantizer) -> Self {
        let Quantizer { scale, zero_point, max } = *quantizer;
        Self { step: vec![scale as f32], zero_point, max, drop: None }
    }

    /// The same codes with the step as it is now.
    pub(in crate::train) fn quantizer(&self) -> Quantizer {
        Quantizer { scale: f64::from(self.step[0]), zero_point: self.zero_point, max: self.max }
    }

    pub(in crate::train) fn parameters(&self) -> Vec<(Kind, &[f32])> {
        vec![(Kind::Step, &self.step)]
    }

    pub(in crate::train) fn parameters_mut(&mut self) -> Vec<(Kind, &mut [f32])> {
        vec![(Kind::Step, &mut self.step)]
    }

    /// Smallest and largest code, counted from the zero point.
    fn bounds(&self) -> [f32; 2] {
        let zero = f32::from(self.zero_point);
        [-zero, f32::from(self.max) - zero]
    }

    /// Every value as its code stands for it; halves go to the even code, where the runtime, which does not see them exactly,
    /// may take either.
    pub(in crate::train) fn apply(&self, values: &[f32]) -> Vec<f32> {
        let (step, [low, high]) = (self.step[0], self.bounds());
        let inverse = 1.0 / step;
        let rounded = wide::map(values, |x| step * (x * inverse).round_ties_even().clamp(low, high));
        match self.drop {
            Some(drop) => drop.mixed(values, rounded),
            None => rounded,
        }
    }

    /// Gradients of the values.
    pub(in crate::train) fn backward(&self, values: &[f32], gradient: &[f32]) -> Vec<f32> {
        let [low, high] = self.bounds();
        let inverse = 1.0 / self.step[0];
        let inside = wide::map_pairs(values, gradient, |x, dy| {
            let code = (x * inverse).round_ties_even();
            if code >= low && code <= high { dy } else { 0.0 }
        });
        match self.drop {
            Some(drop) => drop.mixed(gradient, inside),
            None => inside,
        }
    }

    /// Gradient of the step (Esser et al., arXiv 1902.08153, equations 3 and 5, without the factor
    /// that balances them: the optimiser does).
    pub(in crate::train) fn step_gradient(&self, values: &[f32], gradient: &[f32]) -> f32 {
        let [low, high] = self.bounds();
        let inverse = 1.0 / self.step[0];
        let of_value = |place: usize| {
            if self.drop.is_some_and(|drop| drop.spares(place)) {
                return [0.0];
            }
            let (steps, dy) = (values[place] * inverse, gradient[place]);
            let code = steps.round_ties_even();
            let inside = code >= low && code <= high;
            [f64::from(dy * if inside { code - steps } else { code.clamp(low, high) })]
        };
        wide::sums(values.len(), of_value)[0] as f32
    }
}
