//! SHA-256 of files.

use super::Provenance;
use crate::error::{Error, Result};
use sha2::{Digest, Sha256};
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

impl Provenance {
    /// Records the name and the SHA-256 of the full-precision model in `path`.
    ///
    /// # Errors
    /// `Io`, if the file cannot be read.
    pub fn set_source(&mut self, path: &Path) -> Result<()> {
        self.source_sha256 = sha256(path).map_err(|error| Error::io(path, error))?;
        self.source = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        Ok(())
    }
}

fn sha256(path: &Path) -> io::Result<String> {
    let (mut file, mut hasher) = (File::open(path)?, Sha256::new());
    let mut chunk = vec![0; 1 << 16];
    loop {
        match file.read(&mut chunk)? {
            0 => return Ok(hex(&hasher.finalize())),
            length => hasher.update(&chunk[..length]),
        }
    }
}

/// Lower-case hexadecimal digits of `bytes`.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
