//! A model's execution, laid out once: where each value lies, and the stages that compute it.

use super::fuse::{copy_of, written_with};
use super::nodes::Nodes;
use super::step::{self, Operand};
use super::{Logits, last_uses};
use crate::clock::Instant;
use crate::fixed::scale_wide;
use crate::format::{PackedConv, PackedId, PackedModel, PackedNode, PackedOp, Store};
use crate::index::Per;
use crate::kernels::blocked::conv::{ConvTask, ConvWeights, read_sums};
use crate::kernels::blocked::enter::{EnterTask, leave};
use crate::kernels::blocked::moves::MoveTask;
use crate::kernels::blocked::narrow::{NarrowTask, Narrowed};
use crate::kernels::blocked::norm::GroupNormTask;
use crate::kernels::blocked::pointwise::{BinaryTask, Formula, TableTask};
use crate::kernels::blocked::pool::{self, PoolTask};
use crate::kernels::blocked::{GAP, Isa, Map, Memory, Program, Ring, Slot, Stage, Task, slack};
use crate::tensor::Shape;
use crate::threads;
use std::borrow::Cow;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// Widest ring; wider padding is left to the portable path.
const WIDEST_RING: usize = 64;
/// Most memory of one image, in bytes.
const MOST_MEMORY: usize = 1 << 31;

/// A model ready to run on blocked values.
#[derive(Debug)]
pub(super) struct Schedule {
    isa: &'static Isa,
    program: Program,
    /// The node of each stage.
    nodes: Vec<PackedId>,
    /// For each node of the model the one whose stage writes it too.
    with: Per<PackedId, Option<PackedId>>,
    /// Where each value lies.
    slots: Per<PackedId, Slot>,
    /// The weights of nodes that depend on widths, until they are taken.
    weights: Per<PackedId, Option<Arc<ConvWeights>>>,
    output: LogitSource,
    /// Memory of runs that are over.
    idle: Mutex<Vec<Memory>>,
}

/// The stage of a node, with the factors of logits if it yields them.
#[derive(Debug)]
pub(super) struct SchedulePiece {
    stage: Stage,
    factors: Vec<i32>,
}

/// Where the logits come from.
#[derive(Debug)]
enum LogitSource {
    /// Sums of the last convolution, brought to one scale.
    Sums { slot: Slot, factors: Vec<i32>, shift: u8 },
    /// Sums over all positions.
    GlobalSum { slot: Slot, zero_point: u8 },
    /// Codes of the last value.
    Codes { slot: Slot, zero_point: u8 },
}

impl Schedule {
    /// Lays out a validated model; none if its values or rings are too large.
    pub(super) fn new(nodes: &Nodes, isa: &'static Isa) -> Option<Self> {
        let (model, shapes) = (nodes.model, nodes.shapes);
        let with = written_with(model);
        let slots = slots(model, shapes, &with)?;
        let stages = threads::map(0..model.nodes.len(), |index| {
            let id = PackedId::from_index(index);
            let stage = || stage(nodes, &slots, &with, id, isa, None);
            with[id].is_none().then(stage).flatten()
        });
        let (mut program, mut of_stages) = (Program::default(), Vec::new());
        let mut weights = Per::filled(None, model.nodes.len());
        for (id, (stage, own)) in model.nodes.ids().zip(stages).filter_map(|(id, made)| Some((id, made?))) {
            program.append(stage);
            of_stages.push(id);
            weights[id] = own.filter(|_| nodes.varies(id));
        }
        let output = output(model, &slots)?;
        Some(Self { isa, program, nodes: of_stages, with, slots, weights, output, idle: Mutex::default() })
    }

    /// The weights of a node that depends on widths.
    pub(super) fn take_weights(&mut self, node: PackedId) -> Option<Arc<ConvWeights>> {
        self.weights[node].take()
    }

    /// The stage of a node at the widths of `nodes`, and its weights; `weights` are those if they are known.
    pub(super) fn piece(
        &self,
        nodes: &Nodes,
        id: PackedId,
        weights: Option<Arc<ConvWeights>>,
    ) -> Option<(SchedulePiece, Option<Arc<ConvWeights>>)> {
        let (stage, weights) = stage(nodes, &self.slots, &self.with, id, self.isa, weights)?;
        let factors = match &nodes.node(id).op {
            PackedOp::Conv(PackedConv { store: Store::Logits { factors, .. }, .. }) => factors.clone(),
            _ => Vec::new(),
        };
        Some((SchedulePiece { stage, factors }, weights))
    }

    /// Exchanges the stage of a node.
    pub(super) fn exchange(&mut self, node: PackedId, piece: &mut SchedulePiece) {
        let Some(place) = self.nodes.iter().position(|&other| other == node) else { return };
        self.program.exchange(place, &mut piece.stage);
        if let (LogitSource::Sums { factors, .. }, true) = (&mut self.output, self.with.is_last(node)) {
            std::mem::swap(factors, &mut piece.factors);
        }
    }

    /// Number of nodes of the model.
    pub(super) fn nodes(&self) -> usize {
        self.with.len()
    }

    /// For each node the one whose stage writes it too.
    pub(super) fn written_with(&self) -> &Per<PackedId, Option<PackedId>> {
        &self.with
    }

    /// Bytes of weights of each node.
    pub(super) fn weights(&self) -> Per<PackedId, usize> {
        let mut weights = Per::filled(0, self.nodes());
        self.nodes.iter().zip(self.program.weights()).for_each(|(&node, bytes)| weights[node] = bytes);
        weights
    }

    /// The logits of one image.
    pub(super) fn run(&self, pixels: &[u8], logits: &mut [i32]) {
        let mut memory = self.idle().pop().unwrap_or_else(|| self.program.memory());
        self.program.run(&mut memory, &[pixels]);
        self.read(&mut memory, logits);
        self.idle().push(memory);
    }

    /// The logits of one image, and how long each node took.
    pub(super) fn run_timed(&self, pixels: &[u8], logits: &mut [i32], times: &mut Per<PackedId, Duration>) {
        let mut memory = self.idle().pop().unwrap_or_else(|| self.program.memory());
        let ends: Vec<Mutex<Option<Instant>>> = self.nodes.iter().map(|_| Mutex::default()).collect();
        let end = |stage: usize| ends[stage].lock().unwrap_or_else(PoisonError::into_inner);
        let mut start = Instant::now();
        self.program.run_watched(&mut memory, &[pixels], &|stage| *end(stage) = Some(Instant::now()));
        for (stage, &node) in self.nodes.iter().enumerate() {
            let end = end(stage).unwrap_or(start);
            times[node] = end - start;
            start = end;
        }
        self.read(&mut memory, logits);
        self.idle().push(memory);
    }

    fn idle(&self) -> std::sync::MutexGuard<'_, Vec<Memory>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn read(&self, memory: &mut Memory, logits: &mut [i32]) {
        let mut places = logits.iter_mut();
        let mut put = |logit: i32| places.next().into_iter().for_each(|place| *place = logit);
        match &self.output {
            LogitSource::Sums { slot, factors, shift } => {
                let mut factors = factors.iter();
                read_sums(self.isa, memory, slot, |sum| {
                    factors.next().into_iter().for_each(|&factor| put(scale_wide(sum, factor, *shift)));
                });
            }
            LogitSource::GlobalSum { slot, zero_point } => pool::global_sum(memory, slot, *zero_point, put),
            LogitSource::Codes { slot, zero_point } => {
                let mut codes = vec![0; slot.map.shape.len()];
                leave(memory, slot, &mut codes);
                codes.iter().for_each(|&code| put(i32::from(code) - i32::from(*zero_point)));
            }
        }
    }
}

impl Logits {
    /// Logits of `images` images, all zero.
    pub(super) fn zeroed(images: usize, classes: usize) -> Self {
        Self { classes, data: vec![0; images * classes] }
    }
}

fn output(model: &PackedModel, slots: &Per<PackedId, Slot>) -> Option<LogitSource> {
    let (last, slot) = (model.nodes.last()?, slots.last()?);
    Some(match &last.op {
        PackedOp::Conv(conv) => match &conv.store {
            Store::Logits { factors, shift } => {
                LogitSource::Sums { slot: slot.clone(), factors: factors.clone(), shift: *shift }
            }
            Store::Codes { .. } => {
                LogitSource::Codes { slot: slot.clone(), zero_point: last.quantizer.zero_point }
            }
        },
        PackedOp::GlobalSum => {
            let &input = last.inputs.first()?;
            let zero_point = model.nodes[input].quantizer.zero_point;
            LogitSource::GlobalSum { slot: slots[input].clone(), zero_point }
        }
        _ => LogitSource::Codes { slot: slot.clone(), zero_point: last.quantizer.zero_point },
    })
}

/// Where each value lies. Values share memory when they are not needed at the same time; those that are written `with`
/// another are needed from then on.
fn slots(
    model: &PackedModel,
    shapes: &Per<PackedId, Shape>,
    with: &Per<PackedId, Option<PackedId>>,
) -> Option<Per<PackedId, Slot>> {
    let dead_after = last_uses(model.nodes.iter().map(|node| node.inputs.as_slice()));
    let slots = model.nodes.ids().map(|id| unplaced(model, shapes, id));
    let (mut slots, mut free) = (slots.collect::<Option<Per<_, _>>>()?, Free::default());
    for id in slots.ids() {
        let own = Some(id).filter(|_| with[id].is_none());
        for value in [own, copy_of(with, id)].into_iter().flatten() {
            slots[value].start = free.take(slots[value].len);
        }
        let last = slots.is_last(id);
        let dead = dead_after[id].iter().filter(|_| !last);
        dead.for_each(|&dead| free.give(slots[dead].start, slots[dead].len));
    }
    (free.end <= MOST_MEMORY).then_some(slots)
}

/// The map of a value, with the ring and the slack that its readers need, or the length of its sums.
fn unplaced(model: &PackedModel, shapes: &Per<PackedId, Shape>, id: PackedId) -> Option<Slot> {
    let readers = model.nodes.iter().filter(|node| node.inputs.first() == Some(&id));
    let windows: Vec<_> = readers
        .filter_map(|node| match &node.op {
            PackedOp::Conv(conv) => Some(conv.window),
            _ => None,
        })
        .collect();
    let mut ring = [0; 4];
    for window in &windows {
        ring.iter_mut().zip(window.pads).for_each(|(ring, pad)| *ring = pad.max(*ring));
    }
    if ring.iter().any(|&width| width > WIDEST_RING) {
        return None;
    }
    let map =
        if id == PackedId::INPUT { Map::of_pixels(shapes[id], ring) } else { Map::new(shapes[id], ring) };
    let slacks = windows.iter().map(|window| slack(window, map.block));
    let slack = slacks.max().unwrap_or(64);
    if map.len() > MOST_MEMORY || slack > MOST_MEMORY {
        return None;
    }
    Some(match &model.nodes[id].op {
        PackedOp::Conv(PackedConv { store: Store::Logits { .. }, .. }) => Slot::of_sums(0, shapes[id]),
        _ => Slot::new(0, map, slack),
    })
}

/// Parts of the memory that no value occupies.
#[derive(Debug, Default)]
struct Free {
    /// Start and length, by start.
    parts: Vec<(usize, usize)>,
    /// Where memory ends so far.
    end: usize,
}

impl Free {
    /// The smallest part that is large enough, or new memory.
    fn take(&mut self, len: usize) -> usize {
        let fitting = (0..self.parts.len()).filter(|&index| self.parts[index].1 >= len);
        match fitting.min_by_key(|&index| self.parts[index].1) {
            Some(index) => {
                let (start, size) = self.parts.remove(index);
                self.give(start + len, size - len);
                start
            }
            None => {
                let start = self.end;
                self.end += len + GAP;
                start
            }
        }
    }

    /// Returns a part, which joins its neighbours; with gaps around them, parts are not used again.
    fn give(&mut self, start: usize, len: usize) {
        if len == 0 || cfg!(fgq_redzones) {
            return;
        }
        let place = self.parts.partition_point(|&(other, _)| other < start);
        self.parts.insert(place, (start, len));
        self.join(place);
        if place > 0 {
            self.join(place - 1);
        }
    }

    fn join(&mut self, place: usize) {
        if let [(start, len), (next, more), ..] = self.parts[place..]
            && start + len == next
        {
            self.parts[place].1 += more;
            self.parts.remove(place + 1);
        }
    }
}

/// The stage of a node, and the weights of a convolution, if there is anything to do; `weights` are those if they are
/// known.
fn stage(
    nodes: &Nodes,
    slots: &Per<PackedId, Slot>,
    with: &Per<PackedId, Option<PackedId>>,
    id: PackedId,
    isa: &'static Isa,
    weights: Option<Arc<ConvWeights>>,
) -> Option<(Stage, Option<Arc<ConvWeights>>)> {
    let spec = TaskSpec::new(nodes, slots, with, id, isa);
    let weights = weights.or_else(|| spec.weights(nodes.expanded(id)).map(Arc::new));
    let values = [Some(id), copy_of(with, id)].into_iter().flatten();
    let rings = values.filter_map(|id| Ring::new(&slots[id], &nodes.operand(id).zero_points));
    Some((Stage::new(spec.task(weights.clone())?, rings), weights))
}

/// What a node's task is made of.
struct TaskSpec<'a> {
    node: Cow<'a, PackedNode>,
    inputs: Vec<&'a Slot>,
    operands: Vec<Operand>,
    output: &'a Slot,
    isa: &'static Isa,
    /// A copy to write with the output.
    narrowed: Option<Narrowed>,
}

impl<'a> TaskSpec<'a> {
    fn new(
        nodes: &Nodes<'a>,
        slots: &'a Per<PackedId, Slot>,
        with: &Per<PackedId, Option<PackedId>>,
        id: PackedId,
        isa: &'static Isa,
    ) -> Self {
        let node = nodes.node(id);
        let narrowed = |copy: PackedId| match *nodes.node(copy) {
            PackedNode { op: PackedOp::Narrow(by), quantizer, .. } => {
                let (zero_point, output) = (node.quantizer.zero_point, slots[copy].clone());
                Some(Narrowed { width: isa.width, zero_point, by, output, quantizer })
            }
            _ => None,
        };
        let narrowed = copy_of(with, id).and_then(narrowed);
        let inputs = node.inputs.iter().map(|&input| &slots[input]).collect();
        let (operands, output) = (nodes.operands(id), &slots[id]);
        Self { node, inputs, operands, output, isa, narrowed }
    }
}

impl TaskSpec<'_> {
    /// The weights of a convolution, laid out.
    fn weights(&self, weights: Vec<i8>) -> Option<ConvWeights> {
        match (&self.node.op, self.operands.first(), self.inputs.first()) {
            (PackedOp::Conv(conv), Some(operand), Some(input)) => {
                Some(ConvWeights::new(self.isa, &step::spec(conv, weights, operand), &input.map))
            }
            _ => None,
        }
    }

    /// The task; none if there is nothing to do.
    fn task(&self, weights: Option<Arc<ConvWeights>>) -> Option<Box<dyn Task>> {
        let quantizer = self.node.quantizer;
        let zero = |index: usize| self.operands.get(index).map_or(0, Operand::zero_point);
        let (output, zero_point) = (self.output, zero(0));
        Some(match (&self.node.op, self.inputs.as_slice()) {
            (PackedOp::Input { .. }, _) => Box::new(EnterTask { index: 0, output: output.clone() }),
            (PackedOp::Conv(conv), [input, residual @ ..]) => {
                let (spec, weights) = (step::spec(conv, Vec::new(), &self.operands[0]), weights?);
                Box::new(match step::epilogue(conv, &quantizer, Some(zero(1))) {
                    Some(epilogue) => {
                        let (residual, narrowed) = (residual.first().copied(), self.narrowed.clone());
                        let slots = [*input, output];
                        ConvTask::codes(&spec, weights, &epilogue, slots, residual, narrowed)
                    }
                    None => ConvTask::sums(&spec, weights, [*input, output]),
                })
            }
            (PackedOp::Concat, inputs) => Box::new(MoveTask::concat(inputs, output)),
            (PackedOp::Add { left, right, fraction }, [a, b]) => {
                let formula = Formula::Add { left: *left, right: *right, fraction: *fraction };
                Box::new(self.binary([a, b], formula))
            }
            (PackedOp::Mul(by), [a, b]) => Box::new(self.binary([a, b], Formula::Mul(*by))),
            (PackedOp::Table { entries }, [input]) => {
                let (input, output) = ((*input).clone(), output.clone());
                Box::new(TableTask { input, output, entries: entries.clone() })
            }
            (PackedOp::Narrow(by), [input]) => {
                let (width, by, output) = (self.isa.width, *by, output.clone());
                let narrowed = Narrowed { width, zero_point, by, output, quantizer };
                Box::new(NarrowTask { input: (*input).clone(), narrowed })
            }
            (PackedOp::Slice(slice), [input]) => Box::new(MoveTask::slice(input, slice, output)),
            (PackedOp::Pad { before, .. }, [input]) => {
                Box::new(MoveTask::pad(input, *before, zero_point, output))
            }
            (PackedOp::Flatten, [input]) => Box::new(MoveTask::flatten(input, output)),
            (PackedOp::ChannelShuffle { groups }, [input]) => {
                Box::new(MoveTask::shuffle(input, *groups, output))
            }
            (PackedOp::MaxPool(window), [input]) => {
                Box::new(PoolTask::max(self.isa, window, input, output).with(self.narrowed.clone()))
            }
            (PackedOp::AveragePool { window, count_include_pad, by_count }, [input]) => {
                let (input, output) = ((*input, zero_point), (output, quantizer));
                let pool = PoolTask::average(self.isa, window, *count_include_pad, by_count, input, output);
                Box::new(pool.with(self.narrowed.clone()))
            }
            (PackedOp::GroupNorm(norm), [input]) => {
                let (isa, input, output, norm) = (self.isa, (*input).clone(), output.clone(), norm.clone());
                Box::new(GroupNormTask { isa, input, zero_point, output, quantizer, norm })
            }
            (PackedOp::GlobalAveragePool(by), [input]) => {
                let pool = PoolTask::global(self.isa, *by, (*input, zero_point), (output, quantizer));
                Box::new(pool.with(self.narrowed.clone()))
            }
            _ => return None,
        })
    }

    fn binary(&self, [a, b]: [&Slot; 2], formula: Formula) -> BinaryTask {
        BinaryTask {
            isa: self.isa,
            operands: [a.clone(), b.clone()],
            zero_points: [self.operands[0].zero_point(), self.operands[1].zero_point()],
            output: self.output.clone(),
            formula,
            quantizer: self.node.quantizer,
            narrowed: self.narrowed.clone(),
        }
    }
}
