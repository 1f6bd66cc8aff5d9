//! The operators: tables of name and function, one file per group. Adding an operator adds one row.
//!
//! A function reads its attributes first and its inputs after that, so that attributes are checked even when an
//! input comes from a refused node.

mod arithmetic;
mod channel_parts;
mod constants;
mod elementwise;
mod ending;
mod layers;
mod layout;
mod normalization;
mod pooling;
mod reduce;
mod refused;
mod select;
mod window;

use super::context::{Context, Lowered, Value};
use super::tensor::Tensor;
use super::unsupported;
use super::view::Activation;
use crate::error::Result;
use std::rc::Rc;

/// Lowers one node; returns the values of its outputs, the first one at least.
pub(super) type LowerFn = fn(&mut Context<'_>) -> Lowered<Vec<Value>>;

type OperatorRow = (&'static str, LowerFn);

const TABLES: &[&[OperatorRow]] = &[
    arithmetic::OPERATORS,
    constants::OPERATORS,
    elementwise::OPERATORS,
    ending::OPERATORS,
    layers::OPERATORS,
    layout::OPERATORS,
    normalization::OPERATORS,
    pooling::OPERATORS,
    reduce::OPERATORS,
    select::OPERATORS,
];

/// The function for the operator called `name` in `domain`.
///
/// # Errors
/// Operators that are not supported, with what to do about them.
pub(super) fn find(domain: &str, name: &str) -> Result<LowerFn> {
    if !matches!(domain, "" | "ai.onnx") {
        let remedy = "export with standard ONNX operators, or inline the model's functions (onnx.inliner)";
        return Err(unsupported(format!("operators of domain '{domain}' are not supported; {remedy}")));
    }
    let row = TABLES.iter().flat_map(|table| table.iter()).find(|row| row.0 == name);
    row.map(|row| row.1).ok_or_else(|| unsupported(refused::reason(name)))
}

/// Names of all supported operators, in alphabetical order.
#[cfg(test)]
pub(super) fn supported() -> Vec<&'static str> {
    let mut names: Vec<_> = TABLES.iter().flat_map(|table| table.iter()).map(|row| row.0).collect();
    names.sort_unstable();
    names
}

/// One output that is a constant.
fn constant(tensor: Tensor) -> Lowered<Vec<Value>> {
    Ok(vec![Value::Constant(Rc::new(tensor))])
}

/// One output that depends on the image.
fn activation(activation: Activation) -> Lowered<Vec<Value>> {
    Ok(vec![Value::Activation(activation)])
}
