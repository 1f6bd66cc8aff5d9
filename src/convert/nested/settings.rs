//! Settings with a name: a width for every layer, so that the least is lost within a mean width.

use crate::calibrate::Spool;
use crate::error::{Error, ErrorKind, Result};
use crate::format::{PackedModel, PackedOp, Setting};
use crate::judge::{Answers, Judgement};
use crate::knapsack::{Effort, Item, Problem};
use crate::progress::Progress;
use crate::runtime::Session;

/// Most images that say what a layer's width costs.
const JUDGES: usize = 128;

/// The held-back images, one after another.
pub(super) fn pixels(held_back: &Spool) -> Result<Vec<Vec<u8>>> {
    (0..held_back.images()).map(|image| held_back.image(image)).collect()
}

/// What a session makes of the images, against full precision's `logits` of them.
fn judged(
    session: &Session,
    logits: &[Vec<f64>],
    pixels: &[Vec<u8>],
    scale: f64,
) -> Result<Option<Judgement>> {
    let found = session.run(&pixels.concat())?;
    let answers = logits.iter().take(pixels.len()).enumerate().map(|(image, reference)| {
        let own: Vec<f64> = found.image(image).iter().map(|&logit| f64::from(logit) * scale).collect();
        Answers::of(reference, &own)
    });
    Ok(Judgement::of(&answers.collect::<Vec<_>>()))
}

/// One setting for each width of all layers, then one for each of `wanted`: a name and a mean width of the weights. Layers
/// get the widths with which the divergences that each causes alone add up to the least, proven.
pub(super) fn settings(
    model: &PackedModel,
    wanted: &[(String, f64)],
    logits: &[Vec<f64>],
    pixels: &[Vec<u8>],
    progress: &dyn Progress,
) -> Result<Vec<Setting>> {
    let mut session = Session::new(model)?;
    let widths = session.widths().to_vec();
    let layers: Vec<String> = model.switching_layers().map(str::to_owned).collect();
    let judge = |session: &Session, pixels: &[Vec<u8>]| judged(session, logits, pixels, model.logit_scale);
    let mut settings = Vec::new();
    for &width in &widths {
        session.set_bits(None, width)?;
        let (name, widths) = (format!("all-{width}"), vec![width; layers.len()]);
        settings.push(Setting { name, widths, judgement: judge(&session, pixels)? });
    }
    if wanted.is_empty() {
        return Ok(settings);
    }
    let few = &pixels[..pixels.len().min(JUDGES)];
    let divergence = |session: &Session| {
        Ok::<f64, Error>(judge(session, few)?.map_or(0.0, |judgement| judgement.divergence))
    };
    let full = divergence(&session)?;
    progress.start("widths", layers.len());
    let mut groups = Vec::with_capacity(layers.len());
    for (layer, weights) in layers.iter().zip(weights(model)) {
        let mut items = Vec::with_capacity(widths.len());
        for &width in &widths {
            session.set_bits(Some(layer), width)?;
            let cost = divergence(&session)? - full;
            items.push(Item { cost, uses: vec![u64::from(width) * weights] });
        }
        groups.push(items);
        progress.advance(1);
    }
    let total: u64 = weights(model).sum();
    for (name, mean) in wanted {
        let problem = Problem { groups: groups.clone(), limits: vec![(mean * total as f64) as u64] };
        let chosen = problem.solve(Effort::default()).ok_or_else(|| {
            let message = format!("no widths have the mean {mean} of setting '{name}'; there are {widths:?}");
            Error::new(ErrorKind::Argument, message)
        })?;
        let chosen: Vec<u8> = chosen.items.iter().map(|&item| widths[item]).collect();
        session.set_widths(&chosen)?;
        settings.push(Setting { name: name.clone(), widths: chosen, judgement: judge(&session, pixels)? });
    }
    Ok(settings)
}

/// The weights of every layer that switches.
fn weights(model: &PackedModel) -> impl Iterator<Item = u64> {
    let layers = model.switching.iter().flat_map(|switching| &switching.layers).filter(|layer| layer.own);
    layers.map(|layer| match &model.nodes[layer.node].op {
        PackedOp::Conv(conv) => conv.weight_count() as u64,
        _ => 0,
    })
}
