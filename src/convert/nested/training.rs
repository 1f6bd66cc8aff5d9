//! What training of a network that switches needs of its conversion, and gives back.

use super::NestedFitted;
use super::settings::{SettingJudge, pixels};
use super::switching::switching_model;
use crate::error::Result;
use crate::judge::Judgement;
use crate::layerwise::{Packed, WhatIf, measure_and_pack};
use crate::prepare::Full;
use crate::progress::Progress;
use crate::quantize::NestedGraph;
use crate::random::Random;
use crate::runtime::Session;

/// Random widths that judge a network in training.
const RANDOM: usize = 4;

/// What the images held back say of a network at all its widths and at some that are random in every layer, together.
pub(crate) struct WidthsJudge<'a> {
    pub full: &'a Full<'a>,
    /// Full precision's.
    pub logits: &'a [Vec<f64>],
    pub pixels: Vec<u8>,
}

impl WidthsJudge<'_> {
    /// # Errors
    /// Parameters that integers cannot hold.
    pub(crate) fn of(&self, nested: &NestedGraph) -> Result<Option<Judgement>> {
        let model = switching_model(nested, self.full)?;
        let mut judge = SettingJudge {
            session: Session::new(&model)?,
            logits: self.logits,
            pixels: &self.pixels,
            scale: model.logit_scale,
        };
        let (widths, layers) = (judge.session.widths().to_vec(), nested.own.len());
        let mut random = Random::new(0, &[]);
        let uniform = widths.iter().map(|&width| vec![width; layers]);
        let mut mixed = || (0..layers).map(|_| widths[random.below(widths.len())]).collect();
        let mixed: Vec<Vec<u8>> = (0..RANDOM).map(|_| mixed()).collect();
        let mut answers = Vec::new();
        for setting in uniform.chain(mixed) {
            judge.session.set_widths(&setting)?;
            answers.extend(judge.answers(self.logits.len())?);
        }
        Ok(Judgement::of(&answers))
    }
}

impl NestedFitted<'_> {
    /// What judges the network as it is and as it will be; none if no image was held back.
    ///
    /// # Errors
    /// A temporary file that cannot be read.
    pub(crate) fn judge(&self) -> Result<Option<WidthsJudge<'_>>> {
        let Some((what_if, held_back)) =
            self.packed.what_if.as_ref().zip(self.packed.pixels.held_back.as_ref())
        else {
            return Ok(None);
        };
        Ok(Some(WidthsJudge { full: &self.full, logits: &what_if.logits, pixels: pixels(held_back)? }))
    }

    /// With a network that learned further in place of the fitted one.
    ///
    /// # Errors
    /// Parameters that integers cannot hold.
    pub(crate) fn with(self, nested: NestedGraph, progress: &dyn Progress) -> Result<Self> {
        let Packed { pixels, what_if, .. } = self.packed;
        let packed = measure_and_pack(&mut nested.top().clone(), &self.full, pixels, progress)?;
        let what_if = what_if.map(|WhatIf { logits, .. }| WhatIf { logits, spares: Vec::new() });
        Ok(Self { nested, packed: Packed { what_if, ..packed }, ..self })
    }
}
