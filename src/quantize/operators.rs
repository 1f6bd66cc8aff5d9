//! Integer operators by their place in execution order.

use std::ops::{Index, IndexMut};

/// An integer operator, or the value it yields, by its place in execution order; never a node of the full-precision
/// graph.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct OperatorId(usize);

impl OperatorId {
    /// The operator that yields the pixels.
    pub(crate) const INPUT: Self = Self(0);

    /// The place of the operator, and of its node in the packed model.
    pub(crate) fn index(self) -> usize {
        self.0
    }
}

impl From<usize> for OperatorId {
    fn from(index: usize) -> Self {
        Self(index)
    }
}

/// One value for every integer operator, in execution order.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct PerOperator<T>(Vec<T>);

impl<T> PerOperator<T> {
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// Adds the value of the next operator.
    pub(crate) fn push(&mut self, value: T) -> OperatorId {
        self.0.push(value);
        OperatorId(self.0.len() - 1)
    }

    pub(crate) fn ids(&self) -> impl DoubleEndedIterator<Item = OperatorId> + ExactSizeIterator + use<T> {
        (0..self.0.len()).map(OperatorId)
    }

    /// The operators that run after `id`.
    pub(crate) fn ids_after(&self, id: OperatorId) -> impl Iterator<Item = OperatorId> + use<T> {
        (id.0 + 1..self.0.len()).map(OperatorId)
    }

    pub(crate) fn last(&self) -> Option<&T> {
        self.0.last()
    }

    pub(crate) fn is_last(&self, id: OperatorId) -> bool {
        id.0 + 1 == self.0.len()
    }

    pub(crate) fn iter(&self) -> std::slice::Iter<'_, T> {
        self.0.iter()
    }

    pub(crate) fn iter_mut(&mut self) -> std::slice::IterMut<'_, T> {
        self.0.iter_mut()
    }

    /// Every operator with its value.
    pub(crate) fn enumerate(&self) -> impl DoubleEndedIterator<Item = (OperatorId, &T)> + ExactSizeIterator {
        self.ids().zip(&self.0)
    }

    pub(crate) fn into_vec(self) -> Vec<T> {
        self.0
    }
}

impl<T> Default for PerOperator<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T> Index<OperatorId> for PerOperator<T> {
    type Output = T;

    fn index(&self, id: OperatorId) -> &T {
        &self.0[id.0]
    }
}

impl<T> IndexMut<OperatorId> for PerOperator<T> {
    fn index_mut(&mut self, id: OperatorId) -> &mut T {
        &mut self.0[id.0]
    }
}

impl<T> FromIterator<T> for PerOperator<T> {
    fn from_iter<I: IntoIterator<Item = T>>(values: I) -> Self {
        Self(values.into_iter().collect())
    }
}

impl<T> IntoIterator for PerOperator<T> {
    type Item = T;
    type IntoIter = std::vec::IntoIter<T>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

impl<'a, T> IntoIterator for &'a PerOperator<T> {
    type Item = &'a T;
    type IntoIter = std::slice::Iter<'a, T>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}
