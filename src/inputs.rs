//! Files that are read: regular ones, and no more of them than they may have.

use crate::error::{Error, ErrorKind, Result};
use std::fs::{self, File, Metadata};
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;
use std::sync::{Mutex, PoisonError};

/// Most bytes of a file of JSON.
pub(crate) const MAX_JSON: u64 = 100 << 20;

/// Opens a regular file without waiting for whoever may write into a pipe.
///
/// # Errors
/// `Io`: no such file, a device, a pipe, a folder.
pub(crate) fn open_regular(path: &Path) -> Result<File> {
    let io = |error| Error::io(path, error);
    let check = |found: &Metadata| match found.is_file() {
        true => Ok(()),
        false => Err(refused(path, format!("is {}, no file", kind_of(found)))),
    };
    // Opening a pipe would wait; what was opened counts, whatever the name stood for before.
    check(&fs::metadata(path).map_err(io)?)?;
    let file = File::open(path).map_err(io)?;
    check(&file.metadata().map_err(io)?)?;
    Ok(file)
}

/// The bytes of a regular file, at most `most` of them.
///
/// # Errors
/// As [`open_regular`]; a file with more bytes.
pub(crate) fn read_regular(path: &Path, most: u64) -> Result<Vec<u8>> {
    read_opened(open_regular(path)?, path, most)
}

/// The bytes of a regular file that was opened, at most `most` of them.
///
/// # Errors
/// `Io`; a file with more bytes.
pub(crate) fn read_opened(file: File, path: &Path, most: u64) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    file.take(most.saturating_add(1)).read_to_end(&mut bytes).map_err(|error| Error::io(path, error))?;
    if bytes.len() as u64 > most {
        return Err(refused(path, format!("more than {most} bytes, which no such file has")));
    }
    Ok(bytes)
}

/// Some bytes of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Extent {
    pub start: u64,
    pub length: u64,
}

/// The bytes of a part of a regular file, which must lie within it.
///
/// # Errors
/// As [`open_regular`]; `Format`, if the file is too short.
pub(crate) fn read_part(path: &Path, extent: Extent) -> Result<Vec<u8>> {
    part(&mut open_regular(path)?, extent).map_err(|error| error.at_path(path))
}

/// A file of which threads read parts, one at a time.
#[derive(Debug)]
pub(crate) struct SharedFile(Mutex<File>);

impl SharedFile {
    pub(crate) fn new(file: File) -> Self {
        Self(Mutex::new(file))
    }

    /// The bytes of a part of the file, which must lie within it.
    ///
    /// # Errors
    /// `Io`; `Format`, if the file is too short.
    pub(crate) fn read(&self, extent: Extent) -> Result<Vec<u8>> {
        // The position that another thread left behind is not used.
        part(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner), extent)
    }
}

fn part(file: &mut File, extent: Extent) -> Result<Vec<u8>> {
    let io = |error| Error::new(ErrorKind::Io, format!("cannot read: {error}"));
    let beyond = || malformed("a part lies beyond the file's end; was it downloaded completely?");
    let end = extent.start.checked_add(extent.length).ok_or_else(beyond)?;
    if end > file.metadata().map_err(io)?.len() {
        return Err(beyond());
    }
    let mut bytes = vec![0; usize::try_from(extent.length).map_err(|_| beyond())?];
    file.seek(SeekFrom::Start(extent.start)).and_then(|_| file.read_exact(&mut bytes)).map_err(io)?;
    Ok(bytes)
}

/// The text of a regular file of at most `most` bytes.
///
/// # Errors
/// As [`read_regular`]; bytes that are no UTF-8.
pub(crate) fn read_text(path: &Path, most: u64) -> Result<String> {
    String::from_utf8(read_regular(path, most)?).map_err(|_| malformed("no text (UTF-8)").at_path(path))
}

/// At most `length` bytes that a regular file begins with; none if it cannot be read, which its reader will say.
pub(crate) fn head(path: &Path, length: u64) -> Vec<u8> {
    let mut start = Vec::new();
    let read = open_regular(path).ok().and_then(|file| file.take(length).read_to_end(&mut start).ok());
    read.map_or_else(Vec::new, |_| start)
}

/// What is no regular file, in words.
pub(crate) fn kind_of(found: &Metadata) -> &'static str {
    if found.is_dir() { "a folder" } else { "a device or a pipe" }
}

fn malformed(message: &str) -> Error {
    Error::new(ErrorKind::Format, message)
}

fn refused(path: &Path, message: String) -> Error {
    Error::new(ErrorKind::Io, message).at_path(path)
}

#[cfg(test)]
#[cfg(unix)]
#[cfg(feature = "convert")]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn only_regular_files_are_read_and_not_beyond_the_limit() {
        let folder = tempfile::tempdir().unwrap();
        let (file, link) = (folder.path().join("file"), folder.path().join("link"));
        fs::write(&file, [7; 100]).unwrap();
        assert_eq!(read_regular(&file, 100).unwrap(), [7; 100]);
        assert!(read_regular(&file, 99).unwrap_err().message().contains("more than 99 bytes"));
        assert_eq!(head(&file, 3), [7; 3]);
        symlink("/dev/zero", &link).unwrap();
        assert!(read_regular(&link, 100).unwrap_err().message().contains("a device or a pipe"));
        assert!(read_regular(folder.path(), 100).unwrap_err().message().contains("a folder"));
        let pipe = folder.path().join("pipe");
        if std::process::Command::new("mkfifo").arg(&pipe).status().is_ok_and(|status| status.success()) {
            assert!(read_regular(&pipe, 100).unwrap_err().message().contains("a device or a pipe"));
            assert!(head(&pipe, 1).is_empty());
        }
    }

    #[test]
    fn text_is_utf8() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        fs::write(&file, "größe").unwrap();
        assert_eq!(read_text(&file, 100).unwrap(), "größe");
        fs::write(&file, [0xFF]).unwrap();
        assert_eq!(read_text(&file, 100).unwrap_err().kind(), ErrorKind::Format);
    }
}
