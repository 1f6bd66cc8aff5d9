//! A convolution's constants, in the order in which the code reads them.

use super::node::RESCALE;
use super::text::{array, number, structure};
use crate::format::{PackedConv, Rescale, Store};
use crate::kernels::offset;
use crate::tensor::{Shape, Window};

/// Output channels that are computed at once.
const BLOCK: usize = 4;
/// Inputs whose codes share a word.
const QUAD: usize = 4;
/// Most quads of inputs whose sums, up to 255 each, fit 15 bits with a sign.
const MOST_QUADS: usize = 16;
/// Most weights of an output channel whose planes, up to 127 each, can be summed one after another in 32 bits.
const MOST_PLANE_INPUTS: usize = 60_000;
/// Bytes of the structures on a machine of 32 bits.
const CONV: usize = 92;
const DEPTHWISE: usize = 60;

/// What a convolution reads.
#[derive(Debug, Clone)]
pub(super) struct CConvInput<'a> {
    pub shape: Shape,
    /// Zero point of each channel, or one for all.
    pub zeros: &'a [u8],
    pub residual_zero: u8,
    /// Zero point of the result.
    pub output_zero: u8,
}

impl CConvInput<'_> {
    fn zero(&self, channel: usize) -> u8 {
        *self.zeros.get(channel).or(self.zeros.first()).unwrap_or(&0)
    }

    fn is_uniform(&self) -> bool {
        self.zeros.windows(2).all(|pair| pair[0] == pair[1])
    }
}

/// How a convolution is computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ConvForm {
    /// Two bits a weight, with the quads of inputs that share a scale.
    Ternary { shared: usize },
    /// A byte a weight.
    Bytes,
    /// A byte a weight, every channel on its own.
    Depthwise,
}

impl ConvForm {
    pub(super) fn of(conv: &PackedConv, input: &CConvInput) -> Self {
        let codes = matches!(conv.store, Store::Codes { .. });
        if conv.group_inputs == 1 && conv.groups > 1 && codes && input.is_uniform() {
            return Self::Depthwise;
        }
        match ternary_quads(conv) {
            Some(shared) if ternary_bytes(conv, shared) < conv.weight_count() => Self::Ternary { shared },
            _ => Self::Bytes,
        }
    }
}

/// How many quads of inputs form a group, all groups of a tap alike; none if scales change within a quad or weights are
/// not ternary.
fn ternary_quads(conv: &PackedConv) -> Option<usize> {
    let precision = conv.weights.precision;
    let is_ternary = precision.levels().largest() == 1 && precision.levels().count() == 3;
    let fits = precision.planes() == 1 || conv.channel_len() <= MOST_PLANE_INPUTS;
    if !is_ternary || !fits {
        return None;
    }
    let tap = conv.group_inputs.div_ceil(QUAD);
    let own = match precision.group() {
        Some(group) if group < conv.group_inputs => group.is_multiple_of(QUAD).then_some(group / QUAD)?,
        _ => tap,
    };
    let divides = |&quads: &usize| own.is_multiple_of(quads) && tap.is_multiple_of(quads);
    (1..=MOST_QUADS).rev().find(divides)
}

fn ternary_bytes(conv: &PackedConv, shared: usize) -> usize {
    let quads = conv.group_inputs.div_ceil(QUAD);
    let blocks = conv.groups * (conv.outputs / conv.groups).div_ceil(BLOCK);
    let planes = conv.weights.precision.planes();
    blocks * planes * conv.window.area() * (quads + quads / shared) * BLOCK
}

/// The constants of a convolution and what they take.
#[derive(Debug)]
pub(super) struct ConvData {
    pub text: String,
    pub flash: usize,
    /// Bytes of scratch.
    pub scratch: usize,
}

impl ConvData {
    pub(super) fn new(
        conv: &PackedConv,
        input: &CConvInput,
        shape: Shape,
        form: ConvForm,
        name: &str,
    ) -> Self {
        let mut data = Self { text: String::new(), flash: 0, scratch: 0 };
        let store = data.store(conv, input, form, name);
        let window = window_text(&conv.window, input.shape, shape);
        match form {
            ConvForm::Depthwise => data.depthwise(conv, input, name, [window, store]),
            _ => data.dense(conv, input, name, form, [window, store]),
        }
        data
    }

    fn array<T: std::fmt::Display>(&mut self, kind: &str, bytes: usize, name: &str, values: &[T]) -> String {
        self.text.push_str(&array(kind, name, values));
        self.flash += bytes * values.len();
        name.to_owned()
    }

    /// Biases, multipliers and the residual's.
    fn store(&mut self, conv: &PackedConv, input: &CConvInput, form: ConvForm, name: &str) -> String {
        let bias: Vec<String> = biases(conv, input, form).into_iter().map(number).collect();
        let bias = self.array("int32_t", 4, &format!("{name}_bias"), &bias);
        let Store::Codes { multipliers, residual, fraction, low, high } = &conv.store else {
            return format!("{{{bias}, 0, 0, 0, 0, 0, 0, 0}}");
        };
        let factors: Vec<i16> = multipliers.iter().map(|by| by.value).collect();
        let shifts: Vec<u8> = multipliers.iter().map(|by| by.shift).collect();
        let factors = self.array("int16_t", 2, &format!("{name}_factor"), &factors);
        let shifts = self.array("uint8_t", 1, &format!("{name}_shift"), &shifts);
        let residual =
            residual.map_or_else(|| "0".to_owned(), |by| self.residual(by, input.residual_zero, name));
        let offset = offset(input.output_zero, *fraction);
        format!("{{{bias}, {factors}, {shifts}, {residual}, {offset}, {fraction}, {low}, {high}}}")
    }

    fn residual(&mut self, by: Rescale, zero: u8, name: &str) -> String {
        self.text.push_str(&format!(
            "static const struct rescale {name}_residual = {};\n",
            rescale_text(by, zero)
        ));
        self.flash += RESCALE;
        format!("&{name}_residual")
    }

    fn depthwise(&mut self, conv: &PackedConv, input: &CConvInput, name: &str, [window, store]: [String; 2]) {
        let (weights, taps) = (conv.expand(), conv.window.area());
        let by_tap: Vec<i8> =
            (0..taps).flat_map(|tap| weights.iter().skip(tap).step_by(taps).copied()).collect();
        let weights = self.array("int8_t", 1, &format!("{name}_weights"), &by_tap);
        let fields = [
            ("window", window),
            ("store", store),
            ("weights", weights),
            ("multiplier", (conv.outputs / conv.groups).to_string()),
            ("zero", input.zero(0).to_string()),
        ];
        self.text.push_str(&structure("depthwise", name, &fields));
        self.flash += DEPTHWISE;
        self.scratch = 8 * taps;
    }

    fn dense(
        &mut self,
        conv: &PackedConv,
        input: &CConvInput,
        name: &str,
        form: ConvForm,
        [window, store]: [String; 2],
    ) {
        let none = || "0".to_owned();
        let taps = conv.window.area();
        let (mut codes, mut scales, mut weights, mut padded, mut most) =
            (none(), none(), none(), conv.group_inputs, 0);
        let mut length = conv.channel_len().next_multiple_of(QUAD);
        match form {
            ConvForm::Ternary { shared } => {
                padded = conv.group_inputs.next_multiple_of(QUAD);
                length = taps * padded;
                most = shared;
                let (words, of_groups) = ternary(conv, shared);
                let words: Vec<String> = words.iter().map(|word| format!("0x{word:08x}")).collect();
                codes = self.array("uint32_t", 4, &format!("{name}_codes"), &words);
                scales = self.array("uint8_t", 1, &format!("{name}_scales"), &of_groups);
            }
            _ => weights = self.array("int8_t", 1, &format!("{name}_weights"), &rows(conv)),
        }
        let zeros = match input.is_uniform() {
            true => none(),
            false => self.array("uint8_t", 1, &format!("{name}_zeros"), input.zeros),
        };
        let (factor, shift) = match &conv.store {
            Store::Logits { factors, shift } => {
                let factors: Vec<String> = factors.iter().copied().map(number).collect();
                (self.array("int32_t", 4, &format!("{name}_logit"), &factors), *shift)
            }
            Store::Codes { .. } => (none(), 0),
        };
        let fields = [
            ("window", window),
            ("store", store),
            ("codes", codes),
            ("scales", scales),
            ("weights", weights),
            ("zeros", zeros),
            ("logit_factor", factor),
            ("length", length.to_string()),
            ("groups", conv.groups.to_string()),
            ("inputs", conv.group_inputs.to_string()),
            ("outputs", (conv.outputs / conv.groups).to_string()),
            ("padded", padded.to_string()),
            ("tap_groups", (padded / QUAD / most.max(1)).to_string()),
            ("quads", most.to_string()),
            ("planes", conv.weights.precision.planes().to_string()),
            ("zero", input.zero(0).to_string()),
            ("logit_shift", shift.to_string()),
        ];
        self.text.push_str(&structure("conv", name, &fields));
        self.flash += CONV;
        let starts = if most > 1 { length / QUAD / most } else { 0 };
        self.scratch = input.shape.channels.next_multiple_of(4) + 4 * (length + starts);
    }
}

/// The biases, with the zero points of the input in them where raw codes are summed.
fn biases(conv: &PackedConv, input: &CConvInput, form: ConvForm) -> Vec<i32> {
    if form == ConvForm::Depthwise {
        return conv.bias.clone();
    }
    let (weights, per_group) = (conv.expand(), conv.outputs / conv.groups);
    let shifted = |(channel, (bias, weights)): (usize, (&i32, &[i8]))| {
        let first = channel / per_group * conv.group_inputs;
        let zeros = (0..conv.group_inputs).cycle().map(|i| i32::from(input.zero(first + i)));
        weights
            .iter()
            .zip(zeros)
            .fold(*bias, |sum, (&weight, zero)| sum.wrapping_sub(i32::from(weight) * zero))
    };
    conv.bias.iter().zip(weights.chunks_exact(conv.channel_len())).enumerate().map(shifted).collect()
}

/// The output channels of every block, those of one channel group after another; none where a block is not full.
fn blocks(conv: &PackedConv) -> impl Iterator<Item = [Option<usize>; BLOCK]> {
    let per_group = conv.outputs / conv.groups;
    (0..conv.groups).flat_map(move |group| {
        (0..per_group).step_by(BLOCK).map(move |first| {
            [0, 1, 2, 3].map(|i| Some(group * per_group + first + i).filter(|_| first + i < per_group))
        })
    })
}

/// Weights of a byte: of every output channel a row, which zeros fill up to whole quads.
fn rows(conv: &PackedConv) -> Vec<i8> {
    let (weights, len) = (conv.expand(), conv.channel_len());
    let row = |channel: Option<usize>| {
        let weight = |k: usize| channel.filter(|_| k < len).map_or(0, |channel| weights[channel * len + k]);
        (0..len.next_multiple_of(QUAD)).map(weight).collect::<Vec<_>>()
    };
    blocks(conv).flatten().flat_map(row).collect()
}

/// Words of codes, four inputs of four output channels each, and the scales of groups of `shared` words.
fn ternary(conv: &PackedConv, shared: usize) -> (Vec<u32>, Vec<u8>) {
    let (precision, inputs, taps) = (conv.weights.precision, conv.group_inputs, conv.window.area());
    let (levels, scales) = conv.parts(precision.planes());
    let group = precision.group().unwrap_or(inputs);
    let (quads, per_tap) = (inputs.div_ceil(QUAD), inputs.div_ceil(group));
    let (mut words, mut of_groups) = (Vec::new(), Vec::new());
    for block in blocks(conv) {
        for (plane, tap) in (0..precision.planes()).flat_map(|plane| (0..taps).map(move |tap| (plane, tap))) {
            let row = |channel: usize| (plane * conv.outputs + channel) * taps + tap;
            for quad in 0..quads {
                let level = |i: usize, channel: Option<usize>| match channel {
                    Some(channel) if quad * QUAD + i < inputs => {
                        levels[row(channel) * inputs + quad * QUAD + i]
                    }
                    _ => 0,
                };
                words.push(block.iter().enumerate().fold(0, |word, (place, &channel)| {
                    (0..QUAD).fold(word, |word, i| {
                        word | u32::from(level(i, channel) as u8 & 3) << (8 * i + 2 * place)
                    })
                }));
                if quad % shared == 0 {
                    let scale = |channel: usize| match precision.group() {
                        Some(_) => scales[row(channel) * per_tap + quad * QUAD / group],
                        None => 1,
                    };
                    of_groups.extend(block.map(|channel| channel.map_or(0, scale)));
                }
            }
        }
    }
    (words, of_groups)
}

/// A `struct window`.
pub(super) fn window_text(window: &Window, input: Shape, output: Shape) -> String {
    let Shape { channels, height, width } = input;
    let [kernel, stride, dilation] =
        [window.kernel, window.stride, window.dilation].map(|[y, x]| format!("{{{y}, {x}}}"));
    let [top, left, ..] = window.pads;
    format!(
        "{{{height}, {width}, {channels}, {}, {}, {kernel}, {stride}, {dilation}, {top}, {left}}}",
        output.height, output.width
    )
}

/// A `struct rescale`.
pub(super) fn rescale_text(by: Rescale, zero: u8) -> String {
    format!("{{{}, {}, {zero}}}", by.value, by.shift)
}
