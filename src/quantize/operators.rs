//! Integer operators by their place in execution order.

use crate::format::PackedId;
use crate::index::{Per, typed_index};

/// An integer operator, or the value it yields, by its place in execution order; never a node of the full-precision
/// graph.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct OperatorId(usize);

typed_index!(OperatorId);

/// One value for every integer operator, in execution order.
pub(crate) type PerOperator<T> = Per<OperatorId, T>;

impl OperatorId {
    /// Its node in the packed model.
    pub(crate) const fn packed(self) -> PackedId {
        PackedId::from_index(self.0)
    }

    /// The operator that became a node of the packed model.
    pub(crate) const fn of(node: PackedId) -> Self {
        Self(node.index())
    }
}
