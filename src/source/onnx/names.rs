//! Unique, non-empty names for the nodes of a graph.

use std::collections::{HashMap, HashSet};

/// Hands out each name once; a repeated name gets a number.
#[derive(Default)]
pub(super) struct Names {
    taken: HashSet<String>,
    next: HashMap<String, usize>,
}

impl Names {
    /// `wanted`, or `wanted_2`, `wanted_3` … if that is taken.
    pub(super) fn unique(&mut self, wanted: &str) -> String {
        let mut name = wanted.to_owned();
        while !self.taken.insert(name.clone()) {
            let number = self.next.entry(wanted.to_owned()).or_insert(1);
            *number += 1;
            name = format!("{wanted}_{number}");
        }
        name
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repeated_names_are_numbered_without_collisions() {
        let mut names = Names::default();
        let given: Vec<_> = ["a", "a_2", "a", "a"].iter().map(|name| names.unique(name)).collect();
        assert_eq!(given, ["a", "a_2", "a_3", "a_4"]);
    }
}
