//! Indices, every kind a type of its own, and tables that only their kind indexes.

use std::fmt::{Debug, Formatter};
use std::marker::PhantomData;
use std::ops::{Index, IndexMut};

/// An index of one kind, for which no other can be taken; [`PackedId`](crate::PackedId) is one.
pub trait TypedIndex: Copy + Ord + Debug {
    /// The index of a place.
    fn from_index(index: usize) -> Self;

    /// The place.
    fn index(self) -> usize;
}

/// Makes a type that holds a place an index.
macro_rules! typed_index {
    ($name:ident) => {
        // Not every kind needs all of them.
        #[allow(dead_code)]
        impl $name {
            /// The first, which is the input.
            pub const INPUT: Self = Self(0);

            /// The index of a place.
            pub const fn from_index(index: usize) -> Self {
                Self(index)
            }

            /// The place, from 0.
            pub const fn index(self) -> usize {
                self.0
            }
        }

        impl $crate::index::TypedIndex for $name {
            fn from_index(index: usize) -> Self {
                Self(index)
            }

            fn index(self) -> usize {
                self.0
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                std::fmt::Display::fmt(&self.0, f)
            }
        }
    };
}
pub(crate) use typed_index;

/// One value for every index of a kind, from the first to some last.
///
/// # Examples
/// ```
/// use fgq::{PackedId, Per};
///
/// let mut bytes: Per<PackedId, usize> = Per::filled(0, 2);
/// bytes[PackedId::INPUT] = 3072;
/// let last = bytes.push(40);
/// assert!(bytes.is_last(last));
/// let largest = bytes.enumerate().max_by_key(|(_, bytes)| **bytes);
/// assert_eq!(largest, Some((PackedId::INPUT, &3072)));
/// ```
#[derive(PartialEq, Eq)]
pub struct Per<I, T> {
    values: Vec<T>,
    indices: PhantomData<fn(I) -> I>,
}

impl<I: TypedIndex, T> Per<I, T> {
    /// The same value for the first `len` indices.
    pub fn filled(value: T, len: usize) -> Self
    where
        T: Clone,
    {
        vec![value; len].into()
    }

    /// How many values there are.
    pub fn len(&self) -> usize {
        self.values.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    /// Adds the value of the next index.
    pub fn push(&mut self, value: T) -> I {
        self.values.push(value);
        I::from_index(self.values.len() - 1)
    }

    /// Takes the last value off.
    pub fn pop(&mut self) -> Option<T> {
        self.values.pop()
    }

    /// Keeps the first `len` values.
    pub fn truncate(&mut self, len: usize) {
        self.values.truncate(len);
    }

    /// All indices, in order.
    pub fn ids(&self) -> impl DoubleEndedIterator<Item = I> + ExactSizeIterator + use<I, T> {
        (0..self.values.len()).map(I::from_index)
    }

    /// The indices after `id`.
    pub fn ids_after(&self, id: I) -> impl DoubleEndedIterator<Item = I> + ExactSizeIterator + use<I, T> {
        (id.index().saturating_add(1)..self.values.len()).map(I::from_index)
    }

    /// The indices after `first`, up to and with `last`.
    pub fn ids_between(&self, first: I, last: I) -> impl Iterator<Item = I> + use<I, T> {
        self.ids_after(first).take_while(move |&id| id <= last)
    }

    /// The value of `id`, if there is one.
    pub fn get(&self, id: I) -> Option<&T> {
        self.values.get(id.index())
    }

    /// The values of several indices, to be changed; none if one is missing or there twice.
    pub fn get_disjoint_mut<const N: usize>(&mut self, ids: [I; N]) -> Option<[&mut T; N]> {
        self.values.get_disjoint_mut(ids.map(I::index)).ok()
    }

    /// The last value.
    pub fn last(&self) -> Option<&T> {
        self.values.last()
    }

    /// Whether no index comes after `id`.
    pub fn is_last(&self, id: I) -> bool {
        self.values.len().checked_sub(1) == Some(id.index())
    }

    /// The values, in order.
    pub fn iter(&self) -> std::slice::Iter<'_, T> {
        self.values.iter()
    }

    /// The values, in order, to be changed.
    pub fn iter_mut(&mut self) -> std::slice::IterMut<'_, T> {
        self.values.iter_mut()
    }

    /// Every index with its value, in order.
    pub fn enumerate(&self) -> impl DoubleEndedIterator<Item = (I, &T)> + ExactSizeIterator {
        self.ids().zip(&self.values)
    }

    /// What `f` makes of every value.
    pub fn map<U>(&self, f: impl FnMut(&T) -> U) -> Per<I, U> {
        self.values.iter().map(f).collect()
    }

    /// The first index with a value that is wanted.
    pub fn position(&self, wanted: impl FnMut(&T) -> bool) -> Option<I> {
        self.values.iter().position(wanted).map(I::from_index)
    }

    /// The values by place.
    pub fn as_slice(&self) -> &[T] {
        &self.values
    }

    /// The values by place.
    pub fn into_vec(self) -> Vec<T> {
        self.values
    }
}

impl<I, T: Clone> Clone for Per<I, T> {
    fn clone(&self) -> Self {
        self.values.clone().into()
    }

    fn clone_from(&mut self, other: &Self) {
        self.values.clone_from(&other.values);
    }
}

impl<I, T> Default for Per<I, T> {
    fn default() -> Self {
        Vec::new().into()
    }
}

impl<I, T: Debug> Debug for Per<I, T> {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        self.values.fmt(f)
    }
}

impl<I, T> From<Vec<T>> for Per<I, T> {
    fn from(values: Vec<T>) -> Self {
        Self { values, indices: PhantomData }
    }
}

impl<I: TypedIndex, T> Index<I> for Per<I, T> {
    type Output = T;

    #[inline]
    fn index(&self, id: I) -> &T {
        &self.values[id.index()]
    }
}

impl<I: TypedIndex, T> IndexMut<I> for Per<I, T> {
    #[inline]
    fn index_mut(&mut self, id: I) -> &mut T {
        &mut self.values[id.index()]
    }
}

impl<I, T> FromIterator<T> for Per<I, T> {
    fn from_iter<V: IntoIterator<Item = T>>(values: V) -> Self {
        Vec::from_iter(values).into()
    }
}

impl<I, T> IntoIterator for Per<I, T> {
    type Item = T;
    type IntoIter = std::vec::IntoIter<T>;

    fn into_iter(self) -> Self::IntoIter {
        self.values.into_iter()
    }
}

impl<'a, I, T> IntoIterator for &'a Per<I, T> {
    type Item = &'a T;
    type IntoIter = std::slice::Iter<'a, T>;

    fn into_iter(self) -> Self::IntoIter {
        self.values.iter()
    }
}

impl<'a, I, T> IntoIterator for &'a mut Per<I, T> {
    type Item = &'a mut T;
    type IntoIter = std::slice::IterMut<'a, T>;

    fn into_iter(self) -> Self::IntoIter {
        self.values.iter_mut()
    }
}
