//! How images are prepared: from the network, a file beside it, `--preprocess`, single options, in this order.

use super::output::note;
use anyhow::Context;
use fgq::{
    Channels, Dataset, Graph, Interpolation, PRESETS, Preprocess, PreprocessOptions, RangeMethod, Resize,
    Scale, Size, feature_preprocess, read_preprocess,
};
use std::path::Path;
use std::str::FromStr;

/// Samples of real numbers that their range is taken from.
const MOST_FEATURES: usize = 4096;

/// Options on preprocessing.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Preprocessing")]
pub struct PreprocessArgs {
    /// A preset (`fgq info` lists them) or a JSON file; single options below change what it says
    #[arg(long, value_name = "PRESET|FILE")]
    preprocess: Option<String>,
    /// Shorter side in pixels, an exact size, or none
    #[arg(long, value_name = "N|HxW|none")]
    resize: Option<Resize>,
    /// Centre crop: the network's input size
    #[arg(long, value_name = "N|HxW")]
    crop: Option<Size>,
    /// nearest, bilinear or bicubic
    #[arg(long, value_name = "FILTER")]
    interpolation: Option<Interpolation>,
    /// Mean per channel, in the order of the channels
    #[arg(long, value_name = "X,Y,Z", allow_hyphen_values = true)]
    mean: Option<NumberList>,
    /// Standard deviation per channel
    #[arg(long, value_name = "X,Y,Z", allow_hyphen_values = true)]
    std: Option<NumberList>,
    /// Range of the pixel values that mean and std refer to: unit (0..1) or byte (0..255)
    #[arg(long, value_name = "unit|byte")]
    scale: Option<Scale>,
    /// rgb, bgr or grey
    #[arg(long, value_name = "ORDER")]
    channels: Option<Channels>,
}

/// Numbers separated by commas.
#[derive(Debug, Clone)]
struct NumberList(Vec<f32>);

impl FromStr for NumberList {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let number = |part: &str| part.trim().parse().ok();
        let numbers = text.split(',').map(number).collect::<Option<Vec<f32>>>();
        numbers.map(Self).ok_or_else(|| "give numbers separated by commas, as in 0.485,0.456,0.406".into())
    }
}

/// A preprocessing and where it comes from.
#[derive(Debug)]
pub struct Chosen {
    /// What is done.
    pub preprocess: Preprocess,
    /// Who said so.
    pub origin: String,
}

impl PreprocessArgs {
    /// The preprocessing for the network in `model`, announced on stderr; where `samples` are no pictures and nothing was
    /// said, they say it.
    pub fn resolve(&self, graph: &Graph, model: &Path, samples: Option<&Path>) -> anyhow::Result<Chosen> {
        let features =
            samples.filter(|_| self.is_empty()).map(|samples| features(graph, samples)).transpose()?;
        let base = match features.flatten() {
            Some(chosen) => chosen,
            None => {
                let (preprocess, origin) = fgq::usual_preprocess(graph, model)?;
                self.named(Chosen { preprocess, origin })?
            }
        };
        let changes = self.changes();
        let origin = match changes == PreprocessOptions::default() {
            true => base.origin,
            false => format!("{}, with options", base.origin),
        };
        let chosen = Chosen { preprocess: changes.apply(base.preprocess)?, origin };
        note(format!("preprocessing ({}): {}", chosen.origin, chosen.preprocess));
        Ok(chosen)
    }

    /// The crop that the options ask for, whatever the network.
    pub fn crop(&self) -> Option<Size> {
        let nowhere = Size::square(1);
        let base = Preprocess::default_for(3, nowhere.height, nowhere.width).ok()?;
        let named = self.named(Chosen { preprocess: base, origin: String::new() }).ok()?;
        self.crop.or(Some(named.preprocess.crop)).filter(|&crop| crop != nowhere)
    }

    /// Whether nothing was said.
    pub fn is_empty(&self) -> bool {
        self.preprocess.is_none() && self.changes() == PreprocessOptions::default()
    }

    fn named(&self, base: Chosen) -> anyhow::Result<Chosen> {
        let Some(name) = self.preprocess.as_deref() else { return Ok(base) };
        if PRESETS.contains(&name) {
            let origin = format!("preset {name}");
            return Ok(Chosen { preprocess: Preprocess::preset(name)?, origin });
        }
        let preprocess = read_preprocess(Path::new(name), &base.preprocess)
            .with_context(|| format!("--preprocess takes a JSON file or one of {}", PRESETS.join(", ")))?;
        Ok(Chosen { preprocess, origin: name.to_owned() })
    }

    fn changes(&self) -> PreprocessOptions {
        PreprocessOptions {
            preset: None,
            resize: self.resize,
            as_is: None,
            crop: self.crop,
            interpolation: self.interpolation,
            mean: self.mean.clone().map(|numbers| numbers.0),
            std: self.std.clone().map(|numbers| numbers.0),
            scale: self.scale,
            channels: self.channels,
        }
    }
}

/// What samples of real numbers ask for; `None` if they are pictures.
fn features(graph: &Graph, samples: &Path) -> fgq::Result<Option<Chosen>> {
    if !Dataset::is_array(samples) {
        return Ok(None);
    }
    let images = Dataset::unlabelled(samples)?.spread(MOST_FEATURES);
    let found = feature_preprocess(&images, graph.input, RangeMethod::default());
    let origin = format!("range of {}", samples.display());
    Ok(found.map_err(|error| error.at_path(samples))?.map(|preprocess| Chosen { preprocess, origin }))
}
