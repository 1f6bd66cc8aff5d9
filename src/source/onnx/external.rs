//! Tensors kept in files beside the model.

use super::{malformed, unsupported};
use crate::error::{Error, Result};
use crate::inputs::open_regular;
use crate::proto::{StringStringEntryProto, TensorProto};
use std::collections::BTreeSet;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Component, Path, PathBuf};

/// The `expected` bytes that `entries` (location, offset, length) name below `folder`.
pub(super) fn read(entries: &[StringStringEntryProto], folder: &Path, expected: usize) -> Result<Vec<u8>> {
    let path = folder.join(location(entries)?);
    let offset = number(entries, "offset")?.unwrap_or(0);
    let length = number(entries, "length")?.unwrap_or(expected as u64);
    if length != expected as u64 {
        return Err(malformed(format!("external data of {length} bytes where the extents need {expected}")));
    }
    read_range(&path, offset, expected)
}

/// Bytes of all the files below `folder` that `tensors` name, each counted once.
pub(super) fn bytes<'a>(tensors: impl Iterator<Item = &'a TensorProto>, folder: &Path) -> u64 {
    let places: BTreeSet<PathBuf> =
        tensors.filter_map(|tensor| location(&tensor.external_data).ok()).collect();
    let sizes = places.iter().filter_map(|place| std::fs::metadata(folder.join(place)).ok());
    sizes.fold(0, |sum, information| sum.saturating_add(information.len()))
}

fn read_range(path: &Path, offset: u64, length: usize) -> Result<Vec<u8>> {
    let io = |error| Error::io(path, error);
    let mut file = open_regular(path)?;
    let size = file.metadata().map_err(io)?.len();
    let end = offset.checked_add(length as u64);
    if end.is_none_or(|end| end > size) {
        let message =
            format!("external data at {offset}, {length} bytes, is outside this file of {size} bytes");
        return Err(malformed(message).at_path(path));
    }
    file.seek(SeekFrom::Start(offset)).map_err(io)?;
    let mut bytes = vec![0; length];
    file.read_exact(&mut bytes).map_err(io)?;
    Ok(bytes)
}

fn location(entries: &[StringStringEntryProto]) -> Result<PathBuf> {
    let text = value(entries, "location").ok_or_else(|| malformed("external data without a location"))?;
    let path = PathBuf::from(text);
    let inside = path.components().all(|part| matches!(part, Component::Normal(_) | Component::CurDir));
    if text.is_empty() || !inside || text.contains(['\\', '\0']) {
        return Err(unsupported(format!(
            "external data at '{text}' is outside the model's folder; move the file beside the model"
        )));
    }
    Ok(path)
}

fn number(entries: &[StringStringEntryProto], key: &str) -> Result<Option<u64>> {
    let parse =
        |text: &str| text.trim().parse().map_err(|_| malformed(format!("external data {key} '{text}'")));
    value(entries, key).map(parse).transpose()
}

fn value<'a>(entries: &'a [StringStringEntryProto], key: &str) -> Option<&'a str> {
    entries.iter().find(|entry| entry.key() == key).map(|entry| entry.value())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(key: &str, value: &str) -> StringStringEntryProto {
        StringStringEntryProto { key: Some(key.into()), value: Some(value.into()) }
    }

    #[test]
    fn locations_outside_the_folder_are_refused() {
        for bad in ["/etc/passwd", "../weights.bin", "a/../../b", "", "..\\b", "a\0b"] {
            let error = read(&[entry("location", bad)], Path::new("."), 4).unwrap_err();
            assert!(error.to_string().contains("outside the model's folder"), "{bad}: {error}");
        }
    }

    #[test]
    fn ranges_are_checked_before_anything_is_allocated() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("w"), [1, 2, 3, 4, 5, 6, 7, 8]).unwrap();
        let at = |offset: &str, length: &str, expected| {
            let entries = [entry("location", "w"), entry("offset", offset), entry("length", length)];
            read(&entries, folder.path(), expected)
        };
        assert_eq!(at("4", "4", 4).unwrap(), [5, 6, 7, 8]);
        assert!(at("5", "4", 4).is_err());
        assert!(at("0", "8", 4).is_err());
        assert!(at("-1", "4", 4).is_err());
        assert!(at("18446744073709551615", "4", 4).is_err());
        assert!(at("0", "1152921504606846976", 1 << 60).is_err());
    }
}
