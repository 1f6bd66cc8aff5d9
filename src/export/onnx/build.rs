//! Messages of ONNX.

use crate::error::{Error, ErrorKind, Result};
use crate::proto::attribute_proto::AttributeType;
use crate::proto::tensor_proto::DataType;
use crate::proto::tensor_shape_proto::{Dimension, dimension};
use crate::proto::{
    AttributeProto, GraphProto, ModelProto, NodeProto, OperatorSetIdProto, TensorProto, TensorShapeProto,
    TypeProto, ValueInfoProto, type_proto,
};
use crate::tensor::Shape;
use std::collections::BTreeSet;

/// Names of the network's input and output.
pub(super) const INPUT: &str = "input";
pub(super) const OUTPUT: &str = "logits";

/// A graph that grows.
#[derive(Debug, Default)]
pub(super) struct OnnxGraphBuilder {
    nodes: Vec<NodeProto>,
    initializers: Vec<TensorProto>,
    zero_points: BTreeSet<u8>,
}

/// An attribute's value.
pub(super) enum AttributeValue {
    Int(i64),
    Ints(Vec<i64>),
}

impl OnnxGraphBuilder {
    /// Adds a node without a name and with one output, whose name it returns.
    pub(super) fn node(
        &mut self,
        operator: &str,
        output: String,
        inputs: &[&str],
        attributes: Vec<(&str, AttributeValue)>,
    ) -> String {
        self.nodes.push(NodeProto {
            input: inputs.iter().map(|&input| input.to_owned()).collect(),
            output: vec![output.clone()],
            op_type: Some(operator.to_owned()),
            attribute: attributes.into_iter().map(|(name, value)| attribute(name, value)).collect(),
            ..NodeProto::default()
        });
        output
    }

    /// Gives the newest node another output.
    pub(super) fn rename_output(&mut self, output: &str) {
        if let Some(node) = self.nodes.last_mut() {
            node.output = vec![output.to_owned()];
        }
    }

    /// Names the newest node.
    pub(super) fn rename_node(&mut self, name: &str) {
        if let Some(node) = self.nodes.last_mut() {
            node.name = Some(name.to_owned());
        }
    }

    /// Adds a constant and returns its name.
    pub(super) fn tensor(&mut self, name: String, kind: DataType, dims: &[usize], bytes: Vec<u8>) -> String {
        self.initializers.push(TensorProto {
            name: Some(name.clone()),
            data_type: Some(kind as i32),
            dims: dims.iter().map(|&dim| dim as i64).collect(),
            raw_data: Some(bytes),
            ..TensorProto::default()
        });
        name
    }

    pub(super) fn reals(&mut self, name: String, dims: &[usize], values: &[f32]) -> String {
        self.tensor(
            name,
            DataType::Float,
            dims,
            values.iter().flat_map(|value| value.to_le_bytes()).collect(),
        )
    }

    pub(super) fn indices(&mut self, name: String, values: &[i64]) -> String {
        let bytes = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        self.tensor(name, DataType::Int64, &[values.len()], bytes)
    }

    /// A zero point, which all with the same one share.
    pub(super) fn zero_point(&mut self, code: u8) -> String {
        let name = format!("code{code}");
        match self.zero_points.insert(code) {
            true => self.bytes(name, &[], &[code]),
            false => name,
        }
    }

    pub(super) fn bytes(&mut self, name: String, dims: &[usize], values: &[u8]) -> String {
        self.tensor(name, DataType::Uint8, dims, values.to_vec())
    }

    /// A name that occurs twice.
    fn repeated(&self) -> Option<&str> {
        let outputs = self.nodes.iter().flat_map(|node| &node.output);
        let mut known = BTreeSet::from([INPUT]);
        let mut names = self.initializers.iter().filter_map(|tensor| tensor.name.as_ref()).chain(outputs);
        names.find(|name| !known.insert(name.as_str())).map(String::as_str)
    }

    /// The whole file.
    ///
    /// # Errors
    /// `Unsupported`, if nodes have names such as the file gives to their parts.
    pub(super) fn finish(
        self,
        name: &str,
        input: Shape,
        classes: usize,
        opset: u32,
        ir: i64,
    ) -> Result<ModelProto> {
        if let Some(name) = self.repeated() {
            let message = format!("two values of the ONNX file would be called '{name}'");
            return Err(Error::new(ErrorKind::Unsupported, message));
        }
        let Shape { channels, height, width } = input;
        let graph = GraphProto {
            node: self.nodes,
            name: Some(name.to_owned()),
            initializer: self.initializers,
            input: vec![value(INPUT, &[channels, height, width])],
            output: vec![value(OUTPUT, &[classes])],
            ..GraphProto::default()
        };
        Ok(ModelProto {
            ir_version: Some(ir),
            opset_import: vec![OperatorSetIdProto {
                domain: Some(String::new()),
                version: Some(i64::from(opset)),
            }],
            producer_name: Some("fgq".to_owned()),
            producer_version: Some(env!("CARGO_PKG_VERSION").to_owned()),
            graph: Some(graph),
            ..ModelProto::default()
        })
    }
}

fn attribute(name: &str, value: AttributeValue) -> AttributeProto {
    let mut proto = AttributeProto { name: Some(name.to_owned()), ..AttributeProto::default() };
    match value {
        AttributeValue::Int(value) => {
            proto.r#type = Some(AttributeType::Int as i32);
            proto.i = Some(value);
        }
        AttributeValue::Ints(values) => {
            proto.r#type = Some(AttributeType::Ints as i32);
            proto.ints = values;
        }
    }
    proto
}

/// A batch of real numbers.
fn value(name: &str, extents: &[usize]) -> ValueInfoProto {
    let batch = dimension::Value::DimParam("batch".to_owned());
    let fixed = extents.iter().map(|&extent| dimension::Value::DimValue(extent as i64));
    let dim = std::iter::once(batch).chain(fixed);
    let dim = dim.map(|value| Dimension { value: Some(value), ..Dimension::default() }).collect();
    let tensor =
        type_proto::Tensor { elem_type: Some(DataType::Float as i32), shape: Some(TensorShapeProto { dim }) };
    ValueInfoProto {
        name: Some(name.to_owned()),
        r#type: Some(TypeProto {
            value: Some(type_proto::Value::TensorType(tensor)),
            ..TypeProto::default()
        }),
        ..ValueInfoProto::default()
    }
}
