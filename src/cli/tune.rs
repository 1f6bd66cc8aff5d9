//! `fgq tune`: a trained network and sample images → a packed model that was trained to answer like the network.

use super::convert::{More, PrecisionArgs, report, say};
use super::course::CourseArgs;
use super::files::FileArgs;
use super::nested::NestedArgs;
use super::network::{ClassArgs, NetworkArgs};
use super::output::{Output, check_writable, note};
use super::progress::Bars;
use anyhow::{Context, ensure};
use fgq::{BlockError, Course, Epoch, Imitation, Reconstruction, SwitchingStages, TuneOptions, Tuning};
use serde::Serialize;
use std::path::PathBuf;
use std::time::Instant;

/// Arguments of `fgq tune`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    files: FileArgs,
    /// How many images to use at most, spread evenly over the sorted list: most are fitted and trained with, one in eight
    /// is held back to choose the epoch
    #[arg(long, value_name = "N", default_value_t = 4096)]
    samples: usize,
    /// Write there after every epoch where training stands, and go on from there if the file exists, to the same model as
    /// without a break
    #[arg(long, value_name = "FILE")]
    checkpoint: Option<PathBuf>,
    /// Write a web page on how training went
    #[arg(long, value_name = "FILE.html")]
    report: Option<PathBuf>,
    #[command(flatten)]
    course: TuningArgs,
    #[command(flatten)]
    nested: NestedArgs,
    /// Of a model that switches: the shares of the course after which layers take fewer planes too, not only fewer bits of
    /// activations, and after which ever more layers have widths of their own
    #[arg(
        long,
        value_name = "SHARE,SHARE",
        value_parser = stages,
        requires = "nested",
        default_value_t,
        help_heading = "Switching"
    )]
    stages: SwitchingStages,
    #[command(flatten)]
    network: NetworkArgs,
    #[command(flatten)]
    classes: ClassArgs,
    #[command(flatten)]
    precision: PrecisionArgs,
}

/// How training goes, besides.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Training")]
struct TuningArgs {
    #[command(flatten)]
    common: CourseArgs,
    /// Learn the images' labels too; --calib must have class folders
    #[arg(long)]
    labels: bool,
    /// Images of a step
    #[arg(long, value_name = "N", default_value_t = Course::default().batch)]
    batch: usize,
    /// Change of parameters in a step at the start, in shares of themselves
    #[arg(long, value_name = "RATE", default_value_t = Course::default().rate)]
    rate: f64,
    /// Rate of the weights behind the codes, as a share of --rate: distances between levels; 0 leaves all codes
    #[arg(long, value_name = "SHARE", default_value_t = Course::default().weight_rate)]
    weight_rate: f64,
    /// Compare logits by their squared distance instead
    #[arg(long, conflicts_with = "temperature")]
    distance: bool,
    /// Weight of the distance of blocks' values from full precision's, besides the logits
    #[arg(long, value_name = "WEIGHT", default_value_t = Course::default().features)]
    features: f64,
    /// How often every image is seen by every block before, which learns to yield full precision's values; 0 for not at all
    #[arg(long, value_name = "N", default_value_t = 0)]
    blocks: usize,
    /// --rate of blocks
    #[arg(long, value_name = "RATE", default_value_t = Reconstruction::default().rate)]
    block_rate: f64,
    /// --weight-rate of blocks
    #[arg(long, value_name = "SHARE", default_value_t = Reconstruction::default().weight_rate)]
    block_weight_rate: f64,
    /// Share of activations that are not rounded while blocks learn, others in every step
    #[arg(long, value_name = "SHARE", default_value_t = Reconstruction::default().drop)]
    drop: f64,
}

impl TuningArgs {
    fn course(&self) -> Course {
        let course = self.common.applied_to(Course::default());
        Course {
            batch: self.batch,
            rate: self.rate,
            weight_rate: self.weight_rate,
            imitation: if self.distance { Imitation::Distance } else { course.imitation },
            features: self.features,
            reconstruction: (self.blocks > 0).then(|| self.reconstruction()),
            ..course
        }
    }

    fn reconstruction(&self) -> Reconstruction {
        Reconstruction {
            epochs: self.blocks,
            rate: self.block_rate,
            weight_rate: self.block_weight_rate,
            drop: self.drop,
        }
    }
}

fn stages(text: &str) -> anyhow::Result<SwitchingStages> {
    let (activations, uniform) = text.split_once(',').context("give two shares, as 0.1,0.5")?;
    Ok(SwitchingStages { activations: activations.parse()?, uniform: uniform.parse()? })
}

/// Converts, trains and writes.
pub fn run(args: Args) -> anyhow::Result<Output> {
    let start = Instant::now();
    let path = args.files.output()?;
    for (path, option) in [(&args.report, "--report"), (&args.checkpoint, "--checkpoint")] {
        path.iter().try_for_each(|path| check_writable(path, option))?;
    }
    ensure!(args.samples > 0, "--samples 0 leaves nothing to calibrate on; give at least 1");
    let (graph, chosen) = args.network.load(&args.files.model, Some(&args.files.calib))?;
    let classes = args.classes.names(&graph, &args.files.calib)?;
    let images = args.files.images(&graph, args.course.labels)?.spread(args.samples);
    let options = TuneOptions {
        convert: args.nested.applied_to(args.precision.options()?),
        course: args.course.course(),
        labels: args.course.labels,
        checkpoint: args.checkpoint,
        stages: args.stages,
    };
    let tuning = fgq::tune(graph, &chosen.preprocess, &images, &options, &Bars::new())
        .map_err(|error| args.files.place(error))?;
    if let Some(path) = &args.report {
        fgq::replace_file(path, tuning.to_html().as_bytes())?;
    }
    let json = TuningJson::new(&tuning);
    let mut conversion = tuning.conversion;
    let plan = options.convert.plan.as_ref();
    let written = args.files.write(&path, &mut conversion, classes, &args.network, plan)?;
    let seconds = start.elapsed().as_secs_f64();
    say(&conversion);
    if !tuning.is_improved {
        note("training did not help on the images held back; the model is as it was converted");
    }
    let more = More::of_tuning(json);
    report(&conversion, &chosen, &path, &written, more, seconds)
}

/// How training went.
#[derive(Serialize)]
pub(super) struct TuningJson {
    is_improved: bool,
    blocks: Vec<BlockJson>,
    curve: Vec<EpochJson>,
}

/// One epoch.
#[derive(Serialize)]
struct BlockJson {
    name: String,
    before: f64,
    after: f64,
}

#[derive(Serialize)]
pub(super) struct EpochJson {
    loss: Option<f64>,
    agreement: Option<f64>,
    divergence: Option<f64>,
}

impl From<&Epoch> for EpochJson {
    fn from(Epoch { loss, judgement }: &Epoch) -> Self {
        Self {
            loss: *loss,
            agreement: judgement.map(|found| found.agreement_percent()),
            divergence: judgement.map(|found| found.divergence),
        }
    }
}

impl TuningJson {
    fn new(tuning: &Tuning) -> Self {
        let block = |BlockError { name, before, after }: &BlockError| BlockJson {
            name: name.clone(),
            before: *before,
            after: *after,
        };
        Self {
            is_improved: tuning.is_improved,
            blocks: tuning.blocks.iter().map(block).collect(),
            curve: tuning.curve.iter().map(EpochJson::from).collect(),
        }
    }

    /// The start and the best epoch, in one line.
    pub(super) fn line(&self) -> String {
        let divergence = |epoch: &EpochJson| epoch.divergence.unwrap_or(f64::INFINITY);
        let say = |epoch: &EpochJson| {
            format!("{:.1}% (divergence {:.4})", epoch.agreement.unwrap_or(f64::NAN), divergence(epoch))
        };
        let best =
            self.curve.iter().enumerate().min_by(|(_, a), (_, b)| divergence(a).total_cmp(&divergence(b)));
        match (self.curve.first(), best) {
            (Some(first), Some((epoch, best))) => {
                format!(
                    "{} before, {} after {epoch} of {} epochs",
                    say(first),
                    say(best),
                    self.curve.len() - 1
                )
            }
            _ => "nothing".into(),
        }
    }
}
