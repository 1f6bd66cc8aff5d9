//! Options on models that switch.

use anyhow::Context;
use fgq::{ConvertOptions, Precision};

/// Whether the model can switch.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Switching")]
pub(super) struct NestedArgs {
    /// Ternary planes of which a running session takes one, two or all: N*2 or N*3, N/S*3 for scales of S bits
    #[arg(long, value_name = "N*PLANES", value_parser = planes, conflicts_with_all = ["group", "method", "plan"])]
    nested: Option<Precision>,
    /// Bits with which layers that switch read activations, one for each width, the lowest first: 2,3,4 [default: 8]
    #[arg(
        long,
        value_name = "BITS,…",
        value_delimiter = ',',
        requires = "nested",
        conflicts_with = "act_bits"
    )]
    nested_act: Vec<u8>,
    /// A name for the best widths of the layers whose mean, over all weights, is at most this; may be given several
    /// times [default: balanced and economy]
    #[arg(long, value_name = "NAME=MEAN", value_parser = setting, requires = "nested")]
    setting: Vec<(String, f64)>,
}

impl NestedArgs {
    pub(super) fn is_given(&self) -> bool {
        self.nested.is_some()
    }

    pub(super) fn applied_to(self, options: ConvertOptions) -> ConvertOptions {
        let Some(nested) = self.nested else { return options };
        let most = nested.planes() as f64;
        let usual = || vec![("balanced".into(), (1.0 + most) / 2.0), ("economy".into(), (3.0 + most) / 4.0)];
        let settings = if self.setting.is_empty() { usual() } else { self.setting };
        ConvertOptions { nested: Some(nested), nested_activations: self.nested_act, settings, ..options }
    }
}

fn planes(text: &str) -> fgq::Result<Precision> {
    format!("ternary:{text}").parse()
}

fn setting(text: &str) -> anyhow::Result<(String, f64)> {
    let (name, mean) = text.rsplit_once('=').context("give NAME=MEAN")?;
    Ok((name.to_owned(), mean.parse::<f64>().ok().filter(|mean| mean.is_finite()).context("give NAME=MEAN")?))
}
