//! Until when values are needed.

use crate::index::{Per, TypedIndex};

/// For each node, given what each reads, the last that reads its value: itself if nobody does.
pub(crate) fn last_readers<'a, I: TypedIndex + 'a>(
    inputs: impl ExactSizeIterator<Item = &'a [I]>,
) -> Per<I, I> {
    let mut last: Per<I, I> = (0..inputs.len()).map(I::from_index).collect();
    for (id, inputs) in last.ids().zip(inputs) {
        inputs.iter().for_each(|&input| last[input] = id);
    }
    last
}

/// For each node, the values that nobody reads after it: its own if nobody reads that at all.
pub(crate) fn last_uses<'a, I: TypedIndex + 'a>(
    inputs: impl ExactSizeIterator<Item = &'a [I]>,
) -> Per<I, Vec<I>> {
    let mut dead = Per::filled(Vec::new(), inputs.len());
    for (value, &reader) in last_readers(inputs).enumerate() {
        dead[reader].push(value);
    }
    dead
}

/// How many readers of each value are still to come.
pub(crate) struct Readers<I>(Per<I, usize>);

impl<I: TypedIndex> Readers<I> {
    /// Those of `len` values, each as often as it stands in `reads`.
    pub(crate) fn new(len: usize, reads: impl Iterator<Item = I>) -> Self {
        let mut counts = Per::filled(0, len);
        reads.for_each(|value| counts[value] += 1);
        Self(counts)
    }

    /// Takes one reader of a value off.
    pub(crate) fn release(&mut self, value: I) {
        self.0[value] = self.0[value].saturating_sub(1);
    }

    /// Whether nobody will read a value any more.
    pub(crate) fn are_done(&self, value: I) -> bool {
        self.0[value] == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::index::typed_index;

    #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
    struct ValueId(usize);

    typed_index!(ValueId);

    #[test]
    fn readers_are_done_when_all_are_released() {
        let ids = [0, 1, 2].map(ValueId);
        let mut readers = Readers::new(3, [0, 2, 0].map(ValueId).into_iter());
        assert_eq!(ids.map(|id| readers.are_done(id)), [false, true, false]);
        readers.release(ids[0]);
        assert!(!readers.are_done(ids[0]));
        [0, 0, 1].into_iter().for_each(|value| readers.release(ids[value]));
        assert_eq!(ids.map(|id| readers.are_done(id)), [true, true, false]);
    }

    #[test]
    fn values_die_with_their_last_reader() {
        let inputs: [&[usize]; 5] = [&[], &[0], &[0, 1], &[], &[2, 2]];
        let inputs = inputs.map(|inputs| inputs.iter().copied().map(ValueId).collect::<Vec<_>>());
        let inputs = || inputs.iter().map(Vec::as_slice);
        assert_eq!(last_readers(inputs()).as_slice(), [2, 2, 4, 3, 4].map(ValueId));
        let dead = last_uses(inputs());
        let dead: Vec<Vec<usize>> =
            dead.iter().map(|ids| ids.iter().map(|id| id.index()).collect()).collect();
        assert_eq!(dead, [vec![], vec![], vec![0, 1], vec![3], vec![2, 4]]);
    }
}
