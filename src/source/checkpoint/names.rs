//! Names of tensors without what training scripts put in front of them.

use std::collections::BTreeMap;

/// Wrappers that training scripts leave in front of every name.
const PREFIXES: [&str; 3] = ["module.", "model.", "_orig_mod."];
/// The one name that an averaged model leaves without wrapper.
pub(super) const AVERAGED: &str = "n_averaged";

/// Drops prefixes that all names have.
pub(super) fn without_wrappers<T>(mut places: BTreeMap<String, T>) -> BTreeMap<String, T> {
    while let Some(prefix) = shared(&places) {
        let bare = |name: String| name.strip_prefix(prefix).map(str::to_owned).unwrap_or(name);
        places = places.into_iter().map(|(name, place)| (bare(name), place)).collect();
    }
    places
}

/// A prefix that all names have.
fn shared<T>(places: &BTreeMap<String, T>) -> Option<&'static str> {
    let names = || places.keys().filter(|name| *name != AVERAGED);
    let prefix = |prefix: &&str| names().all(|name| name.starts_with(*prefix));
    PREFIXES.into_iter().find(prefix).filter(|_| names().next().is_some())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bare(names: &[&str]) -> Vec<String> {
        let places = names.iter().map(|name| ((*name).to_owned(), ())).collect();
        without_wrappers(places).into_keys().collect()
    }

    #[test]
    fn prefixes_that_all_names_have_are_dropped() {
        assert_eq!(bare(&["module.model.a", "module.model.b"]), ["a", "b"]);
        assert_eq!(bare(&["module.a", "b"]), ["b", "module.a"]);
        assert_eq!(bare(&["module.a", "module.b", "n_averaged"]), ["a", "b", "n_averaged"]);
        assert_eq!(bare(&["n_averaged"]), ["n_averaged"]);
        assert!(bare(&[]).is_empty());
    }
}
