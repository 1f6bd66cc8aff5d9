//! Weights in the order in which tiles read them.

use super::memory::Constants;
use super::{Isa, Map, PANEL, Run};
use crate::kernels::ConvSpec;
use std::ops::Range;

/// Positions that need so many tiles take so long that weights arrive by themselves.
const MANY_TILES: usize = 32;

/// Consecutive bytes of a value under one tap, or under neighbouring taps of a row where one block holds all channels.
#[derive(Debug, Clone, Copy)]
struct Span {
    tap: usize,
    channel: usize,
    bytes: usize,
}

/// A panel: 32 output channels.
#[derive(Debug, Clone)]
pub(super) struct Panel {
    /// Which bytes of the input it meets.
    pub runs: Range<usize>,
    /// Its first weight.
    pub weights: usize,
}

/// All weights of a convolution.
#[derive(Debug, Clone)]
pub(super) struct Panels {
    panels: Vec<Panel>,
    runs: Vec<Run>,
    weights: Constants,
}

impl Panels {
    /// Arranges the weights of `spec` for an input laid out as `map`.
    pub fn new(isa: &Isa, spec: &ConvSpec, map: &Map) -> Self {
        let mut this = Self { panels: Vec::new(), runs: Vec::new(), weights: Constants::zeroed(0) };
        let mut spans: Vec<Vec<Span>> = Vec::new();
        let mut bytes = 0;
        for panel in 0..spec.outputs.div_ceil(PANEL) {
            if panel == 0 || spec.groups > 1 {
                spans.push(panel_spans(isa, spec, map, panel));
                let first = this.runs.len();
                this.runs.extend(spans[panel].iter().map(|span| run(isa.granule, spec, map, span)));
                this.panels.push(Panel { runs: first..this.runs.len(), weights: bytes });
            } else {
                this.panels.push(Panel { weights: bytes, ..this.panels[0].clone() });
            }
            let runs = &this.runs[this.panels[panel].runs.clone()];
            bytes += runs.iter().map(|run| run.steps as usize * 4 * PANEL).sum::<usize>();
        }
        this.weights = Constants::zeroed(bytes);
        let weights = this.weights.as_mut();
        for (index, panel) in this.panels.iter().enumerate() {
            let spans = &spans[index.min(spans.len() - 1)];
            let runs = &this.runs[panel.runs.clone()];
            fill_panel(isa, spec, map, index, spans.iter().zip(runs), &mut weights[panel.weights..]);
        }
        this
    }

    /// Arranges the weights of a convolution with one input channel for each output channel.
    pub fn depthwise(spec: &ConvSpec, map: &Map) -> Self {
        let taps = spec.window.area();
        let count = spec.outputs.div_ceil(PANEL);
        let panel = |index: usize| Panel {
            runs: index * taps..(index + 1) * taps,
            weights: index * taps * 4 * PANEL,
        };
        let run = |index: usize| {
            run(4, spec, map, &Span { tap: index % taps, channel: index / taps * PANEL, bytes: 4 })
        };
        let mut weights = Constants::zeroed(count * taps * 4 * PANEL);
        let lanes = weights.as_mut().chunks_exact_mut(4);
        for (index, lane) in lanes.enumerate() {
            let (tap, channel) = (index / PANEL % taps, index / PANEL / taps * PANEL + index % PANEL);
            if let Some(&weight) = spec.weights.get(channel * taps + tap) {
                let bytes = i32::from(weight).to_le_bytes();
                lane.iter_mut().zip(bytes).for_each(|(lane, byte)| *lane = byte as i8);
            }
        }
        Self { panels: (0..count).map(panel).collect(), runs: (0..count * taps).map(run).collect(), weights }
    }

    pub fn len(&self) -> usize {
        self.panels.len()
    }

    /// Weights of one panel, in bytes.
    pub fn bytes(&self, panel: usize) -> usize {
        self.runs(panel).iter().map(|run| run.steps as usize * 4 * PANEL).sum()
    }

    pub fn runs(&self, panel: usize) -> &[Run] {
        &self.runs[self.panels[panel].runs.clone()]
    }

    /// The address of a panel's weights.
    pub fn weights(&self, panel: usize) -> *const i8 {
        self.weights.at(self.panels[panel].weights)
    }

    /// Where the weights of the next panel are, for the `tile`th of `tiles` tiles that share the fetching, and how many
    /// lines it fetches with each run.
    pub fn ahead(&self, panel: usize, tile: usize, tiles: usize) -> (*const i8, usize) {
        let Some(next) = self.panels.get(panel + 1) else { return (self.weights(panel), 0) };
        let runs = self.panels[panel].runs.len();
        let lines = (self.bytes(panel + 1) / 64).div_ceil(tiles * runs);
        let worth = tiles <= MANY_TILES;
        (self.weights.at(next.weights).wrapping_add(tile * runs * lines * 64), if worth { lines } else { 0 })
    }

    /// The farthest byte that any run reaches from its strip's first one.
    pub fn reach(&self) -> usize {
        self.runs.iter().map(|run| run.offset as usize + 4 * run.steps as usize).max().unwrap_or(0)
    }
}

/// The input channels that a panel meets.
fn panel_channels(spec: &ConvSpec, panel: usize) -> Range<usize> {
    let last = (panel * PANEL + PANEL).min(spec.outputs) - 1;
    let group = |output: usize| output / spec.group_outputs();
    group(panel * PANEL) * spec.group_inputs..(group(last) + 1) * spec.group_inputs
}

fn panel_spans(isa: &Isa, spec: &ConvSpec, map: &Map, panel: usize) -> Vec<Span> {
    let channels = panel_channels(spec, panel);
    let [rows, columns] = spec.window.kernel;
    let merged = spec.groups == 1 && map.blocks() == 1 && spec.window.dilation[1] == 1;
    let mut spans = Vec::new();
    if merged {
        for row in 0..rows {
            cut(0..columns * map.block, isa.longest_run, |part| {
                let tap = row * columns + part.start / map.block;
                spans.push(Span { tap, channel: part.start % map.block, bytes: part.len() });
            });
        }
        return spans;
    }
    for block in channels.start / map.block..channels.end.div_ceil(map.block) {
        let start = channels.start.max(block * map.block);
        let bytes = channels.end.min((block + 1) * map.block) - start;
        spans.extend((0..spec.window.area()).map(|tap| Span { tap, channel: start, bytes }));
    }
    spans
}

/// Calls `visit` for parts of `range` of at most `longest`.
fn cut(range: Range<usize>, longest: usize, mut visit: impl FnMut(Range<usize>)) {
    for start in range.clone().step_by(longest) {
        visit(start..range.end.min(start + longest));
    }
}

fn run(granule: usize, spec: &ConvSpec, map: &Map, span: &Span) -> Run {
    let window = &spec.window;
    let row = span.tap / window.kernel[1] * window.dilation[0] + map.ring[0] - window.pads[0];
    let column = span.tap % window.kernel[1] * window.dilation[1] + map.ring[1] - window.pads[1];
    let steps = span.bytes.next_multiple_of(granule) / 4;
    Run { offset: map.place(span.channel, row, column) as u32, steps: steps as u32 }
}

fn fill_panel<'a>(
    isa: &Isa,
    spec: &ConvSpec,
    map: &Map,
    panel: usize,
    spans: impl Iterator<Item = (&'a Span, &'a Run)>,
    mut weights: &mut [i8],
) {
    for (span, run) in spans {
        let (own, rest) = weights.split_at_mut(run.steps as usize * 4 * PANEL);
        weights = rest;
        for place in 0..PANEL {
            let channel = 4 * isa.order[place / 4] + place % 4;
            let output = panel * PANEL + channel;
            if output < spec.outputs {
                let steps = own[4 * place..].chunks_mut(4 * PANEL).take(span.bytes.div_ceil(4));
                fill_row(spec, map, span, output, steps);
            }
        }
    }
}

/// The weights of one output channel for one span, four to a step.
fn fill_row<'a>(
    spec: &ConvSpec,
    map: &Map,
    span: &Span,
    output: usize,
    steps: impl Iterator<Item = &'a mut [i8]>,
) {
    let first = output / spec.group_outputs() * spec.group_inputs;
    let row = &spec.weights[output * spec.channel_len()..][..spec.channel_len()];
    let one_tap =
        span.channel % map.block + span.bytes <= map.block && span.channel + span.bytes <= spec.group_inputs;
    let contiguous = spec.groups == 1 && (one_tap || spec.group_inputs == map.block);
    if contiguous && span.bytes.is_multiple_of(4) {
        let source = &row[span.tap * spec.group_inputs + span.channel..][..span.bytes];
        for (step, four) in steps.zip(source.chunks_exact(4)) {
            step[..4].copy_from_slice(four);
        }
        return;
    }
    for (step, values) in steps.enumerate() {
        for (byte, value) in values[..4].iter_mut().enumerate() {
            let place = 4 * step + byte;
            let inside = span.channel % map.block + place;
            let tap = span.tap + inside / map.block;
            let channel = span.channel - span.channel % map.block + inside % map.block;
            let own = channel.wrapping_sub(first);
            if place < span.bytes && own < spec.group_inputs {
                *value = row[tap * spec.group_inputs + own];
            }
        }
    }
}
