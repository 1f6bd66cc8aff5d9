//! The memory that all values of a program share.

use super::Slot;
use std::cell::UnsafeCell;

/// One cache line.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
struct Line([u8; 64]);

/// Bytes of a line.
const LINE: usize = size_of::<Line>();

/// Aligned bytes that several threads read and write at places the program keeps apart.
pub(crate) struct Memory {
    lines: Box<[UnsafeCell<Line>]>,
}

// SAFETY: shared memory is only reached through `at`, `read` and `write`. Whoever uses what they return promises that
// no thread writes a byte that another one uses.
unsafe impl Sync for Memory {}

impl Memory {
    /// Zeroed memory of at least `bytes` bytes.
    pub fn new(bytes: usize) -> Self {
        let line = || UnsafeCell::new(Line([0; LINE]));
        Self { lines: (0..bytes.div_ceil(LINE)).map(|_| line()).collect() }
    }

    /// Number of bytes.
    pub fn len(&self) -> usize {
        self.lines.len() * LINE
    }

    /// All bytes, which nobody else has meanwhile.
    pub fn bytes(&mut self) -> &mut [u8] {
        let len = self.len();
        // SAFETY: the lines are `len` bytes without gaps, and `self` is borrowed as long as the slice lives.
        unsafe { std::slice::from_raw_parts_mut(self.lines.as_mut_ptr().cast(), len) }
    }

    /// The address of `len` bytes of a slot, from `place` on; with a `place` of whole lines it is aligned to 64 bytes.
    ///
    /// # Panics
    /// If not all of them lie in the slot and in the memory.
    #[inline]
    pub fn at(&self, slot: &Slot, place: usize, len: usize) -> *mut u8 {
        let inside = place.checked_add(len).is_some_and(|end| end <= slot.len);
        if !inside || slot.end() > self.len() {
            self.refuse(slot, place, len);
        }
        self.lines.as_ptr().cast::<u8>().cast_mut().wrapping_add(slot.start + place)
    }

    /// Apart, so that nothing of it is prepared where all is well.
    #[cold]
    #[inline(never)]
    #[expect(
        clippy::panic,
        reason = "an access outside of memory is a mistake of this crate, and must not happen"
    )]
    fn refuse(&self, slot: &Slot, place: usize, len: usize) -> ! {
        panic!("{len} bytes at {place} of {slot:?} in {self:?}");
    }

    /// `len` bytes of a slot, from `place` on.
    ///
    /// # Safety
    /// Nobody writes them while they are borrowed.
    ///
    /// # Panics
    /// If not all of them lie in the slot and in the memory.
    #[inline]
    pub unsafe fn read(&self, slot: &Slot, place: usize, len: usize) -> &[u8] {
        // SAFETY: `at` has found that they are there; nobody writes them, as the caller promises.
        unsafe { std::slice::from_raw_parts(self.at(slot, place, len), len) }
    }

    /// `len` bytes of a slot, from `place` on, to be written.
    ///
    /// # Safety
    /// Nobody else reads or writes them while they are borrowed.
    ///
    /// # Panics
    /// If not all of them lie in the slot and in the memory.
    #[inline]
    #[allow(clippy::mut_from_ref)]
    pub unsafe fn write(&self, slot: &Slot, place: usize, len: usize) -> &mut [u8] {
        // SAFETY: `at` has found that they are there; nobody else uses them, as the caller promises.
        unsafe { std::slice::from_raw_parts_mut(self.at(slot, place, len), len) }
    }
}

/// What [`GAP`](super::GAP) is for: AddressSanitizer reports whoever touches forbidden bytes.
#[cfg(fgq_redzones)]
mod redzones {
    use super::Memory;
    use std::ffi::{c_int, c_void};
    use std::ops::Range;

    unsafe extern "C" {
        fn __asan_poison_memory_region(start: *const c_void, len: usize);
        fn __asan_unpoison_memory_region(start: *const c_void, len: usize);
        fn __asan_address_is_poisoned(place: *const c_void) -> c_int;
    }

    impl Memory {
        fn bytes_of(&self, range: Range<usize>) -> (*const c_void, usize) {
            assert!(range.start <= range.end && range.end <= self.len(), "{range:?} of {self:?}");
            (self.lines.as_ptr().cast::<c_void>().wrapping_byte_add(range.start), range.len())
        }

        /// Nobody may touch these bytes any more.
        pub fn forbid(&self, range: Range<usize>) {
            let (start, len) = self.bytes_of(range);
            // SAFETY: the bytes are this memory's; that they were forbidden ends with it.
            unsafe { __asan_poison_memory_region(start, len) };
        }

        /// Whether nobody may touch a byte.
        pub fn is_forbidden(&self, place: usize) -> bool {
            let (place, _) = self.bytes_of(place..place + 1);
            // SAFETY: the byte is this memory's, and is not read.
            unsafe { __asan_address_is_poisoned(place) != 0 }
        }
    }

    impl Drop for Memory {
        fn drop(&mut self) {
            let (start, len) = self.bytes_of(0..self.len());
            // SAFETY: the bytes are this memory's.
            unsafe { __asan_unpoison_memory_region(start, len) };
        }
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
        Self { lines: vec![Line([0; LINE]); bytes.div_ceil(LINE)] }
    }

    /// The bytes, as signed numbers, the first at a multiple of 64.
    pub fn as_slice(&self) -> &[i8] {
        // SAFETY: lines are 64 bytes each without gaps, and every bit pattern is an i8.
        unsafe { std::slice::from_raw_parts(self.lines.as_ptr().cast(), self.lines.len() * LINE) }
    }

    /// The same, to be filled.
    pub fn as_mut(&mut self) -> &mut [i8] {
        let len = self.lines.len() * LINE;
        // SAFETY: lines are 64 bytes each without gaps, and every bit pattern is an i8.
        unsafe { std::slice::from_raw_parts_mut(self.lines.as_mut_ptr().cast(), len) }
    }
}

impl std::fmt::Debug for Constants {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Constants({} bytes)", self.lines.len() * LINE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::blocked::Map;
    use crate::tensor::Shape;

    fn slot() -> Slot {
        Slot::new(64, Map::new(Shape::new(64, 1, 1), [0; 4]), 0)
    }

    #[test]
    fn memory_at_a_slot_is_all_of_it_and_aligned() {
        let (mut memory, slot) = (Memory::new(128), slot());
        assert_eq!(memory.at(&slot, 0, 64).addr() % 64, 0);
        // SAFETY: nobody else has the memory.
        unsafe { memory.write(&slot, 60, 4) }.fill(7);
        // SAFETY: nobody writes it.
        assert_eq!(unsafe { memory.read(&slot, 59, 5) }, [0, 7, 7, 7, 7]);
        assert_eq!(memory.bytes()[123..], [0, 7, 7, 7, 7]);
    }

    #[test]
    #[should_panic(expected = "5 bytes at 60 of Slot")]
    fn memory_at_the_end_of_a_slot_is_refused() {
        Memory::new(256).at(&slot(), 60, 5);
    }

    #[test]
    #[should_panic(expected = "Memory(64 bytes)")]
    fn memory_at_a_slot_behind_its_end_is_refused() {
        Memory::new(64).at(&slot(), 0, 1);
    }

    #[test]
    #[should_panic(expected = "2 bytes at")]
    fn memory_at_a_place_that_overflows_is_refused() {
        Memory::new(256).at(&slot(), usize::MAX, 2);
    }
}
