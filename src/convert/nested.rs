//! Conversion to a model that switches (`docs/switching.md`).

mod changes;
mod circuit;
mod fit;
mod settings;
mod switching;
#[cfg(feature = "train")]
mod training;

use super::{Conversion, ConvertOptions, Fitted};
use crate::data::{Images, Unreadable};
use crate::error::Result;
use crate::format::Preprocess;
use crate::graph::Graph;
use crate::layerwise::Packed;
use crate::prepare::{Full, Prepared};
use crate::progress::Progress;
use crate::quantize::NestedGraph;
use fit::Nesting;

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

    /// The packed model with its settings, and what is to be said of it.
    ///
    /// # Errors
    /// A setting that no widths have.
    pub(crate) fn conversion(self, options: &ConvertOptions, progress: &dyn Progress) -> Result<Conversion> {
        let Self { full, nested, packed, fitting, unreadable } = self;
        let judged = packed.what_if.as_ref().map(|what_if| what_if.logits.clone());
        let held_back = packed.pixels.held_back.as_ref().map(settings::pixels).transpose()?;
        let switching = switching::switching_model(&nested, &full)?.switching;
        let fitted = Fitted { full, quantized: nested.top().clone(), packed, fitting, unreadable };
        let mut conversion = fitted.conversion(options)?;
        conversion.model.switching = switching;
        conversion.model.shapes()?;
        if let Some((logits, pixels)) = judged.zip(held_back) {
            let settings =
                settings::settings(&conversion.model, &options.settings, &logits, &pixels, progress)?;
            conversion.model.switching.iter_mut().for_each(|it| it.settings.clone_from(&settings));
        }
        Ok(conversion)
    }
}
