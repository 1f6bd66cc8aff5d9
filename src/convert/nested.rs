//! Conversion to a model that switches (`docs/switching.md`).

mod changes;
mod circuit;
mod fit;
mod settings;
mod switching;

use super::{Conversion, ConvertOptions, Fitted};
use crate::data::{Images, Unreadable};
use crate::error::Result;
use crate::format::Preprocess;
use crate::graph::Graph;
use crate::layerwise::{Packed, WhatIf, measure_and_pack};
use crate::prepare::{Full, Prepared};
use crate::progress::Progress;
use crate::quantize::NestedGraph;
use fit::Nesting;
use settings::WidthsJudge;

/// A network that switches and has been fitted at all its widths, with all that can be done with it further.
pub(crate) struct NestedFitted<'a> {
    pub full: Full<'a>,
    pub nested: NestedGraph,
    /// With all planes.
    pub packed: Packed,
    /// Places of the fitted images among those given.
    pub fitting: Vec<usize>,
    pub unreadable: Unreadable,
}

impl<'a> NestedFitted<'a> {
    /// Fits all layers that nothing says otherwise of with the planes of `options.nested`.
    ///
    /// # Errors
    /// As `convert`, and a method or a layer that cannot switch.
    pub(crate) fn new(
        graph: Graph,
        preprocess: &'a Preprocess,
        images: &dyn Images,
        options: &ConvertOptions,
        progress: &dyn Progress,
    ) -> Result<Self> {
        let (draft, wanted) = options.ordered_draft(graph, preprocess)?;
        let (draft, plan) = fit::planned(draft, options)?;
        let Prepared { full, choices, pixels, fitting, unreadable } =
            draft.calibrate(images, &wanted, progress)?;
        let mut nesting = Nesting { full, choices, plan, options };
        let (nested, packed) = nesting.fitted(pixels, progress)?;
        Ok(Self { full: nesting.full, nested, packed, fitting, unreadable })
    }

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
        Ok(Some(WidthsJudge {
            full: &self.full,
            logits: &what_if.logits,
            pixels: settings::pixels(held_back)?,
        }))
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

    /// The packed model with its settings, and what is to be said of it.
    ///
    /// # Errors
    /// A setting that no widths have.
    pub(crate) fn conversion(self, options: &ConvertOptions, progress: &dyn Progress) -> Result<Conversion> {
        let Self { full, nested, packed, fitting, unreadable } = self;
        let judged = packed.what_if.as_ref().map(|what_if| what_if.logits.clone());
        let held_back = packed.pixels.held_back.as_ref().map(settings::pixels).transpose()?;
        let switching = switching::switching(&nested, &full)?;
        let fitted = Fitted { full, quantized: nested.top().clone(), packed, fitting, unreadable };
        let mut conversion = fitted.conversion(options)?;
        conversion.model.switching = Some(switching);
        conversion.model.shapes()?;
        if let Some((logits, pixels)) = judged.zip(held_back) {
            let settings =
                settings::settings(&conversion.model, &options.settings, &logits, &pixels, progress)?;
            conversion.model.switching.iter_mut().for_each(|it| it.settings.clone_from(&settings));
        }
        Ok(conversion)
    }
}
