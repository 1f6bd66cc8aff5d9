//! Where `fgq plan` has its indicators from: a file, or a network and sample images.

use super::images;
use super::network::{ClassArgs, NetworkArgs};
use super::output::{check_writable, note, warn};
use super::progress::Bars;
use anyhow::{Context, bail, ensure};
use fgq::{Course, Indicator, IndicatorOptions, Indicators, Precision, Provenance, RangeMethod};
use std::path::{Path, PathBuf};

/// Images that indicators are found on, and that learned ones are trained on.
const SAMPLES: usize = 256;
const LEARNED_SAMPLES: usize = 4096;

/// Options on indicators.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Indicators")]
pub struct IndicatorArgs {
    /// The trained network to find indicators for: .onnx, .safetensors, .safetensors.index.json or .pth
    #[arg(requires = "calib", required_unless_present = "indicators")]
    model: Option<PathBuf>,
    /// Sample images, a folder or one file, or a .npy or .npz file of arrays; they need no labels
    #[arg(long, value_name = "DIR", requires = "model")]
    calib: Option<PathBuf>,
    /// Indicators: what every precision costs in every layer (JSON). With a network they are written there layer by
    /// layer, and taken from there if they are complete [default: the network's name with .indicators.json]
    #[arg(long, value_name = "FILE")]
    indicators: Option<PathBuf>,
    /// How many images to use at most, spread evenly over the sorted list [default: 256, learned: 4096]
    #[arg(long, value_name = "N")]
    samples: Option<usize>,
    /// How many of them, at most half, to hold back from fitting and compare logits on
    #[arg(long, value_name = "N", default_value_t = 64)]
    measure: usize,
    /// What stands for the damage: divergence (of the logits with one layer converted), output-error (of the layer, times
    /// how much the logits mind), learned (steps of quantizers that are trained together; intB only) or learned-damage
    /// (loss from rounding in that training)
    #[arg(long, default_value_t)]
    indicator: Indicator,
    /// Candidates for weights [learned: int6,int5,int4,int3,int2]
    #[arg(long, value_name = "PRECISION,...", value_delimiter = ',')]
    precisions: Option<Vec<Precision>>,
    /// Candidates for bits of activations, each 2 to 8 [default: 8,4, learned: 6,5,4,3,2]
    #[arg(long, value_name = "BITS,...", value_delimiter = ',')]
    act_bits: Option<Vec<u8>>,
    /// How activation ranges are chosen: mse, output, minmax, percentile:P or LOW..HIGH
    #[arg(long, default_value_t, allow_hyphen_values = true)]
    range: RangeMethod,
    #[command(flatten)]
    joint: JointArgs,
    #[command(flatten)]
    network: NetworkArgs,
    #[command(flatten)]
    classes: ClassArgs,
}

/// How learned indicators are trained.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Learned indicators")]
struct JointArgs {
    /// How often every image is seen
    #[arg(long, value_name = "N", default_value_t = Course::joint().epochs)]
    epochs: usize,
    /// Minutes of training at most; the result then depends on the machine's speed
    #[arg(long, value_name = "M")]
    minutes: Option<f64>,
    /// Images of a step
    #[arg(long, value_name = "N", default_value_t = Course::joint().batch)]
    batch: usize,
    /// Change of quantizers' steps in a step of training at the start, in shares of themselves
    #[arg(long, value_name = "RATE", default_value_t = Course::joint().rate)]
    rate: f64,
    /// Where randomness starts
    #[arg(long, value_name = "N", default_value_t = Course::joint().seed)]
    seed: u64,
}

impl JointArgs {
    fn course(&self) -> Course {
        let Self { epochs, minutes, batch, rate, seed } = *self;
        Course { epochs, minutes, batch, rate, seed, ..Course::joint() }
    }
}

impl IndicatorArgs {
    /// The indicators in the file, or found for the network, if `check` has nothing against its layers and candidates,
    /// which are all that is known before that.
    pub fn resolve(&self, check: impl Fn(&Indicators) -> anyhow::Result<()>) -> anyhow::Result<Indicators> {
        match (&self.model, &self.calib, &self.indicators) {
            (Some(model), Some(calib), file) => {
                let file = file.clone().unwrap_or_else(|| default_file(model));
                self.find(model, calib, &file, check)
            }
            (_, _, Some(file)) => Ok(fgq::read_indicators(file)?),
            _ => bail!("give indicators with --indicators, or a network and --calib"),
        }
    }

    fn options(&self) -> IndicatorOptions {
        let default = if self.indicator.is_learned() {
            IndicatorOptions::learned()
        } else {
            IndicatorOptions::default()
        };
        IndicatorOptions {
            indicator: self.indicator,
            precisions: self.precisions.clone().unwrap_or(default.precisions),
            activation_bits: self.act_bits.clone().unwrap_or(default.activation_bits),
            range: self.range,
            measured: self.measure,
            course: self.joint.course(),
            ..default
        }
    }

    fn find(
        &self,
        model: &Path,
        calib: &Path,
        file: &Path,
        check: impl Fn(&Indicators) -> anyhow::Result<()>,
    ) -> anyhow::Result<Indicators> {
        let usual = if self.indicator.is_learned() { LEARNED_SAMPLES } else { SAMPLES };
        let samples = self.samples.unwrap_or(usual);
        ensure!(samples > 0, "--samples 0 leaves nothing to calibrate on; give at least 1");
        let mut options = self.options();
        let known = known(model, file)?;
        if known.complete && known.method == options.method() {
            note(format!("indicators are those in {}", file.display()));
            return Ok(known);
        }
        check_writable(file, "--indicators")?;
        let (graph, chosen) = self.network.load(model, Some(calib))?;
        check(&fgq::candidates(graph.clone(), &chosen.preprocess, &options)?)?;
        options.classes = self.classes.names(&graph, calib)?;
        let images = images::unlabelled(calib)?.spread(samples);
        let mut save = |indicators: &Indicators| indicators.write(file);
        let place = |error: fgq::Error| match error.path() {
            None => error.at_path(model),
            Some(_) => error,
        };
        let found =
            fgq::indicate(graph, &chosen.preprocess, &images, &options, known, &mut save, &Bars::new());
        let found = found.map_err(place)?;
        if found.layers.is_empty() {
            warn("the network has no layer that there is a choice for");
        }
        note(format!("indicators are in {}", file.display()));
        Ok(found)
    }
}

fn default_file(model: &Path) -> PathBuf {
    let name = model.file_name().unwrap_or_default().to_string_lossy();
    let stem = name.split_once('.').map_or(&*name, |(stem, _)| stem);
    PathBuf::from(format!("{stem}.indicators.json"))
}

/// What the file holds for this network; nothing yet if there is no file.
fn known(model: &Path, file: &Path) -> anyhow::Result<Indicators> {
    let mut source = Provenance::default();
    source.set_source(model)?;
    if !file.exists() {
        let Provenance { source, source_sha256: network_sha256, .. } = source;
        return Ok(Indicators { source, network_sha256, ..Indicators::default() });
    }
    let known = fgq::read_indicators(file)
        .with_context(|| "give another file with --indicators, or delete this one".to_owned())?;
    ensure!(
        known.network_sha256 == source.source_sha256,
        "{}: holds indicators of another network; give another file with --indicators, or delete this one",
        file.display()
    );
    Ok(known)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_named_after_the_network() {
        assert_eq!(default_file(Path::new("a/net.onnx")), Path::new("net.indicators.json"));
        assert_eq!(default_file(Path::new("model.safetensors")), Path::new("model.indicators.json"));
    }
}
