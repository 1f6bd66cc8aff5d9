//! Random small packed models for property tests.

use super::{
    AffineChange, Channels, Fidelity, Interpolation, LayerFidelity, Multiplier, PackedConv, PackedId,
    PackedModel, PackedNode, PackedNorm, PackedOp, PackedSlice, PackedWeights, PairShifts, PlanRecord,
    Preprocess, Provenance, Quantizer, Rescale, Resize, Scale, Setting, Size, Store, SwitchedCopy,
    SwitchedLayer, Switching,
};
use crate::choices::Choices;
use crate::index::Per;
use crate::judge::Judgement;
use crate::precision::{Levels, Precision};
use crate::tensor::{Shape, Span, Window};
use proptest::prelude::*;

/// Most elements of one tensor.
const ELEMENTS: usize = 1500;

/// The node at a place.
pub(crate) fn packed_id(index: usize) -> PackedId {
    PackedId::from_index(index)
}

/// The nodes at some places.
pub(crate) fn packed_ids(places: &[usize]) -> Vec<PackedId> {
    places.iter().copied().map(packed_id).collect()
}

/// Valid models of up to about fifteen nodes with every kind of operator.
pub(crate) fn models() -> impl Strategy<Value = PackedModel> {
    any::<u64>().prop_map(model)
}

/// The model that `seed` stands for.
pub(crate) fn model(seed: u64) -> PackedModel {
    let mut choices = Choices(seed);
    let choices = &mut choices;
    let input = Shape::new(choices.pick(&[1, 3]), 1 + choices.below(8), 1 + choices.below(8));
    let mut growing = Growing::new(choices, input);
    growing.push(choices, |growing, choices| growing.reader(choices));
    for _ in 0..choices.below(14) {
        growing.push(choices, |growing, choices| growing.operator(choices));
    }
    growing.finish(choices)
}

/// A valid model whose convolutions read from 3 to 128 channels, in groups of every size that kernels tell apart.
pub(crate) fn ladder(seed: u64) -> PackedModel {
    const STEPS: [(&str, bool, usize); 16] = [
        ("int8", false, 4),
        ("ternary:4", false, 8),
        ("ternary:4", false, 12),
        ("ternary:8/8*2", false, 12),
        ("ternary:12", false, 16),
        ("int8", true, 16),
        ("ternary:16/8", false, 20),
        ("ternary:20", false, 20),
        ("int8", true, 20),
        ("int4", false, 24),
        ("ternary:24", false, 33),
        ("ternary:4/8*2", false, 32),
        ("ternary:32", false, 64),
        ("ternary:64/8", false, 128),
        ("ternary:128", false, 68),
        ("ternary:128", false, 10),
    ];
    let choices = &mut Choices(seed);
    let mut growing = Growing::new(choices, Shape::new(3, 3, 3));
    for (precision, depthwise, outputs) in STEPS {
        growing.push(choices, |growing, choices| {
            let (source, output) = (growing.shapes.len() - 1, growing.quantizer(choices));
            let (shape, window) = (growing.shapes[source], Window::new([3, 3]).with_pads([1, 1, 1, 1]));
            let groups = if depthwise { shape.channels } else { 1 };
            let conv = conv_in(precision.parse().unwrap(), choices, shape, window, groups, outputs);
            (PackedOp::Conv(stored(choices, conv, None, &output)), vec![source], output)
        });
    }
    assert_eq!(growing.shapes.len(), STEPS.len() + 1);
    growing.finish(choices)
}

/// A valid model whose logits are the largest and the least sums that so many inputs, in groups of that size, can have.
pub(crate) fn extreme(channels: usize, precision: &str) -> PackedModel {
    let choices = &mut Choices(channels as u64);
    let (shape, output) = (Shape::new(channels, 3, 3), Quantizer { scale: 1.0, zero_point: 0, max: 255 });
    let mut growing = Growing::new(choices, Shape::new(3, 3, 3));
    growing.push(choices, |growing, choices| {
        let window = Window::new([1, 1]);
        let conv = conv_in(Precision::int8(), choices, growing.shapes[0], window, 1, channels);
        let mut conv = stored(choices, conv, None, &output);
        if let Store::Codes { low, high, .. } = &mut conv.store {
            (*low, *high) = (255, 255);
        }
        (PackedOp::Conv(conv), vec![0], output)
    });
    let precision: Precision = precision.parse().unwrap();
    let mut last = conv_in(precision, choices, shape, Window::new([3, 3]), 1, 6);
    let largest = precision.levels().largest() as i8;
    let signs = |place: usize| match place / last.channel_len() % 3 {
        0 => largest,
        1 => -largest,
        _ => [largest, -largest][place % 2],
    };
    let levels: Vec<i8> = (0..precision.planes() * 6 * last.channel_len()).map(signs).collect();
    let count = precision.group().map_or(0, |group| 6 * 9 * channels.div_ceil(group));
    let scales: Vec<u8> = precision.plane_scales().iter().flat_map(|&largest| vec![largest; count]).collect();
    last.weights = PackedWeights::pack(precision, &levels, &scales);
    let node = PackedNode {
        name: "logits".into(),
        op: PackedOp::Conv(last),
        inputs: packed_ids(&[growing.shapes.len() - 1]),
        quantizer: output,
    };
    growing.model.nodes.push(node);
    growing.model
}

/// Valid models some of whose layers switch, as often as not with copies that switch with them.
pub(crate) fn switching_models() -> impl Strategy<Value = PackedModel> {
    any::<u64>().prop_map(switching_model)
}

/// The first model from `seed` on that can switch, switching.
pub(crate) fn switching_model(seed: u64) -> PackedModel {
    let candidates = (0..).map(|more| (model(seed.wrapping_add(more)), Choices(seed.wrapping_add(more))));
    candidates.filter_map(|(model, mut choices)| switched(model, &mut choices)).next().unwrap()
}

/// The model with other weights in some layers, which switch.
fn switched(mut model: PackedModel, choices: &mut Choices) -> Option<PackedModel> {
    let sets: [&[u8]; 7] = [&[1, 2], &[1, 2, 3], &[2, 3], &[2, 4], &[2, 3, 4], &[4, 6, 8], &[1, 3]];
    let widths = choices.pick(&sets).to_vec();
    let full = *widths.last()?;
    let own: Vec<PackedId> =
        super::fidelity::convolutions(&model.nodes).filter(|_| choices.below(3) > 0).collect();
    for &id in &own {
        let group = choices.pick(&["1", "3", "64"]);
        let planes = format!("ternary:{group}*{full}").parse().ok().filter(|_| full <= 3);
        let bits = Some(Precision::int(full)).filter(|_| widths[0] > 1);
        let precision = if choices.below(2) == 0 { planes.or(bits) } else { bits.or(planes) };
        let PackedOp::Conv(conv) = &mut model.nodes[id].op else { continue };
        conv.weights = weights(choices, precision?, conv);
    }
    let before = super::switching::switching_before(&model.nodes, &own);
    let touched = |id: &PackedId| own.contains(id) || before[*id].is_some();
    let layers: Vec<PackedId> = super::fidelity::convolutions(&model.nodes).filter(touched).collect();
    let layers = layers.into_iter().map(|node| {
        let PackedOp::Conv(conv) = &mut model.nodes[node].op else { unreachable!() };
        conv.bias.iter_mut().for_each(|bias| *bias = (*bias).clamp(-1000, 1000));
        let counts =
            [before[node].is_some(), own.contains(&node)].map(|many| if many { widths.len() } else { 1 });
        let pairs = counts[0] * counts[1] - 1;
        SwitchedLayer {
            node,
            own: own.contains(&node),
            shifts: (0..pairs)
                .map(|_| PairShifts { gain: choices.below(15) as i8 - 7, bias: choices.below(12) as i8 - 8 })
                .collect(),
            changes: (0..pairs * conv.outputs)
                .map(|_| AffineChange { gain: choices.next() as i8, bias: choices.next() as i8 })
                .collect(),
        }
    });
    let layers = layers.collect();
    let copies = copies(&model.nodes, &own, widths.len() - 1, choices);
    let setting = |name: &str| Setting {
        name: name.into(),
        widths: own.iter().map(|_| choices.pick(&widths)).collect(),
        judgement: Some(Judgement { images: 3, agreeing: 2, divergence: 0.5, divergence_error: Some(0.25) })
            .filter(|_| name == "economy"),
    };
    let settings = ["economy", "\u{e9}co 2"].map(setting).into();
    model.switching = Some(Switching { widths: widths.clone(), layers, copies, settings });
    model.fidelity = None;
    model.shapes().is_ok().then_some(model)
}

/// The narrow copies that one switching layer alone reads, most of them.
fn copies(
    nodes: &Per<PackedId, PackedNode>,
    own: &[PackedId],
    lower: usize,
    choices: &mut Choices,
) -> Vec<SwitchedCopy> {
    let is_copy = |&id: &PackedId| {
        let readers: Vec<PackedId> = nodes
            .enumerate()
            .flat_map(|(reader, node)| node.inputs.iter().filter(|&&i| i == id).map(move |_| reader))
            .collect();
        let read = matches!(readers[..], [reader] if own.contains(&reader) && nodes[reader].inputs[0] == id);
        read && matches!(nodes[id].op, PackedOp::Narrow(_))
    };
    let copies: Vec<PackedId> = nodes.ids().filter(is_copy).collect();
    let quantizer = |choices: &mut Choices| {
        let max = choices.pick(&[1, 3, 7, 15, 255]);
        Quantizer { scale: 0.5, zero_point: (choices.next() as u8).min(max), max }
    };
    let copy = |node: PackedId| SwitchedCopy {
        node,
        lower: (0..lower).map(|_| (rescale(choices), quantizer(choices))).collect(),
    };
    copies.into_iter().map(copy).collect()
}

/// A description of preprocessing that gives `input`.
pub(crate) fn preprocess(input: Shape) -> Preprocess {
    Preprocess {
        resize: Resize::None,
        as_is: true,
        crop: Size { height: input.height, width: input.width },
        interpolation: Interpolation::Bilinear,
        mean: vec![0.485, 0.1, 1.0 / 3.0][..input.channels].to_vec(),
        std: vec![0.229; input.channels],
        scale: Scale::Unit,
        channels: if input.channels == 1 { Channels::Grey } else { Channels::Rgb },
    }
}

/// A model whose only operator besides the input sums all pixels of a table's output.
fn seedling(choices: &mut Choices, input: Shape) -> PackedModel {
    let pad = (0..input.channels).map(|_| choices.next() as u8).collect();
    let quantizer = Quantizer { scale: 1.0, zero_point: 0, max: 255 };
    PackedModel {
        name: "arbitrary \"net\" \u{e9}".into(),
        input,
        preprocess: preprocess(input),
        classes: Vec::new(),
        provenance: Provenance {
            generator: "fgq".into(),
            options: [("group".into(), "4".into())].into(),
            ..Provenance::default()
        },
        nodes: Per::from(vec![PackedNode {
            name: "pixels".into(),
            op: PackedOp::Input { pad },
            inputs: vec![],
            quantizer,
        }]),
        logit_scale: 1.0 / (3 + choices.below(1000)) as f64,
        fidelity: None,
        switching: None,
    }
}

struct Growing {
    model: PackedModel,
    shapes: Vec<Shape>,
    /// The quantizers of this model; few, so that concatenations find partners.
    quantizers: Vec<Quantizer>,
}

impl Growing {
    fn new(choices: &mut Choices, input: Shape) -> Self {
        let model = seedling(choices, input);
        let quantizer = |choices: &mut Choices| {
            let max = choices.pick(&[3, 15, 100, 127, 255, 255]);
            let zero_point = choices.pick(&[0, max, (choices.0 >> 7) as u8]).min(max);
            Quantizer { scale: 0.1 / (1 + choices.below(99)) as f64, zero_point, max }
        };
        let quantizers = (0..2).map(|_| quantizer(choices)).collect();
        Self { model, shapes: vec![input], quantizers }
    }

    /// Adds what `make` gives, if that is valid and small.
    fn push(
        &mut self,
        choices: &mut Choices,
        make: impl FnOnce(&Self, &mut Choices) -> (PackedOp, Vec<usize>, Quantizer),
    ) {
        let (op, inputs, quantizer) = make(self, choices);
        let name = format!("node.{}", self.shapes.len());
        self.model.nodes.push(PackedNode { name, op, inputs: packed_ids(&inputs), quantizer });
        match self.try_shapes() {
            Some(shapes) => self.shapes = shapes,
            None => {
                self.model.nodes.pop();
            }
        }
    }

    /// The shapes, if what there is can become a model.
    fn try_shapes(&mut self) -> Option<Vec<Shape>> {
        self.model.nodes.push(PackedNode {
            name: "sum".into(),
            op: PackedOp::GlobalSum,
            inputs: vec![packed_id(self.model.nodes.len() - 1)],
            quantizer: self.quantizers[0],
        });
        let shapes = self.model.shapes();
        self.model.nodes.pop();
        let mut shapes = shapes.ok()?.into_vec();
        shapes.pop();
        shapes.iter().all(|shape| shape.len() <= ELEMENTS).then_some(shapes)
    }

    fn quantizer(&self, choices: &mut Choices) -> Quantizer {
        choices.pick(&self.quantizers)
    }

    /// An operator that can read pixels.
    fn reader(&self, choices: &mut Choices) -> (PackedOp, Vec<usize>, Quantizer) {
        let output = self.quantizer(choices);
        let op = match choices.below(3) {
            0 => table(choices, self.shapes[0].channels, &output),
            _ => PackedOp::Conv(conv(choices, self.shapes[0], None, &output)),
        };
        (op, vec![0], output)
    }

    fn operator(&self, choices: &mut Choices) -> (PackedOp, Vec<usize>, Quantizer) {
        let newest = self.shapes.len() - 1;
        if newest == 0 {
            return self.reader(choices);
        }
        let source = if choices.below(3) == 0 { 1 + choices.below(newest) } else { newest };
        let (shape, output) = (self.shapes[source], self.quantizer(choices));
        let own = self.model.nodes[packed_id(source)].quantizer;
        let other = 1 + choices.below(newest);
        let op = match choices.below(18) {
            0..=3 => {
                let residual = (choices.below(2) == 0).then(|| rescale(choices));
                let inputs = [source, other][..1 + usize::from(residual.is_some())].to_vec();
                return (PackedOp::Conv(conv(choices, shape, residual, &output)), inputs, output);
            }
            4 => table(choices, shape.channels, &output),
            5 => {
                let (left, right) = (rescale(choices), rescale(choices));
                let op = PackedOp::Add { left, right, fraction: choices.below(7) as u8 };
                return (op, vec![source, other], output);
            }
            6 => return (PackedOp::Mul(multiplier(choices)), vec![source, other], output),
            7 => return (PackedOp::Concat, vec![source, other, source], own),
            8 => return (PackedOp::Slice(slice(choices, shape)), vec![source], own),
            9 => {
                let mut side = || [0; 3].map(|_| choices.below(2));
                return (PackedOp::Pad { before: side(), after: side() }, vec![source], own);
            }
            10 => return (PackedOp::MaxPool(window(choices)), vec![source], own),
            11 => {
                let window = window(choices);
                PackedOp::AveragePool {
                    window,
                    count_include_pad: choices.below(2) == 0,
                    by_count: (0..window.area()).map(|_| multiplier(choices)).collect(),
                }
            }
            12 => PackedOp::GlobalAveragePool(multiplier(choices)),
            13 => return (PackedOp::Flatten, vec![source], own),
            14 | 15 => PackedOp::Narrow(rescale(choices)),
            16 => PackedOp::GroupNorm(norm(choices, shape.channels)),
            _ => {
                let groups = 1 + choices.below(shape.channels);
                return (PackedOp::ChannelShuffle { groups }, vec![source], own);
            }
        };
        (op, vec![source], output)
    }

    /// Ends with logits.
    fn finish(mut self, choices: &mut Choices) -> PackedModel {
        let source = self.shapes.len() - 1;
        let (shape, output) = (self.shapes[source], self.quantizer(choices));
        let op = match choices.below(4) {
            0 if source > 0 => PackedOp::GlobalSum,
            1 if source > 0 => PackedOp::GlobalAveragePool(multiplier(choices)),
            _ => PackedOp::Conv(classifier(choices, shape)),
        };
        let name = "logits".into();
        self.model.nodes.push(PackedNode { name, op, inputs: vec![packed_id(source)], quantizer: output });
        let classes = self.model.shapes().unwrap().last().unwrap().channels;
        if choices.below(2) == 0 {
            self.model.classes = (0..classes).map(|class| format!("class {class}")).collect();
        }
        if choices.below(4) == 0 {
            self.model.provenance.plan = Some(plan_record());
        }
        if choices.below(2) == 0 {
            self.model.fidelity = Some(fidelity(choices, &self.model.nodes));
        }
        self.model
    }
}

fn norm(choices: &mut Choices, channels: usize) -> PackedNorm {
    let divisors: Vec<usize> = (1..=channels).filter(|&groups| channels.is_multiple_of(groups)).collect();
    PackedNorm {
        groups: choices.pick(&divisors),
        span: choices.pick(&[Span::Position, Span::Image]),
        epsilon: choices.pick(&[1, 1 << 10, 1 << 60]),
        fraction: choices.below(7) as u8,
        multipliers: (0..channels).map(|_| multiplier(choices)).collect(),
        bias: (0..channels).map(|_| choices.next() as i16).collect(),
    }
}

fn plan_record() -> PlanRecord {
    PlanRecord {
        budgets: [("max_size".into(), "400".into())].into(),
        objective: "0.25".into(),
        layers: "- i4/4 t16".into(),
    }
}

fn fidelity(choices: &mut Choices, nodes: &Per<PackedId, PackedNode>) -> Fidelity {
    let ratio = |choices: &mut Choices| {
        let hundredths = choices.below(24_001) as f64 - 12_000.0;
        choices.pick(&[None, Some(hundredths / 100.0)])
    };
    let layer = |node: PackedId| LayerFidelity {
        node,
        weight: ratio(choices),
        local: ratio(choices),
        rounding: ratio(choices),
        cumulative: ratio(choices),
        saturation: choices.below(10_001) as f64 / 10_000.0,
    };
    let layers = super::fidelity::convolutions(nodes).map(layer).collect();
    let images = 1 + choices.below(99);
    let nats = |choices: &mut Choices| choices.below(1_000_000) as f64 / 1e6;
    let judgement = Judgement {
        images,
        agreeing: choices.below(images + 1),
        divergence: nats(choices),
        divergence_error: (images > 1).then(|| nats(choices)),
    };
    Fidelity {
        images,
        held_back: choices.pick(&[false, true]),
        logits: ratio(choices),
        judgement: choices.pick(&[None, Some(judgement)]),
        layers,
    }
}

fn multiplier(choices: &mut Choices) -> Multiplier {
    Multiplier { shift: choices.below(12) as u8, value: (choices.next() as i16).max(-32767) }
}

fn rescale(choices: &mut Choices) -> Rescale {
    Rescale { shift: choices.below(8) as u8, value: (choices.next() as i16).max(-32767) }
}

fn window(choices: &mut Choices) -> Window {
    let mut pair = |low: usize, high: usize| [0; 2].map(|_| low + choices.below(high - low + 1));
    let (kernel, stride, dilation, before, after) =
        (pair(1, 3), pair(1, 2), pair(1, 2), pair(0, 1), pair(0, 1));
    let ceil = choices.below(2) == 0;
    Window { kernel, stride, dilation, pads: [before[0], before[1], after[0], after[1]], ceil }
}

fn slice(choices: &mut Choices, shape: Shape) -> PackedSlice {
    let end = [shape.channels, shape.height, shape.width];
    let start = end.map(|extent| choices.below(extent.min(3)));
    PackedSlice { start, end, step: [0; 3].map(|_| 1 + choices.below(2)) }
}

fn table(choices: &mut Choices, channels: usize, output: &Quantizer) -> PackedOp {
    let tables = choices.pick(&[1, channels]);
    let entry = |choices: &mut Choices| (choices.next() as u8).min(output.max);
    PackedOp::Table { entries: (0..256 * tables).map(|_| entry(choices)).collect() }
}

fn conv(choices: &mut Choices, input: Shape, residual: Option<Rescale>, output: &Quantizer) -> PackedConv {
    let groups = choices.pick(&[1, 1, input.channels]);
    let outputs = groups * (1 + choices.below(3));
    // Of the input's shape, so that a residual may fit, or of any other.
    let same = Window::new([3, 3]).with_pads([1, 1, 1, 1]);
    let window = if choices.below(2) == 0 { same } else { Window { ceil: false, ..window(choices) } };
    let outputs = if groups == 1 && choices.below(2) == 0 { input.channels } else { outputs };
    let conv = conv_of(choices, input, window, groups, outputs);
    stored(choices, conv, residual, output)
}

/// With random multipliers, biases and bounds of codes.
fn stored(
    choices: &mut Choices,
    mut conv: PackedConv,
    residual: Option<Rescale>,
    output: &Quantizer,
) -> PackedConv {
    let mut clamp = [choices.next() as u8, choices.next() as u8].map(|bound| bound.min(output.max));
    clamp.sort_unstable();
    let [low, high] = choices.pick(&[clamp, [0, output.max]]);
    let multipliers: Vec<Multiplier> = (0..conv.outputs).map(|_| multiplier(choices)).collect();
    conv.bias = biases(choices, &conv, |channel| multipliers[channel].shift);
    let fraction = choices.below(7) as u8;
    conv.store = Store::Codes { multipliers, residual, fraction, low, high };
    conv
}

/// A convolution that covers its whole input and stores logits.
fn classifier(choices: &mut Choices, input: Shape) -> PackedConv {
    let (whole, outputs) = (Window::new([input.height, input.width]), 1 + choices.below(7));
    let mut conv = conv_of(choices, input, whole, 1, outputs);
    conv.bias = biases(choices, &conv, |_| 0);
    let factors = (0..conv.outputs).map(|_| choices.next() as i32).collect();
    conv.store = Store::Logits { factors, shift: choices.below(40) as u8 };
    conv
}

/// Small biases, or the largest that cannot overflow.
fn biases(choices: &mut Choices, conv: &PackedConv, shift: impl Fn(usize) -> u8) -> Vec<i32> {
    let bias = |channel: usize| {
        let limit = i64::from(i32::MAX) - conv.magnitude(channel) * 255 - (1 << shift(channel));
        choices.pick(&[0, 1000, -1000, limit, -limit]) as i32
    };
    (0..conv.outputs).map(bias).collect()
}

fn conv_of(choices: &mut Choices, input: Shape, window: Window, groups: usize, outputs: usize) -> PackedConv {
    let precision = precision(choices);
    conv_in(precision, choices, input, window, groups, outputs)
}

fn conv_in(
    precision: Precision,
    choices: &mut Choices,
    input: Shape,
    window: Window,
    groups: usize,
    outputs: usize,
) -> PackedConv {
    let group_inputs = input.channels / groups;
    let store = Store::Logits { factors: vec![1; outputs], shift: 0 };
    let none = PackedWeights { precision, codes: Vec::new(), scales: Vec::new() };
    let conv =
        PackedConv { weights: none, outputs, group_inputs, groups, window, bias: vec![0; outputs], store };
    PackedConv { weights: weights(choices, precision, &conv), ..conv }
}

/// Weights for a convolution.
fn weights(choices: &mut Choices, precision: Precision, conv: &PackedConv) -> PackedWeights {
    let (outputs, window, group_inputs) = (conv.outputs, conv.window, conv.group_inputs);
    let len = outputs * window.area() * group_inputs;
    let all: Vec<i8> = precision.levels().iter().collect();
    let levels: Vec<i8> = (0..precision.planes() * len).map(|_| all[choices.below(all.len())]).collect();
    let count = precision.group().map_or(0, |group| outputs * window.area() * group_inputs.div_ceil(group));
    let scale = |largest: &u8, choices: &mut Choices| choices.below(usize::from(*largest) + 1) as u8;
    let scales: Vec<u8> = precision
        .plane_scales()
        .iter()
        .flat_map(|largest| (0..count).map(|_| scale(largest, choices)).collect::<Vec<_>>())
        .collect();
    PackedWeights::pack(precision, &levels, &scales)
}

/// One of the table's, or of a table to come.
fn precision(choices: &mut Choices) -> Precision {
    let names = [
        "int8",
        "int8",
        "int4",
        "int3",
        "int2",
        "pow2:4",
        "ternary:G",
        "ternary:G/4",
        "ternary:G*2",
        "int4:G/3",
    ];
    let group = choices.pick(&["1", "2", "3", "4", "64"]);
    match choices.below(names.len() + 1) {
        place if place < names.len() => names[place].replace('G', group).parse().unwrap(),
        _ => Precision::of(Levels::listed(&[-90, -5, -1, 2, 40]).unwrap(), None, 1).unwrap(),
    }
}
