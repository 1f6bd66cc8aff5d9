//! `fgq export`: a packed model in forms that other programs take.

use super::output::{Output, grouped};
use super::settings::BitsArgs;
use super::table::{Column, Table};
use fgq::{CExport, CLayer, COptions, PackedModel};
use serde::Serialize;
use std::fmt::Write;
use std::path::PathBuf;

/// Arguments of `fgq export`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The packed model
    model: PathBuf,
    #[command(flatten)]
    forms: FormArgs,
    /// With --c: what the names of the interface begin with
    #[arg(long, value_name = "NAME", default_value = "model")]
    prefix: String,
    #[command(flatten)]
    bits: BitsArgs,
}

/// What the model is to become.
#[derive(Debug, clap::Args)]
#[group(required = true, multiple = true)]
struct FormArgs {
    /// Write C99 for devices without an operating system: model.h, model.c, an example, a Makefile, a table of the layers
    #[arg(long, value_name = "DIR")]
    c: Option<PathBuf>,
}

#[derive(Serialize)]
struct ExportJson {
    #[serde(skip_serializing_if = "Option::is_none")]
    c: Option<CJson>,
}

/// Sizes are in bytes.
#[derive(Serialize)]
struct CJson {
    folder: String,
    flash: usize,
    arena: usize,
    products: u64,
    layers: Vec<CLayerJson>,
}

#[derive(Serialize)]
struct CLayerJson {
    name: String,
    operator: &'static str,
    shape: [usize; 3],
    flash: usize,
    arena: usize,
    products: u64,
}

/// Writes the model in every form that was asked for.
pub fn run(args: &Args) -> anyhow::Result<Output> {
    let model = args.bits.at(&args.model, fgq::read_model(&args.model)?)?;
    let c = args.c(&model)?;
    let text = c.as_ref().map(CJson::text).transpose()?.unwrap_or_default();
    Ok(Output::new(text, &ExportJson { c })?)
}

impl Args {
    fn c(&self, model: &PackedModel) -> anyhow::Result<Option<CJson>> {
        let Some(folder) = &self.forms.c else { return Ok(None) };
        let options = COptions { prefix: self.prefix.clone() };
        let export = fgq::export_c(model, &options).map_err(|error| error.at_path(&self.model))?;
        export.write(folder)?;
        Ok(Some(CJson::new(folder.display().to_string(), &export)))
    }
}

impl CJson {
    fn new(folder: String, export: &CExport) -> Self {
        let layer = |layer: &CLayer| CLayerJson {
            name: layer.name.clone(),
            operator: layer.operator,
            shape: [layer.shape.channels, layer.shape.height, layer.shape.width],
            flash: layer.flash,
            arena: layer.ram,
            products: layer.products,
        };
        let layers = export.layers.iter().map(layer).collect();
        Self { folder, flash: export.flash(), arena: export.arena, products: export.products(), layers }
    }

    fn text(&self) -> Result<String, std::fmt::Error> {
        let mut table = Table::new(&[
            Column::Left("node"),
            Column::Left("operator"),
            Column::Right("value"),
            Column::Right("flash"),
            Column::Right("arena"),
            Column::Right("multiply-accumulates"),
        ]);
        for layer in &self.layers {
            let [channels, height, width] = layer.shape;
            table.row([
                layer.name.clone(),
                layer.operator.to_owned(),
                format!("{channels}x{height}x{width}"),
                grouped(layer.flash),
                grouped(layer.arena),
                grouped(layer.products as usize),
            ]);
        }
        let mut text = table.to_string();
        writeln!(text, "\noutput                {}", self.folder)?;
        writeln!(text, "flash                 {} bytes of constants, without the code", grouped(self.flash))?;
        writeln!(text, "arena                 {} bytes", grouped(self.arena))?;
        writeln!(text, "multiply-accumulates  {}", grouped(self.products as usize))?;
        Ok(text)
    }
}
