//! The blocked layout: 64 channels of a position side by side, blocks of channels one after another.

use crate::tensor::Shape;

/// Channels of a full block.
pub(crate) const BLOCK: usize = 64;
/// Distances between planes that are multiples of this make their lines compete for the same cache sets.
const ALIAS: usize = 4096;

/// Where the codes of one image lie: block of channels, row, column, channel within the block, with a ring around each
/// plane that holds the codes of padding.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Map {
    /// Shape of the image.
    pub shape: Shape,
    /// Rows above, columns before, rows below, columns after the image.
    pub ring: [usize; 4],
    /// Channels of a block: 64, or fewer where there are not as many.
    pub block: usize,
}

impl Map {
    /// A map for the results of an operator.
    pub fn new(shape: Shape, ring: [usize; 4]) -> Self {
        let block = match shape.channels {
            0..=16 => 16,
            17..=32 => 32,
            _ => BLOCK,
        };
        Self { shape, ring, block }
    }

    /// A map for pixels, whose few channels lie close together.
    pub fn of_pixels(shape: Shape, ring: [usize; 4]) -> Self {
        if shape.channels <= 4 { Self { shape, ring, block: shape.channels } } else { Self::new(shape, ring) }
    }

    /// Number of blocks.
    pub fn blocks(&self) -> usize {
        self.shape.channels.div_ceil(self.block)
    }

    /// Positions of a row, with the ring.
    pub fn columns(&self) -> usize {
        self.ring[1] + self.shape.width + self.ring[3]
    }

    /// Rows, with the ring.
    pub fn rows(&self) -> usize {
        self.ring[0] + self.shape.height + self.ring[2]
    }

    /// Bytes of a row.
    pub fn pitch(&self) -> usize {
        self.columns() * self.block
    }

    /// Bytes of a block's plane.
    pub fn plane(&self) -> usize {
        let plane = (self.rows() * self.pitch()).next_multiple_of(BLOCK);
        if plane.is_multiple_of(ALIAS) { plane + BLOCK } else { plane }
    }

    /// Bytes of the whole map.
    pub fn len(&self) -> usize {
        self.blocks() * self.plane()
    }

    /// Whether there are blocks, and all places are numbers that an address can grow by.
    pub fn is_sound(&self) -> bool {
        let extent = |[before, own, after]: [usize; 3]| before.checked_add(own)?.checked_add(after);
        let (ring, Shape { channels, height, width }) = (self.ring, self.shape);
        let len = || {
            let rows = extent([ring[0], height, ring[2]])?;
            let plane = extent([ring[1], width, ring[3]])?.checked_mul(rows)?.checked_mul(self.block)?;
            plane.checked_add(2 * BLOCK)?.checked_mul(channels.div_ceil(self.block))
        };
        self.block > 0 && len().is_some_and(|len| isize::try_from(len).is_ok())
    }

    /// Place of a channel at a position that counts from the ring's first row and column.
    pub fn place(&self, channel: usize, row: usize, column: usize) -> usize {
        channel / self.block * self.plane() + row * self.pitch() + column * self.block + channel % self.block
    }

    /// Place of a channel at a position of the image.
    pub fn offset(&self, channel: usize, y: usize, x: usize) -> usize {
        self.place(channel, y + self.ring[0], x + self.ring[1])
    }

    /// Whether there is a ring at all.
    pub fn has_ring(&self) -> bool {
        self.ring != [0; 4]
    }
}
