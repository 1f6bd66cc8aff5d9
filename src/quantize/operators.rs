//! Integer operators by their place in execution order.

use crate::index::{Per, typed_index};

/// An integer operator, or the value it yields, by its place in execution order; never a node of the full-precision
/// graph.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct OperatorId(usize);

typed_index!(OperatorId);

/// One value for every integer operator, in execution order.
pub(crate) type PerOperator<T> = Per<OperatorId, T>;
