//! What a model is, in JSON.

use fgq::{Bytes, Error, ErrorKind, PackedModel, PackedNode, PackedOp, Result, Session, Shape};
use serde::Serialize;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Description<'a> {
    name: &'a str,
    kernels: &'a str,
    /// Channels, rows, columns.
    input: [usize; 3],
    classes: &'a [String],
    logit_scale: f64,
    widths: &'a [u8],
    settings: Vec<&'a str>,
    size: Size,
    layers: Vec<Layer<'a>>,
}

/// Bytes of a file or of a layer.
#[derive(Serialize)]
struct Size {
    total: usize,
    codes: usize,
    scales: usize,
    requantization: usize,
    tables: usize,
    metadata: usize,
}

#[derive(Serialize)]
struct Layer<'a> {
    name: &'a str,
    kind: &'a str,
    /// Channels, rows, columns of what it yields.
    output: [usize; 3],
    #[serde(skip_serializing_if = "Option::is_none")]
    precision: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    bits: Option<u8>,
    size: Size,
}

/// Describes a model whose file has `file` bytes.
pub fn description(model: &PackedModel, session: &Session, file: usize) -> Result<String> {
    let shapes = model.shapes()?;
    let layers = model.nodes.iter().zip(&shapes).map(|(node, &output)| layer(node, output, session));
    let description = Description {
        name: &model.name,
        kernels: session.kernels().name(),
        input: extents(model.input),
        classes: &model.classes,
        logit_scale: model.logit_scale,
        widths: session.widths(),
        settings: session.settings().iter().map(|setting| setting.name.as_str()).collect(),
        size: Bytes::of_file(model, file).into(),
        layers: layers.collect(),
    };
    let unwritable = |error: serde_json::Error| Error::new(ErrorKind::Format, error.to_string());
    serde_json::to_string(&description).map_err(unwritable)
}

fn layer<'a>(node: &'a PackedNode, output: Shape, session: &Session) -> Layer<'a> {
    let precision = match &node.op {
        PackedOp::Conv(conv) => Some(conv.weights.precision.to_string()),
        _ => None,
    };
    Layer {
        name: &node.name,
        kind: node.op.name(),
        output: extents(output),
        precision,
        bits: session.layers().find(|(name, _)| *name == node.name).map(|(_, width)| width),
        size: Bytes::of(node).into(),
    }
}

fn extents(shape: Shape) -> [usize; 3] {
    [shape.channels, shape.height, shape.width]
}

impl From<Bytes> for Size {
    fn from(bytes: Bytes) -> Self {
        let Bytes { codes, scales, requantization, tables, metadata } = bytes;
        Self { total: bytes.total(), codes, scales, requantization, tables, metadata }
    }
}
