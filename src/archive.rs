//! The entries of a ZIP archive: where those lie that are stored as they are, as `torch.save` and `numpy.savez` write
//! them, and what is in those that are deflated.

use crate::error::{Error, ErrorKind, Result};
use crate::inputs::{Extent, read_part};
use flate2::read::DeflateDecoder;
use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};

/// What every entry starts with, and so the archive.
pub(crate) const SIGNATURE: &[u8] = b"PK\x03\x04";
/// The most bytes that the list of entries may have.
const MAX_DIRECTORY: u64 = 64 << 20;
/// Bytes of the end record, and of the comment that may follow it.
const END: usize = 22;
const MAX_COMMENT: usize = 0xFFFF;
/// Bytes of the pointer to the 64-bit end record, which comes right before the end record, and of that.
const POINTER: usize = 20;
const LONG_END: usize = 56;
/// Bytes of an entry's record in the directory and before its data, without name and extra fields.
const RECORD: usize = 46;
const LOCAL: u64 = 30;
/// A 32-bit number that stands for one of 64 bits elsewhere.
const ELSEWHERE: u64 = 0xFFFF_FFFF;
/// The extra field with numbers of 64 bits.
const LONG_NUMBERS: u64 = 1;

/// A ZIP archive whose directory was read.
#[derive(Debug)]
pub(crate) struct Archive {
    path: PathBuf,
    entries: BTreeMap<String, ArchiveEntry>,
}

#[derive(Debug)]
struct ArchiveEntry {
    /// Position of what comes before its data.
    header: u64,
    /// Bytes in the archive.
    packed: u64,
    /// Bytes of its contents.
    length: u64,
    method: PackingMethod,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum PackingMethod {
    Stored,
    Deflated,
    /// Encrypted, or compressed in another way.
    Other,
}

/// An entry's contents.
#[derive(Debug)]
pub(crate) enum Contents {
    /// They lie in the archive as they are.
    Stored(Extent),
    /// They were deflated.
    Deflated(Vec<u8>),
}

impl Archive {
    /// Reads the directory of the archive at `path`.
    pub(crate) fn open(path: &Path) -> Result<Self> {
        let directory = directory_extent(path)?;
        let bytes = read_part(path, directory)?;
        Ok(Self { path: path.to_owned(), entries: entries(&bytes)? })
    }

    /// The names of all entries.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.entries.keys().map(String::as_str)
    }

    /// Where the bytes of an entry lie; `None` if there is no such entry.
    ///
    /// # Errors
    /// An entry that is compressed or encrypted, or an archive that is damaged.
    pub(crate) fn extent(&self, name: &str) -> Result<Option<Extent>> {
        let Some(entry) = self.entries.get(name) else { return Ok(None) };
        match entry.method {
            PackingMethod::Stored => self.packed(entry).map(Some),
            _ => Err(unsupported(format!(
                "'{name}' is compressed or encrypted in it; write the file again without"
            ))),
        }
    }

    /// What is in an entry, which may have at most `limit` bytes; `None` if there is no such entry.
    ///
    /// # Errors
    /// An entry that is encrypted, compressed in another way than by deflation or too long; an archive that is damaged.
    pub(crate) fn contents(&self, name: &str, limit: u64) -> Result<Option<Contents>> {
        let Some(entry) = self.entries.get(name) else { return Ok(None) };
        if entry.length > limit {
            return Err(malformed(format!("'{name}' has {} bytes in it, more than {limit}", entry.length)));
        }
        let extent = self.packed(entry)?;
        match entry.method {
            PackingMethod::Stored => Ok(Some(Contents::Stored(extent))),
            PackingMethod::Deflated => {
                Ok(Some(Contents::Deflated(self.inflated(name, extent, entry.length)?)))
            }
            PackingMethod::Other => Err(unsupported(format!(
                "'{name}' is encrypted or compressed in it in a way that is not known"
            ))),
        }
    }

    fn inflated(&self, name: &str, extent: Extent, length: u64) -> Result<Vec<u8>> {
        let packed = read_part(&self.path, extent)?;
        let mut bytes = Vec::new();
        let read = DeflateDecoder::new(packed.as_slice()).take(length + 1).read_to_end(&mut bytes);
        match read {
            Ok(read) if read as u64 == length => Ok(bytes),
            _ => Err(malformed(format!("'{name}' is damaged in it"))),
        }
    }

    /// Where an entry's bytes lie as they are in the archive.
    fn packed(&self, entry: &ArchiveEntry) -> Result<Extent> {
        let local = read_part(&self.path, Extent { start: entry.header, length: LOCAL })?;
        let lengths = number(&local, 26, 2).zip(number(&local, 28, 2));
        let (name_length, extra) = lengths.filter(|_| local.starts_with(SIGNATURE)).ok_or_else(damaged)?;
        let start = entry.header.checked_add(LOCAL + name_length + extra).ok_or_else(damaged)?;
        Ok(Extent { start, length: entry.packed })
    }
}

/// Where the directory lies, as the records at the end of the file say.
fn directory_extent(path: &Path) -> Result<Extent> {
    let length = path.metadata().map_err(|error| Error::io(path, error))?.len();
    let tail_length = length.min((POINTER + END + MAX_COMMENT) as u64);
    let tail = read_part(path, Extent { start: length - tail_length, length: tail_length })?;
    let end = tail.windows(END).rposition(|window| window.starts_with(b"PK\x05\x06")).ok_or_else(damaged)?;
    let pointer = end.checked_sub(POINTER).filter(|&at| tail[at..].starts_with(b"PK\x06\x07"));
    let extent = match pointer {
        Some(at) => long_extent(path, number(&tail, at + 8, 8).ok_or_else(damaged)?)?,
        None => Extent {
            start: number(&tail, end + 16, 4).ok_or_else(damaged)?,
            length: number(&tail, end + 12, 4).ok_or_else(damaged)?,
        },
    };
    if extent.length > MAX_DIRECTORY {
        return Err(malformed("its list of entries is longer than any such list should be"));
    }
    Ok(extent)
}

/// Where the directory lies, as the 64-bit end record at `start` says.
fn long_extent(path: &Path, start: u64) -> Result<Extent> {
    let record = read_part(path, Extent { start, length: LONG_END as u64 })?;
    let numbers = number(&record, 48, 8).zip(number(&record, 40, 8));
    let (start, length) = numbers.filter(|_| record.starts_with(b"PK\x06\x06")).ok_or_else(damaged)?;
    Ok(Extent { start, length })
}

fn entries(directory: &[u8]) -> Result<BTreeMap<String, ArchiveEntry>> {
    let (mut entries, mut rest) = (BTreeMap::new(), directory);
    while !rest.is_empty() {
        let (name, entry, length) = entry(rest).ok_or_else(damaged)?;
        if entries.insert(name, entry).is_some() {
            return Err(damaged());
        }
        rest = rest.get(length..).ok_or_else(damaged)?;
    }
    Ok(entries)
}

/// The first entry of a directory, and the bytes of its record.
fn entry(record: &[u8]) -> Option<(String, ArchiveEntry, usize)> {
    let at = |place, bytes| number(record, place, bytes);
    let [name, extra, comment] = [at(28, 2)? as usize, at(30, 2)? as usize, at(32, 2)? as usize];
    let extra_start = RECORD + name;
    let mut long = LongNumbers(extra_field(record.get(extra_start..extra_start + extra)?));
    let length = long.resolve(at(24, 4)?)?;
    let packed = long.resolve(at(20, 4)?)?;
    let header = long.resolve(at(42, 4)?)?;
    let method = match (at(8, 2)? & 1, at(10, 2)?) {
        (0, 0) if packed == length => PackingMethod::Stored,
        (0, 8) => PackingMethod::Deflated,
        _ => PackingMethod::Other,
    };
    let name = std::str::from_utf8(record.get(RECORD..extra_start)?).ok()?.to_owned();
    record.starts_with(b"PK\x01\x02").then_some(())?;
    Some((name, ArchiveEntry { header, packed, length, method }, extra_start + extra + comment))
}

/// The extra field with numbers of 64 bits; empty if there is none.
fn extra_field(mut fields: &[u8]) -> &[u8] {
    while let Some((kind, length)) = number(fields, 0, 2).zip(number(fields, 2, 2)) {
        let end = 4 + length as usize;
        match fields.get(4..end) {
            Some(field) if kind == LONG_NUMBERS => return field,
            _ => fields = fields.get(end..).unwrap_or_default(),
        }
    }
    &[]
}

/// Numbers of 64 bits for those that 32 bits cannot hold, in order.
struct LongNumbers<'a>(&'a [u8]);

impl LongNumbers<'_> {
    fn resolve(&mut self, short: u64) -> Option<u64> {
        if short != ELSEWHERE {
            return Some(short);
        }
        let long = number(self.0, 0, 8)?;
        self.0 = &self.0[8..];
        Some(long)
    }
}

/// A number of `length` bytes, lowest first.
pub(crate) fn number(bytes: &[u8], at: usize, length: usize) -> Option<u64> {
    let bytes = bytes.get(at..at.checked_add(length)?)?;
    Some(bytes.iter().rev().fold(0, |number, &byte| number << 8 | u64::from(byte)))
}

fn damaged() -> Error {
    malformed("not a ZIP archive, or damaged; was it downloaded completely?")
}

fn malformed(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::Format, message)
}

fn unsupported(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::Unsupported, message)
}
