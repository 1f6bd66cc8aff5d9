//! Constants computed from whole axes of constants: reductions, normalisation, products of matrices.

use super::tensor::{Data, Tensor, element_count};
use super::tensor_math::{Arithmetic, broadcast_dims, check_size, pick};
use super::{malformed, misshapen, unsupported};
use crate::error::Result;
use ndarray::ArrayView2;

/// Most products of numbers in a product of constants.
const MAX_PRODUCTS: usize = 1 << 33;

/// What becomes of the elements along the axes that vanish.
#[derive(Clone, Copy)]
pub(super) struct Reduction {
    float: fn(&[f32]) -> f64,
    /// `None` on overflow, and where integers have no such reduction.
    int: fn(&[i64]) -> Option<i64>,
}

impl Reduction {
    /// The sum.
    pub(super) const SUM: Self = Self { float: |row| sum(row, |x| x), int: int_sum };
    /// The mean; of integers, cut towards zero.
    pub(super) const MEAN: Self = Self {
        float: |row| sum(row, |x| x) / row.len() as f64,
        int: |row| int_sum(row)?.checked_div(row.len() as i64),
    };
    /// The largest element.
    pub(super) const MAX: Self = Self {
        float: |row| row.iter().fold(f64::NEG_INFINITY, |most, &x| most.max(x.into())),
        int: |row| row.iter().copied().max(),
    };
    /// The smallest element.
    pub(super) const MIN: Self = Self {
        float: |row| row.iter().fold(f64::INFINITY, |least, &x| least.min(x.into())),
        int: |row| row.iter().copied().min(),
    };
    /// The product.
    pub(super) const PRODUCT: Self = Self {
        float: |row| row.iter().map(|&x| f64::from(x)).product(),
        int: |row| row.iter().try_fold(1i64, |product, &x| product.checked_mul(x)),
    };
    /// The sum of magnitudes.
    pub(super) const L1: Self = Self {
        float: |row| sum(row, f64::abs),
        int: |row| row.iter().try_fold(0i64, |sum, &x| sum.checked_add(x.checked_abs()?)),
    };
    /// The root of the sum of squares.
    pub(super) const L2: Self = Self { float: |row| sum(row, |x| x * x).sqrt(), int: |_| None };
    /// The sum of squares.
    pub(super) const SQUARES: Self = Self {
        float: |row| sum(row, |x| x * x),
        int: |row| row.iter().try_fold(0i64, |sum, &x| sum.checked_add(x.checked_mul(x)?)),
    };
    /// The logarithm of the sum.
    pub(super) const LOG_SUM: Self = Self { float: |row| sum(row, |x| x).ln(), int: |_| None };
    /// The logarithm of the sum of exponentials.
    pub(super) const LOG_SUM_EXP: Self = Self {
        float: |row| {
            let most = (Self::MAX.float)(row);
            most + sum(row, |x| (x - most).exp()).ln()
        },
        int: |_| None,
    };
    /// The mean of squares.
    const MEAN_SQUARE: Self = Self { float: |row| sum(row, |x| x * x) / row.len() as f64, int: |_| None };
}

fn sum(row: &[f32], term: impl Fn(f64) -> f64) -> f64 {
    row.iter().map(|&x| term(x.into())).sum()
}

fn int_sum(row: &[i64]) -> Option<i64> {
    row.iter().try_fold(0i64, |sum, &x| sum.checked_add(x))
}

impl Tensor {
    /// One number for all elements along `axes`, which stay with extent 1 if `keep` says so.
    pub(super) fn reduced(&self, axes: &[usize], keep: bool, by: Reduction) -> Result<Self> {
        let kept: Vec<usize> = (0..self.dims.len()).filter(|axis| !axes.contains(axis)).collect();
        let length = element_count(&pick(&self.dims, axes))?;
        if length == 0 {
            return Err(misshapen(format!("reduces an empty axis of extents {:?}", self.dims)));
        }
        let data = match self.transposed(&[&kept, axes].concat())?.data {
            Data::Float(values) => {
                Data::Float(values.chunks_exact(length).map(|row| (by.float)(row) as f32).collect())
            }
            Data::Int(values) => {
                let results = values.chunks_exact(length).map(by.int).collect::<Option<_>>();
                Data::Int(results.ok_or_else(|| malformed("integer overflow, or no reduction of integers"))?)
            }
            Data::Bool(_) => return Err(malformed("reduces truth values")),
        };
        let extent = |(axis, &extent): (usize, &usize)| if axes.contains(&axis) { 1 } else { extent };
        let dims =
            if keep { self.dims.iter().enumerate().map(extent).collect() } else { pick(&self.dims, &kept) };
        Self::new(dims, data)
    }

    /// The elements less their mean along `axes`, divided by their deviation with `epsilon` added to its square.
    pub(super) fn normalised(&self, axes: &[usize], epsilon: f32) -> Result<Self> {
        let centred = self.combine(&self.reduced(axes, true, Reduction::MEAN)?, Arithmetic::SUB)?;
        let variance = centred.reduced(axes, true, Reduction::MEAN_SQUARE)?;
        centred.combine(&variance.map(|value| (value + epsilon).sqrt())?, Arithmetic::DIV)
    }

    /// `scale·self + shift` with one number for each index of `axis`.
    pub(super) fn affine_along(&self, axis: usize, scale: &Self, shift: &Self) -> Result<Self> {
        let along = |tensor: &Self| {
            let trailing = self.dims.len().saturating_sub(axis + 1);
            tensor.reshaped([vec![tensor.len()], vec![1; trailing]].concat())
        };
        self.combine(&along(scale)?, Arithmetic::MUL)?.combine(&along(shift)?, Arithmetic::ADD)
    }

    /// The shares that exponentials along `axis` have in their sum.
    pub(super) fn softmax(&self, axis: usize) -> Result<Self> {
        let most = self.reduced(&[axis], true, Reduction::MAX)?;
        let powers = self.combine(&most, Arithmetic::SUB)?.map(f32::exp)?;
        powers.combine(&powers.reduced(&[axis], true, Reduction::SUM)?, Arithmetic::DIV)
    }

    /// The product of matrices, or of stacks of matrices, as NumPy defines it.
    pub(super) fn product(&self, other: &Self) -> Result<Self> {
        let (left, right) = (self.as_matrix(true)?, other.as_matrix(false)?);
        let ((a_stack, a), (b_stack, b)) =
            (left.dims.split_at(left.dims.len() - 2), right.dims.split_at(right.dims.len() - 2));
        let ([rows, inner], [inner_too, columns]) = (pair(a), pair(b));
        if inner != inner_too {
            return Err(misshapen(format!(
                "matrices of {:?} and {:?} are multiplied",
                self.dims, other.dims
            )));
        }
        let stack = broadcast_dims(a_stack, b_stack)?;
        let dims = [&stack[..], &[rows, columns]].concat();
        let products = element_count(&dims)?.checked_mul(inner);
        if products.is_none_or(|products| products > MAX_PRODUCTS) {
            return Err(unsupported(
                "a product of constants that takes too long; fold constants in the exporter",
            ));
        }
        check_size(&dims, 0)?;
        let left = left.broadcast(&[&stack[..], &[rows, inner]].concat())?;
        let right = right.broadcast(&[&stack[..], &[inner, columns]].concat())?;
        let mut values = Vec::with_capacity(element_count(&dims)?);
        for index in 0..element_count(&stack)? {
            let (a, b) = (left.matrix(index, [rows, inner])?, right.matrix(index, [inner, columns])?);
            values.extend(a.dot(&b));
        }
        self.product_extents(other, dims, Data::Float(values))
    }

    /// Vectors are taken as a row on the left and as a column on the right.
    fn as_matrix(&self, left: bool) -> Result<Self> {
        match self.dims[..] {
            [] => Err(misshapen("a single number is multiplied as a matrix")),
            [extent] if left => self.reshaped(vec![1, extent]),
            [extent] => self.reshaped(vec![extent, 1]),
            _ => Ok(self.clone()),
        }
    }

    fn matrix(&self, index: usize, [rows, columns]: [usize; 2]) -> Result<ArrayView2<'_, f32>> {
        let values = self.floats()?.get(index * rows * columns..).and_then(|rest| rest.get(..rows * columns));
        let values = values.ok_or_else(|| misshapen("a matrix is incomplete"))?;
        ArrayView2::from_shape((rows, columns), values).map_err(|error| misshapen("a matrix").because(error))
    }

    /// The product without the axes that vectors were given.
    fn product_extents(&self, other: &Self, mut dims: Vec<usize>, data: Data) -> Result<Self> {
        if other.dims.len() == 1 {
            dims.pop();
        }
        if self.dims.len() == 1 {
            dims.remove(dims.len() - 1 - usize::from(other.dims.len() != 1));
        }
        Self::new(dims, data)
    }
}

fn pair(extents: &[usize]) -> [usize; 2] {
    [extents[0], extents[1]]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn floats(dims: &[usize], values: &[f32]) -> Tensor {
        Tensor::new(dims.to_vec(), Data::Float(values.to_vec())).unwrap()
    }

    #[test]
    fn reductions_take_any_axes() {
        let tensor = floats(&[2, 1, 3], &[1.0, 2.0, 3.0, 4.0, 5.0, -6.0]);
        assert_eq!(tensor.reduced(&[0], false, Reduction::SUM).unwrap(), floats(&[1, 3], &[5.0, 7.0, -3.0]));
        assert_eq!(tensor.reduced(&[2], true, Reduction::MEAN).unwrap(), floats(&[2, 1, 1], &[2.0, 1.0]));
        assert_eq!(tensor.reduced(&[0, 1, 2], false, Reduction::MIN).unwrap(), floats(&[], &[-6.0]));
        assert_eq!(tensor.reduced(&[1, 2], false, Reduction::L1).unwrap(), floats(&[2], &[6.0, 15.0]));
        assert!(floats(&[2, 0], &[]).reduced(&[1], true, Reduction::SUM).is_err());
    }

    #[test]
    fn integers_that_overflow_are_errors() {
        let tensor = Tensor::of_ints(vec![i64::MAX, 2]);
        assert!(tensor.reduced(&[0], true, Reduction::PRODUCT).is_err());
        assert!(tensor.reduced(&[0], true, Reduction::SUM).is_err());
        assert!(tensor.reduced(&[0], true, Reduction::L2).is_err());
        assert_eq!(tensor.reduced(&[0], true, Reduction::MIN).unwrap(), Tensor::of_ints(vec![2]));
    }

    #[test]
    fn products_follow_numpy() {
        let (a, b) = (floats(&[2, 2], &[1.0, 2.0, 3.0, 4.0]), floats(&[2], &[1.0, -1.0]));
        assert_eq!(a.product(&b).unwrap(), floats(&[2], &[-1.0, -1.0]));
        assert_eq!(b.product(&a).unwrap(), floats(&[2], &[-2.0, -2.0]));
        assert_eq!(b.product(&b).unwrap(), floats(&[], &[2.0]));
        let stack = floats(&[2, 1, 2], &[1.0, 0.0, 0.0, 1.0]);
        assert_eq!(stack.product(&a).unwrap(), floats(&[2, 1, 2], &[1.0, 2.0, 3.0, 4.0]));
        assert!(a.product(&floats(&[3], &[0.0; 3])).is_err());
        let large = floats(&[1 << 12, 1], &[0.0; 1 << 12]);
        assert!(large.product(&floats(&[1, 1 << 13], &[0.0; 1 << 13])).is_err());
    }
}
