//! The container of a packed model, a safetensors file: a header in JSON that names tensors, then their bytes.

use crate::error::{Error, ErrorKind, Result};
use serde::Deserialize;
use std::collections::HashMap;

/// Bytes of the header's length.
const LENGTH: usize = 8;
/// Longest header.
const MAX_HEADER: u64 = 100_000_000;

/// The data types of a packed model's tensors.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub(super) enum Dtype {
    U8,
    I8,
    I16,
    I32,
    /// One that no packed model has.
    #[serde(other)]
    Other,
}

impl Dtype {
    const fn bytes(self) -> Option<usize> {
        match self {
            Self::U8 | Self::I8 => Some(1),
            Self::I16 => Some(2),
            Self::I32 => Some(4),
            Self::Other => None,
        }
    }
}

/// A tensor and its bytes, as many as type and shape say.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct StoredTensor<'a> {
    pub dtype: Dtype,
    pub shape: Vec<usize>,
    pub data: &'a [u8],
}

/// A file taken apart.
#[derive(Debug)]
pub(super) struct Container<'a> {
    /// The header as it is in the file.
    pub header: &'a [u8],
    pub metadata: HashMap<String, String>,
    /// By name.
    pub tensors: HashMap<String, StoredTensor<'a>>,
}

#[derive(Deserialize)]
struct Header {
    #[serde(rename = "__metadata__")]
    metadata: Option<HashMap<String, String>>,
    #[serde(flatten)]
    tensors: HashMap<String, TensorEntry>,
}

#[derive(Deserialize)]
struct TensorEntry {
    dtype: Dtype,
    shape: Vec<usize>,
    data_offsets: (usize, usize),
}

impl<'a> Container<'a> {
    /// Takes a file apart. What follows the header must be the tensors' bytes and nothing else, without gaps.
    pub fn of(bytes: &'a [u8]) -> Result<Self> {
        let (header, data) = split(bytes).ok_or_else(|| damaged("no header"))?;
        let Header { metadata, tensors } = serde_json::from_slice(header)
            .map_err(|error| damaged("the header is not what safetensors requires").because(error))?;
        let mut places: Vec<_> = tensors.into_iter().collect();
        places.sort_by_key(|(_, place)| place.data_offsets);
        let (mut end, mut tensors) = (0, HashMap::with_capacity(places.len()));
        for (name, place) in places {
            let tensor = place.tensor(end, data).ok_or_else(|| damaged(format!("tensor '{name}'")))?;
            end += tensor.data.len();
            tensors.insert(name, tensor);
        }
        if end != data.len() {
            return Err(damaged("the bytes are not as many as the tensors need"));
        }
        Ok(Self { header, metadata: metadata.unwrap_or_default(), tensors })
    }
}

impl TensorEntry {
    /// The tensor, if it lies in `data` from `start` on.
    fn tensor(self, start: usize, data: &[u8]) -> Option<StoredTensor<'_>> {
        let Self { dtype, shape, data_offsets: (from, to) } = self;
        let data = data.get(from..to).filter(|_| from == start)?;
        let count = shape.iter().try_fold(1usize, |product, &extent| product.checked_mul(extent))?;
        let is_whole = match dtype.bytes() {
            Some(bytes) => count.checked_mul(bytes)? == data.len(),
            None => true,
        };
        is_whole.then_some(StoredTensor { dtype, shape, data })
    }
}

/// The header and what follows it.
fn split(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = bytes.split_first_chunk::<LENGTH>()?;
    let length = Some(u64::from_le_bytes(*length)).filter(|&length| length <= MAX_HEADER)?;
    rest.split_at_checked(usize::try_from(length).ok()?)
}

fn damaged(problem: impl Into<String>) -> Error {
    Error::new(ErrorKind::Format, problem)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use safetensors::tensor::TensorView;
    use safetensors::{Dtype as Theirs, SafeTensors};

    const TYPES: [(Dtype, Theirs, usize); 4] = [
        (Dtype::U8, Theirs::U8, 1),
        (Dtype::I8, Theirs::I8, 1),
        (Dtype::I16, Theirs::I16, 2),
        (Dtype::I32, Theirs::I32, 4),
    ];

    /// A file with tensors of the given types and lengths.
    fn file(tensors: &[(usize, usize)]) -> Vec<u8> {
        let bytes: Vec<u8> = (0..=255).collect();
        let views = tensors.iter().enumerate().map(|(index, &(kind, len))| {
            let (_, dtype, size) = TYPES[kind];
            (format!("{index}.\u{e9}\""), TensorView::new(dtype, vec![len, 1], &bytes[..len * size]).unwrap())
        });
        let metadata = HashMap::from([("key".to_owned(), "{\"value\"}".to_owned())]);
        safetensors::serialize(views, Some(metadata)).unwrap()
    }

    /// Reads as the independent implementation does; types that packed models have not aside.
    fn agrees(bytes: &[u8]) {
        let (ours, theirs) = (Container::of(bytes), SafeTensors::deserialize(bytes));
        let is_other = |tensor: &StoredTensor| tensor.dtype == Dtype::Other;
        if ours.as_ref().is_ok_and(|ours| ours.tensors.values().any(is_other)) {
            return;
        }
        assert_eq!(ours.is_ok(), theirs.is_ok(), "{:?} {:?}", ours.err(), theirs.err());
        let (Ok(ours), Ok(theirs)) = (ours, theirs) else { return };
        assert_eq!(ours.tensors.len(), theirs.len());
        for (name, theirs) in theirs.iter() {
            let tensor = &ours.tensors[name];
            let (dtype, ..) = TYPES.into_iter().find(|(_, dtype, _)| *dtype == theirs.dtype()).unwrap();
            assert_eq!(
                (tensor.dtype, &tensor.shape[..], tensor.data),
                (dtype, theirs.shape(), theirs.data())
            );
        }
        let (len, metadata) = SafeTensors::read_metadata(bytes).unwrap();
        assert_eq!(ours.header, &bytes[8..8 + len]);
        assert_eq!(ours.metadata, metadata.metadata().clone().unwrap_or_default());
    }

    fn tensors() -> impl Strategy<Value = Vec<(usize, usize)>> {
        prop::collection::vec((0..TYPES.len(), 0usize..9), 0..5)
    }

    proptest! {
        #[test]
        fn whole_files_are_read(tensors in tensors()) {
            let bytes = file(&tensors);
            prop_assert_eq!(Container::of(&bytes).unwrap().tensors.len(), tensors.len());
            agrees(&bytes);
        }

        #[test]
        fn damaged_files_are_told_apart(
            tensors in tensors(),
            places in prop::collection::vec((any::<prop::sample::Index>(), prop::sample::select(&b"0123456789,\"[}\x00"[..])), 1..4),
            cut in 0usize..3,
        ) {
            let mut bytes = file(&tensors);
            bytes.truncate(bytes.len() - cut);
            for (place, value) in places {
                let place = place.index(bytes.len());
                bytes[place] = value;
            }
            agrees(&bytes);
        }
    }

    #[test]
    fn headers_that_lie_are_refused() {
        let with = |header: &str, data: usize| {
            let bytes = [&(header.len() as u64).to_le_bytes(), header.as_bytes(), &vec![0; data]].concat();
            agrees(&bytes);
            Container::of(&bytes).is_ok()
        };
        let one = |dtype: &str, shape: &str, from: u64, to: u64| {
            format!(r#"{{"a":{{"dtype":"{dtype}","shape":{shape},"data_offsets":[{from},{to}]}}}}"#)
        };
        assert!(with("{}", 0) && !with("{}", 1) && !with("[]", 0) && !with("", 0));
        assert!(with(&one("I16", "[2,1]", 0, 4), 4));
        assert!(with(&one("U8", "[]", 0, 1), 1) && with(&one("U8", "[0]", 0, 0), 0));
        for (shape, from, to) in [
            ("[2]", 0, 2),
            ("[1]", 1, 3),
            ("[2]", 4, 0),
            ("[4294967296,4294967296]", 0, 4),
            ("[9223372036854775808]", 0, 4),
            ("[-2]", 0, 4),
            ("[2.0]", 0, 4),
        ] {
            assert!(!with(&one("I16", shape, from, to), 4), "{shape} {from} {to}");
        }
        for length in [3, u64::MAX, 1 << 32, MAX_HEADER + 1] {
            agrees(&[&length.to_le_bytes()[..], b"{}"].concat());
        }
        for len in 0..9 {
            agrees(&vec![b'{'; len]);
        }
    }
}
