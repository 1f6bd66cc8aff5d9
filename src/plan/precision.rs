//! How the weights of a layer are stored.

use crate::error::{Error, ErrorKind, Result};
use std::fmt;
use std::str::FromStr;

/// How the weights of a layer are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Precision {
    /// Codes −1, 0, +1 with one 8-bit scale per `group` consecutive input channels.
    Ternary {
        /// Group size N.
        group: usize,
    },
    /// Codes −7 to 7, one real factor per output channel.
    Int4 {
        /// How many consecutive input channels share a scale besides; `None` for no such scales.
        group: Option<usize>,
    },
    /// Eight bits, one real factor per output channel.
    Int8,
}

impl Precision {
    /// Bits of the codes and scales of `weights` weights in runs of `inputs` input channels.
    pub(crate) fn bits(self, weights: u64, inputs: u64) -> u64 {
        let scales = |group: usize| {
            let inputs = inputs.max(1);
            8 * weights.div_ceil(inputs).saturating_mul(inputs.div_ceil((group as u64).max(1)))
        };
        match self {
            Self::Ternary { group } => (2 * weights).saturating_add(scales(group)),
            Self::Int4 { group } => (4 * weights).saturating_add(group.map_or(0, scales)),
            Self::Int8 => 8 * weights,
        }
    }

    /// Multiplications by weights or scales, of which there are `products` products with activations: ternary
    /// groups need one each.
    pub(crate) fn multiplications(self, products: u64, inputs: u64) -> u64 {
        match self {
            Self::Ternary { group } => {
                let inputs = inputs.max(1);
                products.div_ceil(inputs).saturating_mul(inputs.div_ceil((group as u64).max(1)))
            }
            Self::Int4 { .. } | Self::Int8 => products,
        }
    }
}

impl fmt::Display for Precision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ternary { group } => write!(f, "ternary:{group}"),
            Self::Int4 { group: None } => f.write_str("int4"),
            Self::Int4 { group: Some(group) } => write!(f, "int4:{group}"),
            Self::Int8 => f.write_str("int8"),
        }
    }
}

impl FromStr for Precision {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let group = |prefix| text.strip_prefix(prefix)?.parse().ok().filter(|&group: &usize| group > 0);
        match text {
            "int8" => return Ok(Self::Int8),
            "int4" => return Ok(Self::Int4 { group: None }),
            _ => {}
        }
        let ternary = group("ternary:").map(|group| Self::Ternary { group });
        ternary.or(group("int4:").map(|group| Self::Int4 { group: Some(group) })).ok_or_else(|| {
            let known = "use int8, int4, int4:N or ternary:N with N at least 1";
            Error::new(ErrorKind::Argument, format!("unknown precision '{text}'; {known}"))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn precisions_survive_text() {
        for text in ["int8", "int4", "int4:32", "ternary:1", "ternary:64"] {
            assert_eq!(text.parse::<Precision>().unwrap().to_string(), text);
        }
        for text in ["", "ternary", "ternary:0", "ternary:-1", "int4:", "int4:0", "int2", "int8:4"] {
            assert!(text.parse::<Precision>().is_err(), "{text}");
        }
    }

    #[test]
    fn bits_and_multiplications() {
        let of = |text: &str| {
            let precision: Precision = text.parse().unwrap();
            (precision.bits(90, 10), precision.multiplications(900, 10))
        };
        // Nine runs of ten input channels: three groups of four each.
        assert_eq!(of("ternary:4"), (2 * 90 + 8 * 27, 270));
        assert_eq!(of("ternary:64"), (2 * 90 + 8 * 9, 90));
        assert_eq!(of("int4:5"), (4 * 90 + 8 * 18, 900));
        assert_eq!((of("int4"), of("int8")), ((360, 900), (720, 900)));
    }
}
