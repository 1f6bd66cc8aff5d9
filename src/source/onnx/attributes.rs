//! Attributes of a node; what no operator asked for is refused.

use super::{malformed, unsupported};
use crate::error::Result;
use crate::proto::attribute_proto::AttributeType;
use crate::proto::{AttributeProto, TensorProto};
use std::collections::BTreeMap;

/// The attributes of one node that have not been read yet.
pub(super) struct Attributes {
    unread: BTreeMap<String, AttributeProto>,
}

impl Attributes {
    /// All attributes of a node.
    pub(super) fn new(attributes: Vec<AttributeProto>) -> Self {
        Self {
            unread: attributes
                .into_iter()
                .map(|attribute| (attribute.name().to_owned(), attribute))
                .collect(),
        }
    }

    /// Names of attributes that nobody read.
    pub(super) fn unread(&self) -> Vec<&str> {
        self.unread.keys().map(String::as_str).collect()
    }

    /// Leaves out attributes that do not change the result.
    pub(super) fn ignore(&mut self, names: &[&str]) {
        self.unread.retain(|name, _| !names.contains(&name.as_str()));
    }

    /// An integer, if given.
    pub(super) fn int(&mut self, name: &str) -> Result<Option<i64>> {
        Ok(self.take(name, AttributeType::Int)?.map(|attribute| attribute.i()))
    }

    /// A truth value, false if not given.
    pub(super) fn flag(&mut self, name: &str) -> Result<bool> {
        Ok(self.int(name)?.unwrap_or(0) != 0)
    }

    /// A real number, if given.
    pub(super) fn float(&mut self, name: &str) -> Result<Option<f32>> {
        Ok(self.take(name, AttributeType::Float)?.map(|attribute| attribute.f()))
    }

    /// A text, if given.
    pub(super) fn string(&mut self, name: &str) -> Result<Option<String>> {
        let bytes = self.take(name, AttributeType::String)?.map(|attribute| attribute.s().to_vec());
        Ok(bytes.map(|bytes| String::from_utf8_lossy(&bytes).into_owned()))
    }

    /// A list of integers, if given.
    pub(super) fn ints(&mut self, name: &str) -> Result<Option<Vec<i64>>> {
        Ok(self.take(name, AttributeType::Ints)?.map(|attribute| attribute.ints))
    }

    /// A list of real numbers, if given.
    pub(super) fn floats(&mut self, name: &str) -> Result<Option<Vec<f32>>> {
        Ok(self.take(name, AttributeType::Floats)?.map(|attribute| attribute.floats))
    }

    /// A tensor, if given.
    pub(super) fn tensor(&mut self, name: &str) -> Result<Option<TensorProto>> {
        Ok(self.take(name, AttributeType::Tensor)?.and_then(|attribute| attribute.t))
    }

    fn take(&mut self, name: &str, kind: AttributeType) -> Result<Option<AttributeProto>> {
        let Some(attribute) = self.unread.remove(name) else { return Ok(None) };
        if !attribute.ref_attr_name().is_empty() {
            return Err(unsupported(format!("attribute '{name}' refers to a function's attribute")));
        }
        // Files of the first IR versions leave the type out.
        let given = attribute.r#type();
        if given != kind && given != AttributeType::Undefined {
            let (given, kind) = (given.as_str_name(), kind.as_str_name());
            return Err(malformed(format!("attribute '{name}' is of type {given} instead of {kind}")));
        }
        Ok(Some(attribute))
    }
}
