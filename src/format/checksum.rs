//! A checksum of everything else in the file, at a place that is known before anything is parsed.

use super::crc::crc32;
use crate::error::{Error, ErrorKind, Result};

/// What the file has between the eight bytes of its header's length and the digits of the checksum.
const BEFORE: &[u8] = br#"{"__metadata__":{"fgq":"{\"checksum\":\""#;
/// First byte of the digits.
const START: usize = 8 + BEFORE.len();
/// Digits of the checksum.
const DIGITS: usize = 8;
/// What stands for the checksum while it is not known.
pub(super) const UNKNOWN: &str = "00000000";

/// Puts the checksum where [`UNKNOWN`] stands.
///
/// # Errors
/// A file that does not begin as it must.
pub(super) fn seal(bytes: &mut [u8]) -> Result<()> {
    let digits = of(bytes).ok_or_else(misplaced)?;
    bytes[START..START + DIGITS].copy_from_slice(digits.as_bytes());
    Ok(())
}

/// Refuses a file whose bytes are not those that were sealed.
pub(super) fn check(bytes: &[u8]) -> Result<()> {
    let expected = of(bytes).ok_or_else(misplaced)?;
    if &bytes[START..START + DIGITS] == expected.as_bytes() {
        return Ok(());
    }
    let message = "the checksum does not fit: the file is damaged; copy it again or convert again";
    Err(Error::new(ErrorKind::Format, message))
}

fn misplaced() -> Error {
    Error::new(ErrorKind::Format, "the file does not begin with its checksum, as version 3 must")
}

/// CRC-32 (zlib's) of the file with [`UNKNOWN`] for a checksum, in hexadecimal.
fn of(bytes: &[u8]) -> Option<String> {
    let begins = bytes.get(8..START).is_some_and(|before| before == BEFORE);
    let rest = bytes.get(START + DIGITS..).filter(|_| begins)?;
    Some(format!("{:08x}", crc32([&bytes[..START], UNKNOWN.as_bytes(), rest])))
}
