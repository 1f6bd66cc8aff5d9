//! Weights as small codes times a scale for each run; see [`Form::Scaled`](super::Form).

use super::memory::Constants;
use super::panels::{ByteSpan, Panels, laid_out, run, spans_of, steps_of};
use super::{Isa, Map, PANEL, bounds};
use crate::kernels::ConvSpec;

/// Longest run of 8-bit weights, in bytes: sums of 8 pairs of products with codes of −8..=8 fit 16 bits.
const LONGEST: usize = 32;
/// What a step costs, and what scaling a run's sums does, about, in instructions.
const STEP_COST: usize = 5;
const SCALE_COST: usize = 6;

/// A run: its bytes, and which part of the weights it has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct DigitSpan {
    span: ByteSpan,
    digit: Digit,
}

/// How a weight becomes a code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Digit {
    /// It is the code; the scale is 1.
    Whole,
    /// Its sign; all weights of the run are 0 or ± the scale.
    Sign,
    /// The digits of a weight to base 16, from −8 to 8; the scale is 1 or 16.
    Low,
    High,
}

/// Arranges the weights of `spec` for an input laid out as `map`: for each panel two halves, in each for each run the
/// codes of 16 channels and their scales.
pub(super) fn panels(isa: &Isa, spec: &ConvSpec, map: &Map) -> Panels {
    let parts: Vec<Vec<DigitSpan>> =
        (0..spec.outputs.div_ceil(PANEL)).map(|panel| parts(isa, spec, map, panel)).collect();
    let (panels, runs) = laid_out(&parts, |part| run(4, spec, map, &part.span), 4 * PANEL);
    let mut weights = Constants::zeroed(panels.iter().map(|panel| panel.bytes).sum());
    for (index, (panel, parts)) in panels.iter().zip(&parts).enumerate() {
        fill(isa, spec, map, index, parts, &mut weights.as_mut()[panel.weights..][..panel.bytes]);
    }
    Panels::of(panels, runs, weights)
}

/// The runs of a panel: of whole weights where these take less time than codes with scales.
fn parts(isa: &Isa, spec: &ConvSpec, map: &Map, panel: usize) -> Vec<DigitSpan> {
    let coded = match spec.ternary.filter(|group| spec.groups == 1 && group.is_multiple_of(4)) {
        Some(group) => signs(spec, map, panel, group),
        None => digits(spec, map, panel),
    };
    match whole(isa, spec, map, panel) {
        Some(whole) if cost(&whole) < cost(&coded) => whole,
        _ => coded,
    }
}

/// Instructions for one position, about.
fn cost(parts: &[DigitSpan]) -> usize {
    let steps: usize = parts.iter().map(|part| part.span.bytes.div_ceil(4)).sum();
    // Sums of runs of one step stay in registers.
    let scale = if steps == parts.len() { SCALE_COST / 3 } else { SCALE_COST };
    steps * STEP_COST + parts.len() * scale
}

/// Runs of whole weights, as long as sums of pairs of products with the input's codes fit 16 bits.
fn whole(isa: &Isa, spec: &ConvSpec, map: &Map, panel: usize) -> Option<Vec<DigitSpan>> {
    let spans = bounds::spans::<2>(isa, spec, map, panel, [0, i32::from(spec.largest)])?;
    Some(spans.into_iter().map(|span| DigitSpan { span, digit: Digit::Whole }).collect())
}

/// Runs of one group each.
fn signs(spec: &ConvSpec, map: &Map, panel: usize, group: usize) -> Vec<DigitSpan> {
    let spans = spans_of(spec, map, panel, usize::MAX, false);
    let part = |span| DigitSpan { span, digit: Digit::Sign };
    spans.iter().flat_map(|span| in_groups(span, group)).map(part).collect()
}

/// Two runs for the two digits of the same weights.
fn digits(spec: &ConvSpec, map: &Map, panel: usize) -> Vec<DigitSpan> {
    let both = |span| [Digit::Low, Digit::High].map(|digit| DigitSpan { span, digit });
    spans_of(spec, map, panel, LONGEST, true).into_iter().flat_map(both).collect()
}

/// The parts of a span, all of one tap, that lie in one group of channels each.
fn in_groups(span: &ByteSpan, group: usize) -> Vec<ByteSpan> {
    let (mut parts, end) = (Vec::new(), span.channel + span.bytes);
    let mut channel = span.channel;
    while channel < end {
        let next = end.min((channel / group).saturating_add(1).saturating_mul(group));
        parts.push(ByteSpan { channel, bytes: next - channel, ..*span });
        channel = next;
    }
    parts
}

/// Codes and scales of both halves of a panel.
fn fill(isa: &Isa, spec: &ConvSpec, map: &Map, panel: usize, parts: &[DigitSpan], weights: &mut [i8]) {
    let (half_panel, mut at) = (weights.len() / 2, 0);
    for part in parts {
        let steps = steps_of(isa, spec, map, panel, &part.span);
        let len = steps.len() / 2 + 2 * PANEL;
        for half in 0..2 {
            fill_run(&steps, half, part.digit, &mut weights[half * half_panel + at..][..len]);
        }
        at += len;
    }
}

/// Codes, then scales, of half a panel's channels for one run; `steps` are the weights of the whole panel.
fn fill_run(steps: &[i8], half: usize, digit: Digit, weights: &mut [i8]) {
    let (codes, scales) = weights.split_at_mut(steps.len() / 2);
    let mut largest = [0; PANEL / 2];
    for (codes, step) in codes.chunks_exact_mut(2 * PANEL).zip(steps.chunks_exact(4 * PANEL)) {
        let weights = &step[half * 2 * PANEL..][..2 * PANEL];
        for (place, (code, &weight)) in codes.iter_mut().zip(weights).enumerate() {
            *code = digit.of(weight);
            largest[place / 4] = weight.unsigned_abs().max(largest[place / 4]);
        }
    }
    // Twice, once for each pair of a step; scales are below 128.
    for (scale, largest) in scales.chunks_exact_mut(4).zip(largest) {
        let value = match digit {
            Digit::Whole | Digit::Low => 1,
            Digit::High => 16,
            Digit::Sign => largest as i8,
        };
        (scale[0], scale[2]) = (value, value);
    }
}

impl Digit {
    fn of(self, weight: i8) -> i8 {
        let high = (i16::from(weight) + 8).div_euclid(16);
        match self {
            Self::Whole => weight,
            Self::Sign => weight.signum(),
            Self::Low => (i16::from(weight) - 16 * high) as i8,
            Self::High => high as i8,
        }
    }
}
