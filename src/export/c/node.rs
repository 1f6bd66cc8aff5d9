//! What the code needs of one node: constants, a call, scratch.

use super::conv::{CConvInput, ConvData, ConvForm, rescale_text, window_text};
use super::text::{array, structure};
use crate::format::{
    Multiplier, PackedConv, PackedId, PackedModel, PackedNode, PackedNorm, PackedOp, PackedSlice, Store,
};
use crate::index::Per;
use crate::kernels::offset;
use crate::tensor::{Shape, Span, Window};

/// Bytes of the structures on a machine of 32 bits.
pub(super) const RESCALE: usize = 8;
const WINDOW: usize = 26;
const OPERANDS: usize = 20;
const MOVE: usize = 44;
const AVERAGE: usize = 48;
const NORM: usize = 48;

/// A part of the code that nodes share, in the order in which it is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum CSection {
    Codes,
    Requantized,
    Rescale,
    Window,
    Wide,
    Epilogue,
    ConvConstants,
    Pairs,
    Ternary,
    Bytes,
    Conv,
    Depthwise,
    Table,
    Broadcast,
    Add,
    Mul,
    Narrow,
    Fill,
    Move,
    MaxPool,
    AveragePool,
    ChannelSum,
    GlobalAverage,
    GlobalSum,
    Distances,
    GroupNorm,
}

/// What is written for one node. In its calls, `@0` and `@1` are its inputs, `@=` its value, `@s` its scratch.
#[derive(Debug, Default)]
pub(super) struct Emission {
    pub constants: String,
    pub calls: Vec<String>,
    pub sections: Vec<CSection>,
    /// Bytes of constants.
    pub flash: usize,
    /// Bytes of scratch.
    pub scratch: usize,
    pub products: u64,
    /// Whether its value is its input's, in the same order.
    pub moves_nothing: bool,
    /// Whether it writes the logits itself.
    pub yields_logits: bool,
}

impl Emission {
    pub(super) fn of(model: &PackedModel, shapes: &Per<PackedId, Shape>, id: PackedId) -> Self {
        let node = &model.nodes[id];
        let mut emission = Self::default();
        let writer = CNodeWriter {
            node,
            name: format!("n{}", id.index()),
            inputs: node.inputs.iter().map(|&input| shapes[input]).collect(),
            zeros: node.inputs.iter().map(|&input| zeros(&model.nodes[input])).collect(),
            shape: shapes[id],
        };
        writer.write(&mut emission);
        if shapes.is_last(id) && !emission.yields_logits {
            let (count, zero) = (shapes[id].len(), node.quantizer.zero_point);
            emission.calls.push(format!("distances(@=, logits, {count}, {zero})"));
            emission.sections.push(CSection::Distances);
        }
        emission
    }
}

/// Extents of windows in a node.
pub(super) fn window_extents(op: &PackedOp) -> Vec<usize> {
    match op {
        PackedOp::Conv(PackedConv { window, .. })
        | PackedOp::MaxPool(window)
        | PackedOp::AveragePool { window, .. } => {
            [&window.kernel[..], &window.stride, &window.dilation, &window.pads].concat()
        }
        _ => Vec::new(),
    }
}

/// Zero point of each channel, or one for all.
fn zeros(node: &PackedNode) -> &[u8] {
    match &node.op {
        PackedOp::Input { pad } => pad,
        _ => std::slice::from_ref(&node.quantizer.zero_point),
    }
}

/// A node and what it reads.
struct CNodeWriter<'a> {
    node: &'a PackedNode,
    /// What its constants are called.
    name: String,
    inputs: Vec<Shape>,
    zeros: Vec<&'a [u8]>,
    shape: Shape,
}

impl CNodeWriter<'_> {
    fn write(&self, out: &mut Emission) {
        let max = self.node.quantizer.max;
        match &self.node.op {
            PackedOp::Input { .. } => {}
            PackedOp::Conv(conv) => self.conv(conv, out),
            PackedOp::Table { entries } => self.table(entries, out),
            PackedOp::Add { left, right, fraction } => {
                let by = format!(
                    "{{{}, {}}}",
                    rescale_text(*left, self.zero(0)),
                    rescale_text(*right, self.zero(1))
                );
                out.constants = format!("static const struct rescale {}_by[2] = {by};\n", self.name);
                out.flash = 2 * RESCALE;
                let rest = format!("{}_by, {}, {fraction}, {max}", self.name, self.offset(*fraction));
                self.broadcast("add", &rest, CSection::Add, out);
                out.sections.extend([CSection::Codes, CSection::Rescale]);
            }
            PackedOp::Mul(by) => {
                out.constants = format!(
                    "static const uint8_t {}_zeros[2] = {{{}, {}}};\n",
                    self.name,
                    self.zero(0),
                    self.zero(1)
                );
                out.flash = 2;
                let rest =
                    format!("{}_zeros, {}, {}, {}, {max}", self.name, by.shift, by.value, self.offset(0));
                self.broadcast("mul", &rest, CSection::Mul, out);
                out.sections.extend([CSection::Codes, CSection::Requantized]);
            }
            PackedOp::Narrow(by) => {
                let by = rescale_text(*by, self.zero(0));
                out.constants = format!("static const struct rescale {} = {by};\n", self.name);
                out.flash = RESCALE;
                out.calls = vec![format!(
                    "narrow(@0, @=, {}, &{}, {}, {max})",
                    self.shape.len(),
                    self.name,
                    self.offset(0)
                )];
                out.sections = vec![CSection::Codes, CSection::Rescale, CSection::Narrow];
            }
            PackedOp::Concat => self.concat(out),
            PackedOp::Slice(slice) => self.slice(slice, out),
            PackedOp::Pad { before, .. } => self.pad(*before, out),
            PackedOp::MaxPool(window) => {
                let window = window_text(window, self.inputs[0], self.shape);
                out.constants = format!("static const struct window {} = {window};\n", self.name);
                out.flash = WINDOW;
                out.calls = vec![format!("max_pool(&{}, @0, @=)", self.name)];
                out.sections = vec![CSection::Window, CSection::MaxPool];
            }
            PackedOp::AveragePool { window, count_include_pad, by_count } => {
                self.average_pool(window, *count_include_pad, by_count, out);
            }
            PackedOp::GroupNorm(norm) => self.group_norm(norm, out),
            PackedOp::GlobalAveragePool(by) => {
                let (count, zero) = (self.global(), self.zero(0));
                let rest = format!("{}, {}, {}, {max}", by.shift, by.value, self.offset(0));
                out.calls = vec![format!("global_average(@0, @=, {count}, {zero}, {rest})")];
                out.sections = vec![
                    CSection::Codes,
                    CSection::Requantized,
                    CSection::ChannelSum,
                    CSection::GlobalAverage,
                ];
            }
            PackedOp::GlobalSum => {
                out.calls = vec![format!("global_sum(@0, logits, {}, {})", self.global(), self.zero(0))];
                out.sections = vec![CSection::ChannelSum, CSection::GlobalSum];
                out.yields_logits = true;
            }
            PackedOp::Flatten => self.flatten(out),
            PackedOp::ChannelShuffle { groups } => self.shuffle(*groups, out),
        }
    }

    fn zero(&self, input: usize) -> u8 {
        self.zeros.get(input).and_then(|zeros| zeros.first()).copied().unwrap_or(0)
    }

    fn offset(&self, fraction: u8) -> i16 {
        offset(self.node.quantizer.zero_point, fraction)
    }

    /// Positions and channels of the first input.
    fn global(&self) -> String {
        format!("{}, {}", self.inputs[0].positions(), self.inputs[0].channels)
    }

    fn conv(&self, conv: &PackedConv, out: &mut Emission) {
        let input = CConvInput {
            shape: self.inputs[0],
            zeros: self.zeros[0],
            residual_zero: self.zero(1),
            output_zero: self.node.quantizer.zero_point,
        };
        let form = ConvForm::of(conv, &input);
        let data = ConvData::new(conv, &input, self.shape, form, &self.name);
        (out.constants, out.flash, out.scratch) = (data.text, data.flash, data.scratch);
        out.products = (conv.weight_count() * self.shape.positions()) as u64;
        out.yields_logits = matches!(conv.store, Store::Logits { .. });
        let residual = if self.inputs.len() > 1 { "@1" } else { "0" };
        let value = if out.yields_logits { "0" } else { "@=" };
        out.calls = vec![match form {
            ConvForm::Depthwise => format!("depthwise(&{}, @0, {residual}, @=, (int32_t *)@s)", self.name),
            _ => format!("conv(&{}, @0, {residual}, {value}, logits, @s)", self.name),
        }];
        out.sections = vec![
            CSection::Codes,
            CSection::Requantized,
            CSection::Rescale,
            CSection::Window,
            CSection::Epilogue,
        ];
        let of_weights =
            |sums| vec![CSection::ConvConstants, CSection::Wide, CSection::Pairs, sums, CSection::Conv];
        out.sections.extend(match form {
            ConvForm::Depthwise => vec![CSection::Depthwise],
            ConvForm::Ternary { .. } => of_weights(CSection::Ternary),
            ConvForm::Bytes => of_weights(CSection::Bytes),
        });
    }

    fn table(&self, entries: &[u8], out: &mut Emission) {
        out.constants = array("uint8_t", &self.name, entries);
        out.flash = entries.len();
        let step = if entries.len() > 256 { 256 } else { 0 };
        out.calls = vec![format!("table(@0, @=, {}, {}, {step})", self.global(), self.name)];
        out.sections = vec![CSection::Table];
    }

    fn broadcast(&self, function: &str, rest: &str, section: CSection, out: &mut Emission) {
        let (Shape { channels, height, width }, other) = (self.shape, self.inputs[1]);
        let step = |own: usize, others: usize, step: usize| if own == others { step } else { 0 };
        let row = step(height, other.height, other.width * other.channels);
        let (column, channel) = (step(width, other.width, other.channels), step(channels, other.channels, 1));
        let operands = format!("{{{height}, {width}, {channels}, {row}, {column}, {channel}}}");
        out.constants.push_str(&format!("static const struct operands {} = {operands};\n", self.name));
        out.flash += OPERANDS;
        out.calls = vec![format!("{function}(&{}, @0, @1, @=, {rest})", self.name)];
        out.sections = vec![CSection::Broadcast, section];
    }

    /// A call that moves codes: extents, place and steps in the input, place and steps in the output.
    fn moves(&self, input: usize, moved: &CodeMove, out: &mut Emission) {
        let list = |numbers: [usize; 3]| format!("{{{}, {}, {}}}", numbers[0], numbers[1], numbers[2]);
        let CodeMove { extents, from, to } = moved;
        let name = format!("{}_{input}", self.name);
        let steps = [from, to].map(|(start, steps)| format!("{start}, {}", list(*steps)));
        let text = format!("{{{}, {}, {}}}", list(*extents), steps[0], steps[1]);
        out.constants.push_str(&format!("static const struct move {name} = {text};\n"));
        out.flash += MOVE;
        out.calls.push(format!("move(&{name}, @{input}, @=)"));
        out.sections.push(CSection::Move);
    }

    fn concat(&self, out: &mut Emission) {
        let (mut first, all) = (0, self.shape.channels);
        for (input, shape) in self.inputs.iter().enumerate() {
            let extents = [1, shape.positions(), shape.channels];
            let moved = CodeMove { extents, from: (0, [0, shape.channels, 1]), to: (first, [0, all, 1]) };
            self.moves(input, &moved, out);
            first += shape.channels;
        }
    }

    fn slice(&self, slice: &PackedSlice, out: &mut Emission) {
        let [channel, row, column] = slice.step;
        let own = steps(self.inputs[0]);
        let start = slice.start[0] + slice.start[1] * own[0] + slice.start[2] * own[1];
        let moved = CodeMove {
            extents: extents(self.shape),
            from: (start, [row * own[0], column * own[1], channel]),
            to: (0, steps(self.shape)),
        };
        self.moves(0, &moved, out);
    }

    fn pad(&self, before: [usize; 3], out: &mut Emission) {
        out.calls.push(format!("fill(@=, {}, {})", self.shape.len(), self.zero(0)));
        out.sections.push(CSection::Fill);
        let own = steps(self.shape);
        let start = before[0] + before[1] * own[0] + before[2] * own[1];
        let moved =
            CodeMove { extents: extents(self.inputs[0]), from: (0, steps(self.inputs[0])), to: (start, own) };
        self.moves(0, &moved, out);
    }

    fn flatten(&self, out: &mut Emission) {
        let Shape { channels, height, width } = self.inputs[0];
        if height * width == 1 || channels == 1 {
            out.moves_nothing = true;
            return;
        }
        let moved = CodeMove {
            extents: [channels, height, width],
            from: (0, [1, width * channels, channels]),
            to: (0, [height * width, width, 1]),
        };
        self.moves(0, &moved, out);
    }

    fn shuffle(&self, groups: usize, out: &mut Emission) {
        let (channels, size) = (self.shape.channels, self.shape.channels / groups);
        let moved = CodeMove {
            extents: [self.shape.positions(), size, groups],
            from: (0, [channels, 1, size]),
            to: (0, [channels, groups, 1]),
        };
        self.moves(0, &moved, out);
    }

    fn average_pool(&self, window: &Window, include_pad: bool, by_count: &[Multiplier], out: &mut Emission) {
        let Shape { height, width, .. } = self.inputs[0];
        let [top, left, bottom, right] = window.pads.map(|pad| pad as i64);
        let (end, start) = match include_pad {
            true => ([height as i64 + bottom, width as i64 + right], [-top, -left]),
            false => ([height as i64, width as i64], [0, 0]),
        };
        out.flash = AVERAGE + 3 * by_count.len();
        self.multipliers(by_count, out);
        let pair = |pair: [i64; 2]| format!("{{{}, {}}}", pair[0], pair[1]);
        let fields = [
            ("window", window_text(window, self.inputs[0], self.shape)),
            ("end", pair(end)),
            ("start", pair(start)),
            ("factor", format!("{}_factor", self.name)),
            ("shift", format!("{}_shift", self.name)),
            ("offset", self.offset(0).to_string()),
            ("zero", self.zero(0).to_string()),
            ("max", self.node.quantizer.max.to_string()),
        ];
        out.constants.push_str(&structure("average", &self.name, &fields));
        out.calls = vec![format!("average_pool(&{}, @0, @=)", self.name)];
        out.sections = vec![CSection::Codes, CSection::Requantized, CSection::Window, CSection::AveragePool];
    }

    fn multipliers(&self, multipliers: &[Multiplier], out: &mut Emission) {
        let factors: Vec<i16> = multipliers.iter().map(|by| by.value).collect();
        let shifts: Vec<u8> = multipliers.iter().map(|by| by.shift).collect();
        out.constants.push_str(&array("int16_t", &format!("{}_factor", self.name), &factors));
        out.constants.push_str(&array("uint8_t", &format!("{}_shift", self.name), &shifts));
    }

    fn group_norm(&self, norm: &PackedNorm, out: &mut Emission) {
        let together = norm.span.positions(self.shape.positions());
        let parts = if norm.span == Span::Image { 1 } else { self.shape.positions() };
        out.flash = NORM + 5 * self.shape.channels;
        self.multipliers(&norm.multipliers, out);
        out.constants.push_str(&array("int16_t", &format!("{}_bias", self.name), &norm.bias));
        let fields = [
            ("parts", parts.to_string()),
            ("positions", together.to_string()),
            ("groups", norm.groups.to_string()),
            ("size", (self.shape.channels / norm.groups).to_string()),
            ("epsilon", format!("UINT64_C({})", norm.epsilon)),
            ("factor", format!("{}_factor", self.name)),
            ("bias", format!("{}_bias", self.name)),
            ("shift", format!("{}_shift", self.name)),
            ("offset", self.offset(norm.fraction).to_string()),
            ("zero", self.zero(0).to_string()),
            ("fraction", norm.fraction.to_string()),
            ("max", self.node.quantizer.max.to_string()),
        ];
        out.constants.push_str(&structure("norm", &self.name, &fields));
        out.calls = vec![format!("group_norm(&{}, @0, @=)", self.name)];
        out.sections = vec![CSection::Codes, CSection::Requantized, CSection::GroupNorm];
    }
}

/// Codes that keep their values: extents, and first place and steps in the input and in the output.
struct CodeMove {
    extents: [usize; 3],
    from: (usize, [usize; 3]),
    to: (usize, [usize; 3]),
}

/// Rows, columns, channels.
fn extents(shape: Shape) -> [usize; 3] {
    [shape.height, shape.width, shape.channels]
}

/// Distances of neighbouring rows, columns, channels.
fn steps(shape: Shape) -> [usize; 3] {
    [shape.width * shape.channels, shape.channels, 1]
}
