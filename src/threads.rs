//! Work shared by the threads of the current `rayon` pool, or done by one thread where the feature `threads` is off.

#[cfg(feature = "threads")]
pub(crate) use pool::{all, count, for_chunks, map, together};
#[cfg(not(feature = "threads"))]
pub(crate) use single::{all, count, for_chunks, map, together};

#[cfg(feature = "threads")]
mod pool {
    use rayon::prelude::*;
    use std::ops::Range;

    /// Number of threads.
    pub(crate) fn count() -> usize {
        rayon::current_num_threads()
    }

    /// Whether all numbers of `range` are as `holds` wants.
    pub(crate) fn all(range: Range<usize>, holds: impl Fn(usize) -> bool + Sync) -> bool {
        range.into_par_iter().all(&holds)
    }

    /// What `make` makes of all numbers of `range`, in order.
    pub(crate) fn map<T: Send>(range: Range<usize>, make: impl Fn(usize) -> T + Sync) -> Vec<T> {
        range.into_par_iter().map(&make).collect()
    }

    /// Calls `visit` with every chunk of `len` values, the last perhaps shorter, and its number; what `start` makes is
    /// used for many chunks, one after another.
    pub(crate) fn for_chunks<T: Send, S>(
        values: &mut [T],
        len: usize,
        start: impl Fn() -> S + Sync,
        visit: impl Fn(&mut S, usize, &mut [T]) + Sync,
    ) {
        let chunks = values.par_chunks_mut(len).enumerate();
        chunks.for_each_init(&start, |state, (index, chunk)| visit(state, index, chunk));
    }

    /// Calls `work` in this thread and, where threads have nothing else to do, in up to `threads` − 1 others at once.
    pub(crate) fn together(threads: usize, work: impl Fn() + Sync) {
        rayon::in_place_scope(|scope| {
            (1..threads).for_each(|_| scope.spawn(|_| work()));
            work();
        });
    }
}

#[cfg(any(test, not(feature = "threads")))]
#[cfg_attr(feature = "threads", allow(dead_code))]
mod single {
    //! The same as in `pool`, in this thread.

    use std::ops::Range;

    pub(crate) fn count() -> usize {
        1
    }

    pub(crate) fn all(mut range: Range<usize>, holds: impl Fn(usize) -> bool) -> bool {
        range.all(holds)
    }

    pub(crate) fn map<T>(range: Range<usize>, make: impl Fn(usize) -> T) -> Vec<T> {
        range.map(make).collect()
    }

    pub(crate) fn for_chunks<T, S>(
        values: &mut [T],
        len: usize,
        start: impl Fn() -> S,
        visit: impl Fn(&mut S, usize, &mut [T]),
    ) {
        let mut state = start();
        values.chunks_mut(len).enumerate().for_each(|(index, chunk)| visit(&mut state, index, chunk));
    }

    pub(crate) fn together(_: usize, work: impl Fn()) {
        work();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};

    #[test]
    fn one_thread_and_many_do_the_same() {
        for len in [0, 1, 6, 7, 8, 100] {
            assert_eq!(map(0..len, |index| 3 * index), single::map(0..len, |index| 3 * index));
            for limit in [0, 1, 99, 100] {
                let below = |index| index < limit;
                assert_eq!(all(0..len, below), single::all(0..len, below));
            }
            let (mut many, mut one) = (vec![0; len], vec![0; len]);
            let visit = |state: &mut usize, index: usize, chunk: &mut [usize]| {
                chunk.iter_mut().enumerate().for_each(|(place, value)| *value = *state + 7 * index + place);
            };
            for_chunks(&mut many, 7, || 5, visit);
            single::for_chunks(&mut one, 7, || 5, visit);
            assert_eq!(many, one);
            assert!(one.iter().enumerate().all(|(index, &value)| value == 5 + index));
        }
    }

    #[test]
    fn everybody_works_once() {
        let visits = AtomicUsize::new(0);
        let work = || _ = visits.fetch_add(1, Ordering::Relaxed);
        together(3, work);
        single::together(3, work);
        let most = if cfg!(feature = "threads") { 4 } else { 2 };
        assert_eq!((visits.into_inner(), single::count()), (most, 1));
        assert!(count() >= 1);
    }
}
