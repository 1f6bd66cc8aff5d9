//! How activations are spread and which ranges their codes have.

use super::text::{escaped, short};
use crate::calibrate::ActivationSpread;
use std::fmt::Write;

const WIDTH: f64 = 240.0;
const HEIGHT: f64 = 64.0;

/// A small drawing for every activation.
pub(super) fn spreads(spreads: &[ActivationSpread]) -> String {
    if spreads.is_empty() {
        return String::new();
    }
    let all: String = spreads.iter().map(card).collect();
    format!(
        "<p class=\"note\">Full precision\u{2019}s values on the images that were fitted, without exact zeros; heights are \
         logarithms of counts. <span class=\"key chosen\"></span>the range that codes can express.</p>\n\
         <div class=\"cards small\">\n{all}</div>\n"
    )
}

fn card(spread: &ActivationSpread) -> String {
    let ActivationSpread { bits, range, extremes, values, zeros, outside, .. } = spread;
    let share = |part: u64| 100.0 * part as f64 / (*values).max(1) as f64;
    let (name, drawing) = (escaped(&spread.name), drawing(spread));
    let span = |[low, high]: [f64; 2]| format!("{} to {}", short(low), short(high));
    format!(
        "<figure>{drawing}<figcaption><b>{name}</b><br>{bits} bits, {chosen}; values {found}<br>{zeros:.1}% zero, \
         {outside:.3}% outside</figcaption></figure>\n",
        chosen = span(*range),
        found = span(*extremes),
        zeros = share(*zeros),
        outside = share(*outside),
    )
}

fn drawing(spread: &ActivationSpread) -> String {
    let low = spread.range[0].min(spread.extremes[0]);
    let high = spread.range[1].max(spread.extremes[1]);
    let unit = WIDTH / (high - low).max(f64::MIN_POSITIVE);
    let place = |value: f64| (value - low) * unit;
    let [from, to] = spread.range.map(place);
    let label = escaped(&format!("Distribution of {}", spread.name));
    let mut svg = format!(
        "<svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"{label}\">\
         <rect class=\"chosen\" x=\"{from:.1}\" y=\"0\" width=\"{:.1}\" height=\"{HEIGHT}\"/>\
         <path class=\"weight\" d=\"M{:.1} {HEIGHT}",
        to - from,
        place(spread.extremes[0]),
    );
    let most = spread.counts.iter().copied().max().unwrap_or(0).max(1) as f64;
    let step = (spread.extremes[1] - spread.extremes[0]) * unit / spread.counts.len().max(1) as f64;
    for &count in &spread.counts {
        let top = HEIGHT * (1.0 - 0.94 * (count as f64).ln_1p() / most.ln_1p());
        // Writing to a string cannot fail.
        let _ = write!(svg, "V{top:.1}h{step:.2}");
    }
    svg + &format!("V{HEIGHT}Z\"/></svg>")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_activation_is_drawn() {
        let spread = |name: &str, extremes, counts: &[u64]| ActivationSpread {
            name: name.into(),
            bits: 4,
            range: [0.0, 2.0],
            extremes,
            values: 8,
            zeros: 2,
            outside: 1,
            counts: counts.to_vec(),
        };
        let html = spreads(&[spread("<a>", [0.0, 4.0], &[4, 0, 1]), spread("none", [0.0, 0.0], &[0])]);
        assert_eq!(html.matches("<svg").count(), 2);
        assert!(html.contains("25.0% zero, 12.500% outside") && html.contains("4 bits, 0 to 2.00"), "{html}");
        assert!(!html.contains("<a>") && !html.contains("NaN") && !html.contains("inf"), "{html}");
        assert_eq!(spreads(&[]), "");
    }
}
