//! Which widths layers have in which pass, so that every layer has every pair of different widths with the layer before.

use super::UniformWidth;

/// The network with a width of its own in every layer.
pub(super) struct Pass {
    /// The place of the width of every layer that switches, by node.
    pub places: Vec<usize>,
    pub uniform: UniformWidth,
}

/// The places of widths by node, pass after pass. Layers that switch come one after another as `before` says, and go
/// round a circuit that takes every step from one width to another once: in each pass everyone is one step further.
pub(super) fn assignments(widths: usize, switching: &[usize], before: &[Option<usize>]) -> Vec<Vec<usize>> {
    let circuit = circuit(widths);
    let mut depths = vec![0; before.len()];
    for &node in switching {
        depths[node] = before[node].map_or(0, |before| depths[before] + 1);
    }
    let places = |pass: usize| depths.iter().map(|depth| circuit[(depth + pass) % circuit.len()]).collect();
    (0..circuit.len()).map(places).collect()
}

/// A circuit through all ordered pairs of different numbers below `count`.
fn circuit(count: usize) -> Vec<usize> {
    // Hierholzer's algorithm.
    let mut left: Vec<Vec<usize>> =
        (0..count).map(|from| (0..count).rev().filter(|&to| to != from).collect()).collect();
    let (mut path, mut circuit) = (vec![0], Vec::new());
    while let Some(&from) = path.last() {
        match left.get_mut(from).and_then(Vec::pop) {
            Some(to) => path.push(to),
            None => circuit.extend(path.pop()),
        }
    }
    circuit.reverse();
    circuit.pop();
    circuit
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_layer_meets_every_pair_of_different_widths_once() {
        // Layers 1 and 2 in a row, 4 and 5 both after 2, 6 after 5.
        let before = [None, None, Some(1), None, Some(2), Some(2), Some(5)];
        for widths in 2..5 {
            let passes = assignments(widths, &[1, 2, 4, 5, 6], &before);
            for node in [2, 4, 5, 6] {
                let mut pairs: Vec<[usize; 2]> =
                    passes.iter().map(|places| [places[before[node].unwrap()], places[node]]).collect();
                pairs.sort_unstable();
                let all = (0..widths).flat_map(|a| (0..widths).map(move |b| [a, b])).filter(|[a, b]| a != b);
                assert!(all.eq(pairs), "{widths} widths");
            }
        }
        assert!(assignments(1, &[], &[None]).is_empty());
    }
}
