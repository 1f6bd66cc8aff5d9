//! Constant tensors of any rank, as ONNX files hold them.

use super::{malformed, misshapen};
use crate::error::{Error, ErrorKind, Result};

/// A constant of any rank, in row-major order.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Tensor {
    /// Extent per axis; empty for a scalar.
    pub(super) dims: Vec<usize>,
    /// As many elements as the product of `dims`.
    pub(super) data: Data,
}

/// Elements of a constant: every real type becomes `f32`, every integer type `i64`.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Data {
    /// Real numbers.
    Float(Vec<f32>),
    /// Integers.
    Int(Vec<i64>),
    /// Truth values.
    Bool(Vec<bool>),
}

/// Most axes of a tensor.
pub(super) const MAX_RANK: usize = 16;

/// Number of elements of a tensor with extents `dims`.
pub(super) fn element_count(dims: &[usize]) -> Result<usize> {
    if dims.len() > MAX_RANK {
        return Err(misshapen(format!("a tensor with {} axes; {MAX_RANK} are the most", dims.len())));
    }
    let count = dims.iter().try_fold(1usize, |count, &extent| count.checked_mul(extent));
    count.ok_or_else(|| misshapen(format!("a tensor of extents {dims:?} is too large")))
}

impl Data {
    /// Number of elements.
    pub(super) fn len(&self) -> usize {
        match self {
            Self::Float(values) => values.len(),
            Self::Int(values) => values.len(),
            Self::Bool(values) => values.len(),
        }
    }

    /// Bytes of memory that the elements take.
    pub(super) fn bytes(&self) -> u64 {
        let width = match self {
            Self::Float(_) => size_of::<f32>(),
            Self::Int(_) => size_of::<i64>(),
            Self::Bool(_) => size_of::<bool>(),
        };
        self.len() as u64 * width as u64
    }

    /// The elements at the given places, or `None` if one does not exist.
    pub(super) fn pick(&self, places: impl Iterator<Item = usize>) -> Option<Self> {
        fn pick<T: Copy>(values: &[T], places: impl Iterator<Item = usize>) -> Option<Vec<T>> {
            places.map(|place| values.get(place).copied()).collect()
        }
        Some(match self {
            Self::Float(values) => Self::Float(pick(values, places)?),
            Self::Int(values) => Self::Int(pick(values, places)?),
            Self::Bool(values) => Self::Bool(pick(values, places)?),
        })
    }
}

impl Tensor {
    /// A tensor whose elements fill its extents.
    pub(super) fn new(dims: Vec<usize>, data: Data) -> Result<Self> {
        if element_count(&dims)? != data.len() {
            return Err(misshapen(format!("{} elements do not fill extents {dims:?}", data.len())));
        }
        Ok(Self { dims, data })
    }

    /// A vector of integers.
    pub(super) fn of_ints(values: Vec<i64>) -> Self {
        Self { dims: vec![values.len()], data: Data::Int(values) }
    }

    /// Number of elements.
    pub(super) fn len(&self) -> usize {
        self.data.len()
    }

    /// The elements as real numbers.
    pub(super) fn floats(&self) -> Result<&[f32]> {
        match &self.data {
            Data::Float(values) => Ok(values),
            _ => Err(malformed("integers where real numbers are required")),
        }
    }

    /// The elements as integers.
    pub(super) fn ints(&self) -> Result<&[i64]> {
        match &self.data {
            Data::Int(values) => Ok(values),
            _ => Err(malformed("real numbers where integers are required")),
        }
    }

    /// The only element, as a real number.
    pub(super) fn float(&self) -> Result<f32> {
        match self.floats()? {
            [value] => Ok(*value),
            values => Err(misshapen(format!("{} numbers where one is required", values.len()))),
        }
    }

    /// The same elements with other extents.
    pub(super) fn reshaped(&self, dims: Vec<usize>) -> Result<Self> {
        Self::new(dims, self.data.clone())
    }

    /// The elements at `offset + Σ index·stride` for every index within `dims`.
    pub(super) fn strided(&self, dims: Vec<usize>, strides: &[isize], offset: isize) -> Result<Self> {
        let places = StridedIndices::new(&dims, strides, offset)?;
        let data = self.data.pick(places).ok_or_else(|| misshapen("an index is out of range"))?;
        Self::new(dims, data)
    }

    /// Step in elements along each axis.
    pub(super) fn strides(&self) -> Vec<isize> {
        row_major(&self.dims)
    }

    /// An error naming the first element that is NaN or infinite.
    pub(super) fn require_finite(&self, name: &str) -> Result<()> {
        let Data::Float(values) = &self.data else { return Ok(()) };
        let Some(place) = values.iter().position(|value| !value.is_finite()) else { return Ok(()) };
        let index = unravel(place, &self.dims);
        let message = format!(
            "weight tensor '{name}' holds {} at index {index:?}; fgq needs finite weights: train or export again",
            values[place]
        );
        Err(Error::new(ErrorKind::NonFinite, message))
    }
}

/// Steps of a row-major tensor with extents `dims`.
pub(super) fn row_major(dims: &[usize]) -> Vec<isize> {
    let mut strides = vec![1isize; dims.len()];
    for axis in (1..dims.len()).rev() {
        strides[axis - 1] = strides[axis].saturating_mul(dims[axis] as isize);
    }
    strides
}

/// The index whose row-major place within `dims` is `place`.
pub(super) fn unravel(mut place: usize, dims: &[usize]) -> Vec<usize> {
    let mut index = vec![0; dims.len()];
    for (slot, &extent) in index.iter_mut().zip(dims).rev() {
        *slot = place % extent.max(1);
        place /= extent.max(1);
    }
    index
}

/// Visits the places `offset + Σ index·stride` in row-major order of the index.
struct StridedIndices<'a> {
    dims: &'a [usize],
    strides: &'a [isize],
    index: Vec<usize>,
    place: isize,
    left: usize,
}

impl<'a> StridedIndices<'a> {
    fn new(dims: &'a [usize], strides: &'a [isize], offset: isize) -> Result<Self> {
        let left = element_count(dims)?;
        Ok(Self { dims, strides, index: vec![0; dims.len()], place: offset, left })
    }

    fn advance(&mut self) {
        for axis in (0..self.dims.len()).rev() {
            self.index[axis] += 1;
            self.place = self.place.wrapping_add(self.strides[axis]);
            if self.index[axis] < self.dims[axis] {
                return;
            }
            self.place = self.place.wrapping_sub(self.strides[axis].wrapping_mul(self.dims[axis] as isize));
            self.index[axis] = 0;
        }
    }
}

impl Iterator for StridedIndices<'_> {
    type Item = usize;

    fn next(&mut self) -> Option<usize> {
        self.left = self.left.checked_sub(1)?;
        let place = usize::try_from(self.place).unwrap_or(usize::MAX);
        self.advance();
        Some(place)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strided_transposes_and_reverses() {
        let tensor = Tensor::new(vec![2, 3], Data::Int(vec![1, 2, 3, 4, 5, 6])).unwrap();
        let transposed = tensor.strided(vec![3, 2], &[1, 3], 0).unwrap();
        assert_eq!(transposed.data, Data::Int(vec![1, 4, 2, 5, 3, 6]));
        let reversed = tensor.strided(vec![2, 3], &[-3, 1], 3).unwrap();
        assert_eq!(reversed.data, Data::Int(vec![4, 5, 6, 1, 2, 3]));
        assert!(tensor.strided(vec![3, 3], &[3, 1], 0).is_err());
    }

    #[test]
    fn huge_extents_are_errors_not_allocations() {
        assert!(element_count(&[1 << 40, 1 << 40]).is_err());
        assert!(Tensor::new(vec![1 << 40], Data::Float(vec![])).is_err());
    }

    #[test]
    fn the_place_of_a_bad_weight_is_named() {
        let tensor = Tensor::new(vec![2, 2], Data::Float(vec![0.0, 1.0, f32::NAN, 2.0])).unwrap();
        let error = tensor.require_finite("w").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NonFinite);
        assert!(error.to_string().contains("'w' holds NaN at index [1, 0]"), "{error}");
    }
}
