//! Weights in the order in which tiles read them.

use super::map::BLOCK;
use super::memory::Constants;
use super::{Form, Isa, Map, PANEL, Run, bounds, scaled};
use crate::kernels::ConvSpec;
use std::ops::Range;

/// Positions that need so many tiles take so long that weights arrive by themselves.
const MANY_TILES: usize = 32;
/// Instructions that widen sums of 16 bits, about, for one that each step saves by adding to them.
const WIDEN_COST: usize = 4;

/// Consecutive bytes of a value under one tap, or under neighbouring taps of a row where one block holds all channels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ByteSpan {
    pub tap: usize,
    pub channel: usize,
    pub bytes: usize,
}

impl ByteSpan {
    /// Some of its bytes, as far as there are so many.
    pub fn part(&self, map: &Map, bytes: Range<usize>) -> Self {
        let inside = self.channel % map.block + bytes.start;
        let channel = self.channel - self.channel % map.block + inside % map.block;
        Self { tap: self.tap + inside / map.block, channel, bytes: bytes.end.min(self.bytes) - bytes.start }
    }
}

/// A panel: 32 output channels.
#[derive(Debug, Clone)]
pub(super) struct Panel {
    /// Which bytes of the input it meets.
    pub runs: Range<usize>,
    /// Its first weight.
    pub weights: usize,
    /// Bytes of its weights.
    pub bytes: usize,
    /// Whether sums of its runs' products fit 16 bits; see [`Form::Short`].
    pub short: bool,
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
        if isa.form == Form::Scaled {
            return scaled::panels(isa, spec, map);
        }
        let (spans, short): (Vec<Vec<ByteSpan>>, Vec<bool>) =
            (0..spec.outputs.div_ceil(PANEL)).map(|panel| spans(isa, spec, map, panel)).unzip();
        let longest = spans.iter().flatten().map(|span| span.bytes).max().unwrap_or(0);
        let granule = match isa.form {
            Form::Even => longest.next_multiple_of(4),
            Form::Eights => 8,
            _ => 4,
        };
        let (mut panels, runs) = laid_out(&spans, |span| run(granule, spec, map, span), 0);
        panels.iter_mut().zip(short).for_each(|(panel, short)| panel.short = short);
        let mut weights = Constants::zeroed(panels.iter().map(|panel| panel.bytes).sum());
        for (index, (panel, spans)) in panels.iter().zip(&spans).enumerate() {
            let own = &mut weights.as_mut()[panel.weights..][..panel.bytes];
            fill_panel(isa, spec, map, index, spans.iter().zip(&runs[panel.runs.clone()]), own);
        }
        Self { panels, runs, weights }
    }

    pub fn of(panels: Vec<Panel>, runs: Vec<Run>, weights: Constants) -> Self {
        Self { panels, runs, weights }
    }

    /// Arranges the weights of a convolution with one input channel for each output channel.
    pub fn depthwise(spec: &ConvSpec, map: &Map) -> Self {
        let taps = spec.window.area();
        let count = spec.outputs.div_ceil(PANEL);
        let panel = |index: usize| Panel {
            runs: index * taps..(index + 1) * taps,
            weights: index * taps * 4 * PANEL,
            bytes: taps * 4 * PANEL,
            short: false,
        };
        let run = |index: usize| {
            run(4, spec, map, &ByteSpan { tap: index % taps, channel: index / taps * PANEL, bytes: 4 })
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

    /// Steps of the longest run.
    pub fn steps(&self) -> usize {
        self.runs.iter().map(|run| run.steps as usize).max().unwrap_or(0)
    }

    pub fn len(&self) -> usize {
        self.panels.len()
    }

    /// Weights of one panel, in bytes.
    pub fn bytes(&self, panel: usize) -> usize {
        self.panels[panel].bytes
    }

    /// Whether sums of a panel's runs fit 16 bits by choice.
    pub fn is_short(&self, panel: usize) -> bool {
        self.panels[panel].short
    }

    pub fn runs(&self, panel: usize) -> &[Run] {
        &self.runs[self.panels[panel].runs.clone()]
    }

    /// The weights of a panel, the first at a multiple of 64 bytes.
    pub fn weights(&self, panel: usize) -> &[i8] {
        let Panel { weights, bytes, .. } = self.panels[panel];
        &self.weights.as_slice()[weights..][..bytes]
    }

    /// Where the weights of the next panel are, for the `tile`th of `tiles` tiles that share the fetching, and how many
    /// lines it fetches with each run.
    pub fn ahead(&self, panel: usize, tile: usize, tiles: usize) -> (*const i8, usize) {
        if panel + 1 == self.len() {
            return (std::ptr::null(), 0);
        }
        let (runs, next) = (self.panels[panel].runs.len(), self.weights(panel + 1));
        let lines = (next.len() / 64).div_ceil(tiles * runs);
        let worth = tiles <= MANY_TILES;
        (next.as_ptr().wrapping_add(tile * runs * lines * 64), if worth { lines } else { 0 })
    }

    /// The farthest byte that any run reaches from its strip's first one.
    pub fn reach(&self) -> usize {
        self.runs
            .iter()
            .map(|run| run.offset as usize + (4 * run.steps as usize).next_multiple_of(16).max(PANEL))
            .max()
            .unwrap_or(0)
    }
}

/// Panels with the runs that their parts make, and the runs; after each run follow `more` bytes. Panels that read the
/// same share the runs.
pub(super) fn laid_out<T: PartialEq>(
    parts: &[Vec<T>],
    run: impl Fn(&T) -> Run,
    more: usize,
) -> (Vec<Panel>, Vec<Run>) {
    let (mut panels, mut runs, mut weights) = (Vec::<Panel>::new(), Vec::<Run>::new(), 0);
    for (index, own) in parts.iter().enumerate() {
        let same = index.checked_sub(1).filter(|&before| &parts[before] == own);
        let range = same.map_or(runs.len()..runs.len() + own.len(), |before| panels[before].runs.clone());
        if same.is_none() {
            runs.extend(own.iter().map(&run));
        }
        let bytes = runs[range.clone()].iter().map(|run| run.steps as usize * 4 * PANEL + more).sum();
        panels.push(Panel { runs: range, weights, bytes, short: false });
        weights += bytes;
    }
    (panels, runs)
}

/// The bytes that a panel meets, in runs as `isa` wants them, and whether their sums fit 16 bits by choice.
fn spans(isa: &Isa, spec: &ConvSpec, map: &Map, panel: usize) -> (Vec<ByteSpan>, bool) {
    let longest = if isa.form == Form::Even { BLOCK } else { usize::MAX };
    let spans = spans_of(spec, map, panel, longest, true);
    let origin = i32::from(isa.origin(spec));
    let codes = [-origin, i32::from(spec.largest) - origin];
    let steps: usize = spans.iter().map(|span| span.bytes.div_ceil(4)).sum();
    let short = match isa.form {
        Form::Short => bounds::spans::<1>(isa, spec, map, panel, codes),
        _ => None,
    };
    match short.filter(|short| WIDEN_COST * short.len() < steps) {
        Some(short) => (short, true),
        None => (spans, false),
    }
}

/// The input channels that a panel meets.
fn panel_channels(spec: &ConvSpec, panel: usize) -> Range<usize> {
    let last = (panel * PANEL + PANEL).min(spec.outputs) - 1;
    let group = |output: usize| output / spec.group_outputs();
    group(panel * PANEL) * spec.group_inputs..(group(last) + 1) * spec.group_inputs
}

/// The bytes that a panel meets, in parts of at most `longest`. Where one block holds all channels, parts may go over
/// several taps of a row if `merge` says so.
pub(super) fn spans_of(
    spec: &ConvSpec,
    map: &Map,
    panel: usize,
    longest: usize,
    merge: bool,
) -> Vec<ByteSpan> {
    let channels = panel_channels(spec, panel);
    let [rows, columns] = spec.window.kernel;
    let merged = merge && spec.groups == 1 && map.blocks() == 1 && spec.window.dilation[1] == 1;
    let mut spans = Vec::new();
    if merged {
        for row in 0..rows {
            cut(0..columns * map.block, longest, |part| {
                let tap = row * columns + part.start / map.block;
                spans.push(ByteSpan { tap, channel: part.start % map.block, bytes: part.len() });
            });
        }
        return spans;
    }
    for block in channels.start / map.block..channels.end.div_ceil(map.block) {
        let own = channels.start.max(block * map.block)..channels.end.min((block + 1) * map.block);
        for tap in 0..spec.window.area() {
            cut(own.clone(), longest, |part| {
                spans.push(ByteSpan { tap, channel: part.start, bytes: part.len() });
            });
        }
    }
    spans
}

/// Calls `visit` for parts of `range` of at most `longest`.
fn cut(range: Range<usize>, longest: usize, mut visit: impl FnMut(Range<usize>)) {
    for start in range.clone().step_by(longest) {
        visit(start..range.end.min(start.saturating_add(longest)));
    }
}

pub(super) fn run(granule: usize, spec: &ConvSpec, map: &Map, span: &ByteSpan) -> Run {
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
    spans: impl Iterator<Item = (&'a ByteSpan, &'a Run)>,
    mut weights: &mut [i8],
) {
    for (span, run) in spans {
        let (own, rest) = weights.split_at_mut(run.steps as usize * 4 * PANEL);
        weights = rest;
        fill_span(isa, spec, map, panel, span, own);
    }
}

/// The weights of a panel under a span: for each step four of each place.
pub(super) fn steps_of(isa: &Isa, spec: &ConvSpec, map: &Map, panel: usize, span: &ByteSpan) -> Vec<i8> {
    let mut weights = vec![0; span.bytes.div_ceil(4) * 4 * PANEL];
    fill_span(isa, spec, map, panel, span, &mut weights);
    weights
}

fn fill_span(isa: &Isa, spec: &ConvSpec, map: &Map, panel: usize, span: &ByteSpan, weights: &mut [i8]) {
    let source =
        contiguous(spec, map, span).filter(|_| isa.form != Form::Eights && span.bytes.is_multiple_of(16));
    for four in (0..PANEL).step_by(4) {
        let output = panel * PANEL + place(isa, four);
        match source.clone().filter(|_| output + 4 <= spec.outputs) {
            Some(source) => {
                let rows = std::array::from_fn(|row| &channel(spec, output + row)[source.clone()]);
                fill_rows(rows, &mut weights[4 * four..]);
            }
            None => (0..4).filter(|row| output + row < spec.outputs).for_each(|row| {
                fill_place(isa, spec, map, span, output + row, four + row, weights);
            }),
        }
    }
}

/// The weights of one output channel for one span, whose sums lie at `place`.
fn fill_place(
    isa: &Isa,
    spec: &ConvSpec,
    map: &Map,
    span: &ByteSpan,
    output: usize,
    place: usize,
    weights: &mut [i8],
) {
    let count = span.bytes.div_ceil(4);
    match isa.form {
        Form::Eights => fill_row(spec, map, span, output, in_eights(weights, place).take(count)),
        _ => fill_row(spec, map, span, output, weights[4 * place..].chunks_mut(4 * PANEL).take(count)),
    }
}

/// The steps of one place, two side by side.
fn in_eights(weights: &mut [i8], place: usize) -> impl Iterator<Item = &mut [i8]> {
    weights[8 * place..].chunks_mut(8 * PANEL).flat_map(|eight| eight[..8].chunks_exact_mut(4))
}

/// The weights of one output channel for one span, four to a step.
fn fill_row<'a>(
    spec: &ConvSpec,
    map: &Map,
    span: &ByteSpan,
    output: usize,
    steps: impl Iterator<Item = &'a mut [i8]>,
) {
    if let Some(source) = contiguous(spec, map, span).filter(|_| span.bytes.is_multiple_of(4)) {
        for (step, four) in steps.zip(channel(spec, output)[source].chunks_exact(4)) {
            step[..4].copy_from_slice(four);
        }
        return;
    }
    for (step, values) in steps.enumerate() {
        for (byte, value) in values[..4].iter_mut().enumerate() {
            *value = weight(spec, map, span, output, 4 * step + byte);
        }
    }
}

/// The weights of four neighbouring output channels for one span, whose bytes are a multiple of 16.
fn fill_rows(rows: [&[i8]; 4], weights: &mut [i8]) {
    let rows = rows.map(|row| row.as_chunks::<16>().0);
    for (part, steps) in weights.chunks_mut(4 * 4 * PANEL).take(rows[0].len()).enumerate() {
        for step in 0..4 {
            let to = &mut steps[4 * PANEL * step..][..16];
            for (to, row) in to.chunks_exact_mut(4).zip(rows) {
                to.copy_from_slice(&row[part][4 * step..][..4]);
            }
        }
    }
}

/// Where among the weights of an output channel those under a span are, if they lie one after another.
fn contiguous(spec: &ConvSpec, map: &Map, span: &ByteSpan) -> Option<Range<usize>> {
    let one_tap =
        span.channel % map.block + span.bytes <= map.block && span.channel + span.bytes <= spec.group_inputs;
    let start = span.tap * spec.group_inputs + span.channel;
    (spec.groups == 1 && (one_tap || spec.group_inputs == map.block)).then_some(start..start + span.bytes)
}

/// The weights of an output channel.
fn channel(spec: &ConvSpec, output: usize) -> &[i8] {
    &spec.weights[output * spec.channel_len()..][..spec.channel_len()]
}

/// The channel of a panel whose sums lie at `place`.
fn place(isa: &Isa, place: usize) -> usize {
    4 * isa.order[place / 4] + place % 4
}

/// The weight with which an output channel meets a byte of a span; zero where it meets none.
fn weight(spec: &ConvSpec, map: &Map, span: &ByteSpan, output: usize, byte: usize) -> i8 {
    if output >= spec.outputs || byte >= span.bytes {
        return 0;
    }
    let inside = span.channel % map.block + byte;
    let tap = span.tap + inside / map.block;
    let channel = span.channel - span.channel % map.block + inside % map.block;
    let own = channel.wrapping_sub(output / spec.group_outputs() * spec.group_inputs);
    let row = self::channel(spec, output);
    if own < spec.group_inputs { row[tap * spec.group_inputs + own] } else { 0 }
}
