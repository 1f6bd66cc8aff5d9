//! Which widths layers have in which pass, so that every layer has every pair of different widths with the layer before.

use crate::quantize::{OperatorId, PerOperator};

/// The places of widths by operator, pass after pass. Layers that switch come one after another as `before` says, and go
/// round a circuit that takes every step from one width to another once: in each pass everyone is one step further.
pub(super) fn assignments(
    widths: usize,
    switching: &[OperatorId],
    before: &PerOperator<Option<OperatorId>>,
) -> Vec<PerOperator<usize>> {
    let circuit = circuit(widths);
    let mut depths: PerOperator<usize> = before.iter().map(|_| 0).collect();
    for &layer in switching {
        depths[layer] = before[layer].map_or(0, |before| depths[before] + 1);
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
        let before: PerOperator<Option<OperatorId>> =
            before.into_iter().map(|before: Option<usize>| before.map(OperatorId::from_index)).collect();
        let layers = [1, 2, 4, 5, 6].map(OperatorId::from_index);
        for widths in 2..5 {
            let passes = assignments(widths, &layers, &before);
            for &layer in &layers[1..] {
                let mut pairs: Vec<[usize; 2]> =
                    passes.iter().map(|places| [places[before[layer].unwrap()], places[layer]]).collect();
                pairs.sort_unstable();
                let all = (0..widths).flat_map(|a| (0..widths).map(move |b| [a, b])).filter(|[a, b]| a != b);
                assert!(all.eq(pairs), "{widths} widths");
            }
        }
        assert!(assignments(1, &[], &[None].into_iter().collect()).is_empty());
    }
}
