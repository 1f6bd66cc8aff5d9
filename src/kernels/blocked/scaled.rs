//! Weights as small codes times a scale for each run; see [`Form::Scaled`](super::Form).

use super::memory::Constants;
use super::panels::{Panel, Panels, Span, place, run, spans_of, weight};
use super::{Isa, Map, PANEL};
use crate::kernels::ConvSpec;

/// Longest run of 8-bit weights, in bytes: sums of 8 pairs of products with codes of −8..=8 fit 16 bits.
const LONGEST: usize = 32;

/// A run: its bytes, and which part of the weights it has.
#[derive(Debug, Clone, Copy)]
struct Part {
    span: Span,
    digit: Digit,
}

/// How a weight becomes a code.
#[derive(Debug, Clone, Copy)]
enum Digit {
    /// Its sign; all weights of the run are 0 or ± the scale.
    Sign,
    /// The digits of a weight to base 16, from −8 to 8; the scale is 1 or 16.
    Low,
    High,
}

/// Arranges the weights of `spec` for an input laid out as `map`: for each panel two halves, in each for each run the
/// codes of 16 channels and their scales.
pub(super) fn panels(isa: &Isa, spec: &ConvSpec, map: &Map) -> Panels {
    let count = spec.outputs.div_ceil(PANEL);
    let different = if spec.groups > 1 { count } else { 1 };
    let parts: Vec<Vec<Part>> = (0..different).map(|panel| parts(spec, map, panel)).collect();
    let (mut panels, mut runs, mut bytes) = (Vec::new(), Vec::new(), 0);
    for panel in 0..count {
        let first = runs.len();
        if let Some(parts) = parts.get(panel) {
            runs.extend(parts.iter().map(|part| run(4, spec, map, &part.span)));
        }
        let own = if panel < different { first..runs.len() } else { 0..runs.len() };
        let len: usize = runs[own.clone()].iter().map(|run| (run.steps as usize + 1) * 4 * PANEL).sum();
        panels.push(Panel { runs: own, weights: bytes, bytes: len });
        bytes += len;
    }
    let mut weights = Constants::zeroed(bytes);
    for (index, panel) in panels.iter().enumerate() {
        let own = &mut weights.as_mut()[panel.weights..][..panel.bytes];
        for (half, own) in own.chunks_exact_mut((panel.bytes / 2).max(1)).enumerate() {
            fill_half(isa, spec, map, (index, half), &parts[index.min(different - 1)], own);
        }
    }
    Panels::of(panels, runs, weights)
}

/// Runs of one group each where weights are ternary and groups whole steps, two digits otherwise.
fn parts(spec: &ConvSpec, map: &Map, panel: usize) -> Vec<Part> {
    match spec.ternary.filter(|group| spec.groups == 1 && group.is_multiple_of(4)) {
        Some(group) => {
            let spans = spans_of(spec, map, panel, usize::MAX, false);
            let part = |span| Part { span, digit: Digit::Sign };
            spans.iter().flat_map(|span| in_groups(span, group)).map(part).collect()
        }
        None => {
            let spans = spans_of(spec, map, panel, LONGEST, true);
            spans
                .into_iter()
                .flat_map(|span| [Digit::Low, Digit::High].map(|digit| Part { span, digit }))
                .collect()
        }
    }
}

/// The parts of a span, all of one tap, that lie in one group of channels each.
fn in_groups(span: &Span, group: usize) -> Vec<Span> {
    let (mut parts, end) = (Vec::new(), span.channel + span.bytes);
    let mut channel = span.channel;
    while channel < end {
        let next = end.min((channel / group).saturating_add(1).saturating_mul(group));
        parts.push(Span { channel, bytes: next - channel, ..*span });
        channel = next;
    }
    parts
}

fn fill_half(
    isa: &Isa,
    spec: &ConvSpec,
    map: &Map,
    at: (usize, usize),
    parts: &[Part],
    mut weights: &mut [i8],
) {
    let (panel, half) = at;
    for part in parts {
        let steps = part.span.bytes.div_ceil(4);
        let (codes, rest) = weights.split_at_mut(steps * 2 * PANEL);
        let (scales, rest) = rest.split_at_mut(2 * PANEL);
        weights = rest;
        for lane in 0..PANEL / 2 {
            let output = panel * PANEL + place(isa, half * PANEL / 2 + lane);
            let values: Vec<i8> =
                (0..part.span.bytes).map(|byte| weight(spec, map, &part.span, output, byte)).collect();
            let scale = match part.digit {
                Digit::Sign => values.iter().map(|value| value.unsigned_abs()).max().unwrap_or(0),
                Digit::Low => 1,
                Digit::High => 16,
            };
            for (byte, value) in values.into_iter().enumerate() {
                codes[byte / 4 * 2 * PANEL + 4 * lane + byte % 4] = code(value, part.digit);
            }
            // Twice, once for each pair of a step; scales are below 128.
            scales[4 * lane] = scale as i8;
            scales[4 * lane + 2] = scale as i8;
        }
    }
}

fn code(weight: i8, digit: Digit) -> i8 {
    let high = (i16::from(weight) + 8).div_euclid(16);
    match digit {
        Digit::Sign => weight.signum(),
        Digit::Low => (i16::from(weight) - 16 * high) as i8,
        Digit::High => high as i8,
    }
}
