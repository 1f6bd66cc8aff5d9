//! Changes of packed models, as bytes say.

use fgq::{Multiplier, PackedConv, PackedId, PackedModel, PackedOp, Rescale, Store, Window};

/// Bytes one after another, then zeros.
pub struct Bytes<'a>(&'a [u8]);

impl<'a> Bytes<'a> {
    pub fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn next(&mut self) -> u8 {
        self.0.split_off_first().copied().unwrap_or(0)
    }

    pub fn rest(&self) -> &'a [u8] {
        self.0
    }

    fn pair(&mut self) -> [u8; 2] {
        [self.next(), self.next()]
    }

    fn word(&mut self) -> i32 {
        let ([a, b], [c, d]) = (self.pair(), self.pair());
        i32::from_le_bytes([a, b, c, d])
    }

    /// One of some values, if there is any.
    fn pick<'v, T>(&mut self, values: &'v mut [T]) -> Option<&'v mut T> {
        let place = u16::from_le_bytes(self.pair());
        let count = values.len().max(1);
        values.get_mut(usize::from(place) % count)
    }

    fn set<T>(&mut self, values: &mut [T], value: impl FnOnce(&mut Self) -> T) {
        let place = self.pick(values);
        if let Some(place) = place {
            *place = value(self);
        }
    }
}

/// `model` with one change, which may not be valid.
pub fn edit(mut model: PackedModel, bytes: &mut Bytes) -> PackedModel {
    let node = PackedId::from_index(usize::from(bytes.next()) % model.nodes.len());
    match bytes.next() % 8 {
        0 => model.input.height = usize::from(bytes.next() % 40),
        1 => model.input.width = usize::from(bytes.next() % 40),
        2 => {
            let earlier = usize::from(bytes.next()) % node.index().max(1);
            bytes.set(&mut model.nodes[node].inputs, |_| PackedId::from_index(earlier));
        }
        3 => model.nodes[node].quantizer.zero_point = bytes.next(),
        4 if bytes.next() < 8 => model.nodes.truncate(node.index().max(2)),
        _ => edit_operator(&mut model.nodes[node].op, bytes),
    }
    model
}

fn edit_operator(op: &mut PackedOp, bytes: &mut Bytes) {
    match op {
        PackedOp::Input { pad } => bytes.set(pad, Bytes::next),
        PackedOp::Conv(conv) => edit_conv(conv, bytes),
        PackedOp::Table { entries } => bytes.set(entries, Bytes::next),
        PackedOp::Add { left, right, fraction } => match bytes.next() % 3 {
            0 => *left = rescale(bytes),
            1 => *right = rescale(bytes),
            _ => *fraction = bytes.next() % 24,
        },
        PackedOp::Mul(factor) | PackedOp::GlobalAveragePool(factor) => *factor = multiplier(bytes),
        PackedOp::Narrow(by) => *by = rescale(bytes),
        PackedOp::Slice(slice) => {
            let bounds = [&mut slice.start, &mut slice.end, &mut slice.step];
            let bound = bounds.into_iter().nth(usize::from(bytes.next() % 3));
            bound.into_iter().for_each(|bound| bytes.set(bound, small));
        }
        PackedOp::Pad { before, after } => {
            let side = if bytes.next().is_multiple_of(2) { before } else { after };
            bytes.set(side, small);
        }
        PackedOp::MaxPool(window) => edit_window(window, bytes),
        PackedOp::AveragePool { window, count_include_pad, by_count } => match bytes.next() % 3 {
            0 => edit_window(window, bytes),
            1 => *count_include_pad = !*count_include_pad,
            _ => bytes.set(by_count, multiplier),
        },
        PackedOp::GroupNorm(norm) => match bytes.next() % 5 {
            0 => norm.groups = small(bytes),
            1 => norm.epsilon = u64::from(bytes.word().unsigned_abs()) << (bytes.next() % 32),
            2 => norm.fraction = bytes.next() % 24,
            3 => bytes.set(&mut norm.multipliers, multiplier),
            _ => bytes.set(&mut norm.bias, |bytes| i16::from_le_bytes(bytes.pair())),
        },
        PackedOp::ChannelShuffle { groups } => *groups = small(bytes),
        PackedOp::Concat | PackedOp::GlobalSum | PackedOp::Flatten => {}
    }
}

fn edit_conv(conv: &mut PackedConv, bytes: &mut Bytes) {
    match bytes.next() % 8 {
        0 | 1 => bytes.set(&mut conv.weights.codes, Bytes::next),
        2 => bytes.set(&mut conv.weights.scales, Bytes::next),
        3 => bytes.set(&mut conv.bias, Bytes::word),
        4 => edit_window(&mut conv.window, bytes),
        5 => conv.weights.codes.fill(bytes.next()),
        _ => edit_store(&mut conv.store, bytes),
    }
}

fn edit_store(store: &mut Store, bytes: &mut Bytes) {
    match store {
        Store::Codes { multipliers, residual, fraction, low, high } => match bytes.next() % 5 {
            0 => bytes.set(multipliers, multiplier),
            1 => residual.iter_mut().for_each(|residual| *residual = rescale(bytes)),
            2 => *fraction = bytes.next() % 24,
            3 => *low = bytes.next(),
            _ => *high = bytes.next(),
        },
        Store::Logits { factors, shift } => match bytes.next() % 2 {
            0 => bytes.set(factors, Bytes::word),
            _ => *shift = bytes.next() % 40,
        },
    }
}

fn edit_window(window: &mut Window, bytes: &mut Bytes) {
    match bytes.next() % 4 {
        0 => bytes.set(&mut window.stride, small),
        1 => bytes.set(&mut window.dilation, small),
        2 => bytes.set(&mut window.pads, small),
        _ => window.ceil = !window.ceil,
    }
}

/// A gain and a bias of a pair of widths.
pub fn edit_switching(model: &mut PackedModel, bytes: &mut Bytes) {
    let Some(switching) = &mut model.switching else { return };
    let Some(layer) = bytes.pick(&mut switching.layers) else { return };
    let [gain, bias] = bytes.pair().map(|byte| byte as i8);
    if bytes.next().is_multiple_of(4) {
        bytes.pick(&mut layer.shifts).into_iter().for_each(|shift| (shift.gain, shift.bias) = (gain, bias));
    } else {
        bytes
            .pick(&mut layer.changes)
            .into_iter()
            .for_each(|change| (change.gain, change.bias) = (gain, bias));
    }
}

fn small(bytes: &mut Bytes) -> usize {
    usize::from(bytes.next() % 8)
}

fn multiplier(bytes: &mut Bytes) -> Multiplier {
    Multiplier { shift: bytes.next() % 32, value: i16::from_le_bytes(bytes.pair()) }
}

fn rescale(bytes: &mut Bytes) -> Rescale {
    Rescale { shift: bytes.next() % 8, value: i16::from_le_bytes(bytes.pair()) }
}
