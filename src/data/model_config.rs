//! Preprocessing as other libraries' model folders describe it.

use crate::error::{Error, ErrorKind, Result};
use crate::format::{Channels, Interpolation, Preprocess, Resize, Scale, Size};
use crate::graph::Graph;
use crate::inputs::{MAX_JSON, read_text};
use serde::Deserialize;
use serde_json::Value;
use std::path::{Path, PathBuf};

/// The preprocessing that `config.json` or `preprocessor_config.json` beside the weights at `model` describes, and the
/// file that does; `None`, if there is none or `config.json` is of another architecture than `architecture`.
///
/// # Errors
/// `Io` or `Format`, if such a file cannot be read or has values of the wrong type; `Unsupported`, if it asks for a step
/// that does not exist here; `Argument`, if its values are unusable. All name the file.
pub fn preprocess_beside(model: &Path, architecture: &str) -> Result<Option<(PathBuf, Preprocess)>> {
    for name in ["config.json", "preprocessor_config.json"] {
        let path = model.with_file_name(name);
        if !path.is_file() {
            continue;
        }
        let text = read_text(&path, MAX_JSON)?;
        let broken = |error| Error::new(ErrorKind::Format, "not valid JSON").because(error).at_path(&path);
        let value: Value = serde_json::from_str(&text).map_err(broken)?;
        if !is_of(&value, architecture) {
            return Ok(None);
        }
        if let Some(found) = preprocess_of(&value).map_err(|error| error.at_path(&path))? {
            return Ok(Some((path, found)));
        }
    }
    Ok(None)
}

/// How images are prepared for the network in the file `model` if nobody says it, and who does: a configuration beside the
/// weights ([`preprocess_beside`]), or else what suits most networks.
///
/// # Errors
/// As [`preprocess_beside`]; a network that takes neither grey nor colour images.
pub fn usual_preprocess(graph: &Graph, model: &Path) -> Result<(Preprocess, String)> {
    let described = match model.extension() {
        Some(extension) if extension != "onnx" => preprocess_beside(model, &graph.name)?,
        _ => None,
    };
    if let Some((path, preprocess)) = described {
        return Ok((preprocess, path.display().to_string()));
    }
    let preprocess = Preprocess::default_for(graph.input.channels, graph.input.height, graph.input.width)?;
    Ok((preprocess, "default".to_owned()))
}

/// Whether a configuration names `architecture` (with or without timm's tag) or none.
fn is_of(config: &Value, architecture: &str) -> bool {
    let named = config.get("architecture").or_else(|| config.get("pretrained_cfg")?.get("architecture"));
    let base =
        |name: &str| name.rsplit('/').next().and_then(|name| name.split('.').next()) == Some(architecture);
    named.and_then(Value::as_str).is_none_or(base)
}

/// The preprocessing in a timm `config.json` or a Hugging Face `preprocessor_config.json`; `None`, if `value` is neither.
///
/// # Errors
/// `Format`, if a value has the wrong type; `Unsupported`, if it asks for a step that does not exist here;
/// `Argument`, if its values are unusable.
pub fn preprocess_of(value: &Value) -> Result<Option<Preprocess>> {
    let found = if let Some(inner) = value.get("pretrained_cfg") {
        timm(inner)?
    } else if value.get("input_size").is_some() {
        timm(value)?
    } else if value.get("image_mean").is_some() {
        hugging_face(value)?
    } else {
        return Ok(None);
    };
    found.validate()?;
    Ok(Some(found))
}

/// timm's evaluation settings, with timm's defaults for missing keys.
#[derive(Deserialize)]
#[serde(default)]
struct Timm {
    input_size: [usize; 3],
    crop_pct: f64,
    crop_mode: String,
    interpolation: String,
    mean: Vec<f32>,
    std: Vec<f32>,
}

impl Default for Timm {
    fn default() -> Self {
        Self {
            input_size: [3, 224, 224],
            crop_pct: 0.875,
            crop_mode: "center".to_owned(),
            interpolation: "bicubic".to_owned(),
            mean: vec![0.485, 0.456, 0.406],
            std: vec![0.229, 0.224, 0.225],
        }
    }
}

fn timm(value: &Value) -> Result<Preprocess> {
    let config: Timm = parse(value)?;
    let [channels, height, width] = config.input_size;
    let before_crop = |side: usize| (side as f64 / config.crop_pct).floor() as usize;
    let resize = match config.crop_mode.as_str() {
        "center" if height == width => Resize::Shorter(before_crop(height)),
        "squash" => Resize::Exact(Size { height: before_crop(height), width: before_crop(width) }),
        other => {
            return Err(unsupported(format!("crop_mode '{other}' of {height}x{width} is not supported")));
        }
    };
    Ok(Preprocess {
        resize,
        as_is: false,
        crop: Size { height, width },
        interpolation: config.interpolation.parse()?,
        mean: config.mean,
        std: config.std,
        scale: Scale::Unit,
        channels: match channels {
            1 => Channels::Grey,
            _ => Channels::Rgb,
        },
    })
}

/// An image processor of Hugging Face's transformers.
#[derive(Deserialize)]
struct HuggingFace {
    #[serde(default = "yes")]
    do_resize: bool,
    size: Option<Value>,
    do_center_crop: Option<bool>,
    crop_size: Option<Value>,
    crop_pct: Option<f64>,
    #[serde(default = "bilinear")]
    resample: u8,
    #[serde(default = "yes")]
    do_rescale: bool,
    rescale_factor: Option<f64>,
    #[serde(default = "yes")]
    do_normalize: bool,
    image_mean: Vec<f32>,
    image_std: Vec<f32>,
}

fn yes() -> bool {
    true
}

/// Pillow's number of the filter.
fn bilinear() -> u8 {
    2
}

fn hugging_face(value: &Value) -> Result<Preprocess> {
    let config: HuggingFace = parse(value)?;
    let (resize, crop) = config.geometry()?;
    let standard = config.do_rescale && config.do_normalize;
    if !standard || config.rescale_factor.is_some_and(|k| (k * 255.0 - 1.0).abs() > 1e-6) {
        return Err(unsupported("only rescaling by 1/255 followed by normalisation is supported"));
    }
    Ok(Preprocess {
        resize,
        as_is: false,
        crop,
        interpolation: match config.resample {
            0 => Interpolation::Nearest,
            2 => Interpolation::Bilinear,
            3 => Interpolation::Bicubic,
            other => return Err(unsupported(format!("resample {other} is not supported"))),
        },
        mean: config.image_mean,
        std: config.image_std,
        scale: Scale::Unit,
        channels: Channels::Rgb,
    })
}

impl HuggingFace {
    fn geometry(&self) -> Result<(Resize, Size)> {
        let size = self.size.as_ref().map(SizeSpec::of).transpose()?;
        let crop = self.crop_size.as_ref().map(SizeSpec::of).transpose()?.map(SizeSpec::exact);
        match (size, crop, self.crop_pct) {
            (Some(size), _, Some(share)) => Ok(share_of(size.side(), share)),
            (_, Some(crop), _) if !self.do_resize => Ok((Resize::None, crop)),
            (Some(size), Some(crop), _) if self.do_center_crop != Some(false) => Ok((size.resize(), crop)),
            (Some(SizeSpec::Exact(size)), ..) => Ok((Resize::Exact(size), size)),
            _ => Err(unsupported("size and crop_size do not give a fixed input size")),
        }
    }
}

/// ConvNeXt's rule: below 384 a larger shorter side and a crop, otherwise exactly that size.
fn share_of(side: usize, share: f64) -> (Resize, Size) {
    let resize = match side < 384 {
        true => Resize::Shorter((side as f64 / share) as usize),
        false => Resize::Exact(Size::square(side)),
    };
    (resize, Size::square(side))
}

/// `224`, `{"shortest_edge": 224}` or `{"height": 224, "width": 224}`.
#[derive(Clone, Copy)]
enum SizeSpec {
    Shorter(usize),
    Exact(Size),
}

impl SizeSpec {
    fn of(value: &Value) -> Result<Self> {
        let side = |value: Option<&Value>| value.and_then(Value::as_u64).map(|v| v as usize);
        let (height, width) = (side(value.get("height")), side(value.get("width")));
        match (height.zip(width), side(value.get("shortest_edge")), side(Some(value))) {
            (Some((height, width)), ..) => Ok(Self::Exact(Size { height, width })),
            (_, Some(short), _) | (_, _, Some(short)) => Ok(Self::Shorter(short)),
            _ => Err(unsupported(format!("size {value} is not supported"))),
        }
    }

    fn side(self) -> usize {
        match self {
            Self::Shorter(side) => side,
            Self::Exact(size) => size.height,
        }
    }

    fn exact(self) -> Size {
        match self {
            Self::Shorter(side) => Size::square(side),
            Self::Exact(size) => size,
        }
    }

    fn resize(self) -> Resize {
        match self {
            Self::Shorter(side) => Resize::Shorter(side),
            Self::Exact(size) => Resize::Exact(size),
        }
    }
}

fn parse<T: serde::de::DeserializeOwned>(value: &Value) -> Result<T> {
    serde_json::from_value(value.clone())
        .map_err(|e| Error::new(ErrorKind::Format, format!("preprocessing settings: {e}")))
}

fn unsupported(message: impl Into<String>) -> Error {
    let message = message.into();
    Error::new(ErrorKind::Unsupported, format!("{message}; describe the preprocessing by options instead"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn read(value: Value) -> Preprocess {
        preprocess_of(&value).unwrap().unwrap()
    }

    #[test]
    fn timm_config() {
        let found = read(json!({
            "architecture": "resnet18", "num_classes": 1000,
            "pretrained_cfg": {
                "tag": "a1_in1k", "input_size": [3, 224, 224], "fixed_input_size": false, "interpolation": "bicubic",
                "crop_pct": 0.95, "crop_mode": "center", "mean": [0.5, 0.4, 0.3], "std": [0.1, 0.2, 0.3]
            }
        }));
        assert_eq!(found.resize, Resize::Shorter(235));
        assert_eq!(found.crop, Size::square(224));
        assert_eq!(found.interpolation, Interpolation::Bicubic);
        assert_eq!(found.mean, [0.5, 0.4, 0.3]);
    }

    #[test]
    fn flat_timm_config_with_defaults_and_squash() {
        let found = read(json!({"input_size": [3, 288, 288], "crop_pct": 1.0, "crop_mode": "squash"}));
        assert_eq!(found.resize, Resize::Exact(Size::square(288)));
        assert_eq!(found.std, [0.229, 0.224, 0.225]);
        let border = json!({"input_size": [3, 288, 288], "crop_mode": "border"});
        assert!(preprocess_of(&border).unwrap_err().to_string().contains("crop_mode 'border'"));
        let zero = json!({"input_size": [3, 288, 288], "crop_pct": 0.0});
        assert!(preprocess_of(&zero).is_err());
    }

    #[test]
    fn hugging_face_processors() {
        let values = json!({"image_mean": [0.5, 0.5, 0.5], "image_std": [0.5, 0.5, 0.5], "resample": 3});
        let with = |more: Value| {
            let mut all = values.clone();
            all.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            preprocess_of(&all).map(Option::unwrap)
        };
        let geometry = |more: Value| with(more).map(|p| (p.resize, p.crop)).unwrap();
        let square = Size::square(224);
        assert_eq!(geometry(json!({"size": 224, "crop_pct": 0.875})), (Resize::Shorter(256), square));
        let vit = json!({"size": {"height": 224, "width": 224}});
        assert_eq!(geometry(vit), (Resize::Exact(square), square));
        let mobilenet = json!({"size": {"shortest_edge": 256}, "crop_size": {"height": 224, "width": 224}});
        assert_eq!(geometry(mobilenet), (Resize::Shorter(256), square));
        assert!(with(json!({"size": {"longest_edge": 3}})).is_err());
        assert!(with(json!({"size": 224, "crop_pct": 0.875, "rescale_factor": 1.0})).is_err());
    }

    #[test]
    fn a_configuration_of_another_architecture_is_ignored() {
        let folder = tempfile::tempdir().unwrap();
        let model = folder.path().join("model.safetensors");
        assert_eq!(preprocess_beside(&model, "resnet18").unwrap(), None);
        let config = json!({"architecture": "timm/resnet18.a1_in1k", "pretrained_cfg": {"crop_pct": 0.95}});
        std::fs::write(folder.path().join("config.json"), config.to_string()).unwrap();
        let (path, found) = preprocess_beside(&model, "resnet18").unwrap().unwrap();
        assert_eq!((path, found.resize), (folder.path().join("config.json"), Resize::Shorter(235)));
        assert_eq!(preprocess_beside(&model, "resnet34").unwrap(), None);
        std::fs::write(folder.path().join("config.json"), "{").unwrap();
        assert!(
            preprocess_beside(&model, "resnet18").unwrap_err().to_string().contains("config.json: not valid")
        );
    }

    #[test]
    fn other_json_is_neither() {
        assert!(preprocess_of(&json!({"resize": 256})).unwrap().is_none());
        assert!(preprocess_of(&json!(3)).unwrap().is_none());
        assert!(preprocess_of(&json!({"pretrained_cfg": 3})).is_err());
    }
}
