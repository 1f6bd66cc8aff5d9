//! `fgq export`: a packed model in forms that other programs take.

use super::output::{Output, check_writable, grouped};
use super::settings::BitsArgs;
use super::table::{Column, Table};
use fgq::{CExport, CLayer, COptions, OnnxExportOptions, PackedModel, replace_file};
use serde::Serialize;
use std::fmt::Write;
use std::path::{Path, PathBuf};

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
    /// With --onnx: the operator set, 21 to 25; below 25 ternary weights take 4 bits instead of 2
    #[arg(long, value_name = "N", default_value_t = OnnxExportOptions::default().opset)]
    opset: u32,
    /// With --onnx: round between sums and codes as the integer runtime does, for its codes and answers, with more operators
    #[arg(long)]
    integer_rounding: bool,
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
    /// Write an ONNX file that computes in real numbers what the model computes in integers
    #[arg(long, value_name = "OUT.onnx")]
    onnx: Option<PathBuf>,
}

#[derive(Serialize)]
struct ExportJson {
    #[serde(skip_serializing_if = "Option::is_none")]
    c: Option<CJson>,
    #[serde(skip_serializing_if = "Option::is_none")]
    onnx: Option<OnnxJson>,
}

#[derive(Serialize)]
struct OnnxJson {
    output: String,
    bytes: usize,
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
    // Everything is refused before anything is written.
    let (c, onnx) = (args.c(&model)?, args.onnx(&model)?);
    let c =
        c.map(|(folder, export)| export.write(folder).map(|()| CJson::new(folder, &export))).transpose()?;
    let onnx = onnx
        .map(|(path, bytes)| replace_file(path, &bytes).map(|()| OnnxJson::new(path, &bytes)))
        .transpose()?;
    let mut text = c.as_ref().map(CJson::text).transpose()?.unwrap_or_default();
    if let Some(OnnxJson { output, bytes }) = &onnx {
        text.push_str(&format!("output                {output}, {} bytes\n", grouped(*bytes)));
    }
    Output::new(text, &ExportJson { c, onnx })
}

impl Args {
    fn c(&self, model: &PackedModel) -> anyhow::Result<Option<(&Path, CExport)>> {
        let Some(folder) = &self.forms.c else { return Ok(None) };
        let options = COptions { prefix: self.prefix.clone() };
        let export = fgq::export_c(model, &options).map_err(|error| error.at_path(&self.model))?;
        Ok(Some((folder, export)))
    }

    fn onnx(&self, model: &PackedModel) -> anyhow::Result<Option<(&Path, Vec<u8>)>> {
        let Some(path) = &self.forms.onnx else { return Ok(None) };
        check_writable(path, "--onnx")?;
        let options = OnnxExportOptions { opset: self.opset, integer_rounding: self.integer_rounding };
        let bytes = fgq::export_onnx(model, &options).map_err(|error| error.at_path(&self.model))?;
        Ok(Some((path, bytes)))
    }
}

impl OnnxJson {
    fn new(path: &Path, bytes: &[u8]) -> Self {
        Self { output: path.display().to_string(), bytes: bytes.len() }
    }
}

impl CJson {
    fn new(folder: &Path, export: &CExport) -> Self {
        let layer = |layer: &CLayer| CLayerJson {
            name: layer.name.clone(),
            operator: layer.operator,
            shape: [layer.shape.channels, layer.shape.height, layer.shape.width],
            flash: layer.flash,
            arena: layer.ram,
            products: layer.products,
        };
        let layers = export.layers.iter().map(layer).collect();
        Self {
            folder: folder.display().to_string(),
            flash: export.flash(),
            arena: export.arena,
            products: export.products(),
            layers,
        }
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
