//! The tensors of a file of `torch.save`.

use super::super::names::without_wrappers;
use super::super::numbers::decoded;
use super::super::{Tensors, malformed, unsupported};
use super::legacy::{self, Legacy};
use super::state::StateDict;
use super::tensor::TensorPlace;
use super::unpickle::{Pickle, unpickle};
use crate::archive::{self, Archive};
use crate::error::{Error, Result};
use crate::graph::all_finite;
use crate::inputs::{Extent, read_part};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// The most bytes of a pickle; the numbers are beside it.
const MAX_PICKLE: u64 = 64 << 20;
/// What the pickle of a whole network refers to.
const MODULES: &[u8] = b"torch.nn.modules";

/// Tensors by name. Only the pickle is in memory; numbers are read tensor by tensor.
#[derive(Debug)]
pub(in super::super) struct Torch {
    path: PathBuf,
    tensors: BTreeMap<String, Stored>,
    /// The keys under which the weights were found.
    keys: Vec<&'static str>,
}

#[derive(Debug)]
struct Stored {
    place: TensorPlace,
    /// Position of the storage's first byte in the file.
    start: u64,
}

impl Torch {
    /// Reads all but the numbers of the file at `path`, in the format of PyTorch 1.6 and later or in that before.
    ///
    /// # Errors
    /// What is not a state dict, or not whole.
    pub(in super::super) fn open(path: &Path) -> Result<Self> {
        let length = path.metadata().map_err(|error| Error::io(path, error))?.len();
        let start = read_part(path, Extent { start: 0, length: length.min(legacy::SIGNATURE.len() as u64) })?;
        if start.starts_with(archive::SIGNATURE) {
            Self::of_archive(path, length)
        } else if start == legacy::SIGNATURE {
            Self::of_legacy(path, length)
        } else {
            Err(malformed("not a file of torch.save, or damaged; was it downloaded completely?"))
        }
    }

    fn of_legacy(path: &Path, length: u64) -> Result<Self> {
        let bytes = read_part(path, Extent { start: 0, length: length.min(MAX_PICKLE) })?;
        let legacy = Legacy::read(&bytes).map_err(|error| explained(error, &bytes))?;
        let extents = legacy.extents(path)?;
        Self::new(path, length, &legacy.pickle, |key| Ok(extents.get(key).copied()))
    }

    fn of_archive(path: &Path, length: u64) -> Result<Self> {
        let archive = Archive::open(path)?;
        let root = root(&archive)?;
        check_byte_order(path, &archive, &root)?;
        let extent = archive.extent(&format!("{root}/data.pkl"))?.unwrap_or(Extent { start: 0, length: 0 });
        if extent.length > MAX_PICKLE {
            return Err(malformed("its pickle is longer than that of any state dict should be"));
        }
        let bytes = read_part(path, extent)?;
        let pickle = unpickle(&bytes).map_err(|error| explained(error, &bytes))?;
        Self::new(path, length, &pickle, |key| archive.extent(&format!("{root}/data/{key}")))
    }

    fn new(
        path: &Path,
        length: u64,
        pickle: &Pickle,
        extent: impl Fn(&str) -> Result<Option<Extent>>,
    ) -> Result<Self> {
        let StateDict { tensors, keys } = StateDict::of(pickle)?;
        let mut stored = BTreeMap::new();
        for (name, place) in tensors {
            let key = pickle.objects.text(place.storage.key).unwrap_or_default();
            let extent =
                extent(key)?.ok_or_else(|| malformed(format!("the numbers of '{name}' are missing")))?;
            let needed = place.storage.bytes()?;
            let end = extent.start.checked_add(extent.length);
            if needed > extent.length || end.is_none_or(|end| end > length) {
                let message = format!("'{name}' is not there in full; was the file downloaded completely?");
                return Err(malformed(message));
            }
            stored.insert(name, Stored { place, start: extent.start });
        }
        Ok(Self { path: path.to_owned(), tensors: without_wrappers(stored), keys })
    }

    /// What a user should know.
    pub(in super::super) fn notes(&self) -> Vec<String> {
        let keys = self.keys.iter().map(|key| format!("'{key}'")).collect::<Vec<_>>().join(", ");
        if keys.is_empty() {
            Vec::new()
        } else {
            vec![format!("the weights are those under {keys} in the file")]
        }
    }
}

impl Tensors for Torch {
    fn names(&self) -> Vec<&str> {
        self.tensors.keys().map(String::as_str).collect()
    }

    fn shape(&self, name: &str) -> Option<&[usize]> {
        self.tensors.get(name).map(|stored| stored.place.shape.as_slice())
    }

    fn read(&self, name: &str) -> Result<Vec<f32>> {
        let stored = self.tensors.get(name).ok_or_else(|| malformed(format!("no tensor '{name}'")))?;
        let Stored { place, start } = stored;
        let (span, width) = (place.span(), place.storage.width());
        let extent = Extent { start: start + span.start as u64 * width, length: span.len() as u64 * width };
        let values = place.gathered(decoded(name, place.storage.dtype, &read_part(&self.path, extent)?)?);
        all_finite(name, &values)?;
        Ok(values)
    }
}

/// The folder in the archive that everything is in.
fn root(archive: &Archive) -> Result<String> {
    let has = |root: &str, name: &str| archive.names().any(|entry| entry == format!("{root}/{name}"));
    let mut roots = archive.names().filter_map(|name| name.strip_suffix("/data.pkl"));
    match roots.next() {
        Some(root) if has(root, "constants.pkl") => Err(unsupported(TORCH_SCRIPT)),
        Some(root) => Ok(root.to_owned()),
        None => Err(unsupported("a ZIP archive, but not one of torch.save: no data.pkl in it")),
    }
}

fn check_byte_order(path: &Path, archive: &Archive, root: &str) -> Result<()> {
    let Some(extent) = archive.extent(&format!("{root}/byteorder"))?.filter(|extent| extent.length < 16)
    else {
        return Ok(());
    };
    match read_part(path, extent)?.as_slice() {
        b"little" => Ok(()),
        _ => Err(unsupported("written by a machine that stores the highest byte first")),
    }
}

/// An error of a pickle that holds a whole network instead of its weights says so.
fn explained(error: Error, pickle: &[u8]) -> Error {
    let whole = pickle.windows(MODULES.len()).any(|window| window == MODULES);
    if whole { unsupported(WHOLE_NETWORK).because(error) } else { error }
}

const TORCH_SCRIPT: &str = "a TorchScript archive: a program with its weights. Export it to ONNX in Python:
  network = torch.jit.load('network.pt', map_location='cpu').eval()
  torch.onnx.export(network, torch.zeros(1, 3, 224, 224), 'network.onnx', dynamo=False)";

const WHOLE_NETWORK: &str =
    "a whole network as a Python object, which only running its program can read. Where that \
                             program is, and if you trust the file, export it to ONNX:
  network = torch.load('network.pth', map_location='cpu', weights_only=False).eval()
  torch.onnx.export(network, torch.zeros(1, 3, 224, 224), 'network.onnx')
or write its weights alone, for a known architecture: torch.save(network.state_dict(), 'weights.pth')";
