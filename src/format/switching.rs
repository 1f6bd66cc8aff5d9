//! One set of codes from which layers take more or fewer at run time.
//!
//! `docs/switching.md` defines what a model computes at any widths: [`PackedModel::at`].

use super::codes::Decoder;
use super::fidelity::is_possible;
use super::validate::{check_quantizer, check_rescale, ensure, invalid};
use super::{
    Multiplier, PackedConv, PackedId, PackedModel, PackedNode, PackedOp, PackedWeights, Quantizer, Rescale,
    Store,
};
use crate::error::{Error, ErrorKind, Result};
use crate::fixed::rounding_shift_right;
use crate::index::Per;
use crate::judge::Judgement;
use crate::precision::{Arrangement, LARGEST_WEIGHT, Precision};
use std::collections::HashSet;
use std::ops::Range;

/// The powers of two that steps of biases can have, in steps of what is stored.
const BIAS_SHIFTS: std::ops::RangeInclusive<i8> = -15..=20;
/// Bits by which a change of a bias is shifted at most before it is divided.
const MOST_BIAS_BITS: i32 = 50;
/// Largest power of two by which gains change, up or down.
const MOST_GAIN_SHIFT: u8 = 7;
/// Bits of the fraction of a change of gain.
const GAIN_BITS: u8 = 7;
/// Largest shift of a multiplier.
const MOST_SHIFT: u8 = 30;

/// What a model can switch between while it runs. The model's own nodes are those at full width.
///
/// The *width* of a layer is how many of its planes it takes, or how many of the upper bits of its codes.
#[derive(Debug, Clone, PartialEq)]
pub struct Switching {
    /// The widths that every switching layer can have, ascending; the last is everything that the file holds.
    pub widths: Vec<u8>,
    /// Layers that switch, or come right after one that does, in execution order.
    pub layers: Vec<SwitchedLayer>,
    /// Copies of activations whose bits switch with the layer that reads them, in execution order.
    pub copies: Vec<SwitchedCopy>,
    /// Widths that have a name.
    pub settings: Vec<Setting>,
}

/// A layer whose gains and biases depend on the width of the layer before it, on its own, or on both.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SwitchedLayer {
    /// Its node, a convolution.
    pub node: PackedId,
    /// Whether it switches itself.
    pub own: bool,
    /// What all channels have in common, for each pair of widths but the last. Pairs are in ascending order, by the layer
    /// before first, with a single width for a layer that does not switch.
    pub shifts: Vec<PairShifts>,
    /// For each pair of widths but the last, one for each output channel.
    pub changes: Vec<AffineChange>,
}

/// Binary logarithms for a pair of widths.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PairShifts {
    /// Of what all gains are multiplied by, and biases divided by: how much coarser sums are.
    pub gain: i8,
    /// Of a step of biases, in steps of what is stored.
    pub bias: i8,
}

/// How the gain and the bias of a channel differ from those at full width.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct AffineChange {
    /// Gains are multiplied by 1 + this / 128.
    pub gain: i8,
    /// Steps that are added to the bias.
    pub bias: i8,
}

/// A narrow copy of activations for a layer that switches.
#[derive(Debug, Clone, PartialEq)]
pub struct SwitchedCopy {
    /// Its node.
    pub node: PackedId,
    /// What it is at each width of its reader but the last.
    pub lower: Vec<(Rescale, Quantizer)>,
}

/// Widths that have a name.
#[derive(Debug, Clone, PartialEq)]
pub struct Setting {
    /// Its name, not empty and not of digits alone.
    pub name: String,
    /// The width of every switching layer, in execution order.
    pub widths: Vec<u8>,
    /// What images that were held back say of it.
    pub judgement: Option<Judgement>,
}

/// What belongs to what in a model that switches, by node.
#[derive(Debug, Clone)]
pub(crate) struct Wiring {
    /// The switching layer that comes before.
    before: Per<PackedId, Option<PackedId>>,
    /// Place in [`Switching::layers`].
    layer: Per<PackedId, Option<usize>>,
    /// Place in [`Switching::copies`].
    copy: Per<PackedId, Option<usize>>,
    /// The switching layer that reads a copy.
    reader: Per<PackedId, Option<PackedId>>,
    /// Switching layers in execution order.
    switching: Vec<PackedId>,
}

/// The convolution that is last in execution order of those whose codes reach each node's first input without passing
/// through another one.
fn convolutions_before(nodes: &Per<PackedId, PackedNode>) -> Per<PackedId, Option<PackedId>> {
    let mut latest: Per<PackedId, Option<PackedId>> = Per::default();
    let mut before = Per::default();
    for (id, node) in nodes.enumerate() {
        let reached = |input: &PackedId| latest.get(*input).copied().flatten();
        before.push(node.inputs.first().and_then(reached));
        latest.push(match node.op {
            PackedOp::Conv(_) => Some(id),
            _ => node.inputs.iter().filter_map(reached).max(),
        });
    }
    before
}

/// Of every node the convolution before it, if that is one of `switching`.
pub(crate) fn switching_before(
    nodes: &Per<PackedId, PackedNode>,
    switching: &[PackedId],
) -> Per<PackedId, Option<PackedId>> {
    let switches = |conv: &PackedId| switching.contains(conv);
    convolutions_before(nodes).map(|before| before.filter(switches))
}

impl Wiring {
    /// Of a model whose parts fit together.
    pub(crate) fn new(nodes: &Per<PackedId, PackedNode>, switching: &Switching) -> Self {
        let own: Vec<PackedId> = switching.own().collect();
        let mut this = Self {
            before: switching_before(nodes, &own),
            layer: Per::filled(None, nodes.len()),
            copy: Per::filled(None, nodes.len()),
            reader: Per::filled(None, nodes.len()),
            switching: own,
        };
        switching.layers.iter().enumerate().for_each(|(place, layer)| this.layer[layer.node] = Some(place));
        for (place, copy) in switching.copies.iter().enumerate() {
            this.copy[copy.node] = Some(place);
            let reader = nodes.position(|node| node.inputs.first() == Some(&copy.node));
            this.reader[copy.node] = reader.filter(|reader| this.switching.contains(reader));
        }
        this
    }

    /// Switching layers in execution order.
    pub(crate) fn switching(&self) -> &[PackedId] {
        &self.switching
    }

    /// Whether what node `id` computes depends on widths.
    pub(crate) fn varies(&self, id: PackedId) -> bool {
        self.layer[id].is_some() || self.copy[id].is_some()
    }

    /// The places of the widths that what node `id` computes depends on, given those of all nodes: of the layer before,
    /// and its own or its reader's.
    pub(crate) fn key(&self, id: PackedId, places: &Per<PackedId, u8>) -> [u8; 2] {
        if self.layer[id].is_some() {
            return [self.before[id].map_or(0, |before| places[before]), places[id]];
        }
        [0, self.reader[id].map_or(0, |reader| places[reader])]
    }
}

impl Switching {
    /// The nodes of the layers that switch, in execution order.
    pub(crate) fn own(&self) -> impl Iterator<Item = PackedId> {
        self.layers.iter().filter(|layer| layer.own).map(|layer| layer.node)
    }

    /// The widths of a layer: one that does not switch has none but the full one.
    fn count(&self, switches: bool) -> usize {
        if switches { self.widths.len() } else { 1 }
    }

    /// What node `id` of a model is at these places of widths; `None` if it is as it is written. The weights of a layer are
    /// left out: they depend on its own width alone.
    pub(crate) fn variant(
        &self,
        wiring: &Wiring,
        node: &PackedNode,
        id: PackedId,
        places: &Per<PackedId, u8>,
    ) -> Option<PackedNode> {
        let [before, own] = wiring.key(id, places).map(usize::from);
        match (&node.op, wiring.layer[id], wiring.copy[id]) {
            (PackedOp::Conv(conv), Some(layer), _) => {
                let layer = &self.layers[layer];
                let pair = before * self.count(layer.own) + own;
                let affine = layer.affine(conv, pair);
                let precision = if layer.own { self.lower(conv, own) } else { conv.weights.precision };
                let weights = PackedWeights { precision, codes: Vec::new(), scales: Vec::new() };
                let op = PackedOp::Conv(PackedConv { weights, ..affine });
                Some(PackedNode { op, inputs: node.inputs.clone(), ..named(node) })
            }
            (PackedOp::Narrow(_), _, Some(copy)) => {
                let (by, quantizer) = *self.copies[copy].lower.get(own)?;
                Some(PackedNode {
                    op: PackedOp::Narrow(by),
                    quantizer,
                    inputs: node.inputs.clone(),
                    ..named(node)
                })
            }
            _ => None,
        }
    }

    /// The lower bits that codes lose.
    fn dropped(&self, precision: Precision, place: usize) -> u8 {
        let full = self.widths.last().copied().unwrap_or(0);
        if precision.planes() > 1 { 0 } else { full - self.widths[place] }
    }

    /// The precision of a layer's weights at a width.
    fn lower(&self, conv: &PackedConv, place: usize) -> Precision {
        let (precision, width) = (conv.weights.precision, self.widths[place]);
        match precision.planes() {
            1 => Precision::int(width),
            _ => precision.with_planes(width),
        }
    }

    /// Levels and scales of some output channels of a layer at a width.
    fn parts(
        &self,
        conv: &PackedConv,
        place: usize,
        decoder: &Decoder,
        channels: Range<usize>,
    ) -> (Precision, Vec<i8>, Vec<u8>) {
        let precision = self.lower(conv, place);
        let (mut levels, scales) = conv.parts_of(decoder, precision.planes(), channels);
        let dropped = self.dropped(conv.weights.precision, place);
        if dropped > 0 {
            let least = -(precision.levels().largest() as i8);
            levels.iter_mut().for_each(|level| *level = (*level >> dropped).max(least));
        }
        (precision, levels, scales)
    }

    /// The weights of a layer at a width, as `i8`.
    pub(crate) fn expanded(&self, conv: &PackedConv, place: usize) -> Vec<i8> {
        let decoder = conv.decoder();
        conv.by_channels(|channels| {
            let part = Arrangement { outputs: channels.len(), ..conv.arrangement() };
            let (precision, levels, scales) = self.parts(conv, place, &decoder, channels);
            part.expand(precision, &levels, &scales)
        })
    }

    /// The same, packed.
    pub(crate) fn packed(&self, conv: &PackedConv, place: usize) -> PackedWeights {
        let (precision, levels, scales) = self.parts(conv, place, &conv.decoder(), 0..conv.outputs);
        PackedWeights::pack(precision, &levels, &scales)
    }

    /// Whether all parts fit each other and the model, whose nodes are valid on their own.
    pub(super) fn check(&self, nodes: &Per<PackedId, PackedNode>) -> Result<()> {
        let ascending = self.widths.windows(2).all(|pair| pair[0] < pair[1]);
        let valid = ascending && self.widths.len() > 1 && self.widths[0] > 0 && self.widths.len() <= 8;
        ensure(valid, || format!("widths {:?}", self.widths))?;
        self.check_layers(nodes)?;
        self.check_copies(nodes)?;
        self.check_settings()
    }

    fn check_layers(&self, nodes: &Per<PackedId, PackedNode>) -> Result<()> {
        let own: Vec<PackedId> = self.own().collect();
        ensure(!own.is_empty(), || "no layer switches".into())?;
        ensure(self.layers.iter().all(|layer| nodes.get(layer.node).is_some()), || {
            "a layer is no node".into()
        })?;
        let before = switching_before(nodes, &own);
        let is_conv = |id: &PackedId| matches!(nodes[*id].op, PackedOp::Conv(_));
        let touched = |id: &PackedId| own.contains(id) || before[*id].is_some();
        let expected = nodes.ids().filter(is_conv).filter(touched);
        ensure(self.layers.iter().map(|layer| layer.node).eq(expected), || {
            "the layers that switch, or follow one that does, are others than those listed".into()
        })?;
        for layer in &self.layers {
            let PackedOp::Conv(conv) = &nodes[layer.node].op else { continue };
            let pairs = self.count(before[layer.node].is_some()) * self.count(layer.own);
            self.check_layer(layer, conv, pairs).map_err(|error| error.at_node(&nodes[layer.node].name))?;
        }
        Ok(())
    }

    fn check_layer(&self, layer: &SwitchedLayer, conv: &PackedConv, pairs: usize) -> Result<()> {
        let (precision, full) = (conv.weights.precision, self.widths.last().copied().unwrap_or(0));
        let has_planes = precision.planes() == usize::from(full) && precision.planes() > 1;
        let has_bits = precision == Precision::int(full) && full <= 8 && self.widths[0] > 1;
        ensure(!layer.own || has_planes || has_bits, || {
            format!("weights of {precision} have no widths {:?}", self.widths)
        })?;
        let whole = layer.shifts.len() == pairs - 1
            && Some(layer.changes.len()) == conv.outputs.checked_mul(pairs - 1);
        ensure(whole, || "changes of gains and biases are not those of every pair of widths".into())?;
        let possible = |shifts: &PairShifts| {
            BIAS_SHIFTS.contains(&shifts.bias) && shifts.gain.unsigned_abs() <= MOST_GAIN_SHIFT
        };
        ensure(layer.shifts.iter().all(possible), || format!("{:?}", layer.shifts))?;
        let most = (255 * i64::from(LARGEST_WEIGHT)).saturating_mul(conv.channel_len() as i64);
        for pair in 0..pairs {
            ensure(fits(&layer.affine(conv, pair), most), || "sums of products may overflow 32 bits".into())?;
        }
        Ok(())
    }

    fn check_copies(&self, nodes: &Per<PackedId, PackedNode>) -> Result<()> {
        let ascending = self.copies.windows(2).all(|pair| pair[0].node < pair[1].node);
        ensure(ascending, || "copies are not in order".into())?;
        for copy in &self.copies {
            let node = nodes.get(copy.node).filter(|node| matches!(node.op, PackedOp::Narrow(_)));
            let node = node.ok_or_else(|| invalid("a copy that switches is no narrow copy"))?;
            let readers: Vec<PackedId> =
                nodes.ids().filter(|&id| nodes[id].inputs.contains(&copy.node)).collect();
            let reads_once =
                |&&reader: &&PackedId| nodes[reader].inputs.iter().filter(|&&i| i == copy.node).count() == 1;
            let is_read = match readers.as_slice() {
                [reader] => {
                    nodes[*reader].inputs[0] == copy.node
                        && Some(reader).filter(reads_once).is_some()
                        && self.layers.iter().any(|layer| layer.node == *reader && layer.own)
                }
                _ => false,
            };
            let parts = || -> Result<()> {
                ensure(is_read, || "a copy that switches has one reader, a layer that switches".into())?;
                ensure(copy.lower.len() + 1 == self.widths.len(), || "one copy for each width".into())?;
                copy.lower.iter().try_for_each(|(rescale, quantizer)| {
                    check_rescale(*rescale)?;
                    check_quantizer(quantizer)
                })
            };
            parts().map_err(|error| error.at_node(&node.name))?;
        }
        Ok(())
    }

    fn check_settings(&self) -> Result<()> {
        let (mut names, layers) = (HashSet::new(), self.own().count());
        for setting in &self.settings {
            let named = !setting.name.bytes().all(|byte| byte.is_ascii_digit())
                && names.insert(setting.name.as_str());
            ensure(named, || format!("a setting with the name '{}'", setting.name))?;
            let whole = setting.widths.len() == layers
                && setting.widths.iter().all(|width| self.widths.contains(width));
            ensure(whole, || format!("setting '{}' is not a width for every layer", setting.name))?;
            let possible = setting.judgement.as_ref().is_none_or(is_possible);
            ensure(possible, || format!("figures of setting '{}' are out of range", setting.name))?;
        }
        Ok(())
    }
}

impl SwitchedLayer {
    /// The layer with the gains and biases of a pair of widths.
    pub(crate) fn affine(&self, conv: &PackedConv, pair: usize) -> PackedConv {
        let mut affine = PackedConv {
            weights: PackedWeights {
                precision: conv.weights.precision,
                codes: Vec::new(),
                scales: Vec::new(),
            },
            bias: conv.bias.clone(),
            store: conv.store.clone(),
            ..*conv
        };
        let Some(&PairShifts { gain: coarser, bias: shift }) = self.shifts.get(pair) else { return affine };
        let changes = &self.changes[pair * conv.outputs..][..conv.outputs];
        let biases = affine.bias.iter_mut().zip(changes);
        match &mut affine.store {
            Store::Codes { multipliers, .. } => {
                for (multiplier, (bias, change)) in multipliers.iter_mut().zip(biases) {
                    *multiplier = changed(*multiplier, change.gain, coarser);
                    let bits = 15 + i32::from(multiplier.shift) + i32::from(shift);
                    let added = sums_of(change.bias, bits, i32::from(multiplier.value));
                    *bias = divided(*bias, coarser).saturating_add(added);
                }
            }
            Store::Logits { factors, shift: of_logits } => {
                for (factor, (bias, change)) in factors.iter_mut().zip(biases) {
                    let exact = i64::from(*factor) * (128 + i64::from(change.gain));
                    let bits = i32::from(GAIN_BITS) - i32::from(coarser);
                    let rounded = (exact + ((1 << bits) >> 1)) >> bits;
                    *factor = saturated(rounded);
                    let added = sums_of(change.bias, i32::from(*of_logits) + i32::from(shift), *factor);
                    *bias = divided(*bias, coarser).saturating_add(added);
                }
            }
        }
        affine
    }
}

/// So many steps, in sums: times `2^bits`, divided by the factor of the sums, without a fraction.
fn sums_of(steps: i8, bits: i32, factor: i32) -> i32 {
    let exact = i64::from(steps) << bits.clamp(0, MOST_BIAS_BITS);
    exact.checked_div(i64::from(factor)).map_or(0, saturated)
}

fn saturated(value: i64) -> i32 {
    value.clamp(i64::from(i32::MIN), i64::from(i32::MAX)) as i32
}

/// A bias in sums that are coarser by a power of two.
fn divided(bias: i32, coarser: i8) -> i32 {
    match u8::try_from(coarser) {
        Ok(coarser) => rounding_shift_right(bias, coarser),
        Err(_) => bias.saturating_mul(1 << coarser.unsigned_abs()),
    }
}

/// A multiplier times `1 + gain / 128`, of sums that are coarser by a power of two: that goes to the shift, as far as there
/// are shifts, and the rest to the value, as far as 16 bits allow.
fn changed(Multiplier { shift, value }: Multiplier, gain: i8, coarser: i8) -> Multiplier {
    let mut value = rounding_shift_right(i32::from(value) * (128 + i32::from(gain)), GAIN_BITS);
    let mut shift = i32::from(shift) - i32::from(coarser);
    while value.abs() > i32::from(i16::MAX) || shift > i32::from(MOST_SHIFT) {
        value = rounding_shift_right(value, 1);
        shift -= 1;
    }
    let most = i32::from(i16::MAX);
    value = (value << shift.min(0).unsigned_abs()).clamp(-most, most);
    Multiplier { shift: shift.max(0) as u8, value: value as i16 }
}

/// Whether no sum of products of at most `most` leaves 32 bits, rounding included.
fn fits(conv: &PackedConv, most: i64) -> bool {
    let shift = |channel: usize| match &conv.store {
        Store::Codes { multipliers, .. } => multipliers[channel].shift,
        Store::Logits { .. } => 0,
    };
    let rest =
        |channel: usize| i64::from(i32::MAX) - i64::from(conv.bias[channel]).abs() - (1i64 << shift(channel));
    (0..conv.outputs).all(|channel| most <= rest(channel))
}

/// A node's name and quantizer.
fn named(node: &PackedNode) -> PackedNode {
    PackedNode {
        name: node.name.clone(),
        op: PackedOp::Concat,
        inputs: Vec::new(),
        quantizer: node.quantizer,
    }
}

impl PackedModel {
    /// The names of the layers that switch, in execution order; none of a model that does not.
    ///
    /// # Examples
    /// ```no_run
    /// let model = fgq::read_model("switchable.fgq".as_ref())?;
    /// println!("{} layers have several widths", model.switching_layers().count());
    /// # Ok::<(), fgq::Error>(())
    /// ```
    pub fn switching_layers(&self) -> impl Iterator<Item = &str> {
        self.switching.iter().flat_map(Switching::own).map(|node| self.nodes[node].name.as_str())
    }

    /// The widths that a setting gives the layers that switch: a width for all, or the name of one of
    /// [`Switching::settings`].
    ///
    /// # Errors
    /// A model that does not switch; a setting that it does not have.
    pub fn widths_of(&self, setting: &str) -> Result<Vec<u8>> {
        self.switching.as_ref().ok_or_else(not_switching)?.widths_of(setting)
    }

    /// The model that this one is at some widths, one for every layer that switches, in execution order. It does not switch
    /// and answers as a [`Session`](crate::Session) of this one with those widths, to the bit.
    ///
    /// # Errors
    /// A model that is not valid or does not switch; widths that it does not have.
    pub fn at(&self, widths: &[u8]) -> Result<Self> {
        self.shapes()?;
        let switching = self.switching.as_ref().ok_or_else(not_switching)?;
        let wiring = Wiring::new(&self.nodes, switching);
        let places = switching.places(&wiring, widths, self.nodes.len())?;
        let node = |(id, node): (PackedId, &PackedNode)| {
            let Some(mut variant) = switching.variant(&wiring, node, id, &places) else {
                return node.clone();
            };
            if let (PackedOp::Conv(to), PackedOp::Conv(from)) = (&mut variant.op, &node.op) {
                let switches = wiring.switching.contains(&id);
                let packed = || switching.packed(from, usize::from(places[id]));
                to.weights = if switches { packed() } else { from.weights.clone() };
            }
            variant
        };
        let nodes = self.nodes.enumerate().map(node).collect();
        Ok(Self { nodes, switching: None, fidelity: None, ..self.clone() })
    }
}

impl Switching {
    /// The places of some widths among those there are, by node; 0 for nodes that do not switch.
    ///
    /// # Errors
    /// Widths that there are not.
    pub(crate) fn places(&self, wiring: &Wiring, widths: &[u8], nodes: usize) -> Result<Per<PackedId, u8>> {
        if widths.len() != wiring.switching.len() {
            return Err(argument(&format!("{} widths for {} layers", widths.len(), wiring.switching.len())));
        }
        let mut places = Per::filled(0, nodes);
        for (&node, &width) in wiring.switching.iter().zip(widths) {
            places[node] = self.place(width)?;
        }
        Ok(places)
    }

    /// As [`PackedModel::widths_of`].
    pub(crate) fn widths_of(&self, setting: &str) -> Result<Vec<u8>> {
        if let Ok(width) = setting.parse() {
            self.place(width)?;
            return Ok(vec![width; self.own().count()]);
        }
        let names: Vec<&str> = self.settings.iter().map(|named| named.name.as_str()).collect();
        let named = self.settings.iter().find(|named| named.name == setting);
        let unknown = || {
            let widths = &self.widths;
            argument(&format!(
                "no setting '{setting}'; there are the widths {widths:?} and the names {names:?}"
            ))
        };
        Ok(named.ok_or_else(unknown)?.widths.clone())
    }

    /// The place of a width.
    ///
    /// # Errors
    /// A width that there is not.
    pub(crate) fn place(&self, width: u8) -> Result<u8> {
        let place = self.widths.iter().position(|&known| known == width);
        let error = || argument(&format!("no layer has width {width}; there are {:?}", self.widths));
        place.map(|place| place as u8).ok_or_else(error)
    }
}

fn not_switching() -> Error {
    argument("the model does not switch; `fgq convert --nested` makes one that does")
}

fn argument(message: &str) -> Error {
    Error::new(ErrorKind::Argument, message)
}
