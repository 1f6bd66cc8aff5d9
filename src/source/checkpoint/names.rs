//! Names of tensors without what training scripts put in front of them.

use std::collections::BTreeMap;

/// Wrappers that training scripts leave in front of every name.
const PREFIXES: [&str; 3] = ["module.", "model.", "_orig_mod."];

/// Drops prefixes that all names have.
pub(super) fn without_wrappers<T>(mut places: BTreeMap<String, T>) -> BTreeMap<String, T> {
    while let Some(length) = shared(&places) {
        places = places.into_iter().map(|(name, place)| (name[length..].to_owned(), place)).collect();
    }
    places
}

/// The length of a prefix that all names have.
fn shared<T>(places: &BTreeMap<String, T>) -> Option<usize> {
    let prefix = |prefix: &&&str| places.keys().all(|name| name.starts_with(**prefix));
    if places.is_empty() { None } else { PREFIXES.iter().find(prefix).map(|prefix| prefix.len()) }
}
