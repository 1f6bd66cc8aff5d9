//! How an image becomes a network's input, as stored in a packed model.

use crate::error::{Error, ErrorKind, Result};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// Longest side of an image or crop, in pixels.
const MAX_SIDE: usize = 65_536;
/// Most pixels in one crop: 8192 × 8192.
const MAX_CROP_PIXELS: usize = 1 << 26;

/// Everything that turns a decoded image into a network's input.
///
/// Steps in order: convert to `channels`, resize, cut the centre of `crop`, then for pixel value `p` (0..=255) of
/// channel `c` compute `(p·k − mean[c]) / std[c]`, where `k` is 1/255 or 1 by `scale`. Resizing is
/// byte-identical to Pillow's, the geometry to torchvision's; a crop larger than the image is padded with 0.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Preprocess {
    /// How images are resized before the crop.
    pub resize: Resize,
    /// Whether an image that already has the size of `crop` is taken as it is, without resizing.
    pub as_is: bool,
    /// The centre crop: the network's input size.
    pub crop: Size,
    /// The resampling filter.
    pub interpolation: Interpolation,
    /// Subtracted from each channel, in the order of `channels`, in units of `scale`.
    pub mean: Vec<f32>,
    /// Divides each channel, in the order of `channels`, in units of `scale`.
    pub std: Vec<f32>,
    /// The range of pixel values that `mean` and `std` refer to.
    pub scale: Scale,
    /// Colours and their order.
    pub channels: Channels,
}

impl Preprocess {
    /// Checks that the description can be applied.
    ///
    /// # Errors
    /// `Argument`, if a size is zero or too large, or `mean` or `std` has the wrong length or unusable values.
    pub fn validate(&self) -> Result<()> {
        match self.resize {
            Resize::None => {}
            Resize::Shorter(side) => check_side("resize", side)?,
            Resize::Exact(size) => check_size("resize", size)?,
        }
        check_size("crop", self.crop)?;
        if self.crop.height.saturating_mul(self.crop.width) > MAX_CROP_PIXELS {
            return Err(unusable(format!("crop {} has more than {MAX_CROP_PIXELS} pixels", self.crop)));
        }
        self.check_values("mean", &self.mean, |v| v.is_finite(), "finite")?;
        self.check_values("std", &self.std, |v| v.is_finite() && v > 0.0, "finite and above zero")
    }

    /// Checks that the result fits a network's input of `channels × height × width`.
    ///
    /// # Errors
    /// `Argument`, naming both and the option to change.
    pub fn check_input(&self, channels: usize, height: usize, width: usize) -> Result<()> {
        if self.channels.count() != channels {
            let problem = format!("preprocessing gives {} ({})", self.channels.count(), self.channels);
            return Err(unusable(format!(
                "the network takes {channels} channels, but {problem}; set channels"
            )));
        }
        let input = Size { height, width };
        if self.crop != input {
            let problem = format!("preprocessing crops to {}", self.crop);
            return Err(unusable(format!("the network takes images of {input}, but {problem}; set crop")));
        }
        Ok(())
    }

    /// Value of one pixel step in units of `mean` and `std`.
    pub(crate) fn pixel_step(&self) -> f64 {
        match self.scale {
            Scale::Unit => 1.0 / 255.0,
            Scale::Byte => 1.0,
        }
    }

    /// What one pixel step of a channel becomes.
    pub(crate) fn normalised_step(&self, channel: usize) -> f64 {
        self.pixel_step() / f64::from(self.std[channel])
    }

    fn check_values(&self, name: &str, values: &[f32], good: impl Fn(f32) -> bool, what: &str) -> Result<()> {
        if values.len() != self.channels.count() {
            let (has, needs) = (values.len(), self.channels.count());
            let channels = self.channels;
            return Err(unusable(format!(
                "{name} has {has} values, but {channels} needs {needs}; set {name}"
            )));
        }
        match values.iter().find(|v| !good(**v)) {
            Some(bad) => Err(unusable(format!("{name} contains {bad}; every value must be {what}"))),
            None => Ok(()),
        }
    }
}

fn check_size(name: &str, size: Size) -> Result<()> {
    check_side(name, size.height)?;
    check_side(name, size.width)
}

fn check_side(name: &str, side: usize) -> Result<()> {
    match (1..=MAX_SIDE).contains(&side) {
        true => Ok(()),
        false => Err(unusable(format!("{name} {side} is not between 1 and {MAX_SIDE}"))),
    }
}

fn unusable(message: String) -> Error {
    Error::new(ErrorKind::Argument, message)
}

/// Height and width in pixels; `[height, width]` in JSON, `HxW` or one number for a square in text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "[usize; 2]", from = "[usize; 2]")]
pub struct Size {
    /// Rows.
    pub height: usize,
    /// Columns.
    pub width: usize,
}

impl Size {
    /// A size of `side × side`.
    pub const fn square(side: usize) -> Self {
        Self { height: side, width: side }
    }
}

impl From<Size> for [usize; 2] {
    fn from(size: Size) -> Self {
        [size.height, size.width]
    }
}

impl From<[usize; 2]> for Size {
    fn from([height, width]: [usize; 2]) -> Self {
        Self { height, width }
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}x{}", self.height, self.width)
    }
}

impl FromStr for Size {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let side = |part: &str| part.trim().parse::<usize>().ok();
        let size = match text.split_once(['x', 'X', ',']) {
            Some((height, width)) => side(height).zip(side(width)).map(|(h, w)| Self::from([h, w])),
            None => side(text).map(Self::square),
        };
        size.ok_or_else(|| unusable(format!("'{text}' is no size; give one number or HEIGHTxWIDTH")))
    }
}

/// How images are resized; `null`, a number or `[height, width]` in JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Resize {
    /// Not at all: an image of any other size than the crop is an error.
    None,
    /// The shorter side to this many pixels, the other in proportion (rounded down).
    Shorter(usize),
    /// To exactly this size, whatever the proportions.
    Exact(Size),
}

impl FromStr for Resize {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        match text.trim() {
            "none" => Ok(Self::None),
            side if side.bytes().all(|b| b.is_ascii_digit()) => {
                Ok(Self::Shorter(side.parse::<Size>()?.height))
            }
            size => Ok(Self::Exact(size.parse()?)),
        }
    }
}

/// Writes an enum whose values have one name each, in JSON, in text and on the command line.
macro_rules! named {
    ($(#[$doc:meta])* $name:ident, $what:literal { $($(#[$vdoc:meta])* $variant:ident = $text:literal $(| $alias:literal)*,)+ }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
        pub enum $name {
            $($(#[$vdoc])* #[serde(rename = $text)] $variant,)+
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(match self { $(Self::$variant => $text,)+ })
            }
        }

        impl FromStr for $name {
            type Err = Error;

            fn from_str(text: &str) -> Result<Self> {
                match text.trim().to_ascii_lowercase().as_str() {
                    $($text $(| $alias)* => Ok(Self::$variant),)+
                    _ => {
                        let known = [$($text),+].join(", ");
                        Err(unusable(format!("'{text}' is no {}; known are {known}", $what)))
                    }
                }
            }
        }
    };
}

named! {
    /// Resampling filters, as Pillow defines them (with antialiasing when an image shrinks).
    Interpolation, "interpolation" {
        /// The nearest source pixel.
        Nearest = "nearest",
        /// Triangle filter.
        Bilinear = "bilinear",
        /// Cubic filter with a = −0.5.
        Bicubic = "bicubic",
    }
}

named! {
    /// The range of pixel values that mean and standard deviation refer to.
    Scale, "scale" {
        /// 0 to 1.
        Unit = "unit" | "0..1" | "1",
        /// 0 to 255.
        Byte = "byte" | "0..255" | "255",
    }
}

impl Scale {
    /// What a pixel value 0..=255 is divided by.
    pub const fn divisor(self) -> f32 {
        match self {
            Self::Unit => 255.0,
            Self::Byte => 1.0,
        }
    }
}

named! {
    /// Colours of a network's input and their order.
    Channels, "channel order" {
        /// Red, green, blue.
        Rgb = "rgb",
        /// Blue, green, red, as Caffe's networks take them.
        Bgr = "bgr",
        /// One channel, ITU-R 601 luma.
        Grey = "grey" | "gray",
    }
}

impl Channels {
    /// Number of channels, 1 or 3.
    pub const fn count(self) -> usize {
        match self {
            Self::Grey => 1,
            Self::Rgb | Self::Bgr => 3,
        }
    }
}

impl fmt::Display for Preprocess {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { crop, interpolation, channels, .. } = self;
        match self.resize {
            Resize::None => write!(f, "images of {crop} as they are")?,
            _ if self.as_is => write!(f, "images of {crop} as they are, others with ")?,
            _ => {}
        }
        match self.resize {
            Resize::None => {}
            Resize::Shorter(side) => write!(f, "shorter side {side} ({interpolation}), centre crop {crop}")?,
            Resize::Exact(size) if size == *crop => write!(f, "resize to {crop} ({interpolation})")?,
            Resize::Exact(size) => write!(f, "resize to {size} ({interpolation}), centre crop {crop}")?,
        }
        let range = match self.scale {
            Scale::Unit => "0..1",
            Scale::Byte => "0..255",
        };
        write!(f, "; {channels} in {range}, mean {}, std {}", spaced(&self.mean), spaced(&self.std))
    }
}

fn spaced(values: &[f32]) -> String {
    values.iter().map(f32::to_string).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Preprocess {
        Preprocess {
            resize: Resize::Shorter(256),
            as_is: false,
            crop: Size::square(227),
            interpolation: Interpolation::Bilinear,
            mean: vec![104.0, 117.0, 123.0],
            std: vec![1.0; 3],
            scale: Scale::Byte,
            channels: Channels::Bgr,
        }
    }

    #[test]
    fn json_is_stable_and_returns() {
        let text = serde_json::to_string(&sample()).unwrap();
        assert_eq!(
            text,
            r#"{"resize":256,"as_is":false,"crop":[227,227],"interpolation":"bilinear","mean":[104.0,117.0,123.0],"std":[1.0,1.0,1.0],"scale":"byte","channels":"bgr"}"#
        );
        assert_eq!(serde_json::from_str::<Preprocess>(&text).unwrap(), sample());
        for resize in [Resize::None, Resize::Exact(Size { height: 3, width: 9 })] {
            let other = Preprocess { resize, mean: vec![0.485, 0.1, 1e-7], ..sample() };
            let text = serde_json::to_string(&other).unwrap();
            assert_eq!(serde_json::from_str::<Preprocess>(&text).unwrap(), other);
        }
    }

    #[test]
    fn unknown_keys_are_refused() {
        let text = serde_json::to_string(&sample()).unwrap().replace("\"crop\"", "\"crops\"");
        assert!(serde_json::from_str::<Preprocess>(&text).unwrap_err().to_string().contains("crops"));
    }

    #[test]
    fn validate_names_what_is_wrong() {
        assert!(sample().validate().is_ok());
        let message = |change: fn(&mut Preprocess)| {
            let mut bad = sample();
            change(&mut bad);
            bad.validate().unwrap_err().to_string()
        };
        assert!(message(|p| p.std[1] = 0.0).contains("std contains 0"));
        assert!(message(|p| p.std[1] = f32::INFINITY).contains("std contains inf"));
        assert!(message(|p| p.mean[2] = f32::NAN).contains("mean contains NaN"));
        assert!(message(|p| p.mean.truncate(2)).contains("mean has 2 values, but bgr needs 3"));
        assert!(message(|p| p.crop.width = 0).contains("crop 0"));
        assert!(message(|p| p.resize = Resize::Shorter(65_537)).contains("resize 65537"));
        assert!(message(|p| p.crop = Size::square(60_000)).contains("crop 60000x60000"));
    }

    #[test]
    fn check_input_names_both_sizes() {
        assert!(sample().check_input(3, 227, 227).is_ok());
        let message = sample().check_input(3, 224, 224).unwrap_err().to_string();
        assert!(message.contains("224x224") && message.contains("227x227"), "{message}");
        assert!(sample().check_input(1, 227, 227).is_err());
    }

    #[test]
    fn text_forms() {
        assert_eq!("256".parse::<Resize>().unwrap(), Resize::Shorter(256));
        assert_eq!("10x20".parse::<Resize>().unwrap(), Resize::Exact(Size { height: 10, width: 20 }));
        assert_eq!("none".parse::<Resize>().unwrap(), Resize::None);
        assert_eq!("gray".parse::<Channels>().unwrap(), Channels::Grey);
        assert_eq!("0..255".parse::<Scale>().unwrap(), Scale::Byte);
        assert!("".parse::<Resize>().is_err());
        assert!("x".parse::<Size>().is_err());
        let error = "cubic".parse::<Interpolation>().unwrap_err().to_string();
        assert_eq!(error, "'cubic' is no interpolation; known are nearest, bilinear, bicubic");
    }

    #[test]
    fn summary_says_every_choice() {
        assert_eq!(
            sample().to_string(),
            "shorter side 256 (bilinear), centre crop 227x227; bgr in 0..255, mean 104 117 123, std 1 1 1"
        );
        let kept = Preprocess { as_is: true, ..sample() }.to_string();
        assert!(kept.starts_with("images of 227x227 as they are, others with shorter side 256"), "{kept}");
        let never = Preprocess { resize: Resize::None, ..sample() }.to_string();
        assert!(never.starts_with("images of 227x227 as they are; bgr"), "{never}");
    }
}
