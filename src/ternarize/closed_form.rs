//! The exact solution for one group (Mellempudi et al., arXiv 1705.01462, equation 4).

/// The best ternary approximation of one group: `scale ≥ 0` times the sign of the `kept` largest.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Solution {
    /// Real scale.
    pub scale: f64,
    /// Smallest magnitude that keeps its sign; infinite if every code is zero.
    pub threshold: f64,
}

/// Minimises `Σ (w − scale·t)²` over `t ∈ {−1, 0, 1}` and `scale ≥ 0`.
///
/// With magnitudes in descending order and prefix sums `P_k`, the error is `Σ w² − P_k²/k` for the best
/// scale `P_k/k`, so the `k` of the largest `P_k²/k` is optimal. `sorted` is scratch space.
pub(crate) fn solve(weights: impl Iterator<Item = f64>, sorted: &mut Vec<f64>) -> Solution {
    sorted.clear();
    sorted.extend(weights.map(f64::abs));
    sorted.sort_unstable_by(|a, b| b.total_cmp(a));
    let mut best = Solution { scale: 0.0, threshold: f64::INFINITY };
    let (mut sum, mut gain) = (0.0, 0.0);
    for (index, &magnitude) in sorted.iter().enumerate() {
        let kept = (index + 1) as f64;
        sum += magnitude;
        if sum * sum / kept > gain {
            gain = sum * sum / kept;
            best = Solution { scale: sum / kept, threshold: magnitude };
        }
    }
    best
}

#[cfg(test)]
impl Solution {
    /// The code of a weight of the group.
    pub(super) fn code(&self, weight: f32) -> i8 {
        if f64::from(weight).abs() < self.threshold { 0 } else { weight.signum() as i8 }
    }
}
