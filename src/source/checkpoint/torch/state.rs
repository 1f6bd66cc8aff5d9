//! Where in a file's objects the weights are.

use super::super::malformed;
use super::objects::{Id, Object, Objects};
use super::tensor::TensorPlace;
use super::unpickle::Pickle;
use crate::error::{Error, Result};
use std::collections::BTreeMap;

/// What training scripts call the weights among other things that they save.
const KEYS: [&str; 7] =
    ["state_dict", "model_state_dict", "model_state", "model", "net", "network", "weights"];
/// Most dictionaries in one another.
const MAX_DEPTH: usize = 4;
/// How many keys an error lists.
const LISTED: usize = 12;

/// The tensors of a state dict by name, and the keys under which it is, outermost first.
#[derive(Debug)]
pub(super) struct StateDict {
    pub tensors: BTreeMap<String, TensorPlace>,
    pub keys: Vec<&'static str>,
}

impl StateDict {
    /// The state dict that a pickle is, or that it holds under a usual key.
    ///
    /// # Errors
    /// Neither; two tensors of the same name.
    pub(super) fn of(pickle: &Pickle) -> Result<Self> {
        let Pickle { objects, root, .. } = pickle;
        let entries = objects.dictionary(*root).ok_or_else(|| no_dictionary(objects.get(*root)))?;
        let (inner, keys) = innermost(objects, entries);
        let mut tensors = BTreeMap::new();
        for (name, tensor) in tensors_of(objects, inner) {
            if tensors.insert(name.to_owned(), tensor.clone()).is_some() {
                return Err(malformed(format!("two tensors are called '{name}'")));
            }
        }
        if tensors.is_empty() { Err(no_tensors(objects, entries)) } else { Ok(Self { tensors, keys }) }
    }
}

/// The entries of the dictionary that is under a usual key of this one, and so on, and those keys.
fn innermost<'a>(objects: &'a Objects, mut entries: &'a [(Id, Id)]) -> (&'a [(Id, Id)], Vec<&'static str>) {
    let mut keys = Vec::new();
    while let Some((key, inner)) = usual(objects, entries).filter(|_| keys.len() < MAX_DEPTH) {
        keys.push(key);
        entries = inner;
    }
    (entries, keys)
}

/// The first usual key under which there is a dictionary with tensors or with a usual key, and its entries.
fn usual<'a>(objects: &'a Objects, entries: &'a [(Id, Id)]) -> Option<(&'static str, &'a [(Id, Id)])> {
    let promising = |entries: &[(Id, Id)]| {
        let usual = |(key, _): &(Id, Id)| objects.text(*key).is_some_and(|key| KEYS.contains(&key));
        tensors_of(objects, entries).next().is_some() || entries.iter().any(usual)
    };
    let under = |key: &'static str| {
        let entry = entries.iter().find(|(name, _)| objects.text(*name) == Some(key))?;
        let inner = objects.dictionary(entry.1)?;
        promising(inner).then_some((key, inner))
    };
    KEYS.into_iter().find_map(under)
}

fn tensors_of<'a>(
    objects: &'a Objects,
    entries: &'a [(Id, Id)],
) -> impl Iterator<Item = (&'a str, &'a TensorPlace)> {
    entries.iter().filter_map(|&(name, value)| Some((objects.text(name)?, objects.tensor(value)?)))
}

fn no_dictionary(root: &Object) -> Error {
    let what = match root {
        Object::Tensor(_) => "one tensor",
        Object::Sequence(_) => "a list",
        _ => "something else",
    };
    malformed(format!("holds {what}, not a state dict; write torch.save(model.state_dict(), 'weights.pth')"))
}

fn no_tensors(objects: &Objects, entries: &[(Id, Id)]) -> Error {
    let keys: Vec<&str> = entries.iter().filter_map(|(key, _)| objects.text(*key)).take(LISTED).collect();
    let message = format!(
        "no state dict is found under {}; its keys are {}; write torch.save(model.state_dict(), 'weights.pth')",
        KEYS.map(|key| format!("'{key}'")).join(", "),
        if keys.is_empty() { "none".to_owned() } else { keys.join(", ") }
    );
    malformed(message)
}
