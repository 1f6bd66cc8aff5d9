//! Rows of blocks: the unit in which simple operators work.

use super::{Memory, Slot};
use std::ops::Range;

/// Most chunks of a simple operator.
const CHUNKS: usize = 16;
/// Bytes that make a chunk worthwhile.
const WORTH: usize = 1 << 13;

/// Number of chunks into which the rows of all blocks of `slot` are cut.
pub(super) fn chunks(slot: &Slot) -> usize {
    (slot.map.len() / WORTH).clamp(1, CHUNKS).min(rows(slot))
}

/// Rows of all blocks.
pub(super) fn rows(slot: &Slot) -> usize {
    slot.map.blocks() * slot.map.shape.height
}

/// Block and row for each row of one of [`chunks`].
pub(super) fn of_chunk(slot: &Slot, chunk: usize) -> impl Iterator<Item = (usize, usize)> {
    of_chunks(slot, chunk, chunks(slot))
}

/// Block and row for each row of one of `chunks` equal parts.
pub(super) fn of_chunks(slot: &Slot, chunk: usize, chunks: usize) -> impl Iterator<Item = (usize, usize)> {
    let (count, height) = (rows(slot), slot.map.shape.height);
    let part: Range<usize> = chunk * count / chunks..(chunk + 1) * count / chunks;
    part.map(move |row| (row / height, row % height))
}

/// A block's codes of `count` neighbouring positions.
///
/// # Safety
/// Nobody writes them while they are borrowed.
#[inline]
pub(super) unsafe fn read<'a>(
    memory: &'a Memory,
    slot: &Slot,
    block: usize,
    [y, x]: [usize; 2],
    count: usize,
) -> &'a [u8] {
    let place = slot.map.offset(block * slot.map.block, y, x);
    // SAFETY: as the caller promises.
    unsafe { memory.read(slot, place, count * slot.map.block) }
}

/// A block's codes, from its first position to its last one, with the ring between rows.
///
/// # Safety
/// Nobody writes them while they are borrowed.
#[inline]
pub(super) unsafe fn plane<'a>(memory: &'a Memory, slot: &Slot, block: usize) -> &'a [u8] {
    let map = &slot.map;
    let len = (map.shape.height - 1) * map.pitch() + map.shape.width * map.block;
    // SAFETY: as the caller promises.
    unsafe { memory.read(slot, map.offset(block * map.block, 0, 0), len) }
}

/// A block's codes of a row, to be written; different rows are different bytes.
///
/// # Safety
/// Nobody else uses the row while it is borrowed.
///
/// # Panics
/// If the slot has no such row.
#[inline]
#[allow(clippy::mut_from_ref)]
pub(super) unsafe fn write<'a>(memory: &'a Memory, slot: &Slot, block: usize, y: usize) -> &'a mut [u8] {
    let map = &slot.map;
    assert!(block < map.blocks() && y < map.shape.height, "row {y} of block {block} of {map:?}");
    // SAFETY: as the caller promises.
    unsafe { memory.write(slot, map.offset(block * map.block, y, 0), map.shape.width * map.block) }
}
