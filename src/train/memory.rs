//! Bytes of weights and activations, their budgets, and what exceeding them costs.

/// The factor of squared excesses in KiB (Uhlich et al., arXiv 1905.11452, section 5).
const WEIGHT: f64 = 0.1;

/// Bytes that a network whose precision is learned may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct MemoryBudgets {
    /// Of all weights.
    pub weights: Option<u64>,
    /// Of every single activation tensor.
    pub largest_activation: Option<u64>,
    /// Of all activation tensors.
    pub activations: Option<u64>,
}

impl MemoryBudgets {
    /// Whether there is any.
    pub(crate) fn is_any(&self) -> bool {
        [self.weights, self.largest_activation, self.activations].iter().any(Option::is_some)
    }
}

/// Bytes that a network takes: codes of weights as the file stores them, and of every activation tensor between input and
/// logits its values times the bits of a code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
pub struct MemoryUse {
    /// Of all weights.
    pub weights: u64,
    /// Of the largest activation tensor.
    pub largest_activation: u64,
    /// Of all activation tensors.
    pub activations: u64,
}

impl MemoryUse {
    /// Whether no budget is exceeded.
    pub fn is_within(&self, budgets: &MemoryBudgets) -> bool {
        let holds = |used: u64, budget: Option<u64>| budget.is_none_or(|budget| used <= budget);
        holds(self.weights, budgets.weights)
            && holds(self.largest_activation, budgets.largest_activation)
            && holds(self.activations, budgets.activations)
    }
}

/// Derivative of the squared excess of `used` bytes by a bit.
pub(super) fn pressure(used: u64, budget: Option<u64>) -> f32 {
    let excess = used.saturating_sub(budget.unwrap_or(u64::MAX)) as f64 / 1024.0;
    (2.0 * WEIGHT * excess / (8.0 * 1024.0)) as f32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_budget_counts() {
        let used = MemoryUse { weights: 100, largest_activation: 10, activations: 50 };
        let all = MemoryBudgets { weights: Some(100), largest_activation: Some(10), activations: Some(50) };
        assert!(used.is_within(&all) && used.is_within(&MemoryBudgets::default()));
        assert!(!used.is_within(&MemoryBudgets { weights: Some(99), ..all }));
        assert!(!used.is_within(&MemoryBudgets { largest_activation: Some(9), ..all }));
        assert!(!used.is_within(&MemoryBudgets { activations: Some(49), ..all }));
        assert!(all.is_any() && !MemoryBudgets::default().is_any());
    }

    /// `0.1·max(0, (bits − 8·budget) / 8192)²` changes with a bit as its derivative says.
    #[test]
    fn pressure_is_the_slope_of_the_squared_excess() {
        let cost = |bits: f64| 0.1 * ((bits / 8.0 - 4096.0) / 1024.0).max(0.0).powi(2);
        let slope = (cost(8.0 * 9000.0 + 1.0) - cost(8.0 * 9000.0 - 1.0)) / 2.0;
        assert!((f64::from(pressure(9000, Some(4096))) - slope).abs() < 1e-9);
        assert_eq!([pressure(4096, Some(4096)), pressure(10, Some(4096)), pressure(10, None)], [0.0; 3]);
    }
}
