//! Which layer gets which precision: by rules and patterns, or by a plan with the least damage under a budget.

mod allocate;
mod budgets;
mod choose;
mod frontier;
mod indicators;
mod pattern;
mod record;
mod reversed;

#[cfg(test)]
mod tests;

pub use allocate::{Outliers, PlanOptions, plan};
pub use budgets::{Budgets, UniformBits};
pub use choose::{Choice, Reason};
pub(crate) use choose::{choose, is_inner, planned_activations};
pub use frontier::{FrontierPoint, frontier};
pub use indicators::{Fixed, Indicators, LayerIndicators, read_indicators};
pub use pattern::Pattern;
pub(crate) use record::short;
pub use record::{Plan, PlannedLayer, Uses, read_plan};
