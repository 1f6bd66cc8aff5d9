//! A packed model as C99 for devices without an operating system: no floating point, no allocation, no library.

mod arena;
mod conv;
mod emit;
mod node;
mod overview;
mod text;

#[cfg(test)]
mod tests;

use crate::error::{Error, ErrorKind, Result};
use crate::files::replace_file;
use crate::format::{PackedId, PackedModel};
use crate::index::Per;
use crate::tensor::Shape;
use arena::Arena;
use node::Emission;
use std::path::Path;

/// How a model is exported as C.
#[derive(Debug, Clone)]
pub struct COptions {
    /// What the names of the interface begin with, so that several models fit one program: a C identifier.
    pub prefix: String,
}

impl Default for COptions {
    fn default() -> Self {
        Self { prefix: "model".to_owned() }
    }
}

/// What one node of an exported model takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CLayer {
    /// Name of the node.
    pub name: String,
    /// Its operator.
    pub operator: &'static str,
    /// Shape of its value.
    pub shape: Shape,
    /// Bytes of constants: weights, scales, biases, multipliers, tables.
    pub flash: usize,
    /// Bytes of the arena that are in use while it runs.
    pub ram: usize,
    /// Multiply-accumulates of one image.
    pub products: u64,
}

/// A model as C sources.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CExport {
    /// Names and contents of the files.
    pub files: Vec<(&'static str, String)>,
    /// What every node takes.
    pub layers: Vec<CLayer>,
    /// Bytes of the arena that the caller supplies.
    pub arena: usize,
}

impl CExport {
    /// Writes the files into `folder`, which is made if it is not there.
    ///
    /// # Errors
    /// `Io`, if a file cannot be written.
    pub fn write(&self, folder: &Path) -> Result<()> {
        std::fs::create_dir_all(folder).map_err(|error| Error::io(folder, error))?;
        self.files.iter().try_for_each(|(name, text)| replace_file(&folder.join(name), text.as_bytes()))
    }

    /// Bytes of constants.
    pub fn flash(&self) -> usize {
        self.layers.iter().map(|layer| layer.flash).sum()
    }

    /// Multiply-accumulates of one image.
    pub fn products(&self) -> u64 {
        self.layers.iter().map(|layer| layer.products).sum()
    }
}

/// The model as portable C99, whose logits are those of a [`Session`](crate::Session), bit for bit.
///
/// `model.h` and `model.c` are the model; `main.c` and `Makefile` show how it is called; `README.md` lists what its layers
/// take. Weights are `static const`; the caller supplies the arena, so that the code is reentrant.
///
/// # Errors
/// `Argument`, if the prefix is no C identifier or the model switches; `Unsupported`, naming the node, if a tensor is too
/// large for the code that is written; `Format`, if the model is not valid.
///
/// # Examples
/// ```no_run
/// let model = fgq::read_model("model.fgq".as_ref())?;
/// let export = fgq::export_c(&model, &fgq::COptions::default())?;
/// println!("{} bytes of flash without code, {} of RAM", export.flash(), export.arena);
/// export.write("firmware/model".as_ref())?;
/// # Ok::<(), fgq::Error>(())
/// ```
pub fn export_c(model: &PackedModel, options: &COptions) -> Result<CExport> {
    check_prefix(&options.prefix)?;
    if model.switching.is_some() {
        let message = "the model switches; export it at one setting (`bits`, or PackedModel::at)";
        return Err(Error::new(ErrorKind::Argument, message));
    }
    let shapes = model.shapes()?;
    check_extents(model, &shapes)?;
    let emissions: Per<PackedId, Emission> =
        model.nodes.ids().map(|id| Emission::of(model, &shapes, id)).collect();
    let arena = Arena::new(model, &shapes, &emissions);
    let layers = layers(model, &shapes, &emissions, &arena);
    let mut export = CExport { files: Vec::new(), layers, arena: arena.bytes() };
    export.files = vec![
        ("model.h", emit::header(model, options, &export)),
        ("model.c", emit::source(model, &shapes, options, &emissions, &arena)),
        ("main.c", emit::example(options)),
        ("Makefile", emit::MAKEFILE.to_owned()),
        ("README.md", overview::overview(model, &export)),
    ];
    Ok(export)
}

fn check_prefix(prefix: &str) -> Result<()> {
    let starts = prefix.starts_with(|c: char| c.is_ascii_alphabetic());
    if starts && prefix.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') {
        return Ok(());
    }
    let message =
        format!("`prefix = {prefix}` is no C identifier; give letters, digits and _, a letter first");
    Err(Error::new(ErrorKind::Argument, message))
}

/// Extents are numbers of 16 bits in the code, places in a tensor of 31.
fn check_extents(model: &PackedModel, shapes: &Per<PackedId, Shape>) -> Result<()> {
    let most = i16::MAX as usize;
    for (id, node) in model.nodes.enumerate() {
        let Shape { channels, height, width } = shapes[id];
        let windows = node::window_extents(&node.op);
        if [channels, height, width].into_iter().chain(windows).any(|extent| extent > most) {
            let message = format!(
                "{} of {} has an extent above {most}, which C export does not take",
                node.op.name(),
                shapes[id]
            );
            return Err(Error::new(ErrorKind::Unsupported, message).at_node(&node.name));
        }
    }
    Ok(())
}

fn layers(
    model: &PackedModel,
    shapes: &Per<PackedId, Shape>,
    emissions: &Per<PackedId, Emission>,
    arena: &Arena,
) -> Vec<CLayer> {
    let layer = |id: PackedId| CLayer {
        name: model.nodes[id].name.clone(),
        operator: model.nodes[id].op.name(),
        shape: shapes[id],
        flash: emissions[id].flash,
        ram: arena.in_use(id),
        products: emissions[id].products,
    };
    model.nodes.ids().map(layer).collect()
}
