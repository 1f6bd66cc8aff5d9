//! Which layer, with more bits, would give back most answers: tried, not predicted.

use crate::calibrate::{Spool, logits_of};
use crate::error::Result;
use crate::format::{PackedId, PackedModel, PackedNode, PackedOp};
use crate::judge::best;
use crate::layerwise::{Note, WhatIf};

/// The layer that would help most with 8 bits, if one of those tried does. With every answer kept nothing can.
pub(super) fn remedy(model: &PackedModel, what_if: &WhatIf, pixels: &Spool) -> Result<Option<Note>> {
    let judgement = model.fidelity.as_ref().and_then(|fidelity| fidelity.judgement);
    let Some(judgement) = judgement.filter(|found| found.agreeing < found.images) else { return Ok(None) };
    let mut most: Option<(usize, Note)> = None;
    for (node, spare) in &what_if.spares {
        let agreeing = agreeing(&with(model, *node, spare), what_if, pixels)?;
        if agreeing > most.as_ref().map_or(judgement.agreeing, |(most, _)| *most) {
            let gained = agreeing - judgement.agreeing;
            let note = Note::Remedy {
                layer: spare.name.clone(),
                points: 100.0 * gained as f64 / judgement.images as f64,
                images: judgement.images,
                bytes: bytes(spare).saturating_sub(bytes(&model.nodes[*node])),
            };
            most = Some((agreeing, note));
        }
    }
    Ok(most.map(|(_, note)| note))
}

fn with(model: &PackedModel, node: PackedId, spare: &PackedNode) -> PackedModel {
    let mut other = model.clone();
    other.nodes[node] = spare.clone();
    other
}

/// Images held back that get full precision's class.
fn agreeing(model: &PackedModel, what_if: &WhatIf, pixels: &Spool) -> Result<usize> {
    let logits = logits_of(model, pixels)?;
    let agrees = |&image: &usize| logits.top(image, 1) == best(&what_if.logits[image], 1);
    Ok((0..pixels.images()).filter(agrees).count())
}

/// Of weights and scales.
fn bytes(node: &PackedNode) -> usize {
    match &node.op {
        PackedOp::Conv(conv) => conv.weights.codes.len() + conv.weights.scales.len(),
        _ => 0,
    }
}
