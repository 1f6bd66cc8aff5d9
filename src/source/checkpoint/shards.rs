//! The tensors of one safetensors file, or of several named by an index file.

use super::malformed;
use super::names::without_wrappers;
use super::numbers::decoded;
use crate::error::{Error, Result};
use crate::graph::all_finite;
use crate::inputs::{Extent, open_regular, read_part, read_regular};
use safetensors::tensor::{Metadata, TensorInfo};
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;
use std::path::{Component, Path, PathBuf};

/// The most bytes a header or index file may have.
pub(super) const MAX_HEADER: u64 = 100 << 20;

/// Tensors by name. Only headers are in memory; values are read tensor by tensor.
#[derive(Debug)]
pub(super) struct Safetensors {
    path: PathBuf,
    files: Vec<Shard>,
    /// Index of the file and name in the file of each tensor, by its name without wrappers.
    places: BTreeMap<String, (usize, String)>,
}

#[derive(Debug)]
struct Shard {
    path: PathBuf,
    header: Metadata,
    /// Position of the first tensor's bytes.
    data: u64,
}

/// `model.safetensors.index.json`, as Hugging Face libraries write it.
#[derive(Deserialize)]
struct Index {
    weight_map: BTreeMap<String, String>,
}

impl Safetensors {
    /// Reads the headers of the file at `path`, or of the files that the index at `path` (`*.json`) names.
    pub(super) fn open(path: &Path) -> Result<Self> {
        let is_index = path.extension().is_some_and(|extension| extension == "json");
        let paths = if is_index { shard_paths(path)? } else { vec![path.to_owned()] };
        let files = paths.iter().map(|path| Shard::open(path)).collect::<Result<Vec<_>>>()?;
        let mut places = BTreeMap::new();
        for (file, shard) in files.iter().enumerate() {
            for name in shard.header.tensors().into_keys() {
                if places.insert(name.clone(), (file, name.clone())).is_some() {
                    return Err(malformed(format!("two files hold a tensor '{name}'")).at_path(path));
                }
            }
        }
        Ok(Self { path: path.to_owned(), files, places: without_wrappers(places) })
    }

    fn info(&self, name: &str) -> Option<(&Shard, &TensorInfo)> {
        let (file, name) = self.places.get(name)?;
        let shard = self.files.get(*file)?;
        Some((shard, shard.header.info(name)?))
    }
}

impl super::Tensors for Safetensors {
    fn names(&self) -> Vec<&str> {
        self.places.keys().map(String::as_str).collect()
    }

    fn shape(&self, name: &str) -> Option<&[usize]> {
        self.info(name).map(|(_, info)| info.shape.as_slice())
    }

    fn read(&self, name: &str) -> Result<Vec<f32>> {
        let (shard, info) =
            self.info(name).ok_or_else(|| malformed(format!("no tensor '{name}'")).at_path(&self.path))?;
        let values = shard
            .bytes(info)
            .and_then(|bytes| decoded(name, info.dtype, &bytes))
            .and_then(|values| all_finite(name, &values).map(|()| values));
        values.map_err(|error| error.at_path(&shard.path))
    }
}

impl Shard {
    fn open(path: &Path) -> Result<Self> {
        let (length, header) = read_header(path)?;
        let broken = |what: &str| malformed(format!("not a safetensors file: {what}")).at_path(path);
        let header = header.ok_or_else(|| broken("its header has an impossible length"))?;
        let data = 8 + header.len() as u64;
        let header: Metadata = serde_json::from_slice(&header)
            .map_err(|error| broken("its header is damaged").because(error))?;
        if data.checked_add(header.data_len() as u64) != Some(length) {
            return Err(broken("its length is not what its header says; was it downloaded completely?"));
        }
        Ok(Self { path: path.to_owned(), header, data })
    }

    fn bytes(&self, info: &TensorInfo) -> Result<Vec<u8>> {
        let (start, end) = info.data_offsets;
        read_part(&self.path, Extent { start: self.data + start as u64, length: (end - start) as u64 })
    }
}

/// The length of the file and its header's bytes, if the length that it announces is possible.
fn read_header(path: &Path) -> Result<(u64, Option<Vec<u8>>)> {
    let io = |error| Error::io(path, error);
    let mut file = open_regular(path)?;
    let length = file.metadata().map_err(io)?.len();
    let mut announced = [0; 8];
    if length < 8 {
        return Ok((length, None));
    }
    file.read_exact(&mut announced).map_err(io)?;
    let announced = u64::from_le_bytes(announced);
    if announced > MAX_HEADER.min(length - 8) {
        return Ok((length, None));
    }
    let mut header = Vec::new();
    file.take(announced).read_to_end(&mut header).map_err(io)?;
    Ok((length, Some(header)))
}

fn shard_paths(index: &Path) -> Result<Vec<PathBuf>> {
    let folder = index.parent().unwrap_or(Path::new(""));
    let bytes = read_regular(index, MAX_HEADER)?;
    let index_of = |bytes: &[u8]| serde_json::from_slice::<Index>(bytes);
    let parsed = index_of(&bytes)
        .map_err(|error| malformed("not an index of safetensors files (no 'weight_map')").because(error))
        .map_err(|error| error.at_path(index))?;
    let names: BTreeSet<String> = parsed.weight_map.into_values().collect();
    let paths = names.iter().map(|name| match Path::new(name).components().collect::<Vec<_>>()[..] {
        [Component::Normal(file)] => Ok(folder.join(file)),
        _ => Err(malformed(format!("'{name}' is not the name of a file beside the index")).at_path(index)),
    });
    paths.collect()
}
