//! Until when values are needed.

/// For each node, given what each reads, the last that reads its value: itself if nobody does.
pub(crate) fn last_readers<'a>(inputs: impl ExactSizeIterator<Item = &'a [usize]>) -> Vec<usize> {
    let mut last: Vec<usize> = (0..inputs.len()).collect();
    for (id, inputs) in inputs.enumerate() {
        inputs.iter().for_each(|&input| last[input] = id);
    }
    last
}

/// For each node, the values that nobody reads after it: its own if nobody reads that at all.
pub(crate) fn last_uses(inputs: &[Vec<usize>]) -> Vec<Vec<usize>> {
    let mut dead = vec![Vec::new(); inputs.len()];
    for (value, reader) in last_readers(inputs.iter().map(Vec::as_slice)).into_iter().enumerate() {
        dead[reader].push(value);
    }
    dead
}

/// How many readers of each value are still to come.
pub(crate) struct Readers(Vec<usize>);

impl Readers {
    /// Those of `len` values, each as often as it stands in `reads`.
    pub(crate) fn new<'a>(len: usize, reads: impl Iterator<Item = &'a usize>) -> Self {
        let mut counts = vec![0; len];
        reads.for_each(|&value| counts[value] += 1);
        Self(counts)
    }

    /// Takes one reader of a value off.
    pub(crate) fn release(&mut self, value: usize) {
        self.0[value] = self.0[value].saturating_sub(1);
    }

    /// Whether nobody will read a value any more.
    pub(crate) fn are_done(&self, value: usize) -> bool {
        self.0[value] == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn readers_are_done_when_all_are_released() {
        let mut readers = Readers::new(3, [0, 2, 0].iter());
        assert!(!readers.are_done(0) && readers.are_done(1) && !readers.are_done(2));
        readers.release(0);
        assert!(!readers.are_done(0));
        [0, 0, 1].into_iter().for_each(|value| readers.release(value));
        assert!(readers.are_done(0) && readers.are_done(1) && !readers.are_done(2));
    }

    #[test]
    fn values_die_with_their_last_reader() {
        let inputs = [vec![], vec![0], vec![0, 1], vec![], vec![2, 2]];
        assert_eq!(last_readers(inputs.iter().map(Vec::as_slice)), [2, 2, 4, 3, 4]);
        assert_eq!(last_uses(&inputs), [vec![], vec![], vec![0, 1], vec![3], vec![2, 4]]);
    }
}
