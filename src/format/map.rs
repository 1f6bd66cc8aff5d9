//! The bytes of a file, without a copy where the system can map it.

#![allow(unsafe_code)]

use memmap2::Mmap;
use std::fs::File;
use std::io::{self, Read};
use std::ops::Deref;
use std::path::Path;

/// A file's bytes, mapped or read.
///
/// A mapped file must not be changed in place while it is read: what is read might not be what was checked a moment
/// before, and a file that is cut short ends the process (`SIGBUS`). Readers therefore copy what they keep, check the
/// copy, and let go of the map at once. Files that fgq writes are never changed in place: they are replaced by
/// renaming, which leaves the mapped one as it was. What cannot be mapped, such as a pipe, is read.
#[derive(Debug)]
pub(super) enum FileBytes {
    Mapped(Mmap),
    Read(Vec<u8>),
}

/// Opens a file.
pub(super) fn open(path: &Path) -> io::Result<FileBytes> {
    let mut file = File::open(path)?;
    if file.metadata()?.is_file() {
        // SAFETY: the map is read-only and short-lived; nobody is expected to change the file meanwhile, see `FileBytes`.
        let map = unsafe { Mmap::map(&file) };
        if let Ok(map) = map {
            return Ok(FileBytes::Mapped(map));
        }
    }
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    Ok(FileBytes::Read(bytes))
}

impl Deref for FileBytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Self::Mapped(map) => map,
            Self::Read(bytes) => bytes,
        }
    }
}

#[cfg(test)]
#[cfg(feature = "convert")]
mod tests {
    use super::open;

    #[test]
    fn every_length_is_read() {
        let folder = tempfile::tempdir().unwrap();
        for len in [0, 1, 4095, 4096, 4097] {
            let (path, bytes) = (folder.path().join(len.to_string()), vec![7; len]);
            std::fs::write(&path, &bytes).unwrap();
            assert_eq!(*open(&path).unwrap(), *bytes);
        }
        assert!(open(&folder.path().join("none")).is_err());
        assert!(open(folder.path()).is_err());
    }

    /// What replaces a file leaves a map of it as it was.
    #[test]
    fn replacing_a_file_does_not_change_what_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("model");
        crate::files::replace_file(&path, &[1; 9000]).unwrap();
        let bytes = open(&path).unwrap();
        crate::files::replace_file(&path, &[2]).unwrap();
        assert_eq!(*bytes, [1; 9000]);
        assert_eq!(*open(&path).unwrap(), [2]);
    }
}
