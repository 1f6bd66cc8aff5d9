//! What a user says about preprocessing: presets, single options and JSON files.

use crate::data::model_config;
use crate::error::{Error, ErrorKind, Result};
use crate::format::{Channels, Interpolation, Preprocess, Resize, Scale, Size};
use crate::inputs::{MAX_JSON, read_text};
use serde::{Deserialize, Deserializer};
use serde_json::Value;
use std::path::Path;
use std::str::FromStr;

const IMAGENET_MEAN: [f32; 3] = [0.485, 0.456, 0.406];
const IMAGENET_STD: [f32; 3] = [0.229, 0.224, 0.225];
/// The share of a resized image's shorter side that a centre crop usually keeps.
const CROP_SHARE: f64 = 0.875;

/// The names that [`Preprocess::preset`] knows.
pub const PRESETS: [&str; 8] =
    ["imagenet", "torchvision", "imagenet-bicubic", "timm", "inception", "cifar10", "caffe", "unit"];

impl Preprocess {
    /// A preset by name.
    ///
    /// | name | resize, crop | values |
    /// |---|---|---|
    /// | `imagenet`, `torchvision` | shorter side 256 bilinear, 224 | RGB in 0..1, ImageNet mean and std |
    /// | `imagenet-bicubic`, `timm` | shorter side 256 bicubic, 224 | the same |
    /// | `inception` | shorter side 342 bilinear, 299 | RGB in 0..1, mean and std 0.5 |
    /// | `cifar10` | none, 32 | RGB in 0..1, ImageNet mean and std |
    /// | `caffe` | shorter side 256 bilinear, 227 | BGR in 0..255, mean 104 117 123, std 1 |
    /// | `unit` | shorter side 256 bilinear, 224 | RGB in 0..1, mean 0, std 1 |
    ///
    /// # Errors
    /// `Argument`, if there is no such preset.
    pub fn preset(name: &str) -> Result<Self> {
        let imagenet = Self::imagenet(Resize::Shorter(256), 224);
        Ok(match name {
            "imagenet" | "torchvision" => imagenet,
            "imagenet-bicubic" | "timm" => Self { interpolation: Interpolation::Bicubic, ..imagenet },
            "inception" => {
                Self { mean: vec![0.5; 3], std: vec![0.5; 3], ..Self::imagenet(Resize::Shorter(342), 299) }
            }
            "cifar10" => Self::imagenet(Resize::None, 32),
            "caffe" => Self {
                mean: vec![104.0, 117.0, 123.0],
                std: vec![1.0; 3],
                scale: Scale::Byte,
                channels: Channels::Bgr,
                ..Self::imagenet(Resize::Shorter(256), 227)
            },
            "unit" => Self { mean: vec![0.0; 3], std: vec![1.0; 3], ..imagenet },
            _ => {
                let known = PRESETS.join(", ");
                return Err(argument(format!("there is no preset '{name}'; known are {known}")));
            }
        })
    }

    /// What is done without any option, for a network that takes `channels × height × width`: ImageNet mean and
    /// std (their averages over colours for one channel); images of the input's size are taken as they
    /// are, others get the shorter side at the input's longer side / 0.875 and a centre crop.
    ///
    /// # Errors
    /// `Unsupported`, unless `channels` is 1 or 3; `Argument`, if a size is zero or too large.
    pub fn default_for(channels: usize, height: usize, width: usize) -> Result<Self> {
        let side = (height.max(width) as f64 / CROP_SHARE).round() as usize;
        let crop = Size { height, width };
        let colour = Self { as_is: true, crop, ..Self::imagenet(Resize::Shorter(side), 1) };
        let preprocess = match channels {
            3 => colour,
            1 => Self { mean: vec![0.449], std: vec![0.226], channels: Channels::Grey, ..colour },
            _ => {
                let message = format!("the network's input has {channels} channels; images have 1 or 3");
                return Err(Error::new(ErrorKind::Unsupported, message));
            }
        };
        preprocess.validate()?;
        Ok(preprocess)
    }

    fn imagenet(resize: Resize, crop: usize) -> Self {
        Self {
            resize,
            as_is: false,
            crop: Size::square(crop),
            interpolation: Interpolation::Bilinear,
            mean: IMAGENET_MEAN.to_vec(),
            std: IMAGENET_STD.to_vec(),
            scale: Scale::Unit,
            channels: Channels::Rgb,
        }
    }
}

fn argument(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::Argument, message)
}

/// Changes to a [`Preprocess`], each optional: the command's options, or a JSON file such as
///
/// ```json
/// {"resize": 256, "crop": 227, "interpolation": "bilinear", "mean": [104, 117, 123], "std": [1, 1, 1],
///  "scale": "byte", "channels": "bgr"}
/// ```
///
/// In JSON `resize` is a number (shorter side), `[height, width]` or `null` (never); `crop` a number or `[height,
/// width]`; `scale` is `"unit"` (or 1, `"0..1"`) or `"byte"` (or 255, `"0..255"`); `channels` is `"rgb"`, `"bgr"` or
/// `"grey"`; `mean` and `std` are lists in the order of `channels`, or one number for all; `preset` names what the other keys
/// change. Missing keys leave what was there; unknown keys are errors.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PreprocessOptions {
    /// Start from this preset.
    pub preset: Option<String>,
    /// How to resize. Giving it also resizes images that have the input's size already, unless `as_is` says otherwise.
    #[serde(deserialize_with = "spoken")]
    pub resize: Option<Resize>,
    /// Whether images that already have the input's size are taken as they are.
    pub as_is: Option<bool>,
    /// The centre crop.
    #[serde(deserialize_with = "spoken")]
    pub crop: Option<Size>,
    /// The resampling filter.
    #[serde(deserialize_with = "spoken")]
    pub interpolation: Option<Interpolation>,
    /// Mean per channel.
    #[serde(deserialize_with = "numbers")]
    pub mean: Option<Vec<f32>>,
    /// Standard deviation per channel.
    #[serde(deserialize_with = "numbers")]
    pub std: Option<Vec<f32>>,
    /// The range of pixel values that mean and std refer to.
    #[serde(deserialize_with = "spoken")]
    pub scale: Option<Scale>,
    /// Colours and their order.
    #[serde(deserialize_with = "spoken")]
    pub channels: Option<Channels>,
}

impl PreprocessOptions {
    /// `base` (or the preset named) with these changes.
    ///
    /// When only the order of colours changes, mean and std follow their colours.
    ///
    /// # Errors
    /// `Argument`, if the scale changes without mean and std, or the result is unusable.
    pub fn apply(self, base: Preprocess) -> Result<Preprocess> {
        let mut result = self.preset.as_deref().map_or(Ok(base), Preprocess::preset)?;
        self.check_scale(result.scale)?;
        if let Some(channels) = self.channels {
            reorder(&mut result, channels);
        }
        if self.resize.is_some() {
            result.as_is = false;
        }
        let count = result.channels.count();
        let Self { resize, as_is, crop, interpolation, mean, std, scale, .. } = self;
        replace(&mut result.resize, resize);
        replace(&mut result.as_is, as_is);
        replace(&mut result.crop, crop);
        replace(&mut result.interpolation, interpolation);
        replace(&mut result.mean, mean.map(|values| repeat(values, count)));
        replace(&mut result.std, std.map(|values| repeat(values, count)));
        replace(&mut result.scale, scale);
        result.validate()?;
        Ok(result)
    }

    fn check_scale(&self, before: Scale) -> Result<()> {
        match self.scale {
            Some(scale) if scale != before && (self.mean.is_none() || self.std.is_none()) => {
                Err(argument(format!("scale {scale} needs its own mean and std; give both")))
            }
            _ => Ok(()),
        }
    }
}

fn replace<T>(place: &mut T, value: Option<T>) {
    if let Some(value) = value {
        *place = value;
    }
}

/// One value stands for all channels.
fn repeat(values: Vec<f32>, count: usize) -> Vec<f32> {
    match values[..] {
        [one] => vec![one; count],
        _ => values,
    }
}

fn reorder(preprocess: &mut Preprocess, channels: Channels) {
    let swapped = matches!(
        (preprocess.channels, channels),
        (Channels::Rgb, Channels::Bgr) | (Channels::Bgr, Channels::Rgb)
    );
    if swapped {
        preprocess.mean.reverse();
        preprocess.std.reverse();
    }
    preprocess.channels = channels;
}

/// Reads a value in the words the command line takes: `[224, 192]` as "224x192", null as "none".
fn spoken<'de, D, T>(deserializer: D) -> std::result::Result<Option<T>, D::Error>
where
    D: Deserializer<'de>,
    T: FromStr<Err = Error>,
{
    let words = match Value::deserialize(deserializer)? {
        Value::Null => "none".to_owned(),
        Value::String(text) => text,
        Value::Array(items) => items.iter().map(Value::to_string).collect::<Vec<_>>().join("x"),
        other => other.to_string(),
    };
    words.parse().map(Some).map_err(serde::de::Error::custom)
}

fn numbers<'de, D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Option<Vec<f32>>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum OneOrMany {
        One(f32),
        Many(Vec<f32>),
    }
    Ok(Some(match OneOrMany::deserialize(deserializer)? {
        OneOrMany::One(value) => vec![value],
        OneOrMany::Many(values) => values,
    }))
}

/// Reads a JSON file with the keys of [`PreprocessOptions`], timm's `config.json` or Hugging Face's
/// `preprocessor_config.json`, and applies it to `base`.
///
/// # Errors
/// `Io`, if the file cannot be read; `Format`, if it is not such JSON; `Unsupported`, if it asks for a step that does
/// not exist here; `Argument`, if its values are unusable. All name the file.
pub fn read_preprocess(path: &Path, base: &Preprocess) -> Result<Preprocess> {
    let text = read_text(path, MAX_JSON)?;
    parse_preprocess(&text, base).map_err(|e| e.at_path(path))
}

/// What [`read_preprocess`] does with the file's text.
///
/// # Errors
/// As [`read_preprocess`].
///
/// # Examples
/// ```
/// let base = fgq::Preprocess::preset("imagenet")?;
/// assert_eq!(fgq::parse_preprocess(r#"{"crop": 192}"#, &base)?.crop, fgq::Size::square(192));
/// # Ok::<(), fgq::Error>(())
/// ```
pub fn parse_preprocess(text: &str, base: &Preprocess) -> Result<Preprocess> {
    let wrong = |e: serde_json::Error| Error::new(ErrorKind::Format, format!("no preprocessing JSON: {e}"));
    let value: Value = serde_json::from_str(text).map_err(wrong)?;
    if let Some(found) = model_config::preprocess_of(&value)? {
        return Ok(found);
    }
    serde_json::from_value::<PreprocessOptions>(value).map_err(wrong)?.apply(base.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn base() -> Preprocess {
        Preprocess::default_for(3, 224, 224).unwrap()
    }

    #[test]
    fn the_caffe_file_is_the_caffe_preset() {
        for scale in ["\"byte\"", "255", "\"0..255\""] {
            let text = format!(
                r#"{{"resize":256,"crop":227,"interpolation":"bilinear","mean":[104,117,123],"std":[1,1,1],
                "scale":{scale},"channels":"bgr"}}"#
            );
            assert_eq!(parse_preprocess(&text, &base()).unwrap(), Preprocess::preset("caffe").unwrap());
        }
    }

    #[test]
    fn stored_form_is_also_an_input_form() {
        for name in PRESETS {
            let preset = Preprocess::preset(name).unwrap();
            let text = serde_json::to_string(&preset).unwrap();
            assert_eq!(parse_preprocess(&text, &base()).unwrap(), preset, "{name}");
        }
    }

    #[test]
    fn unknown_keys_and_values_are_named() {
        let error = |text: &str| parse_preprocess(text, &base()).unwrap_err().to_string();
        assert!(error(r#"{"reszie": 256}"#).contains("unknown field `reszie`"));
        assert!(error(r#"{"interpolation": "lanczos"}"#).contains("'lanczos' is no interpolation"));
        assert!(error(r#"{"crop": "big"}"#).contains("'big' is no size"));
        assert!(error(r#"{"crop": [1, 2, 3]}"#).contains("'1x2x3' is no size"));
        assert!(error(r#"{"crop": -3}"#).contains("'-3' is no size"));
        assert!(error(r#"{"preset": "x"}"#).contains("known are imagenet"));
        assert!(error("[1]").contains("no preprocessing JSON"));
        assert!(error("").contains("no preprocessing JSON"));
    }

    #[test]
    fn default_takes_input_size_as_it_is() {
        let default = Preprocess::default_for(3, 32, 32).unwrap();
        assert!(default.as_is);
        assert_eq!(default.resize, Resize::Shorter(37));
        assert_eq!(base().resize, Resize::Shorter(256));
        assert_eq!(Preprocess::default_for(1, 8, 8).unwrap().channels, Channels::Grey);
        assert!(Preprocess::default_for(4, 8, 8).is_err());
        assert!(Preprocess::default_for(3, 0, 8).is_err());
        assert!(Preprocess::default_for(3, usize::MAX, 8).is_err());
    }

    #[test]
    fn an_explicit_resize_always_resizes() {
        let options = PreprocessOptions { resize: Some(Resize::Shorter(256)), ..Default::default() };
        assert!(!options.clone().apply(base()).unwrap().as_is);
        assert!(PreprocessOptions { as_is: Some(true), ..options }.apply(base()).unwrap().as_is);
        assert!(PreprocessOptions::default().apply(base()).unwrap().as_is);
    }

    #[test]
    fn mean_follows_its_colour() {
        let options = PreprocessOptions { channels: Some(Channels::Bgr), ..Default::default() };
        assert_eq!(options.clone().apply(base()).unwrap().mean, [0.406, 0.456, 0.485]);
        let given = PreprocessOptions { mean: Some(vec![1.0, 2.0, 3.0]), ..options };
        assert_eq!(given.apply(base()).unwrap().mean, [1.0, 2.0, 3.0]);
    }

    #[test]
    fn one_number_stands_for_all_channels() {
        let found = parse_preprocess(r#"{"mean": 0.5, "std": [0.25]}"#, &base()).unwrap();
        assert_eq!((found.mean, found.std), (vec![0.5; 3], vec![0.25; 3]));
    }

    #[test]
    fn grey_and_scale_need_values_of_their_own() {
        let error = |text: &str| parse_preprocess(text, &base()).unwrap_err().to_string();
        assert!(error(r#"{"channels": "grey"}"#).contains("mean has 3 values, but grey needs 1"));
        assert!(error(r#"{"scale": "byte", "mean": [1, 2, 3]}"#).contains("give both"));
        assert!(parse_preprocess(r#"{"scale": 1}"#, &base()).is_ok());
    }
}
