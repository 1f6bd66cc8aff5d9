//! What happens to the sums of a panel, arranged for tiles.

use super::{Isa, PANEL, ResidualRule, Rule};
use crate::kernels::{Epilogue, offset};

/// The rules of all panels.
///
/// # Panics
/// If the channels of a panel do not lie side by side in blocks of this size.
pub(super) fn rules(isa: &Isa, epilogue: &Epilogue, bias: &[i32], block: usize) -> Vec<Rule> {
    assert!(block == 16 || block.is_multiple_of(PANEL), "panels in blocks of {block}");
    (0..bias.len().div_ceil(PANEL)).map(|panel| rule(isa, epilogue, bias, panel, block)).collect()
}

fn rule(isa: &Isa, epilogue: &Epilogue, bias: &[i32], panel: usize, block: usize) -> Rule {
    let multiplier = |channel: usize| epilogue.multipliers.get(panel * PANEL + channel).copied();
    let in_order = |place: usize| 4 * isa.order[place / 4] + place % 4;
    let half = |place: usize| multiplier(in_order(place)).map_or(0, |by| (1i32 << by.shift) >> 1);
    let biases: [i32; PANEL] = std::array::from_fn(|place| {
        bias.get(panel * PANEL + in_order(place)).copied().unwrap_or(0).wrapping_add(half(place))
    });
    Rule {
        bias: biases,
        shifts: std::array::from_fn(|place| multiplier(in_order(place)).map_or(0, |by| i32::from(by.shift))),
        multipliers: std::array::from_fn(|channel| multiplier(channel).map_or(0, |by| by.value)),
        residual: epilogue.residual.map(|(by, zero_point)| ResidualRule {
            zero_point: i16::from(zero_point),
            shift: by.shift,
            multiplier: by.value,
        }),
        offset: offset(epilogue.zero_point, epilogue.fraction),
        fraction: epilogue.fraction,
        clamp: epilogue.clamp,
        width: block.min(PANEL),
    }
}

/// Biases in the order of a panel's sums, without rounding.
pub(super) fn plain_bias(isa: &Isa, bias: &[i32], panel: usize) -> [i32; PANEL] {
    std::array::from_fn(|place| {
        let channel = panel * PANEL + 4 * isa.order[place / 4] + place % 4;
        bias.get(channel).copied().unwrap_or(0)
    })
}
