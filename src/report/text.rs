//! Numbers and names as pages show them.

/// What stands for a number that is not known.
pub(super) const NONE: &str = "\u{2013}";

/// Text that may come from anywhere, as part of a page.
pub(super) fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            // Pages hold no control characters, and no marks that turn the direction of what follows.
            '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => {
                out.push('\u{fffd}')
            }
            _ if character.is_control() => out.push('\u{fffd}'),
            _ => out.push(character),
        }
    }
    out
}

/// A number with a narrow space between thousands.
pub(super) fn grouped(number: usize) -> String {
    let digits = number.to_string();
    let place = |(index, digit): (usize, char)| {
        let space = index > 0 && (digits.len() - index).is_multiple_of(3);
        space.then_some('\u{202f}').into_iter().chain([digit])
    };
    digits.chars().enumerate().flat_map(place).collect()
}

/// A part of a whole in percent.
pub(super) fn percent(part: usize, whole: usize) -> f64 {
    100.0 * part as f64 / whole.max(1) as f64
}

/// A short number: three digits that count.
pub(super) fn short(value: f64) -> String {
    let digits = match value.abs() {
        v if v >= 100.0 || v == 0.0 => 0,
        v if v >= 10.0 => 1,
        v if v >= 1.0 => 2,
        v if v >= 1e-3 => 3 + (-v.log10()).floor() as usize,
        _ => return format!("{value:.1e}"),
    };
    format!("{value:.digits$}")
}

/// Bytes in the largest unit that leaves a number of at least one, in powers of 1000.
pub(super) fn bytes(count: usize) -> String {
    match count {
        0..1000 => format!("{count}\u{a0}bytes"),
        1000..1_000_000 => format!("{}\u{a0}kB", short(count as f64 / 1e3)),
        1_000_000..1_000_000_000 => format!("{}\u{a0}MB", short(count as f64 / 1e6)),
        _ => format!("{}\u{a0}GB", short(count as f64 / 1e9)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_a_meaning_in_a_page_loses_it() {
        let hostile = "<script>alert(\"a&b\")</script>' onload='x\u{202e}\u{0}\n";
        let harmless = escaped(hostile);
        assert!(!harmless.contains(['<', '>', '"', '\'', '\u{202e}', '\0', '\n']), "{harmless}");
        assert!(harmless.starts_with("&lt;script&gt;alert(&quot;a&amp;b&quot;)&lt;/script&gt;&#39; onload"));
        assert_eq!(escaped("Zeichnung €, 猫"), "Zeichnung €, 猫");
    }

    #[test]
    fn numbers_are_short() {
        let shown = [0.0, 1234.0, 12.345, 1.2345, 0.12345, 0.0012345, 1.2e-7, -0.5].map(short);
        assert_eq!(shown, ["0", "1234", "12.3", "1.23", "0.123", "0.00123", "1.2e-7", "-0.500"]);
        assert_eq!([7, 1500, 25_557_032].map(bytes), ["7\u{a0}bytes", "1.50\u{a0}kB", "25.6\u{a0}MB"]);
    }
}
