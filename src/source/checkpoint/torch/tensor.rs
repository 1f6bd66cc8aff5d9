//! Tensors in a pickle: parts of storages.

use super::super::malformed;
use super::objects::{Id, Objects};
use crate::error::Result;
use safetensors::Dtype;

/// Most axes of a tensor.
const MAX_RANK: usize = 8;

/// Numbers that lie together, beside the pickle.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct TorchStorage {
    pub dtype: Dtype,
    /// The text that names it.
    pub key: Id,
    /// How many numbers.
    pub elements: usize,
}

/// Which numbers of a storage a tensor has: all lie within it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct TensorPlace {
    pub storage: TorchStorage,
    /// The first of them.
    pub offset: usize,
    pub shape: Vec<usize>,
    /// How far apart neighbours are, by axis.
    pub strides: Vec<usize>,
}

impl TorchStorage {
    /// From what a pickle says of a storage: `('storage', type, key, device, elements)`.
    pub(super) fn new(objects: &Objects, record: Id) -> Result<Self> {
        let parts = objects.sequence(record).unwrap_or_default();
        let (&[kind, dtype, key, _, elements], rest) =
            parts.split_first_chunk().ok_or_else(|| malformed("a storage that is not described"))?;
        let whole = objects.text(kind) == Some("storage")
            && objects.text(key).is_some()
            && rest.iter().all(|&view| objects.is_opaque(view));
        let parts = objects.storage_type(dtype).zip(objects.count(elements)).filter(|_| whole);
        let (dtype, elements) = parts.ok_or_else(|| malformed("a storage that is not described as one"))?;
        Ok(Self { dtype, key, elements })
    }

    /// Bytes of one number.
    pub(super) fn width(&self) -> u64 {
        self.dtype.bitsize() as u64 / 8
    }

    /// Bytes of all numbers.
    pub(super) fn bytes(&self) -> Result<u64> {
        (self.elements as u64)
            .checked_mul(self.width())
            .ok_or_else(|| malformed("a storage that is too long"))
    }
}

impl TensorPlace {
    /// From the arguments with which a pickle rebuilds a tensor: storage, offset, extents, strides and more.
    ///
    /// # Errors
    /// Numbers outside the storage; more of them than it has.
    pub(super) fn new(objects: &Objects, arguments: &[Id]) -> Result<Self> {
        let place = Self::described(objects, arguments);
        let place = place.ok_or_else(|| malformed("a tensor that is not described as one"))?;
        let within = place.is_empty() || place.end().is_some_and(|end| end <= place.storage.elements);
        let count = place.shape.iter().try_fold(1usize, |count, &extent| count.checked_mul(extent));
        if !within || count.is_none_or(|count| count > place.storage.elements) {
            let message = format!(
                "a tensor of shape {:?} with strides {:?} from {} on is not within its {} stored numbers",
                place.shape, place.strides, place.offset, place.storage.elements
            );
            return Err(malformed(message));
        }
        Ok(place)
    }

    fn described(objects: &Objects, arguments: &[Id]) -> Option<Self> {
        let &[storage, offset, shape, strides, ..] = arguments else { return None };
        let (shape, strides) = (objects.counts(shape, MAX_RANK)?, objects.counts(strides, MAX_RANK)?);
        let same_rank = shape.len() == strides.len();
        let (storage, offset) = (objects.storage(storage)?, objects.count(offset)?);
        same_rank.then_some(Self { storage, offset, shape, strides })
    }

    fn is_empty(&self) -> bool {
        self.shape.contains(&0)
    }

    /// One past the last number that belongs to the tensor, which is not empty.
    fn end(&self) -> Option<usize> {
        let axes = self.shape.iter().zip(&self.strides);
        let last = axes.filter(|(extent, _)| **extent > 1).try_fold(self.offset, |last, (extent, stride)| {
            last.checked_add((extent - 1).checked_mul(*stride)?)
        });
        last?.checked_add(1)
    }

    /// Which numbers of the storage hold the whole tensor.
    pub(super) fn span(&self) -> std::ops::Range<usize> {
        if self.is_empty() { 0..0 } else { self.offset..self.end().unwrap_or(self.offset) }
    }

    /// The tensor's numbers in order of its axes, of those in [`Self::span`].
    pub(super) fn gathered(&self, numbers: Vec<f32>) -> Vec<f32> {
        if self.is_empty() || self.is_contiguous() {
            return numbers;
        }
        let places = self.shape.iter().zip(&self.strides).fold(vec![0], |places, (&extent, &stride)| {
            let along = |place: usize| (0..extent).map(move |index| place + index * stride);
            places.into_iter().flat_map(along).collect()
        });
        places.into_iter().filter_map(|place: usize| numbers.get(place).copied()).collect()
    }

    /// Whether numbers lie in order of the axes, without gaps; of a tensor that is not empty.
    fn is_contiguous(&self) -> bool {
        let mut expected = 1;
        self.shape.iter().zip(&self.strides).rev().all(|(&extent, &stride)| {
            let fits = extent == 1 || stride == expected;
            expected *= extent;
            fits
        })
    }
}
