//! SHA-256 of files.

use super::Provenance;
use crate::error::{Error, Result};
use crate::inputs::open_regular;
use sha2::{Digest, Sha256};
use std::io::Read;
use std::path::Path;

impl Provenance {
    /// Records the name and the SHA-256 of the full-precision model in `path`.
    ///
    /// # Errors
    /// `Io`, if the file cannot be read.
    pub fn set_source(&mut self, path: &Path) -> Result<()> {
        self.source_sha256 = sha256(path)?;
        self.source = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        Ok(())
    }
}

fn sha256(path: &Path) -> Result<String> {
    let (mut file, mut hasher) = (open_regular(path)?, Sha256::new());
    let mut chunk = vec![0; 1 << 16];
    loop {
        match file.read(&mut chunk).map_err(|error| Error::io(path, error))? {
            0 => return Ok(hex(&hasher.finalize())),
            length => hasher.update(&chunk[..length]),
        }
    }
}

/// Lower-case hexadecimal digits of `bytes`.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
