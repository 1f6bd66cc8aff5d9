//! Files of other programs: what they are, and the command that makes of them what fgq reads.

use crate::error::{Error, ErrorKind};
use std::path::Path;

/// A kind of file that fgq does not read.
struct Foreign {
    /// Its name, with article.
    what: &'static str,
    /// Endings of its files, in lower case.
    endings: &'static [&'static str],
    /// Where files of this kind have which bytes; empty where only the ending tells.
    bytes: (usize, &'static [u8]),
    /// What to do. `FILE` stands for the name of the file, `STEM` for that without ending.
    remedy: &'static str,
}

/// The file in a TensorFlow model's folder by which it is known.
const SAVED_MODEL: &str = "saved_model.pb";

/// The remedy for what only its maker can export.
const GO_BACK: &str =
    "it cannot be turned back into a trained network; export that, which it was made of, to ONNX";

/// Of kinds that only their ending tells.
const NO_BYTES: (usize, &[u8]) = (0, b"");

/// Kinds that their bytes give away, then those that only their ending tells.
const FOREIGN: &[Foreign] = &[
    Foreign {
        what: "a pointer of Git LFS to a model, not the model itself",
        endings: &[],
        bytes: (0, b"version https://git-lfs"),
        remedy: "fetch it with: git lfs pull --include '*FILE'",
    },
    Foreign {
        what: "a web page, not a model",
        endings: &[],
        bytes: (0, b"<!DOCTYPE html"),
        remedy: "download the file itself, not the page that shows it",
    },
    Foreign {
        what: "a Keras model (HDF5)",
        endings: &["h5", "hdf5"],
        bytes: (0, b"\x89HDF\r\n\x1a\n"),
        remedy: "export it to ONNX:
  python -c \"import keras; keras.saving.load_model('FILE').export('STEM-saved')\"
  python -m tf2onnx.convert --saved-model STEM-saved --output STEM.onnx",
    },
    Foreign {
        what: "a TensorFlow Lite model",
        endings: &["tflite", "lite"],
        bytes: (4, b"TFL3"),
        remedy: "export it to ONNX, if its weights are floats:
  python -m tf2onnx.convert --tflite FILE --output STEM.onnx
an 8-bit one has lost what fgq works on: export the network that it was made of",
    },
    Foreign {
        what: "an ONNX model in the format of ONNX Runtime",
        endings: &["ort"],
        bytes: (4, b"ORTM"),
        remedy: "give the .onnx file that it was made of",
    },
    Foreign {
        what: "a PyTorch program for ExecuTorch",
        endings: &["pte"],
        bytes: (4, b"ET12"),
        remedy: GO_BACK,
    },
    Foreign {
        what: "a TensorRT engine, made for one kind of GPU",
        endings: &["engine", "trt", "plan"],
        bytes: NO_BYTES,
        remedy: GO_BACK,
    },
    Foreign {
        what: "a Keras model",
        endings: &["keras"],
        bytes: NO_BYTES,
        remedy: "export it to ONNX:
  python -c \"import keras; keras.saving.load_model('FILE').export('STEM-saved')\"
  python -m tf2onnx.convert --saved-model STEM-saved --output STEM.onnx",
    },
    Foreign {
        what: "a program of torch.export",
        endings: &["pt2"],
        bytes: NO_BYTES,
        remedy: "export it to ONNX:
  python -c \"import torch; torch.onnx.export(torch.export.load('FILE'), (), 'STEM.onnx')\"",
    },
    Foreign {
        what: "a TensorFlow graph",
        endings: &["pb"],
        bytes: NO_BYTES,
        remedy: "export it to ONNX, naming its first and its last tensor:
  python -m tf2onnx.convert --graphdef FILE --inputs input:0 --outputs output:0 --output STEM.onnx",
    },
    Foreign {
        what: "the weights of an ONNX model",
        endings: &["data"],
        bytes: NO_BYTES,
        remedy: "give the .onnx file beside it, which says what they are for",
    },
    Foreign {
        what: "a Core ML model",
        endings: &["mlmodel", "mlpackage", "mlmodelc"],
        bytes: NO_BYTES,
        remedy: GO_BACK,
    },
    Foreign { what: "an OpenVINO model", endings: &["xml"], bytes: NO_BYTES, remedy: GO_BACK },
    Foreign { what: "an ncnn model", endings: &["param"], bytes: NO_BYTES, remedy: GO_BACK },
    Foreign { what: "an MNN model", endings: &["mnn"], bytes: NO_BYTES, remedy: GO_BACK },
    Foreign {
        what: "a Paddle model",
        endings: &["pdmodel", "pdiparams"],
        bytes: NO_BYTES,
        remedy: "export it to ONNX:
  paddle2onnx --model_dir . --model_filename STEM.pdmodel --params_filename STEM.pdiparams --save_file STEM.onnx",
    },
    Foreign {
        what: "a Caffe model",
        endings: &["caffemodel", "prototxt"],
        bytes: NO_BYTES,
        remedy: GO_BACK,
    },
    Foreign { what: "weights for JAX", endings: &["msgpack"], bytes: NO_BYTES, remedy: GO_BACK },
    Foreign {
        what: "a packed model of fgq, already converted",
        endings: &["fgq"],
        bytes: NO_BYTES,
        remedy: "give the network that it was made of; `fgq inspect FILE` names it",
    },
];

impl Foreign {
    fn has_bytes(&self, head: &[u8]) -> bool {
        let (at, bytes) = self.bytes;
        !bytes.is_empty() && head.get(at..).is_some_and(|rest| rest.starts_with(bytes))
    }

    fn error(&self, path: &Path) -> Error {
        let name = |part: Option<&std::ffi::OsStr>| part.unwrap_or_default().to_string_lossy().into_owned();
        let (file, stem) = (name(path.file_name()), name(path.file_stem()));
        let remedy = self.remedy.replace("FILE", &file).replace("STEM", &stem);
        unread(self.what, &remedy)
    }
}

/// Why the file or folder at `path`, which starts with `head`, is for another program, if it is.
pub(super) fn refusal(path: &Path, head: &[u8]) -> Option<Error> {
    if path.is_dir() {
        return folder(path);
    }
    let by_bytes = FOREIGN.iter().find(|foreign| foreign.has_bytes(head));
    if by_bytes.is_none() && path.file_name().is_some_and(|name| name == SAVED_MODEL) {
        return folder(path.parent().unwrap_or(Path::new(".")));
    }
    let ending = path.extension().and_then(|ending| ending.to_str()).map(str::to_lowercase);
    let has_ending =
        |foreign: &&Foreign| ending.as_deref().is_some_and(|ending| foreign.endings.contains(&ending));
    by_bytes.or_else(|| FOREIGN.iter().find(has_ending)).map(|foreign| foreign.error(path))
}

/// Folders that are models.
fn folder(path: &Path) -> Option<Error> {
    let (what, remedy) = if path.join(SAVED_MODEL).is_file() {
        let command = "python -m tf2onnx.convert --saved-model";
        (
            "a TensorFlow model",
            format!("export it to ONNX:\n  {command} {} --output network.onnx", path.display()),
        )
    } else if path.join("Manifest.json").is_file() {
        ("a Core ML model", GO_BACK.to_owned())
    } else {
        return None;
    };
    Some(unread(what, &remedy))
}

/// Why a file with the ending `.bin` that PyTorch did not write is not read.
pub(super) fn other_weights() -> Error {
    unread("not of torch.save, perhaps the weights of an OpenVINO or ncnn model", GO_BACK)
}

fn unread(what: &str, remedy: &str) -> Error {
    Error::new(ErrorKind::Unsupported, format!("{what}, which fgq does not read; {remedy}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_ending_is_recognised_in_any_case() {
        for foreign in FOREIGN {
            for ending in foreign.endings {
                let name = format!("some net.{}", ending.to_uppercase());
                let error = refusal(Path::new(&name), b"").unwrap();
                assert_eq!(error.kind(), ErrorKind::Unsupported);
                assert!(error.to_string().starts_with(foreign.what), "{error}");
                assert!(
                    !error.to_string().contains("FILE") && !error.to_string().contains("STEM"),
                    "{error}"
                );
            }
        }
        assert!(refusal(Path::new("net.onnx"), b"\x08\x07").is_none());
        assert!(refusal(Path::new("net"), b"").is_none());
    }

    #[test]
    fn bytes_tell_more_than_endings() {
        for foreign in FOREIGN.iter().filter(|foreign| !foreign.bytes.1.is_empty()) {
            let (at, bytes) = foreign.bytes;
            let head = [&vec![0; at][..], bytes].concat();
            assert!(refusal(Path::new("net.mlmodel"), &head).unwrap().to_string().starts_with(foreign.what));
        }
    }
}
