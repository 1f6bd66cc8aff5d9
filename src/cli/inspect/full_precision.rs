//! What a full-precision network consists of.

use crate::cli::output::{Output, grouped};
use crate::cli::preprocess::Chosen;
use crate::cli::source::outputs;
use crate::cli::table::{Column, Table};
use fgq::{Graph, NetworkLayer, NetworkSummary, Preprocess, Shape};
use serde::Serialize;
use std::collections::BTreeMap;
use std::fmt::Write;

#[derive(Serialize)]
struct FullPrecisionJson<'a> {
    name: &'a str,
    input: [usize; 3],
    outputs: usize,
    layers: Vec<NetworkLayerJson<'a>>,
    /// How often it has each.
    operators: &'a BTreeMap<&'static str, usize>,
    weights: usize,
    parameters: usize,
    multiplications: usize,
    /// Of the parameters with 32 bits each.
    bytes: usize,
    preprocess: &'a Preprocess,
    preprocess_origin: &'a str,
}

#[derive(Serialize)]
struct NetworkLayerJson<'a> {
    name: &'a str,
    kind: String,
    shape: [usize; 4],
    output: [usize; 3],
    weights: usize,
    multiplications: usize,
}

impl<'a> From<&'a NetworkLayer> for NetworkLayerJson<'a> {
    fn from(layer: &'a NetworkLayer) -> Self {
        Self {
            name: &layer.name,
            kind: layer.kind.to_string(),
            shape: layer.shape,
            output: extents(layer.output),
            weights: layer.weights,
            multiplications: layer.multiplications,
        }
    }
}

fn extents(shape: Shape) -> [usize; 3] {
    [shape.channels, shape.height, shape.width]
}

/// Describes the network.
pub fn inspect(graph: &Graph, chosen: &Chosen) -> anyhow::Result<Output> {
    let summary = NetworkSummary::new(graph)?;
    let json = FullPrecisionJson {
        name: &graph.name,
        input: extents(graph.input),
        outputs: outputs(graph)?,
        layers: summary.layers.iter().map(NetworkLayerJson::from).collect(),
        operators: &summary.operators,
        weights: summary.weights(),
        parameters: summary.parameters,
        multiplications: summary.multiplications(),
        bytes: summary.bytes(),
        preprocess: &chosen.preprocess,
        preprocess_origin: &chosen.origin,
    };
    Output::new(text(graph, &json)?, &json)
}

fn text(graph: &Graph, json: &FullPrecisionJson<'_>) -> Result<String, std::fmt::Error> {
    let mut text = String::new();
    writeln!(text, "{}: input {}, {} outputs, full precision\n", json.name, graph.input, json.outputs)?;
    writeln!(text, "{}", layer_table(&json.layers))?;
    let operators: Vec<String> =
        json.operators.iter().map(|(name, count)| format!("{count} {name}")).collect();
    writeln!(text, "operators        {}", operators.join(", "))?;
    writeln!(text, "weights          {}", grouped(json.weights))?;
    writeln!(text, "parameters       {}", grouped(json.parameters))?;
    writeln!(text, "multiplications  {} per image", grouped(json.multiplications))?;
    writeln!(text, "bytes            {} at 32 bits per parameter", grouped(json.bytes))?;
    writeln!(text, "preprocessing    {} ({})", json.preprocess, json.preprocess_origin)?;
    Ok(text)
}

fn layer_table(layers: &[NetworkLayerJson<'_>]) -> Table {
    let mut table = Table::new(&[
        Column::Left("layer"),
        Column::Left("kind"),
        Column::Right("shape"),
        Column::Right("output"),
        Column::Right("weights"),
        Column::Right("multiplications"),
    ]);
    for layer in layers {
        let joined = |extents: &[usize]| extents.iter().map(usize::to_string).collect::<Vec<_>>().join("x");
        table.row([
            layer.name.to_owned(),
            layer.kind.clone(),
            joined(&layer.shape),
            joined(&layer.output),
            grouped(layer.weights),
            grouped(layer.multiplications),
        ]);
    }
    table
}
