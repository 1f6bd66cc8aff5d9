//! Settings with a name: a width for every layer, so that the least is lost within a mean width.

use crate::calibrate::Spool;
use crate::error::{Error, ErrorKind, Result};
use crate::format::{PackedId, PackedModel, PackedOp, Setting, Switching};
use crate::judge::{Answers, Judgement};
use crate::knapsack::{Effort, Item, Problem};
use crate::progress::{Progress, advance};
use crate::runtime::Session;

/// Most images that say what a layer's width costs.
const JUDGES: usize = 128;

/// The held-back images, one after another.
pub(super) fn pixels(held_back: &Spool) -> Result<Vec<u8>> {
    let images: Result<Vec<Vec<u8>>> = (0..held_back.images()).map(|image| held_back.image(image)).collect();
    Ok(images?.concat())
}

/// One setting for each width of all layers, then one for each of `wanted`: a name and a mean width of the weights.
///
/// A plan gives layers the widths with which the divergences that they cause, each alone among layers of one width, add up
/// to the least, proven. Of the plans for every such width, and of the uniform settings within the mean, that stays which
/// really diverges least.
pub(super) fn settings(
    model: &PackedModel,
    wanted: &[(String, f64)],
    logits: &[Vec<f64>],
    pixels: &[u8],
    progress: &dyn Progress,
) -> Result<Vec<Setting>> {
    let session = Session::new(model)?;
    let weights = weights(model);
    let mut judge = SettingJudge { session, logits, pixels, scale: model.logit_scale };
    let mut settings = Vec::new();
    let widths = judge.session.widths().to_vec();
    for &width in &widths {
        let all = vec![width; weights.len()];
        settings.push(Setting {
            name: format!("all-{width}"),
            judgement: judge.judgement(&all)?,
            widths: all,
        });
    }
    if wanted.is_empty() {
        return Ok(settings);
    }
    progress.start("widths", widths.len() * weights.len());
    let damages: Result<Vec<_>> =
        widths.iter().map(|&width| judge.damages(&widths, width, &weights, progress)).collect();
    let damages = damages?;
    for (name, mean) in wanted {
        let limit = (mean * weights.iter().sum::<u64>() as f64) as u64;
        let planned = damages.iter().filter_map(|groups| planned(groups, limit, &widths));
        let uniform = widths.iter().filter(|&&width| f64::from(width) <= *mean);
        let candidates = planned.chain(uniform.map(|&width| vec![width; weights.len()]));
        let mut best: Option<Setting> = None;
        for widths in candidates {
            let judgement = judge.judgement(&widths)?;
            let divergence =
                |of: &Option<Judgement>| of.map_or(f64::INFINITY, |judgement| judgement.divergence);
            if best.as_ref().is_none_or(|best| divergence(&judgement) < divergence(&best.judgement)) {
                best = Some(Setting { name: name.clone(), widths, judgement });
            }
        }
        settings.push(best.ok_or_else(|| {
            let message = format!("no widths have the mean {mean} of setting '{name}'; there are {widths:?}");
            Error::new(ErrorKind::Argument, message)
        })?);
    }
    Ok(settings)
}

/// The widths that cost least within the limit; `None` if there are none.
fn planned(groups: &[Vec<Item>], limit: u64, widths: &[u8]) -> Option<Vec<u8>> {
    let problem = Problem { groups: groups.to_vec(), limits: vec![limit] };
    let chosen = problem.solve(Effort::default())?;
    Some(chosen.items.iter().map(|&item| widths[item]).collect())
}

/// A session, and images that say how far it is from full precision.
pub(super) struct SettingJudge<'a> {
    pub session: Session,
    /// Full precision's.
    pub logits: &'a [Vec<f64>],
    pub pixels: &'a [u8],
    /// Real value of one unit of the session's logits.
    pub scale: f64,
}

impl SettingJudge<'_> {
    fn judgement(&mut self, widths: &[u8]) -> Result<Option<Judgement>> {
        self.session.set_widths(widths)?;
        self.judged(self.logits.len())
    }

    /// What the session makes of the first images.
    fn judged(&self, images: usize) -> Result<Option<Judgement>> {
        Ok(Judgement::of(&self.answers(images)?))
    }

    pub(super) fn answers(&self, images: usize) -> Result<Vec<Answers>> {
        let images = images.min(self.logits.len());
        let found = self.session.run(&self.pixels[..images * self.session.input().len()])?;
        let answers = self.logits.iter().take(images).enumerate().map(|(image, reference)| {
            let own: Vec<f64> =
                found.image(image).iter().map(|&logit| f64::from(logit) * self.scale).collect();
            Answers::of(reference, &own)
        });
        Ok(answers.collect())
    }

    fn divergence(&self) -> Result<f64> {
        Ok(self.judged(JUDGES)?.map_or(0.0, |judgement| judgement.divergence))
    }

    /// For every layer, what each width changes in the divergence where all others have width `base`.
    fn damages(
        &mut self,
        widths: &[u8],
        base: u8,
        weights: &[u64],
        progress: &dyn Progress,
    ) -> Result<Vec<Vec<Item>>> {
        let mut all = vec![base; weights.len()];
        self.session.set_widths(&all)?;
        let without = self.divergence()?;
        let mut groups = Vec::with_capacity(weights.len());
        for (layer, &weights) in weights.iter().enumerate() {
            let mut items = Vec::with_capacity(widths.len());
            for &width in widths {
                all[layer] = width;
                self.session.set_widths(&all)?;
                let cost = if width == base { 0.0 } else { self.divergence()? - without };
                items.push(Item { cost, uses: vec![u64::from(width) * weights] });
            }
            all[layer] = base;
            groups.push(items);
            advance(progress, 1)?;
        }
        Ok(groups)
    }
}

/// The weights of every layer that switches.
fn weights(model: &PackedModel) -> Vec<u64> {
    let layers = model.switching.iter().flat_map(Switching::own);
    let count = |node: PackedId| match &model.nodes[node].op {
        PackedOp::Conv(conv) => conv.weight_count() as u64,
        _ => 0,
    };
    layers.map(count).collect()
}
