//! Arithmetic and rearrangement of constants, as the shape computations of exporters need them.

use super::tensor::{Data, Tensor, element_count};
use super::{malformed, misshapen, unsupported};
use crate::error::Result;

/// Largest constant that an operator may make out of smaller ones.
pub(super) const MAX_ELEMENTS: usize = 1 << 24;

/// Arithmetic on two real numbers, and on two integers where that can fail.
#[derive(Clone, Copy)]
pub(super) struct Arithmetic {
    /// On real numbers.
    pub(super) float: fn(f32, f32) -> f32,
    /// On integers; `None` on overflow and division by zero.
    pub(super) int: fn(i64, i64) -> Option<i64>,
}

impl Arithmetic {
    /// `a + b`.
    pub(super) const ADD: Self = Self { float: |a, b| a + b, int: i64::checked_add };
    /// `a − b`.
    pub(super) const SUB: Self = Self { float: |a, b| a - b, int: i64::checked_sub };
    /// `a·b`.
    pub(super) const MUL: Self = Self { float: |a, b| a * b, int: i64::checked_mul };
    /// `a/b`; integers are cut towards zero.
    pub(super) const DIV: Self = Self { float: |a, b| a / b, int: i64::checked_div };
    /// The smaller one.
    pub(super) const MIN: Self = Self { float: f32::min, int: |a, b| Some(a.min(b)) };
    /// The larger one.
    pub(super) const MAX: Self = Self { float: f32::max, int: |a, b| Some(a.max(b)) };
}

/// The extents to which `a` and `b` broadcast.
pub(super) fn broadcast_dims(a: &[usize], b: &[usize]) -> Result<Vec<usize>> {
    let rank = a.len().max(b.len());
    let extent =
        |dims: &[usize], axis: usize| (axis + dims.len()).checked_sub(rank).map_or(1, |axis| dims[axis]);
    let joined = (0..rank).map(|axis| match (extent(a, axis), extent(b, axis)) {
        (a, b) if a == b || b == 1 => Ok(a),
        (1, b) => Ok(b),
        _ => Err(misshapen(format!("extents {a:?} and {b:?} do not broadcast"))),
    });
    let dims = joined.collect::<Result<Vec<_>>>()?;
    check_size(&dims, element_count(a)?.max(element_count(b)?))?;
    Ok(dims)
}

/// Refuses constants that grow beyond [`MAX_ELEMENTS`].
pub(super) fn check_size(dims: &[usize], present: usize) -> Result<usize> {
    let count = element_count(dims)?;
    if count > MAX_ELEMENTS && count > present {
        return Err(unsupported(format!("a computed constant of {count} elements is too large")));
    }
    Ok(count)
}

impl Tensor {
    /// The tensor repeated to fill `dims`.
    pub(super) fn broadcast(&self, dims: &[usize]) -> Result<Self> {
        if broadcast_dims(&self.dims, dims)? != dims {
            return Err(misshapen(format!("extents {:?} do not broadcast to {dims:?}", self.dims)));
        }
        check_size(dims, self.len())?;
        self.repeated(dims)
    }

    /// The tensor repeated to fill `dims`, which are known to fit and to be of reasonable size.
    fn repeated(&self, dims: &[usize]) -> Result<Self> {
        let lead = dims.len() - self.dims.len();
        let own =
            self.dims.iter().zip(self.strides()).map(|(&extent, step)| if extent == 1 { 0 } else { step });
        let strides: Vec<_> = std::iter::repeat_n(0, lead).chain(own).collect();
        self.strided(dims.to_vec(), &strides, 0)
    }

    /// Element-wise arithmetic with broadcasting.
    pub(super) fn combine(&self, other: &Self, arithmetic: Arithmetic) -> Result<Self> {
        let dims = broadcast_dims(&self.dims, &other.dims)?;
        let data = match (self.repeated(&dims)?.data, other.repeated(&dims)?.data) {
            (Data::Float(a), Data::Float(b)) => {
                Data::Float(a.iter().zip(&b).map(|(&a, &b)| (arithmetic.float)(a, b)).collect())
            }
            (Data::Int(a), Data::Int(b)) => {
                let results = a.iter().zip(&b).map(|(&a, &b)| (arithmetic.int)(a, b)).collect::<Option<_>>();
                Data::Int(results.ok_or_else(|| malformed("integer overflow or division by zero"))?)
            }
            _ => return Err(malformed("arithmetic on constants of different types")),
        };
        Self::new(dims, data)
    }

    /// Element-wise comparison with broadcasting.
    pub(super) fn compare(&self, other: &Self, equal: fn(f64, f64) -> bool) -> Result<Self> {
        let dims = broadcast_dims(&self.dims, &other.dims)?;
        let (a, b) = (self.repeated(&dims)?.numbers(), other.repeated(&dims)?.numbers());
        Self::new(dims, Data::Bool(a.zip(b).map(|(a, b)| equal(a, b)).collect()))
    }

    fn numbers(self) -> Box<dyn Iterator<Item = f64>> {
        match self.data {
            Data::Float(values) => Box::new(values.into_iter().map(f64::from)),
            Data::Int(values) => Box::new(values.into_iter().map(|value| value as f64)),
            Data::Bool(values) => Box::new(values.into_iter().map(|value| f64::from(u8::from(value)))),
        }
    }

    /// `a` where this tensor is true, else `b`.
    pub(super) fn choose(&self, a: &Self, b: &Self) -> Result<Self> {
        let dims = broadcast_dims(&broadcast_dims(&self.dims, &a.dims)?, &b.dims)?;
        let Data::Bool(choices) = self.repeated(&dims)?.data else {
            return Err(malformed("a condition that is not a truth value"));
        };
        let joined = Self::concat(&[&a.repeated(&dims)?.flat(), &b.repeated(&dims)?.flat()], 0)?;
        let places = choices
            .iter()
            .enumerate()
            .map(|(place, &first)| if first { place } else { place + choices.len() });
        let data = joined.data.pick(places).ok_or_else(|| malformed("an index is out of range"))?;
        Self::new(dims, data)
    }

    fn flat(self) -> Self {
        Self { dims: vec![self.data.len()], data: self.data }
    }

    /// A real function of every element.
    pub(super) fn map(&self, function: impl Fn(f32) -> f32) -> Result<Self> {
        let values = self.floats()?.iter().map(|&value| function(value)).collect();
        Self::new(self.dims.clone(), Data::Float(values))
    }

    /// The axes in another order.
    pub(super) fn transposed(&self, order: &[usize]) -> Result<Self> {
        let strides = self.strides();
        self.strided(order.iter().map(|&axis| self.dims[axis]).collect(), &pick(&strides, order), 0)
    }

    /// The elements `start, start + step, …` of each axis, as many as `dims` says.
    pub(super) fn sliced(&self, dims: Vec<usize>, start: &[usize], step: &[i64]) -> Result<Self> {
        let strides = self.strides();
        let places =
            start.iter().zip(&strides).map(|(&start, &stride)| (start as isize).wrapping_mul(stride));
        let offset = places.fold(0, isize::wrapping_add);
        let far = || misshapen("a step is too large");
        let scale = |(&stride, &step): (&isize, &i64)| stride.checked_mul(isize::try_from(step).ok()?);
        let strides: Vec<_> = strides.iter().zip(step).map(scale).collect::<Option<_>>().ok_or_else(far)?;
        self.strided(dims, &strides, offset)
    }

    /// The tensor with `before` and `after` elements of `value` added along each axis.
    pub(super) fn padded(&self, before: &[usize], after: &[usize], value: f32) -> Result<Self> {
        let mut padded = self.clone();
        for axis in 0..self.dims.len() {
            let border = |count: usize| {
                let dims = padded.dims.iter().enumerate();
                let dims: Vec<_> =
                    dims.map(|(at, &extent)| if at == axis { count } else { extent }).collect();
                check_size(&dims, 0)?;
                self.filling(value)?.broadcast(&dims)
            };
            let [front, back] = [border(before[axis])?, border(after[axis])?];
            padded = Self::concat(&[&front, &padded, &back], axis)?;
        }
        Ok(padded)
    }

    /// One number of the same type.
    fn filling(&self, value: f32) -> Result<Self> {
        let data = match self.data {
            Data::Float(_) => Data::Float(vec![value]),
            Data::Int(_) => Data::Int(vec![value as i64]),
            Data::Bool(_) => Data::Bool(vec![value != 0.0]),
        };
        Self::new(Vec::new(), data)
    }

    /// The tensor `counts` times in a row along each axis.
    pub(super) fn tiled(&self, counts: &[usize]) -> Result<Self> {
        let split: Vec<usize> = self.dims.iter().flat_map(|&extent| [1, extent]).collect();
        let repeated: Vec<usize> =
            counts.iter().zip(&self.dims).flat_map(|(&count, &extent)| [count, extent]).collect();
        let dims =
            counts.iter().zip(&self.dims).map(|(&count, &extent)| count.saturating_mul(extent)).collect();
        self.reshaped(split)?.broadcast(&repeated)?.reshaped(dims)
    }

    /// The slices of `axis` at the given indices; their extents replace the axis.
    pub(super) fn gathered(&self, axis: usize, indices: &[usize], index_dims: &[usize]) -> Result<Self> {
        let (outer, rest) = self.dims.split_at(axis);
        let inner = &rest[1..];
        let dims = [outer, index_dims, inner].concat();
        check_size(&dims, self.len())?;
        let (count, length, extent) = (element_count(outer)?, element_count(inner)?, rest[0]);
        let places = (0..count).flat_map(|block| {
            let slice = move |&index: &usize| (block * extent + index) * length;
            indices.iter().map(slice).flat_map(move |start| start..start + length)
        });
        let data = self.data.pick(places).ok_or_else(|| misshapen("an index is out of range"))?;
        Self::new(dims, data)
    }

    /// The parts one after another along `axis`.
    pub(super) fn concat(parts: &[&Self], axis: usize) -> Result<Self> {
        let first = parts.first().ok_or_else(|| malformed("no inputs"))?;
        let fits = |part: &&Self| {
            part.dims.len() == first.dims.len() && others(&part.dims, axis) == others(&first.dims, axis)
        };
        if axis >= first.dims.len() || !parts.iter().all(fits) {
            return Err(misshapen("constants whose extents do not fit are joined"));
        }
        let mut dims = first.dims.clone();
        let along = parts.iter().try_fold(0usize, |sum, part| sum.checked_add(part.dims[axis]));
        dims[axis] = along.ok_or_else(|| misshapen("the joined constant is too large"))?;
        check_size(&dims, 0)?;
        let outer = element_count(&dims[..axis])?;
        let data = match first.data {
            Data::Float(_) => Data::Float(join(parts, outer, |part| part.floats())?),
            Data::Int(_) => Data::Int(join(parts, outer, |part| part.ints())?),
            Data::Bool(_) => Data::Bool(join(parts, outer, |part| part.bools())?),
        };
        Self::new(dims, data)
    }

    /// The elements as truth values.
    pub(super) fn bools(&self) -> Result<&[bool]> {
        match &self.data {
            Data::Bool(values) => Ok(values),
            _ => Err(malformed("numbers where truth values are required")),
        }
    }
}

fn join<T: Copy>(parts: &[&Tensor], outer: usize, values: fn(&Tensor) -> Result<&[T]>) -> Result<Vec<T>> {
    let mut joined = Vec::new();
    for block in 0..outer {
        for part in parts {
            let length = part.len() / outer;
            joined.extend_from_slice(&values(part)?[block * length..][..length]);
        }
    }
    Ok(joined)
}

fn others(dims: &[usize], axis: usize) -> (&[usize], &[usize]) {
    let (before, after) = dims.split_at(axis.min(dims.len()));
    (before, after.get(1..).unwrap_or_default())
}

/// The values at `places`.
pub(super) fn pick<T: Copy>(values: &[T], places: &[usize]) -> Vec<T> {
    places.iter().map(|&place| values[place]).collect()
}

/// The axes `0..rank` in reverse.
pub(super) fn reversed(rank: usize) -> Vec<usize> {
    (0..rank).rev().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ints(dims: &[usize], values: &[i64]) -> Tensor {
        Tensor::new(dims.to_vec(), Data::Int(values.to_vec())).unwrap()
    }

    #[test]
    fn broadcasting_follows_numpy() {
        let add = Arithmetic { float: |a, b| a + b, int: i64::checked_add };
        let sum = ints(&[2, 1], &[10, 20]).combine(&ints(&[3], &[1, 2, 3]), add).unwrap();
        assert_eq!(sum, ints(&[2, 3], &[11, 12, 13, 21, 22, 23]));
        assert!(ints(&[2], &[1, 2]).combine(&ints(&[3], &[1, 2, 3]), add).is_err());
        assert!(ints(&[], &[i64::MAX]).combine(&ints(&[], &[1]), add).is_err());
        assert!(ints(&[1], &[1]).broadcast(&[1 << 30, 1 << 20]).is_err());
    }

    #[test]
    fn concat_and_gather_work_along_any_axis() {
        let a = ints(&[2, 1], &[1, 2]);
        let b = ints(&[2, 2], &[3, 4, 5, 6]);
        let joined = Tensor::concat(&[&a, &b], 1).unwrap();
        assert_eq!(joined, ints(&[2, 3], &[1, 3, 4, 2, 5, 6]));
        assert_eq!(joined.gathered(1, &[2, 0], &[2]).unwrap(), ints(&[2, 2], &[4, 1, 6, 2]));
        assert_eq!(joined.gathered(0, &[1], &[]).unwrap(), ints(&[3], &[2, 5, 6]));
        assert!(Tensor::concat(&[&a, &b], 0).is_err());
    }

    #[test]
    fn choose_picks_element_by_element() {
        let condition = Tensor::new(vec![3], Data::Bool(vec![true, false, true])).unwrap();
        let chosen = condition.choose(&ints(&[], &[7]), &ints(&[3], &[1, 2, 3])).unwrap();
        assert_eq!(chosen, ints(&[3], &[7, 2, 7]));
    }
}
