//! NumPy's array files: reading of samples and labels, writing of inputs for comparison with other programs.

use crate::archive::{Archive, Contents};
use crate::error::{Error, ErrorKind, Result};
use crate::files::replace_file;
use crate::inputs::{Extent, SharedFile, open_regular};
use half::f16;
use ndarray::Array3;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::Path;

/// What every `.npy` file begins with.
pub(super) const SIGNATURE: &[u8] = b"\x93NUMPY";
/// Longest description of an array, in bytes.
const MAX_HEADER: usize = 1 << 16;
/// Longest array in an archive, in bytes.
const MAX_ARRAY: u64 = 1 << 36;

/// The numbers that an array is made of: kind and bytes, as in `<f4`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Element {
    pub kind: u8,
    pub bytes: usize,
}

impl Element {
    /// Of a description such as `<f4` or `|u1`.
    fn parse(text: &str) -> Result<Self> {
        let unsupported =
            |why: &str| Error::new(ErrorKind::Unsupported, format!("elements of type '{text}': {why}"));
        let (order, kind, bytes) = match text.as_bytes() {
            [order @ (b'<' | b'>' | b'|' | b'='), kind, bytes @ ..] => (*order, *kind, bytes),
            _ => return Err(unsupported("not numbers; save an array of numbers")),
        };
        let bytes = std::str::from_utf8(bytes).ok().and_then(|bytes| bytes.parse().ok()).unwrap_or(0);
        match (kind, bytes) {
            (b'f', 2 | 4 | 8) | (b'i' | b'u', 1 | 2 | 4 | 8) => {}
            _ => return Err(unsupported("not known; save floats, or whole numbers")),
        }
        if order == b'>' && bytes > 1 {
            return Err(unsupported("the highest byte comes first; save with .astype('<f4')"));
        }
        Ok(Self { kind, bytes })
    }

    /// Whether elements are real numbers.
    pub(super) fn is_real(self) -> bool {
        self.kind == b'f'
    }

    /// Whether elements are 0 to 255.
    pub(super) fn is_byte(self) -> bool {
        (self.kind, self.bytes) == (b'u', 1)
    }

    /// The numbers in `bytes`.
    pub(super) fn reals(self, bytes: &[u8]) -> Vec<f32> {
        let elements = bytes.chunks_exact(self.bytes);
        match self.bytes {
            2 => elements.map(|e| f16::from_le_bytes([e[0], e[1]]).to_f32()).collect(),
            4 => elements.map(|e| f32::from_le_bytes([e[0], e[1], e[2], e[3]])).collect(),
            _ => elements.map(|e| f64::from_bits(unsigned(e)) as f32).collect(),
        }
    }

    /// A whole number; `None` if it is below zero.
    pub(super) fn index(self, bytes: &[u8]) -> Option<usize> {
        let negative = self.kind == b'i' && bytes.last().is_some_and(|&byte| byte > 127);
        usize::try_from(unsigned(bytes)).ok().filter(|_| !negative)
    }
}

fn unsigned(bytes: &[u8]) -> u64 {
    bytes.iter().rev().fold(0, |number, &byte| number << 8 | u64::from(byte))
}

/// An array whose first axis counts samples, which are read one by one.
#[derive(Debug)]
pub(super) struct ArrayFile {
    file: SharedFile,
    /// Position of the first element.
    start: u64,
    pub element: Element,
    /// Number of samples.
    pub samples: usize,
    /// Extents of one sample.
    pub shape: Vec<usize>,
}

impl ArrayFile {
    /// The array in the file at `path`.
    pub(super) fn open(path: &Path) -> Result<Self> {
        let file = open_regular(path)?;
        let length = file.metadata().map_err(|error| Error::io(path, error))?.len();
        Self::new(file, 0, length)
    }

    /// The array with this name in the archive at `path`; `None` if there is no such array.
    pub(super) fn in_archive(path: &Path, archive: &Archive, name: &str) -> Result<Option<Self>> {
        let io = |error| Error::io(path, error);
        match archive.contents(&format!("{name}.npy"), MAX_ARRAY)? {
            None => Ok(None),
            Some(Contents::Stored(extent)) => {
                Self::new(open_regular(path)?, extent.start, extent.length).map(Some)
            }
            Some(Contents::Deflated(bytes)) => {
                let mut file = tempfile::tempfile().map_err(io)?;
                file.write_all(&bytes).map_err(io)?;
                Self::new(file, 0, bytes.len() as u64).map(Some)
            }
        }
    }

    fn new(mut file: File, start: u64, length: u64) -> Result<Self> {
        file.seek(SeekFrom::Start(start)).map_err(unreadable)?;
        let mut bytes = Vec::new();
        (&mut file).take(length.min(MAX_HEADER as u64)).read_to_end(&mut bytes).map_err(unreadable)?;
        let header = ArrayHeader::parse(&bytes)?;
        let Some((&samples, shape)) = header.shape.split_first() else {
            return Err(damaged("the array is a single number; the first axis must count samples"));
        };
        let elements =
            header.shape.iter().try_fold(header.element.bytes, |all, &extent| all.checked_mul(extent));
        if elements.is_none_or(|bytes| bytes as u64 != length.saturating_sub(header.length as u64)) {
            return Err(damaged(
                "it has another length than its description says; was it written completely?",
            ));
        }
        let start = start + header.length as u64;
        Ok(Self {
            file: SharedFile::new(file),
            start,
            element: header.element,
            samples,
            shape: shape.to_vec(),
        })
    }

    /// The bytes of one sample.
    pub(super) fn sample(&self, index: usize) -> Result<Vec<u8>> {
        let length = self.shape.iter().product::<usize>() * self.element.bytes;
        self.file.read(Extent { start: self.start + (index * length) as u64, length: length as u64 })
    }

    /// All samples as whole numbers.
    pub(super) fn indices(&self) -> Result<Vec<usize>> {
        if self.element.is_real() || self.shape.iter().product::<usize>() != 1 {
            let found = format!("labels of shape {:?} and type {}", self.shape, self.element.kind as char);
            return Err(damaged(format!("{found}; give one whole number per sample")));
        }
        (0..self.samples).map(|index| self.label(index)).collect()
    }

    fn label(&self, index: usize) -> Result<usize> {
        let negative = || damaged(format!("label {index} is below zero"));
        self.element.index(&self.sample(index)?).ok_or_else(negative)
    }
}

fn unreadable(error: std::io::Error) -> Error {
    Error::new(ErrorKind::Io, format!("cannot read: {error}"))
}

fn damaged(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::Format, message)
}

/// What precedes the elements.
#[derive(Debug, PartialEq, Eq)]
struct ArrayHeader {
    element: Element,
    shape: Vec<usize>,
    /// Its own bytes.
    length: usize,
}

impl ArrayHeader {
    fn parse(bytes: &[u8]) -> Result<Self> {
        let wrong = || damaged("not an array file of NumPy, or damaged");
        let version = bytes.strip_prefix(SIGNATURE).and_then(|rest| rest.first()).ok_or_else(wrong)?;
        let (at, digits) = if *version == 1 { (8, 2) } else { (8, 4) };
        let length = unsigned(bytes.get(at..at + digits).ok_or_else(wrong)?) as usize;
        let end = length.checked_add(at + digits).ok_or_else(wrong)?;
        let text =
            bytes.get(at + digits..end).and_then(|text| std::str::from_utf8(text).ok()).ok_or_else(wrong)?;
        if value(text, "fortran_order").is_none_or(|order| !order.starts_with("False")) {
            return Err(damaged("columns come first in it; save numpy.ascontiguousarray(…)"));
        }
        let descr = value(text, "descr")
            .and_then(|rest| rest.strip_prefix('\''))
            .and_then(|rest| rest.split('\'').next());
        let shape = value(text, "shape")
            .and_then(|rest| rest.strip_prefix('(')?.split(')').next())
            .ok_or_else(wrong)?;
        let extents = shape.split(',').map(str::trim).filter(|extent| !extent.is_empty());
        let shape: Option<Vec<usize>> = extents.map(|extent| extent.parse().ok()).collect();
        let element = Element::parse(descr.unwrap_or("a structure"))?;
        Ok(Self { element, shape: shape.ok_or_else(wrong)?, length: end })
    }
}

/// What follows a key in a dictionary as Python prints it.
fn value<'a>(text: &'a str, key: &str) -> Option<&'a str> {
    let (_, rest) = text.split_once(&format!("'{key}'"))?;
    Some(rest.trim_start().strip_prefix(':')?.trim_start())
}

/// Writes `array` as a `.npy` file (version 1.0, little-endian f32, C order) that `numpy.load` opens, whole or not
/// at all.
///
/// # Errors
/// `Io`, if the file cannot be written.
pub fn write_npy(path: &Path, array: &Array3<f32>) -> Result<()> {
    replace_file(path, &npy_bytes(array))
}

fn npy_bytes(array: &Array3<f32>) -> Vec<u8> {
    let elements: Vec<u8> = array.iter().flat_map(|value| value.to_le_bytes()).collect();
    npy_of("<f4", &[array.dim().0, array.dim().1, array.dim().2], &elements)
}

/// A `.npy` file of elements of the type `descr`.
fn npy_of(descr: &str, shape: &[usize], elements: &[u8]) -> Vec<u8> {
    let extents: String = shape.iter().map(|extent| format!("{extent}, ")).collect();
    let extents = if shape.len() == 1 { extents.trim_end() } else { extents.trim_end_matches(", ") };
    let header = format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': ({extents}), }}");
    // Magic, version and length take 10 bytes; header and line end fill up to a multiple of 64.
    let width = (header.len() + 11).next_multiple_of(64) - 11;
    let mut bytes = [SIGNATURE, &[1, 0]].concat();
    bytes.extend((width as u16 + 1).to_le_bytes());
    bytes.extend(format!("{header:width$}\n").as_bytes());
    bytes.extend(elements);
    bytes
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use proptest::prelude::*;

    pub(in super::super) fn npy(descr: &str, shape: &[usize], elements: &[u8]) -> Vec<u8> {
        npy_of(descr, shape, elements)
    }

    pub(in super::super) fn floats(shape: &[usize], values: &[f32]) -> Vec<u8> {
        npy_of("<f4", shape, &values.iter().flat_map(|value| value.to_le_bytes()).collect::<Vec<_>>())
    }

    fn opened(bytes: &[u8]) -> Result<ArrayFile> {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(bytes).unwrap();
        ArrayFile::new(file, 0, bytes.len() as u64)
    }

    #[test]
    fn header_is_padded_and_data_follows() {
        let bytes = npy_bytes(&Array3::from_elem((3, 2, 1), 1.5));
        assert_eq!(&bytes[..10], b"\x93NUMPY\x01\x00\x76\x00");
        assert!(bytes[10..].starts_with(b"{'descr': '<f4', 'fortran_order': False, 'shape': (3, 2, 1), }"));
        assert_eq!(bytes[127], b'\n');
        assert_eq!(&bytes[128..], 1.5f32.to_le_bytes().repeat(6));
    }

    #[test]
    fn samples_return() {
        let array = opened(&floats(&[2, 1, 3], &[1.0, 2.0, 3.0, -4.0, 5.5, 6.0])).unwrap();
        assert_eq!((array.samples, &array.shape[..]), (2, &[1, 3][..]));
        assert_eq!(array.element.reals(&array.sample(1).unwrap()), [-4.0, 5.5, 6.0]);
        let halves = opened(&npy("<f2", &[1, 2], &[0, 0x3c, 0, 0xc0])).unwrap();
        assert_eq!(halves.element.reals(&halves.sample(0).unwrap()), [1.0, -2.0]);
        let doubles = opened(&npy("<f8", &[1], &0.5f64.to_le_bytes())).unwrap();
        assert_eq!(doubles.element.reals(&doubles.sample(0).unwrap()), [0.5]);
    }

    #[test]
    fn labels_are_whole_numbers_from_zero() {
        let labels =
            |descr: &str, bytes: &[u8], shape: &[usize]| opened(&npy(descr, shape, bytes)).unwrap().indices();
        assert_eq!(labels("<i2", &[1, 0, 0, 1], &[2]).unwrap(), [1, 256]);
        assert_eq!(labels("|u1", &[255], &[1, 1]).unwrap(), [255]);
        assert!(labels("<i2", &[255, 255], &[1]).unwrap_err().to_string().contains("below zero"));
        assert!(
            labels("<f4", &[0; 4], &[1]).unwrap_err().to_string().contains("one whole number per sample")
        );
        assert!(
            labels("|u1", &[0; 4], &[2, 2]).unwrap_err().to_string().contains("one whole number per sample")
        );
    }

    #[test]
    fn other_arrays_are_refused() {
        let message = |bytes: &[u8]| opened(bytes).unwrap_err().to_string();
        assert!(message(&npy(">f4", &[1], &[0; 4])).contains("highest byte comes first"));
        assert!(message(&npy("|O", &[1], &[0; 8])).contains("'|O'"));
        assert!(message(&npy("<c8", &[1], &[0; 8])).contains("'<c8'"));
        assert!(message(&npy("<f4", &[], &[0; 4])).contains("single number"));
        assert!(message(&npy("<f4", &[2], &[0; 4])).contains("another length"));
        assert!(message(&npy("<f4", &[usize::MAX, 9], &[0; 4])).contains("another length"));
        let columns = String::from_utf8_lossy(&npy("|u1", &[1], &[7])[10..]).replace("False", "True ");
        assert!(
            message(&[b"\x93NUMPY\x01\x00\x76\x00", columns.as_bytes()].concat())
                .contains("columns come first")
        );
        assert!(message(b"PK").contains("not an array file"));
    }

    proptest! {
        #[test]
        fn damage_does_no_harm(at in 0usize..140, byte: u8, length in 0usize..150) {
            let mut bytes = floats(&[2, 1], &[1.0, 2.0]);
            bytes.truncate(length);
            if let Some(place) = bytes.get_mut(at) {
                *place = byte;
            }
            if let Ok(array) = opened(&bytes) {
                let _ = array.sample(array.samples.saturating_sub(1));
            }
        }
    }
}
