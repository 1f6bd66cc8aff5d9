//! Turns the nodes of a model, one by one, into constants and nodes of a [`Graph`].

use super::attributes::Attributes;
use super::context::{Context, GraphBuilder, Lowered, NodeInput, Stop, Value, shape};
use super::decode::decode;
use super::model::{self, OnnxModel};
use super::operators;
use super::view::{Activation, IMAGE, IMAGE_CHANNELS_LAST};
use super::{external, malformed, unsupported};
use crate::error::{Error, ErrorKind, Refusal, Result};
use crate::graph::{Graph, Node, NodeId, Op};
use crate::index::Per;
use crate::proto::{NodeProto, TensorProto};
use crate::source::Loaded;
use crate::tensor::Shape;
use std::collections::HashMap;
use std::path::Path;
use std::rc::Rc;

/// The graph of `model`, called `name`, from a file of `bytes` bytes; external data lies in `folder`.
///
/// # Errors
/// All unsupported nodes at once; otherwise the first fault of the file.
pub(super) fn lower(mut model: OnnxModel, bytes: u64, folder: &Path, name: String) -> Result<Loaded> {
    let nodes = std::mem::take(&mut model.nodes);
    let uses = uses(&nodes, &model.output);
    let stored = std::mem::take(&mut model.initializers);
    let bytes = bytes.saturating_add(external::bytes(stored.values(), folder));
    let (values, builder) = (HashMap::new(), GraphBuilder::new(bytes));
    let mut lowering =
        Lowering { opset: model.opset, folder, stored, values, uses, builder, faults: Vec::new() };
    let input = lowering.input(&model.input)?;
    nodes.into_iter().for_each(|node| lowering.node(node));
    lowering.finish(name, input, &model.output)
}

/// How often each tensor is read.
fn uses(nodes: &[NodeProto], output: &str) -> HashMap<String, usize> {
    let mut uses = HashMap::from([(output.to_owned(), 1)]);
    for name in nodes.iter().flat_map(|node| &node.input) {
        *uses.entry(name.clone()).or_insert(0) += 1;
    }
    uses
}

struct Lowering<'a> {
    opset: i64,
    folder: &'a Path,
    stored: HashMap<String, TensorProto>,
    values: HashMap<String, Value>,
    /// Reads of each tensor that are still to come; a tensor without any is forgotten.
    uses: HashMap<String, usize>,
    builder: GraphBuilder,
    faults: Vec<Fault>,
}

/// Why a node could not be lowered.
struct Fault {
    node: String,
    operator: String,
    error: Error,
}

impl Fault {
    fn refusal(self) -> Refusal {
        Refusal { node: self.node, operator: self.operator, reason: self.error.to_string() }
    }
}

impl Lowering<'_> {
    fn input(&mut self, input: &model::ImageInput) -> Result<Shape> {
        let [first, second, third] = input.extents;
        let (extents, roles) = match input.channels_last {
            true => ([third, first, second], IMAGE_CHANNELS_LAST),
            false => (input.extents, IMAGE),
        };
        if input.channels_last {
            self.builder.notes.push(format!("the input '{}' has its channels last (NHWC)", input.name));
        }
        let shape = shape(extents)?;
        let node = self.builder.emit(&input.name, Op::Input, Vec::new())?;
        let activation = Activation::new(node, shape, input.batch, &roles);
        self.values.insert(input.name.clone(), Value::Activation(activation));
        Ok(shape)
    }

    fn node(&mut self, mut node: NodeProto) {
        let name = node_name(&node);
        let values = self.attempt(&mut node, &name).unwrap_or_else(|stop| {
            if let Stop::Error(error) = stop {
                self.faults.push(Fault { node: name, operator: node.op_type().to_owned(), error });
            }
            vec![Value::Unknown; node.output.len()]
        });
        self.values.extend(node.output.iter().cloned().zip(values));
        node.input.iter().for_each(|input| self.release(input));
    }

    fn attempt(&mut self, node: &mut NodeProto, name: &str) -> Lowered<Vec<Value>> {
        let operator = operators::find(node.domain(), node.op_type())?;
        let inputs = node.input.iter().map(|tensor| self.resolve(tensor)).collect::<Result<_>>()?;
        let mut context = Context {
            opset: self.opset,
            name,
            attributes: Attributes::new(std::mem::take(&mut node.attribute)),
            inputs,
            output_count: node.output.len(),
            folder: self.folder,
            builder: &mut self.builder,
        };
        let values = operator(&mut context);
        let unread = context.attributes.unread();
        if !unread.is_empty() && !matches!(values, Err(Stop::Error(_))) {
            return Err(unsupported(format!("attributes {unread:?} are not supported")).into());
        }
        let values = values?;
        self.check_outputs(node, &values)?;
        Ok(values)
    }

    /// Refuses outputs that somebody reads but the operator does not make, and counts new constants.
    fn check_outputs(&mut self, node: &NodeProto, values: &[Value]) -> Result<()> {
        let mut extra = node.output.iter().skip(values.len());
        if let Some(name) = extra.find(|name| self.uses.contains_key(*name)) {
            return Err(unsupported(format!("its output '{name}' is not supported; only the first one is")));
        }
        // A constant that something else holds was passed on, not made.
        let made = |value: &Value| match value {
            Value::Constant(tensor) if Rc::strong_count(tensor) == 1 => tensor.data.bytes(),
            _ => 0,
        };
        self.builder.charge_constants(values.iter().map(made).sum())
    }

    /// The input called `tensor`; stored tensors are decoded when they are first needed.
    fn resolve(&mut self, tensor: &str) -> Result<Option<NodeInput>> {
        if tensor.is_empty() {
            return Ok(None);
        }
        if let Some(stored) = self.stored.remove(tensor) {
            let constant = decode(stored, self.folder)?;
            self.builder.charge_constants(constant.data.bytes())?;
            self.values.insert(tensor.to_owned(), Value::Constant(Rc::new(constant)));
        }
        let value = self.values.get(tensor).cloned().unwrap_or(Value::Unknown);
        Ok(Some(NodeInput { tensor: tensor.to_owned(), value }))
    }

    fn release(&mut self, tensor: &str) {
        if let Some(left) = self.uses.get_mut(tensor) {
            *left -= 1;
            if *left == 0 {
                self.values.remove(tensor);
            }
        }
    }

    fn finish(mut self, name: String, input: Shape, output: &str) -> Result<Loaded> {
        if !self.faults.is_empty() {
            return Err(report(self.faults));
        }
        let value = self.resolve(output)?.map(|input| input.value);
        let activation = match value {
            Some(Value::Activation(activation) | Value::Scores(activation)) => activation,
            _ => return Err(malformed(format!("the output '{output}' does not depend on the image"))),
        };
        if !activation.is_batch_first() || !activation.is_contiguous() {
            return Err(unsupported(format!(
                "the output '{output}' is transposed; export the model with channels first"
            )));
        }
        let (nodes, output) = prune(self.builder.nodes, activation.node);
        let graph = Graph { name, input, nodes, output };
        graph.validate()?;
        Ok(Loaded { graph, notes: self.builder.notes })
    }
}

fn node_name(node: &NodeProto) -> String {
    let output = node.output.iter().find(|name| !name.is_empty());
    match (node.name(), output) {
        ("", Some(output)) => output.clone(),
        ("", None) => node.op_type().to_owned(),
        (name, _) => name.to_owned(),
    }
}

/// One error for all faults: the unsupported nodes if there are any, else the first fault.
fn report(faults: Vec<Fault>) -> Error {
    let (refused, broken): (Vec<_>, Vec<_>) =
        faults.into_iter().partition(|fault| fault.error.kind() == ErrorKind::Unsupported);
    if !refused.is_empty() {
        return Error::refused(refused.into_iter().map(Fault::refusal).collect());
    }
    match broken.into_iter().next() {
        Some(fault) => {
            let message = format!("{}: {}", fault.operator, fault.error);
            Error::new(fault.error.kind(), message).at_node(&fault.node).because(fault.error)
        }
        None => malformed("no fault to report"),
    }
}

/// The nodes that `output` needs, renumbered; the input stays in any case.
fn prune(nodes: Per<NodeId, Node>, output: NodeId) -> (Per<NodeId, Node>, NodeId) {
    let mut needed = Per::filled(false, nodes.len());
    needed[output] = true;
    for id in nodes.ids().rev() {
        if needed[id] {
            nodes[id].inputs.iter().for_each(|&input| needed[input] = true);
        }
    }
    needed[NodeId::INPUT] = true;
    let mut place = Per::filled(NodeId::INPUT, nodes.len());
    let mut kept: Per<NodeId, Node> = Per::default();
    for (id, mut node) in needed.ids().zip(nodes).filter(|&(id, _)| needed[id]) {
        node.inputs.iter_mut().for_each(|input| *input = place[*input]);
        place[id] = kept.push(node);
    }
    (kept, place[output])
}
