//! The memory that all values of a program share.

use std::cell::UnsafeCell;

/// One cache line.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
struct Line([u8; 64]);

/// Aligned bytes that several threads read and write at places the program keeps apart.
pub(crate) struct Memory {
    lines: Box<[UnsafeCell<Line>]>,
}

// SAFETY: bytes are only reached through raw pointers; a program never lets two threads write one byte, or one write
// what another reads, within a stage (see `Task`).
unsafe impl Sync for Memory {}

impl Memory {
    /// Zeroed memory of at least `bytes` bytes.
    pub fn new(bytes: usize) -> Self {
        let line = || UnsafeCell::new(Line([0; 64]));
        Self { lines: (0..bytes.div_ceil(64)).map(|_| line()).collect() }
    }

    /// Number of bytes.
    pub fn len(&self) -> usize {
        self.lines.len() * 64
    }

    /// The address of the byte at `offset`.
    #[inline]
    pub fn at(&self, offset: usize) -> *mut u8 {
        debug_assert!(offset <= self.len(), "{offset} of {}", self.len());
        self.lines.as_ptr().cast::<u8>().cast_mut().wrapping_add(offset)
    }
}

impl std::fmt::Debug for Memory {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Memory({} bytes)", self.len())
    }
}

/// Aligned constant bytes: the weights of a convolution.
#[derive(Clone)]
pub(crate) struct Constants {
    lines: Vec<Line>,
}

impl Constants {
    /// Zeros.
    pub fn zeroed(bytes: usize) -> Self {
        Self { lines: vec![Line([0; 64]); bytes.div_ceil(64)] }
    }

    /// The bytes, as signed numbers.
    pub fn as_mut(&mut self) -> &mut [i8] {
        let len = self.lines.len() * 64;
        // SAFETY: lines are 64 bytes each without gaps, and every bit pattern is an i8.
        unsafe { std::slice::from_raw_parts_mut(self.lines.as_mut_ptr().cast(), len) }
    }

    /// The address of the byte at `offset`.
    pub fn at(&self, offset: usize) -> *const i8 {
        debug_assert!(offset <= self.lines.len() * 64);
        self.lines.as_ptr().cast::<i8>().wrapping_add(offset)
    }
}

impl std::fmt::Debug for Constants {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Constants({} bytes)", self.lines.len() * 64)
    }
}
