//! The roundings between a sum and a code, as the integer runtime does them (`docs/numerics.md`, section 3). Values stay
//! real; what they are multiples of is made 1 to round them.

use super::build::OnnxGraphBuilder;
use super::nodes::{OnnxNodeWriter, factor, rescaling};
use crate::format::{Multiplier, Rescale};

/// A share of what sums are multiples of, added so that no error of a real number takes them below the next one, nor
/// `QuantizeLinear` a half to the even code below it.
const ABOVE: f64 = 0.25;

impl OnnxNodeWriter<'_> {
    /// `requantize`: what one multiplier, or one for every channel, made of sums, in multiples of `unit`.
    pub(super) fn requantized(
        &self,
        sums: String,
        by: &[Multiplier],
        unit: f64,
        graph: &mut OnnxGraphBuilder,
    ) -> String {
        if !self.options.integer_rounding {
            return sums;
        }
        let dims: &[usize] = if by.len() == 1 { &[] } else { &[1, by.len(), 1, 1] };
        let values =
            |of: &dyn Fn(Multiplier) -> f64| -> Vec<f32> { by.iter().map(|&by| of(by) as f32).collect() };
        let shift = |by: Multiplier| f64::from(by.shift).exp2();
        let shifted = values(&|by| if by.value == 0 { 0.0 } else { 1.0 / (factor(by) * shift(by) * unit) });
        let half = values(&|by| 0.5 + ABOVE / shift(by));
        let multiplied = values(&|by| f64::from(by.value) / 32768.0);
        let constant = |what: &str, values: &[f32], graph: &mut OnnxGraphBuilder| {
            graph.reals(self.called(what), dims, values)
        };
        let by = constant("shift", &shifted, graph);
        let sums = graph.node("Mul", self.called("in_shifts"), &[&sums, &by], Vec::new());
        let half = constant("half", &half, graph);
        let sums = self.floor("shifted", &sums, &half, graph);
        let by = constant("multiplier", &multiplied, graph);
        let product = graph.node("Mul", self.called("product"), &[&sums, &by], Vec::new());
        self.rounded("multiplied", &product, unit, graph)
    }

    /// `rescale`: the distances of an operand from its zero point, in multiples of `unit`.
    pub(super) fn rescaled(
        &self,
        place: usize,
        by: Rescale,
        unit: f64,
        graph: &mut OnnxGraphBuilder,
    ) -> String {
        if !self.options.integer_rounding {
            return self.real(place, rescaling(by) * unit, graph);
        }
        let product = self.real(place, rescaling(by), graph);
        self.rounded(&format!("rescaled{place}"), &product, unit, graph)
    }

    /// A sum of multiples of `unit`, so much larger that halves of a step become the code above.
    pub(super) fn between_steps(&self, sum: String, unit: f64, graph: &mut OnnxGraphBuilder) -> String {
        if !self.options.integer_rounding {
            return sum;
        }
        let above = graph.reals(self.called("above"), &[], &[(ABOVE * unit) as f32]);
        graph.node("Add", self.called("sum_above"), &[&sum, &above], Vec::new())
    }

    /// Multiples of `unit`, of products with whole numbers of 15 bits behind the point.
    fn rounded(&self, what: &str, product: &str, unit: f64, graph: &mut OnnxGraphBuilder) -> String {
        let half = graph.reals(self.called(&format!("{what}_half")), &[], &[(0.5 + ABOVE / 32768.0) as f32]);
        let whole = self.floor(what, product, &half, graph);
        let unit = graph.reals(self.called(&format!("{what}_unit")), &[], &[unit as f32]);
        graph.node("Mul", self.called(&format!("{what}_real")), &[&whole, &unit], Vec::new())
    }

    fn floor(&self, what: &str, value: &str, half: &str, graph: &mut OnnxGraphBuilder) -> String {
        let value = graph.node("Add", self.called(&format!("{what}_above")), &[value, half], Vec::new());
        graph.node("Floor", self.called(what), &[&value], Vec::new())
    }
}
