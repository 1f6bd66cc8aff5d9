//! What every operator becomes. A value's codes are called as its node is; what they stand for is made where it is read.

use super::OnnxExportOptions;
use super::build::{AttributeValue, INPUT, OUTPUT, OnnxGraphBuilder};
use super::weights::{bias, exponent, weights};
use crate::format::{
    Multiplier, PackedConv, PackedId, PackedModel, PackedNode, PackedNorm, PackedOp, PackedSlice, Quantizer,
    Rescale, Store,
};
use crate::index::Per;
use crate::proto::tensor_proto::DataType;
use crate::tensor::{Shape, Span, Window};

/// Values are called as the node that they belong to, with a word behind it: no value has the name of a node.
const CODES: &str = ":q";

/// Writes one node.
pub(super) struct OnnxNodeWriter<'a> {
    pub model: &'a PackedModel,
    pub shapes: &'a Per<PackedId, Shape>,
    pub quantizers: &'a Per<PackedId, Quantizer>,
    pub id: PackedId,
    pub options: &'a OnnxExportOptions,
}

/// The factor that a multiplier stands for.
pub(super) fn factor(by: Multiplier) -> f64 {
    f64::from(by.value) / 32768.0 / f64::from(by.shift).exp2()
}

pub(super) fn rescaling(by: Rescale) -> f64 {
    f64::from(by.value) / 32768.0 * f64::from(by.shift).exp2()
}

fn ints(values: &[usize]) -> AttributeValue {
    AttributeValue::Ints(values.iter().map(|&value| value as i64).collect())
}

impl OnnxNodeWriter<'_> {
    pub(super) fn write(&self, graph: &mut OnnxGraphBuilder) {
        let own = self.quantizer();
        match &self.node().op {
            PackedOp::Input { pad } => self.pixels(pad, graph),
            PackedOp::Conv(conv) => self.conv(conv, graph),
            PackedOp::Table { entries } => self.table(entries, graph),
            PackedOp::Add { left, right, fraction } => {
                let unit = own.scale / f64::from(*fraction).exp2();
                let left = self.rescaled(0, *left, unit, graph);
                let right = self.rescaled(1, *right, unit, graph);
                let sum = self.operator("Add", &[&left, &right], Vec::new(), graph);
                let sum = self.between_steps(sum, unit, graph);
                self.quantize(&sum, 0, own.max, graph);
            }
            PackedOp::Mul(by) => {
                let left = self.real(0, factor(*by) * own.scale, graph);
                let right = self.real(1, 1.0, graph);
                let product = self.operator("Mul", &[&left, &right], Vec::new(), graph);
                let product = self.requantized(product, &[*by], own.scale, graph);
                self.quantize(&product, 0, own.max, graph);
            }
            PackedOp::Narrow(by) => {
                let real = self.rescaled(0, *by, own.scale, graph);
                let real = self.between_steps(real, own.scale, graph);
                self.quantize(&real, 0, own.max, graph);
            }
            PackedOp::Concat => {
                let codes: Vec<String> =
                    self.node().inputs.iter().map(|&input| self.codes_of(input)).collect();
                let codes: Vec<&str> = codes.iter().map(String::as_str).collect();
                self.moved("Concat", &codes, vec![("axis", AttributeValue::Int(1))], graph);
            }
            PackedOp::Slice(slice) => self.slice(slice, graph),
            PackedOp::Pad { before, after } => self.pad(*before, *after, graph),
            PackedOp::MaxPool(window) => self.moved("MaxPool", &[&self.codes(0)], pool(window), graph),
            PackedOp::AveragePool { window, count_include_pad, by_count } => {
                self.average_pool(window, *count_include_pad, by_count, graph);
            }
            PackedOp::GroupNorm(norm) => self.group_norm(norm, graph),
            PackedOp::GlobalAveragePool(by) => {
                let positions = self.shapes[self.input(0)].positions() as f64;
                let real = self.real(0, factor(*by) * positions * own.scale, graph);
                let mean = self.operator("GlobalAveragePool", &[&real], Vec::new(), graph);
                let mean = self.requantized(mean, &[*by], own.scale, graph);
                self.quantize(&mean, 0, own.max, graph);
            }
            PackedOp::GlobalSum => {
                let positions = self.shapes[self.input(0)].positions() as f64;
                let real = self.real(0, self.model.logit_scale * positions, graph);
                let sum = self.operator("GlobalAveragePool", &[&real], Vec::new(), graph);
                self.logits(&sum, graph);
            }
            PackedOp::Flatten => {
                let shape = graph.indices(self.called("shape"), &[-1, self.shape().len() as i64, 1, 1]);
                self.moved("Reshape", &[&self.codes(0), &shape], Vec::new(), graph);
            }
            PackedOp::ChannelShuffle { groups } => self.shuffle(*groups, graph),
        }
        if self.shapes.is_last(self.id) && !self.yields_logits() {
            let real = self.dequantized(
                &self.codes_of(self.id),
                own.zero_point,
                self.model.logit_scale,
                "logit",
                graph,
            );
            self.logits(&real, graph);
        }
    }

    fn node(&self) -> &PackedNode {
        &self.model.nodes[self.id]
    }

    fn quantizer(&self) -> Quantizer {
        self.quantizers[self.id]
    }

    fn shape(&self) -> Shape {
        self.shapes[self.id]
    }

    fn input(&self, place: usize) -> PackedId {
        self.node().inputs[place]
    }

    fn yields_logits(&self) -> bool {
        match &self.node().op {
            PackedOp::Conv(conv) => matches!(conv.store, Store::Logits { .. }),
            PackedOp::GlobalSum => true,
            _ => false,
        }
    }

    /// The name of something that belongs to this node.
    pub(super) fn called(&self, what: &str) -> String {
        format!("{}:{what}", self.node().name)
    }

    /// The name of a value's codes.
    fn codes_of(&self, id: PackedId) -> String {
        format!("{}{CODES}", self.model.nodes[id].name)
    }

    fn codes(&self, place: usize) -> String {
        self.codes_of(self.input(place))
    }

    /// The operator that gives this node its name.
    fn operator(
        &self,
        operator: &str,
        inputs: &[&str],
        attributes: Vec<(&str, AttributeValue)>,
        graph: &mut OnnxGraphBuilder,
    ) -> String {
        let output = graph.node(operator, self.called("y"), inputs, attributes);
        graph.rename_node(&self.node().name);
        output
    }

    /// An operator on codes, which are the value's.
    fn moved(
        &self,
        operator: &str,
        inputs: &[&str],
        attributes: Vec<(&str, AttributeValue)>,
        graph: &mut OnnxGraphBuilder,
    ) {
        self.operator(operator, inputs, attributes, graph);
        graph.rename_output(&self.codes_of(self.id));
    }

    /// An operand as real numbers, with steps of `scale`.
    pub(super) fn real(&self, place: usize, scale: f64, graph: &mut OnnxGraphBuilder) -> String {
        let zero = self.quantizers[self.input(place)].zero_point;
        self.dequantized(&self.codes(place), zero, scale, &format!("x{place}"), graph)
    }

    fn dequantized(
        &self,
        codes: &str,
        zero: u8,
        scale: f64,
        what: &str,
        graph: &mut OnnxGraphBuilder,
    ) -> String {
        let name = self.called(what);
        let scale = graph.reals(format!("{name}_scale"), &[], &[scale as f32]);
        let zero = graph.zero_point(zero);
        graph.node("DequantizeLinear", name, &[codes, &scale, &zero], Vec::new())
    }

    /// The codes `low..=high` of real numbers in this node's quantizer.
    fn quantize(&self, real: &str, low: u8, high: u8, graph: &mut OnnxGraphBuilder) {
        let Quantizer { scale, zero_point, .. } = self.quantizer();
        let limited = self.limited(real, low, high, graph);
        let scale = graph.reals(self.called("s"), &[], &[scale as f32]);
        let zero = graph.zero_point(zero_point);
        let codes = self.codes_of(self.id);
        graph.node("QuantizeLinear", codes, &[&limited, &scale, &zero], Vec::new());
    }

    /// Real numbers within what the codes `low..=high` stand for; those of 8 bits limit themselves.
    fn limited(&self, real: &str, low: u8, high: u8, graph: &mut OnnxGraphBuilder) -> String {
        let Quantizer { scale, zero_point, .. } = self.quantizer();
        let bound = |code: u8| ((f64::from(code) - f64::from(zero_point)) * scale) as f32;
        match (low, high) {
            (0, u8::MAX) => real.to_owned(),
            (_, u8::MAX) if low == zero_point => graph.node("Relu", self.called("y+"), &[real], Vec::new()),
            _ => {
                let low = graph.reals(self.called("low"), &[], &[bound(low)]);
                let high = graph.reals(self.called("high"), &[], &[bound(high)]);
                graph.node("Clip", self.called("y+"), &[real, &low, &high], Vec::new())
            }
        }
    }

    /// The network's output.
    fn logits(&self, real: &str, graph: &mut OnnxGraphBuilder) {
        graph.node("Flatten", self.called("flat"), &[real], Vec::new());
        graph.rename_output(OUTPUT);
    }

    /// Pixels are whole numbers again: preprocessing turned round.
    fn pixels(&self, pad: &[u8], graph: &mut OnnxGraphBuilder) {
        let preprocess = &self.model.preprocess;
        let divisor = preprocess.scale.divisor();
        let dims = [1, pad.len(), 1, 1];
        let std: Vec<f32> = preprocess.std.iter().map(|std| std * divisor).collect();
        let mean: Vec<f32> = preprocess.mean.iter().map(|mean| mean * divisor).collect();
        let std = graph.reals(self.called("std"), &dims, &std);
        let mean = graph.reals(self.called("mean"), &dims, &mean);
        let scaled = graph.node("Mul", self.called("scaled"), &[INPUT, &std], Vec::new());
        let pixels = graph.node("Add", self.called("pixels"), &[&scaled, &mean], Vec::new());
        let one = graph.reals(self.called("s"), &[], &[1.0]);
        let zero = graph.zero_point(0);
        graph.node("QuantizeLinear", self.codes_of(self.id), &[&pixels, &one, &zero], Vec::new());
        graph.rename_node(&self.node().name);
    }

    /// The first input of a convolution in steps: of pixels, the distances from each channel's zero.
    fn conv_input(&self, scale: f64, graph: &mut OnnxGraphBuilder) -> String {
        let input = self.input(0);
        let PackedOp::Input { pad } = &self.model.nodes[input].op else { return self.real(0, scale, graph) };
        let name = self.called("x0");
        let scales = graph.reals(format!("{name}_scale"), &[pad.len()], &vec![scale as f32; pad.len()]);
        let zeros = graph.bytes(format!("{name}_zero"), &[pad.len()], pad);
        let axis = vec![("axis", AttributeValue::Int(1))];
        graph.node("DequantizeLinear", name, &[&self.codes(0), &scales, &zeros], axis)
    }

    fn conv(&self, conv: &PackedConv, graph: &mut OnnxGraphBuilder) {
        let own = self.quantizer();
        let units: Vec<f64> = match &conv.store {
            Store::Codes { multipliers, fraction, .. } => {
                let unit = own.scale / f64::from(*fraction).exp2();
                multipliers.iter().map(|&by| factor(by) * unit).collect()
            }
            Store::Logits { factors, shift } => {
                let unit = self.model.logit_scale / f64::from(*shift).exp2();
                factors.iter().map(|&factor| f64::from(factor) * unit).collect()
            }
        };
        let step = match self.input(0) {
            PackedId::INPUT => 1.0,
            input => self.quantizers[input].scale,
        };
        let name = &self.node().name;
        let per_step: Vec<f64> = units.iter().map(|unit| unit / step).collect();
        let exponent = exponent(conv, &per_step);
        let input = self.conv_input(step * exponent.exp2(), graph);
        let per_step: Vec<f64> = per_step.iter().map(|unit| unit / exponent.exp2()).collect();
        let weights = weights(graph, name, conv, &per_step, self.options);
        let biases: Vec<f64> =
            conv.bias.iter().zip(&units).map(|(&bias, unit)| f64::from(bias) * unit).collect();
        let bias = bias(graph, name, conv, &biases, self.options);
        let mut attributes = window(&conv.window);
        attributes.push(("group", AttributeValue::Int(conv.groups as i64)));
        let sums = self.operator("Conv", &[&input, &weights, &bias], attributes, graph);
        match &conv.store {
            Store::Logits { .. } => self.logits(&sums, graph),
            Store::Codes { multipliers, residual, fraction, low, high } => {
                let unit = own.scale / f64::from(*fraction).exp2();
                let mut sums = self.requantized(sums, multipliers, unit, graph);
                if let Some(by) = residual {
                    let residual = self.rescaled(1, *by, unit, graph);
                    sums = graph.node("Add", self.called("sum"), &[&sums, &residual], Vec::new());
                    sums = self.between_steps(sums, unit, graph);
                }
                self.quantize(&sums, *low, *high, graph);
            }
        }
    }

    /// Entries are gathered; where every channel has its own, codes are moved to those.
    fn table(&self, entries: &[u8], graph: &mut OnnxGraphBuilder) {
        let to = vec![("to", AttributeValue::Int(DataType::Int32 as i64))];
        let mut places = graph.node("Cast", self.called("places"), &[&self.codes(0)], to);
        if entries.len() > 256 {
            let channels = entries.len() / 256;
            let first: Vec<u8> =
                (0..channels).flat_map(|channel| (256 * channel as i32).to_le_bytes()).collect();
            let first = graph.tensor(self.called("first"), DataType::Int32, &[1, channels, 1, 1], first);
            places = graph.node("Add", self.called("of_channel"), &[&places, &first], Vec::new());
        }
        let entries = graph.bytes(self.called("entries"), &[entries.len()], entries);
        self.moved("Gather", &[&entries, &places], Vec::new(), graph);
    }

    fn slice(&self, slice: &PackedSlice, graph: &mut OnnxGraphBuilder) {
        let list = |values: [usize; 3]| values.map(|value| value as i64);
        let start = graph.indices(self.called("start"), &list(slice.start));
        let end = graph.indices(self.called("end"), &list(slice.end));
        let axes = graph.indices(self.called("axes"), &[1, 2, 3]);
        let step = graph.indices(self.called("step"), &list(slice.step));
        self.moved("Slice", &[&self.codes(0), &start, &end, &axes, &step], Vec::new(), graph);
    }

    fn pad(&self, before: [usize; 3], after: [usize; 3], graph: &mut OnnxGraphBuilder) {
        let pads: Vec<i64> =
            [&[0], &before[..], &[0], &after[..]].concat().into_iter().map(|pad| pad as i64).collect();
        let pads = graph.indices(self.called("pads"), &pads);
        let zero = graph.zero_point(self.quantizers[self.input(0)].zero_point);
        self.moved("Pad", &[&self.codes(0), &pads, &zero], Vec::new(), graph);
    }

    /// Every count has a multiplier of its own for the sum, all for the same mean; that of the whole window has it.
    fn average_pool(
        &self,
        window: &Window,
        include_pad: bool,
        by_count: &[Multiplier],
        graph: &mut OnnxGraphBuilder,
    ) {
        let whole = by_count.last().map_or(0.0, |&by| factor(by)) * by_count.len() as f64;
        let real = self.real(0, whole * self.quantizer().scale, graph);
        let mut attributes = pool(window);
        attributes.push(("count_include_pad", AttributeValue::Int(i64::from(include_pad))));
        let mut mean = self.operator("AveragePool", &[&real], attributes, graph);
        if let Some(&by) = by_count.last() {
            mean = self.requantized(mean, &[by], self.quantizer().scale, graph);
        }
        self.quantize(&mean, 0, self.quantizer().max, graph);
    }

    fn shuffle(&self, groups: usize, graph: &mut OnnxGraphBuilder) {
        let Shape { channels, height, width } = self.shape();
        let extents = |values: &[usize]| -> Vec<i64> {
            std::iter::once(-1).chain(values.iter().map(|&value| value as i64)).collect()
        };
        let apart =
            graph.indices(self.called("apart"), &extents(&[groups, channels / groups, height, width]));
        let parts = graph.node("Reshape", self.called("parts"), &[&self.codes(0), &apart], Vec::new());
        let turned = vec![("perm", ints(&[0, 2, 1, 3, 4]))];
        let turned = graph.node("Transpose", self.called("turned"), &[&parts], turned);
        let whole = graph.indices(self.called("whole"), &extents(&[channels, height, width]));
        self.moved("Reshape", &[&turned, &whole], Vec::new(), graph);
    }

    /// Groups on an axis of their own, less their mean, divided by their deviation.
    fn group_norm(&self, norm: &PackedNorm, graph: &mut OnnxGraphBuilder) {
        let Shape { channels, height, width } = self.shape();
        let (size, own) = (channels / norm.groups, self.quantizer());
        let (count, scale) =
            (size * norm.span.positions(height * width), self.quantizers[self.input(0)].scale);
        let real = self.real(0, scale, graph);
        let apart = [norm.groups, size, height, width].map(|extent| extent as i64);
        let apart = graph.indices(self.called("apart"), &[&[-1], &apart[..]].concat());
        let parts = graph.node("Reshape", self.called("parts"), &[&real, &apart], Vec::new());
        let axes: &[i64] = if norm.span == Span::Image { &[2, 3, 4] } else { &[2] };
        let axes = graph.indices(self.called("axes"), axes);
        let mean = graph.node("ReduceMean", self.called("mean"), &[&parts, &axes], Vec::new());
        let rest = graph.node("Sub", self.called("rest"), &[&parts, &mean], Vec::new());
        let squares = graph.node("Mul", self.called("squares"), &[&rest, &rest], Vec::new());
        let variance = graph.node("ReduceMean", self.called("variance"), &[&squares, &axes], Vec::new());
        let epsilon = norm.epsilon as f64 * scale * scale / (count as f64 * count as f64);
        let epsilon = graph.reals(self.called("epsilon"), &[], &[epsilon as f32]);
        let sum = graph.node("Add", self.called("variance_epsilon"), &[&variance, &epsilon], Vec::new());
        let root = graph.node("Sqrt", self.called("deviation"), &[&sum], Vec::new());
        let standard = graph.node("Div", self.called("standard"), &[&rest, &root], Vec::new());
        let whole = [channels, height, width].map(|extent| extent as i64);
        let whole = graph.indices(self.called("whole"), &[&[-1], &whole[..]].concat());
        let standard = graph.node("Reshape", self.called("normalised"), &[&standard, &whole], Vec::new());
        let unit = own.scale / f64::from(norm.fraction).exp2();
        let gain: Vec<f32> =
            norm.multipliers.iter().map(|&by| (factor(by) * 65536.0 * unit) as f32).collect();
        let bias: Vec<f32> = norm.bias.iter().map(|&bias| (f64::from(bias) * unit) as f32).collect();
        let gain = graph.reals(self.called("gain"), &[1, channels, 1, 1], &gain);
        let bias = graph.reals(self.called("bias"), &[1, channels, 1, 1], &bias);
        let gained = graph.node("Mul", self.called("gained"), &[&standard, &gain], Vec::new());
        let result = self.operator("Add", &[&gained, &bias], Vec::new(), graph);
        self.quantize(&result, 0, own.max, graph);
    }
}

fn window(window: &Window) -> Vec<(&'static str, AttributeValue)> {
    vec![
        ("kernel_shape", ints(&window.kernel)),
        ("strides", ints(&window.stride)),
        ("dilations", ints(&window.dilation)),
        ("pads", ints(&window.pads)),
    ]
}

fn pool(of: &Window) -> Vec<(&'static str, AttributeValue)> {
    let mut attributes = window(of);
    attributes.push(("ceil_mode", AttributeValue::Int(i64::from(of.ceil))));
    attributes
}
