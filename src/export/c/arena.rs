//! Where values lie in the arena: by liveness, the largest first.

use super::node::Emission;
use crate::format::{PackedId, PackedModel, PackedNode, PackedOp};
use crate::index::Per;
use crate::liveness::last_readers;
use crate::tensor::Shape;

/// Values and scratch begin at multiples of this.
const ALIGNMENT: usize = 4;

/// Places of all values.
#[derive(Debug)]
pub(super) struct Arena {
    /// Where each value begins; none for pixels and logits.
    values: Per<PackedId, Option<usize>>,
    /// Where each node's scratch begins.
    scratch: Per<PackedId, usize>,
    blocks: Vec<ArenaBlock>,
}

/// Memory that one value, several that are written over one another, or a node's scratch need.
#[derive(Debug)]
struct ArenaBlock {
    bytes: usize,
    /// First and last node while which it is needed.
    live: [usize; 2],
    start: usize,
}

impl Arena {
    pub(super) fn new(
        model: &PackedModel,
        shapes: &Per<PackedId, Shape>,
        emissions: &Per<PackedId, Emission>,
    ) -> Self {
        let (homes, mut blocks) = homes(model, shapes, emissions);
        let scratch: Per<PackedId, usize> = emissions
            .enumerate()
            .map(|(id, emission)| {
                let live = [id.index(); 2];
                blocks.push(ArenaBlock { bytes: emission.scratch, live, start: 0 });
                blocks.len() - 1
            })
            .collect();
        place(&mut blocks);
        let start = |block: usize| blocks[block].start;
        Self {
            values: homes.iter().map(|home| home.map(start)).collect(),
            scratch: scratch.iter().map(|&block| start(block)).collect(),
            blocks,
        }
    }

    /// Its length.
    pub(super) fn bytes(&self) -> usize {
        self.blocks
            .iter()
            .map(|block| block.start + block.bytes)
            .max()
            .unwrap_or(0)
            .next_multiple_of(ALIGNMENT)
            .max(ALIGNMENT)
    }

    /// Bytes that are needed while a node runs.
    pub(super) fn in_use(&self, id: PackedId) -> usize {
        let live = |block: &&ArenaBlock| (block.live[0]..=block.live[1]).contains(&id.index());
        self.blocks.iter().filter(live).map(|block| block.bytes).sum()
    }

    pub(super) fn value(&self, id: PackedId) -> Option<usize> {
        self.values[id]
    }

    pub(super) fn scratch(&self, id: PackedId) -> usize {
        self.scratch[id]
    }
}

/// The block of each value, and the blocks.
fn homes(
    model: &PackedModel,
    shapes: &Per<PackedId, Shape>,
    emissions: &Per<PackedId, Emission>,
) -> (Per<PackedId, Option<usize>>, Vec<ArenaBlock>) {
    let last = last_readers(model.nodes.iter().map(|node| node.inputs.as_slice()));
    let mut homes: Per<PackedId, Option<usize>> = Per::filled(None, model.nodes.len());
    let mut blocks: Vec<ArenaBlock> = Vec::new();
    for (id, node) in model.nodes.enumerate() {
        if id == PackedId::INPUT || emissions[id].yields_logits {
            continue;
        }
        let end = last[id].index();
        let over = match emissions[id].moves_nothing {
            true => homes[node.inputs[0]],
            false => overwritten(node, id, shapes, &homes, &blocks),
        };
        let block = over.unwrap_or_else(|| {
            blocks.push(ArenaBlock { bytes: shapes[id].len(), live: [id.index(), end], start: 0 });
            blocks.len() - 1
        });
        blocks[block].live[1] = blocks[block].live[1].max(end);
        homes[id] = Some(block);
    }
    (homes, blocks)
}

/// The block that a node may write over: of an input that nobody reads any more, each of whose elements is read exactly
/// when the one in its place is written.
fn overwritten(
    node: &PackedNode,
    id: PackedId,
    shapes: &Per<PackedId, Shape>,
    homes: &Per<PackedId, Option<usize>>,
    blocks: &[ArenaBlock],
) -> Option<usize> {
    let place = match node.op {
        PackedOp::Conv(_) => 1,
        PackedOp::Table { .. } | PackedOp::Add { .. } | PackedOp::Mul(_) | PackedOp::Narrow(_) => 0,
        _ => return None,
    };
    let &input = node.inputs.get(place)?;
    let block = homes[input]?;
    // A convolution reads its first input at other places, a broadcast operand is smaller.
    let alone = node.inputs.iter().enumerate().all(|(other, &value)| {
        let elsewhere = place == 1 || shapes[value] != shapes[id];
        other == place || homes[value] != Some(block) || !elsewhere
    });
    (alone && shapes[input].len() == shapes[id].len() && blocks[block].live[1] <= id.index()).then_some(block)
}

/// Gives every block a place where it meets no other that is needed at the same time.
fn place(blocks: &mut [ArenaBlock]) {
    let mut order: Vec<usize> = (0..blocks.len()).collect();
    order.sort_by_key(|&block| (std::cmp::Reverse(blocks[block].bytes), blocks[block].live));
    for (done, &block) in order.iter().enumerate() {
        let meets = |&&other: &&usize| {
            blocks[other].live[0] <= blocks[block].live[1] && blocks[block].live[0] <= blocks[other].live[1]
        };
        let mut taken: Vec<[usize; 2]> = order[..done]
            .iter()
            .filter(meets)
            .map(|&other| [blocks[other].start, blocks[other].start + blocks[other].bytes])
            .collect();
        taken.sort_unstable();
        let mut start = 0;
        for [first, end] in taken {
            if first >= start + blocks[block].bytes {
                break;
            }
            start = start.max(end.next_multiple_of(ALIGNMENT));
        }
        blocks[block].start = start;
    }
}
