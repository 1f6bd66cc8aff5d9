//! The widths of a model that switches: choosing them, and what they are.

use super::judged::JudgementJson;
use super::output::grouped;
use super::table::{Column, Table};
use anyhow::ensure;
use fgq::{PackedModel, Setting, Summary};
use serde::Serialize;
use std::path::Path;

/// Which widths a model that switches has.
#[derive(Debug, clap::Args)]
pub(super) struct BitsArgs {
    /// With a model that switches: the planes or bits that all layers take, or the name of a setting; `fgq inspect` lists
    /// both [default: all that the file holds]
    #[arg(long, value_name = "SETTING")]
    bits: Option<String>,
}

impl BitsArgs {
    /// What was asked for.
    pub(super) fn setting(&self) -> Option<&str> {
        self.bits.as_deref()
    }

    /// The model at the widths that were asked for.
    pub(super) fn at(&self, path: &Path, model: PackedModel) -> anyhow::Result<PackedModel> {
        let Some(setting) = &self.bits else { return Ok(model) };
        let widths = model.widths_of(setting).map_err(|error| error.at_path(path))?;
        Ok(model.at(&widths)?)
    }

    /// Refuses widths of a model that has none.
    pub(super) fn refuse(&self, path: &Path) -> anyhow::Result<()> {
        ensure!(self.bits.is_none(), "{}: --bits is for packed models that switch", path.display());
        Ok(())
    }
}

/// What a setting costs and keeps.
#[derive(Serialize)]
pub(super) struct SettingJson<'a> {
    name: &'a str,
    widths: &'a [u8],
    /// Of the weights.
    mean_width: f64,
    /// Codes and scales that a run needs.
    weight_bytes: usize,
    /// Multiplications by a weight or a group's scale, for one image.
    multiplications: usize,
    #[serde(flatten)]
    judgement: Option<JudgementJson>,
}

/// The settings of a model; none if it does not switch.
pub(super) fn settings(model: &PackedModel) -> anyhow::Result<Vec<SettingJson<'_>>> {
    let settings = model.switching.iter().flat_map(|switching| &switching.settings);
    settings.map(|setting| SettingJson::new(model, setting)).collect()
}

impl<'a> SettingJson<'a> {
    fn new(model: &PackedModel, setting: &'a Setting) -> anyhow::Result<Self> {
        let summary = Summary::new(&model.at(&setting.widths)?, 0)?;
        let sum = |part: fn(&fgq::Layer) -> usize| summary.layers.iter().map(part).sum::<usize>();
        let weights =
            |name: &str| summary.layers.iter().find(|layer| layer.name == name).map_or(0, |it| it.weights);
        let switching: Vec<usize> = model.switching_layers().map(weights).collect();
        let taken: usize =
            switching.iter().zip(&setting.widths).map(|(n, &width)| n * usize::from(width)).sum();
        Ok(Self {
            name: &setting.name,
            widths: &setting.widths,
            mean_width: taken as f64 / switching.iter().sum::<usize>().max(1) as f64,
            weight_bytes: sum(|layer| layer.bytes.codes + layer.bytes.scales),
            multiplications: sum(|layer| layer.multiplications),
            judgement: setting.judgement.as_ref().map(JudgementJson::from),
        })
    }
}

/// A row for every setting.
pub(super) fn table(settings: &[SettingJson<'_>]) -> Table {
    let mut table = Table::new(&[
        Column::Left("setting"),
        Column::Right("mean width"),
        Column::Right("weights"),
        Column::Right("multiplications"),
        Column::Right("agreement"),
        Column::Right("divergence"),
    ]);
    for setting in settings {
        let judged = |text: fn(&JudgementJson) -> String| setting.judgement.as_ref().map_or("-".into(), text);
        table.row([
            setting.name.to_owned(),
            format!("{:.2}", setting.mean_width),
            grouped(setting.weight_bytes),
            grouped(setting.multiplications),
            judged(JudgementJson::agreement),
            judged(JudgementJson::divergence),
        ]);
    }
    table
}
