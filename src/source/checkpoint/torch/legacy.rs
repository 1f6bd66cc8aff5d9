//! The format of PyTorch before 1.6: five pickles one after another, then the storages, each after its length.

use super::super::{malformed, unsupported};
use super::objects::Object;
use super::tensor::TorchStorage;
use super::unpickle::{Pickle, unpickle};
use crate::archive::number;
use crate::error::Result;
use crate::inputs::{Extent, read_part};
use std::collections::{BTreeMap, HashMap};
use std::path::Path;

/// The first pickle: a number that nothing else starts with.
pub(super) const SIGNATURE: &[u8] = b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.";
/// The version of the format.
const VERSION: usize = 1001;
/// Bytes of the length before a storage's numbers.
const LENGTH: u64 = 8;

/// The pickles of such a file.
#[derive(Debug)]
pub(super) struct Legacy {
    /// With the weights.
    pub pickle: Pickle,
    /// Names of the storages, in the order of the file.
    keys: Vec<String>,
    /// Where the first storage's length is.
    start: u64,
}

impl Legacy {
    /// Reads the pickles at the start of a file, of which `bytes` are all or the first ones.
    pub(super) fn read(bytes: &[u8]) -> Result<Self> {
        let mut at = 0;
        let mut next = || -> Result<Pickle> {
            let pickle = unpickle(bytes.get(at..).unwrap_or_default())?;
            at += pickle.length;
            Ok(pickle)
        };
        let [_, version, system, pickle, keys] = [next()?, next()?, next()?, next()?, next()?];
        if version.objects.count(version.root) != Some(VERSION) {
            return Err(unsupported(
                "an unknown version of the format; write the file again with torch.save",
            ));
        }
        check_byte_order(&system)?;
        let keys = names(&keys).ok_or_else(|| malformed("its list of storages is damaged"))?;
        Ok(Self { pickle, keys, start: at as u64 })
    }

    /// Where the numbers of each storage lie in the file at `path`.
    pub(super) fn extents(&self, path: &Path) -> Result<BTreeMap<&str, Extent>> {
        let objects = &self.pickle.objects;
        let named = |storage: TorchStorage| Some((objects.text(storage.key)?, storage));
        let storages: HashMap<&str, TorchStorage> = objects.storages().filter_map(named).collect();
        let (mut extents, mut at) = (BTreeMap::new(), self.start);
        for key in &self.keys {
            let storage = storages.get(key.as_str());
            let storage = storage.ok_or_else(|| malformed("it holds numbers that nothing describes"))?;
            let length = read_part(path, Extent { start: at, length: LENGTH })?;
            if number(&length, 0, LENGTH as usize) != Some(storage.elements as u64) {
                return Err(malformed("a storage has more or fewer numbers than described"));
            }
            let extent = Extent { start: at + LENGTH, length: storage.bytes()? };
            extents.insert(key.as_str(), extent);
            at = extent
                .start
                .checked_add(extent.length)
                .ok_or_else(|| malformed("a storage that is too long"))?;
        }
        Ok(extents)
    }
}

fn check_byte_order(system: &Pickle) -> Result<()> {
    let Pickle { objects, root, .. } = system;
    let entries = objects.dictionary(*root).unwrap_or_default();
    let order = entries.iter().find(|(key, _)| objects.text(*key) == Some("little_endian"));
    match order.map(|(_, value)| objects.get(*value)) {
        Some(Object::Integer(0)) => {
            Err(unsupported("written by a machine that stores the highest byte first"))
        }
        _ => Ok(()),
    }
}

fn names(keys: &Pickle) -> Option<Vec<String>> {
    let keys_of = keys.objects.sequence(keys.root)?;
    keys_of.iter().map(|&key| keys.objects.text(key).map(str::to_owned)).collect()
}
