//! Plans and the indicators that they are made from.

use fgq::{Budgets, Indicators, Plan, PlanOptions};

/// Most layers that a plan is sought for.
const PLANNED: usize = 8;
/// A budget that some plans keep and some do not.
const MEAN_BITS: f64 = 4.0;

/// A plan. What was read is read again from what is written, and can be shown.
pub fn plan(bytes: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(bytes) else { return false };
    let Ok(plan) = Plan::from_json(text) else { return false };
    let written = serde_json::to_string(&plan).expect("valid");
    assert_eq!(Plan::from_json(&written).expect("written"), plan);
    plan.to_html(&[]);
    plan.layers.iter().for_each(|layer| drop(layer.precision()));
    plan.nearest_uniform(plan.layers.iter().map(|layer| (layer.name.as_str(), 64, 8)));
    true
}

/// Indicators. Plans from what was read keep the budget and can be read.
pub fn indicators(bytes: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(bytes) else { return false };
    let Ok(indicators) = Indicators::from_json(text) else { return false };
    let written = serde_json::to_string(&indicators).expect("valid");
    assert_eq!(Indicators::from_json(&written).expect("written"), indicators);
    if indicators.layers.len() <= PLANNED {
        let budgets = Budgets { mean_bits: Some(MEAN_BITS), ..Budgets::default() };
        if let Ok(plan) = fgq::plan(&indicators, &budgets, &PlanOptions::default()) {
            assert!(plan.uses.mean_bits <= MEAN_BITS);
            let written = serde_json::to_string(&plan).expect("valid");
            assert_eq!(Plan::from_json(&written).expect("written"), plan);
        }
    }
    true
}
