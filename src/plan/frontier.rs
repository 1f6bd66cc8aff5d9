//! How much damage can be avoided with how many bytes.

use super::allocate::{PlanOptions, plan, smallest};
use super::budgets::Budgets;
use super::indicators::Indicators;
use super::record::Plan;
use crate::error::Result;
use serde::Serialize;

/// A plan that no other beats in both size and predicted damage.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct FrontierPoint {
    /// Bytes of the file.
    pub bytes: u64,
    /// Bits per weight, as in [`Uses`](super::Uses).
    pub mean_bits: f64,
    /// Predicted damage.
    pub objective: f64,
}

impl From<&Plan> for FrontierPoint {
    fn from(plan: &Plan) -> Self {
        Self { bytes: plan.uses.bytes, mean_bits: plan.uses.mean_bits, objective: plan.objective }
    }
}

/// More bytes than any file has.
const ANY_SIZE: u64 = 999_999_999_999;

/// Plans from the smallest file to the least damage, at `points` sizes evenly spread between; `budgets` other than on the
/// size are kept.
///
/// # Errors
/// As for [`plan`].
pub fn frontier(
    indicators: &Indicators,
    budgets: &Budgets,
    options: &PlanOptions,
    points: usize,
) -> Result<Vec<FrontierPoint>> {
    let free = Budgets { max_size: None, compression_ratio: None, mean_bits: None, ..budgets.clone() };
    let at = |max_size: Option<u64>| plan(indicators, &Budgets { max_size, ..free.clone() }, options);
    let largest = at(Some(ANY_SIZE))?;
    let smallest = smallest(indicators, &free, options)?;
    let span = largest.uses.bytes.saturating_sub(smallest);
    let steps = (points.max(2) - 1) as u64;
    let mut found: Vec<FrontierPoint> = Vec::new();
    for step in 0..=steps {
        let size = smallest + (u128::from(span) * u128::from(step) / u128::from(steps)) as u64;
        let point = FrontierPoint::from(&at(Some(size))?);
        if found.last().is_none_or(|last| point.objective < last.objective) {
            found.push(point);
        }
    }
    Ok(found)
}
