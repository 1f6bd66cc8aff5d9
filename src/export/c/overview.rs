//! A page on what the model takes.

use super::text::harmless;
use super::{CExport, CLayer};
use crate::format::PackedModel;

/// A table of all layers in Markdown.
pub(super) fn overview(model: &PackedModel, export: &CExport) -> String {
    let row = |layer: &CLayer| {
        let CLayer { name, operator, shape, flash, ram, products } = layer;
        format!("| {} | {operator} | {shape} | {flash} | {ram} | {products} |\n", harmless(name))
    };
    let rows: String = export.layers.iter().map(row).collect();
    let (flash, arena, products) = (export.flash(), export.arena, export.products());
    format!(
        "# {}

Written by fgq. `model.h` says how `model.c` is called; `make` builds the example, which reads inputs from its standard
input and prints logits.

| | |
|---|---|
| constants | {flash} bytes of flash, without the code |
| arena | {arena} bytes of RAM, which the caller supplies; nothing else but the stack |
| multiply-accumulates | {products} per input |

| node | operator | value | flash, bytes | arena in use, bytes | multiply-accumulates |
|---|---|---|---|---|---|
{rows}",
        harmless(&model.name)
    )
}
