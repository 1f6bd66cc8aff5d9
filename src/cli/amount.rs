//! Sizes and counts as people write them.

use anyhow::{Context, bail};

/// Factors of units; `KB` is 1000 bytes, `KiB` 1024.
const BYTES: [(&str, f64); 8] = [
    ("KiB", 1024.0),
    ("MiB", 1048576.0),
    ("GiB", 1073741824.0),
    ("KB", 1e3),
    ("MB", 1e6),
    ("GB", 1e9),
    ("B", 1.0),
    ("", 1.0),
];
const COUNTS: [(&str, f64); 5] = [("K", 1e3), ("M", 1e6), ("G", 1e9), ("T", 1e12), ("", 1.0)];

/// A number of bytes such as `400KB`, `1.5MiB` or `65536`.
pub fn bytes(text: &str) -> anyhow::Result<u64> {
    parse(text, &BYTES).context("give bytes, as in 400KB, 1.5MiB or 65536")
}

/// A number such as `57.3G` or `1000000`.
pub fn count(text: &str) -> anyhow::Result<u64> {
    parse(text, &COUNTS).context("give a number, as in 57.3G or 1000000")
}

/// A number, or a share of all in percent.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Amount {
    /// A number.
    Count(u64),
    /// A share, 0 to 1.
    Share(f64),
}

/// A number such as `57.3M`, or a share such as `10%`.
pub fn amount(text: &str) -> anyhow::Result<Amount> {
    let Some(percent) = text.strip_suffix('%') else { return Ok(Amount::Count(count(text)?)) };
    let percent: f64 = percent.trim().parse().context("give a number, or a share as in 10%")?;
    if !(0.0..=100.0).contains(&percent) {
        bail!("{text} is no share; give 0% to 100%");
    }
    Ok(Amount::Share(percent / 100.0))
}

fn parse(text: &str, units: &[(&str, f64)]) -> anyhow::Result<u64> {
    let unit = units.iter().find(|(unit, _)| {
        let number = text.len().checked_sub(unit.len()).and_then(|at| text.get(at..));
        number.is_some_and(|end| end.eq_ignore_ascii_case(unit))
    });
    let &(unit, factor) = unit.context("an unknown unit")?;
    let number: f64 = text[..text.len() - unit.len()].trim().parse().context("not a number")?;
    let value = (number * factor).floor();
    if !(0.0..=9e15).contains(&value) {
        bail!("{text} is out of range");
    }
    Ok(value as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_have_units() {
        assert_eq!(bytes("400KB").unwrap(), 400_000);
        assert_eq!(bytes("400 kib").unwrap(), 409_600);
        assert_eq!(bytes("1.5MB").unwrap(), 1_500_000);
        assert_eq!((bytes("17B").unwrap(), bytes("17").unwrap()), (17, 17));
        assert_eq!(count("57.3G").unwrap(), 57_300_000_000);
        assert_eq!(amount("12.5%").unwrap(), Amount::Share(0.125));
        for wrong in ["", "KB", "-1", "1e30", "nan", "4XB", "inf"] {
            assert!(bytes(wrong).is_err(), "{wrong}");
        }
        assert!(amount("101%").is_err() && count("3KB").is_err());
    }
}
