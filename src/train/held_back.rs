//! What the images held back say of a network in training.

use crate::calibrate::{Spool, logits_of};
use crate::data::normalise;
use crate::error::Result;
use crate::format::Preprocess;
use crate::graph::Interpreter;
use crate::judge::{Answers, Judgement};
use crate::pack::pack_graph;
use crate::prepare::Full;
use crate::quantize::QuantizedGraph;
use rayon::prelude::*;

/// The images that judge, with full precision's logits.
pub(super) struct Judge<'a> {
    preprocess: &'a Preprocess,
    pixels: &'a Spool,
    logits: Vec<Vec<f64>>,
}

impl<'a> Judge<'a> {
    pub(super) fn new(teacher: &Interpreter, full: &Full<'a>, pixels: &'a Spool) -> Result<Self> {
        let logits = |image: usize| {
            let input = normalise(&pixels.image(image)?, full.preprocess)?;
            let logits = teacher.run(&input.into_raw_vec_and_offset().0)?;
            Ok(logits.into_iter().map(f64::from).collect())
        };
        let logits = (0..pixels.images()).into_par_iter().map(logits).collect::<Result<_>>()?;
        Ok(Self { preprocess: full.preprocess, pixels, logits })
    }

    /// What the integer runtime makes of `graph`.
    pub(super) fn of(&self, graph: &QuantizedGraph) -> Result<Option<Judgement>> {
        let model = pack_graph(graph, self.preprocess)?;
        let logits = logits_of(&model, self.pixels)?;
        let answer = |(image, reference): (usize, &Vec<f64>)| {
            let real = logits.image(image).iter().map(|&logit| f64::from(logit) * model.logit_scale);
            Answers::of(reference, &real.collect::<Vec<_>>())
        };
        let answers: Vec<Answers> = self.logits.iter().enumerate().map(answer).collect();
        Ok(Judgement::of(&answers))
    }
}
