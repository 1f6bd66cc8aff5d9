//! Which layer, with more bits, would give back most answers: tried, not predicted.

use crate::calibrate::Spool;
use crate::error::Result;
use crate::format::{PackedModel, PackedNode, PackedOp};
use crate::judge::best;
use crate::layerwise::{Note, WhatIf};
use crate::runtime::Session;

/// Images that run together.
const BATCH: usize = 16;

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

fn with(model: &PackedModel, node: usize, spare: &PackedNode) -> PackedModel {
    let mut other = model.clone();
    other.nodes[node] = spare.clone();
    other
}

/// Images held back that get full precision's class.
fn agreeing(model: &PackedModel, what_if: &WhatIf, pixels: &Spool) -> Result<usize> {
    let session = Session::new(model)?;
    let mut agreeing = 0;
    let images: Vec<usize> = (0..pixels.images()).collect();
    for batch in images.chunks(BATCH) {
        let batch_pixels: Vec<Vec<u8>> =
            batch.iter().map(|&image| pixels.image(image)).collect::<Result<_>>()?;
        let logits = session.run(&batch_pixels.concat())?;
        let agrees = |place: usize| logits.top(place, 1) == best(&what_if.logits[batch[place]], 1);
        agreeing += (0..batch.len()).filter(|&place| agrees(place)).count();
    }
    Ok(agreeing)
}

/// Of weights and scales.
fn bytes(node: &PackedNode) -> usize {
    match &node.op {
        PackedOp::Conv(conv) => conv.weights.codes.len() + conv.weights.scales.len(),
        _ => 0,
    }
}
