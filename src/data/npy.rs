//! NumPy's array files, for comparing inputs with other programs.

use crate::error::Result;
use crate::files::replace_file;
use ndarray::Array3;
use std::path::Path;

/// Writes `array` as a `.npy` file (version 1.0, little-endian f32, C order) that `numpy.load` opens, whole or not
/// at all.
///
/// # Errors
/// `Io`, if the file cannot be written.
pub fn write_npy(path: &Path, array: &Array3<f32>) -> Result<()> {
    replace_file(path, &npy_bytes(array))
}

fn npy_bytes(array: &Array3<f32>) -> Vec<u8> {
    let header = format!("{{'descr': '<f4', 'fortran_order': False, 'shape': {:?}, }}", array.dim());
    // Magic, version and length take 10 bytes; header and line end fill up to a multiple of 64.
    let width = (header.len() + 11).next_multiple_of(64) - 11;
    let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
    bytes.extend((width as u16 + 1).to_le_bytes());
    bytes.extend(format!("{header:width$}\n").as_bytes());
    bytes.extend(array.iter().flat_map(|value| value.to_le_bytes()));
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn header_is_padded_and_data_follows() {
        let bytes = npy_bytes(&Array3::from_elem((3, 2, 1), 1.5));
        assert_eq!(&bytes[..10], b"\x93NUMPY\x01\x00\x76\x00");
        assert!(bytes[10..].starts_with(b"{'descr': '<f4', 'fortran_order': False, 'shape': (3, 2, 1), }"));
        assert_eq!(bytes[127], b'\n');
        assert_eq!(&bytes[128..], 1.5f32.to_le_bytes().repeat(6));
    }
}
