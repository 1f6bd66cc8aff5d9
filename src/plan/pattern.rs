//! Patterns on layer names.

use crate::error::{Error, ErrorKind, Result};
use regex_lite::Regex;
use std::str::FromStr;

/// A regular expression that must match a whole layer name.
#[derive(Debug, Clone)]
pub struct Pattern {
    text: String,
    regex: Regex,
}

impl FromStr for Pattern {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let regex = Regex::new(&format!("^(?:{text})$")).map_err(|error| {
            Error::new(ErrorKind::Argument, format!("'{text}' is no regular expression")).because(error)
        })?;
        Ok(Self { text: text.to_owned(), regex })
    }
}

impl Pattern {
    /// Whether the pattern matches all of `name`.
    pub fn matches(&self, name: &str) -> bool {
        self.regex.is_match(name)
    }

    /// The pattern as it was written.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// An error that names the field the pattern is from and lists `names`, if none of them matches.
    pub(crate) fn check_matches<'a>(&self, field: &str, names: impl Iterator<Item = &'a str>) -> Result<()> {
        let names: Vec<&str> = names.collect();
        if names.iter().any(|name| self.matches(name)) {
            return Ok(());
        }
        let message = format!("`{field}` '{}' matches no layer; layers are: {}", self.text, names.join(", "));
        Err(Error::new(ErrorKind::Argument, message))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_whole_name_must_match() {
        let pattern: Pattern = "conv1|fc.*".parse().unwrap();
        assert!(pattern.matches("conv1") && pattern.matches("fc.0"));
        assert!(!pattern.matches("layer1.conv1") && !pattern.matches("conv10"));
    }

    #[test]
    fn a_pattern_without_match_lists_the_names() {
        let pattern: Pattern = "x.*".parse().unwrap();
        let error = pattern.check_matches("overrides", ["a", "b"].into_iter()).unwrap_err();
        assert_eq!(error.to_string(), "`overrides` 'x.*' matches no layer; layers are: a, b");
        assert!("(".parse::<Pattern>().is_err());
    }
}
