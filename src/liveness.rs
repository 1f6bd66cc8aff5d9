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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_die_with_their_last_reader() {
        let inputs = [vec![], vec![0], vec![0, 1], vec![], vec![2, 2]];
        assert_eq!(last_readers(inputs.iter().map(Vec::as_slice)), [2, 2, 4, 3, 4]);
        assert_eq!(last_uses(&inputs), [vec![], vec![], vec![0, 1], vec![3], vec![2, 4]]);
    }
}
