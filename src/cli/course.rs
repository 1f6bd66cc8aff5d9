//! What the commands that train have in common.

use fgq::{Course, Descent, Imitation, RateSchedule};

/// How training goes.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Training")]
pub(super) struct CourseArgs {
    /// How often every image is seen
    #[arg(long, value_name = "N", default_value_t = Course::default().epochs)]
    epochs: usize,
    /// Minutes of training at most; the result then depends on the machine's speed
    #[arg(long, value_name = "M")]
    minutes: Option<f64>,
    /// Softens the class probabilities that are compared with full precision's
    #[arg(long, value_name = "T", default_value_t = 2.0)]
    temperature: f64,
    /// adamw or sgd (momentum 0.9)
    #[arg(long, value_enum, default_value_t = OptimiserArg::Adamw)]
    optimiser: OptimiserArg,
    /// cosine, or steps: a tenth after a half and after three quarters
    #[arg(long, value_enum, default_value_t = ScheduleArg::Cosine)]
    schedule: ScheduleArg,
    /// Share by which weights shrink per unit of rate
    #[arg(long, value_name = "SHARE", default_value_t = Course::default().decay)]
    decay: f64,
    /// Norm that all gradients together have at most
    #[arg(long, value_name = "NORM")]
    clip: Option<f64>,
    /// Do not mirror images
    #[arg(long)]
    no_flips: bool,
    /// Pixels by which images move at most
    #[arg(long, value_name = "PIXELS", default_value_t = Course::default().shift)]
    shift: usize,
    /// Share of images that are laid over another one, 0 to 1
    #[arg(long, value_name = "SHARE", default_value_t = Course::default().mix)]
    mix: f64,
    /// Smallest share of an image's area that is cut out and enlarged; 1 for no cut
    #[arg(long, value_name = "SHARE", default_value_t = Course::default().crop)]
    crop_area: f64,
    /// Share by which brightness, contrast and saturation change at most
    #[arg(long, value_name = "SHARE", default_value_t = Course::default().colour)]
    colour: f64,
    /// Where randomness starts
    #[arg(long, value_name = "N", default_value_t = Course::default().seed)]
    seed: u64,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum OptimiserArg {
    Adamw,
    Sgd,
}

impl OptimiserArg {
    fn descent(self) -> Descent {
        match self {
            Self::Adamw => Descent::ADAM_W,
            Self::Sgd => Descent::Sgd { momentum: 0.9 },
        }
    }
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum ScheduleArg {
    Cosine,
    Steps,
}

impl ScheduleArg {
    fn schedule(self) -> RateSchedule {
        match self {
            Self::Cosine => Course::default().schedule,
            Self::Steps => RateSchedule::Steps(vec![0.5, 0.75]),
        }
    }
}

impl CourseArgs {
    /// `course` with what these options say.
    pub(super) fn applied_to(&self, course: Course) -> Course {
        Course {
            epochs: self.epochs,
            minutes: self.minutes,
            imitation: Imitation::Divergence { temperature: self.temperature },
            optimiser: self.optimiser.descent(),
            schedule: self.schedule.schedule(),
            decay: self.decay,
            clip: self.clip,
            flips: !self.no_flips,
            shift: self.shift,
            mix: self.mix,
            crop: self.crop_area,
            colour: self.colour,
            seed: self.seed,
            ..course
        }
    }
}
