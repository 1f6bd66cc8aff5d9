//! Patterns on layer names.

use crate::error::{Error, ErrorKind, Result};
use regex_lite::Regex;
use std::str::FromStr;

/// How much of what somebody wrote is repeated.
const SHOWN_CHARACTERS: usize = 60;
/// How many names are listed.
const SHOWN_NAMES: usize = 24;

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
            let message = format!("'{}' is no regular expression: {error}", shortened(text));
            Error::new(ErrorKind::Argument, message)
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
        let shown = names.iter().take(SHOWN_NAMES).copied().collect::<Vec<_>>().join(", ");
        let more = match names.len().saturating_sub(SHOWN_NAMES) {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        let pattern = shortened(&self.text);
        let message = format!("`{field}` '{pattern}' matches no layer; layers are: {shown}{more}");
        Err(Error::new(ErrorKind::Argument, message))
    }
}

/// The beginning of a text that may be long.
fn shortened(text: &str) -> String {
    match text.char_indices().nth(SHOWN_CHARACTERS) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
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
        let names = vec!["a"; 30];
        let pattern: Pattern = "x".repeat(100).parse().unwrap();
        let error = pattern.check_matches("overrides", names.into_iter()).unwrap_err().to_string();
        assert!(
            error.contains(&format!("'{}…'", "x".repeat(60))) && error.ends_with("a and 6 more"),
            "{error}"
        );
    }

    #[test]
    fn what_is_no_pattern_is_refused_with_the_reason() {
        let error = "conv(".parse::<Pattern>().unwrap_err().to_string();
        assert!(
            error.starts_with("'conv(' is no regular expression: ") && error.contains("open group"),
            "{error}"
        );
        assert!("x{1000}{1000}".parse::<Pattern>().is_err());
    }
}
