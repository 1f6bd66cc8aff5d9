//! Accuracy on labelled images, alone and against full precision.

use crate::clock::Instant;
use crate::data::{Images, Unreadable, normalise};
use crate::error::{Error, ErrorKind, Result};
use crate::format::{PackedModel, Preprocess};
use crate::graph::{Graph, Interpreter};
use crate::judge::{Answers, Judgement, Z95, best, wilson};
use crate::progress::Progress;
use crate::runtime::Session;
use ndarray::Array3;
use rayon::prelude::*;
use std::time::Duration;

/// Classes compared for top-5.
const TOP: usize = 5;

/// The classes an image was given, best first, and the right one.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Ranking {
    top: Vec<usize>,
    label: usize,
}

impl Ranking {
    fn is_right(&self) -> bool {
        self.top.first() == Some(&self.label)
    }
}

/// Accuracy of one network.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Accuracy {
    /// Images.
    pub images: usize,
    /// Images whose best class is right.
    pub top1: usize,
    /// Images whose right class is among the five best.
    pub top5: usize,
}

impl Accuracy {
    fn of(answers: &[Ranking]) -> Self {
        let count = |right: fn(&Ranking) -> bool| answers.iter().filter(|answer| right(answer)).count();
        Self {
            images: answers.len(),
            top1: count(Ranking::is_right),
            top5: count(|answer| answer.top.contains(&answer.label)),
        }
    }

    /// Top-1 in percent.
    pub fn top1_percent(&self) -> f64 {
        percent(self.top1, self.images)
    }

    /// Top-5 in percent.
    pub fn top5_percent(&self) -> f64 {
        percent(self.top5, self.images)
    }

    /// 95% interval of the top-1 in percent (Wilson's score interval).
    pub fn top1_interval(&self) -> [f64; 2] {
        wilson(self.top1, self.images)
    }
}

fn percent(part: usize, whole: usize) -> f64 {
    100.0 * part as f64 / whole.max(1) as f64
}

/// A packed model against full precision, image by image.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Comparison {
    /// Accuracy of full precision on the same images.
    pub reference: Accuracy,
    /// Images that only full precision gets right.
    pub only_reference: usize,
    /// Images that only the packed model gets right.
    pub only_model: usize,
    /// Whether both say the same.
    pub judgement: Judgement,
}

impl Comparison {
    /// Of the model's answers and the reference's, image by image; none without reference.
    fn of(model: &[Ranking], reference: &[(Ranking, Answers)]) -> Option<Self> {
        let (reference, answers): (Vec<Ranking>, Vec<Answers>) = reference.iter().cloned().unzip();
        let pairs = || model.iter().zip(&reference);
        let count = |holds: fn(&Ranking, &Ranking) -> bool| pairs().filter(|(m, r)| holds(m, r)).count();
        Some(Self {
            reference: Accuracy::of(&reference),
            judgement: Judgement::of(&answers)?,
            only_reference: count(|m, r| r.is_right() && !m.is_right()),
            only_model: count(|m, r| m.is_right() && !r.is_right()),
        })
    }

    /// Full precision's top-1 minus the model's, in points.
    pub fn drop(&self) -> f64 {
        100.0 * (self.only_reference as f64 - self.only_model as f64) / self.reference.images.max(1) as f64
    }

    /// 95% interval of the drop, from the pairs that differ.
    pub fn drop_interval(&self) -> [f64; 2] {
        let n = self.reference.images.max(1) as f64;
        let (worse, better) = (self.only_reference as f64, self.only_model as f64);
        let half = 100.0 * Z95 * (worse + better - (worse - better).powi(2) / n).max(0.0).sqrt() / n;
        [self.drop() - half, self.drop() + half]
    }

    /// McNemar's exact test: the probability of pairs that differ at least so unequally if both networks are
    /// equally good.
    pub fn p_value(&self) -> f64 {
        let pairs = self.only_reference + self.only_model;
        let tail: f64 = (0..=self.only_reference.min(self.only_model)).map(|k| binomial_half(pairs, k)).sum();
        (2.0 * tail).min(1.0)
    }
}

/// Probability of `k` heads in `n` throws of a fair coin.
fn binomial_half(n: usize, k: usize) -> f64 {
    let ln: f64 = (0..k).map(|i| ((n - i) as f64).ln() - ((i + 1) as f64).ln()).sum();
    (ln - n as f64 * std::f64::consts::LN_2).exp()
}

/// What [`evaluate`] or [`evaluate_network`] measured.
#[derive(Debug)]
pub struct Evaluation {
    /// The accuracy of the packed model or the network.
    pub accuracy: Accuracy,
    /// Against full precision, if that was asked for.
    pub comparison: Option<Comparison>,
    /// Images per second, reading and decoding included, full precision not.
    pub images_per_second: f64,
    /// Images that could not be read: name and error.
    pub unreadable: Vec<(String, Error)>,
}

/// Measures top-1 and top-5 of a packed model on labelled images, and of the full-precision network
/// `reference` on the same images, if given.
///
/// Decoding of some images runs in parallel with the execution of others.
///
/// # Errors
/// A model that is not valid, a reference with another input, an image without label, no readable image.
pub fn evaluate(
    model: &PackedModel,
    images: &dyn Images,
    reference: Option<&Graph>,
    progress: &dyn Progress,
) -> Result<Evaluation> {
    let session = Session::new(model)?;
    let interpreter = reference.map(|graph| interpreter(graph, model)).transpose()?;
    let networks = Networks { model, session: &session, interpreter: interpreter.as_ref() };
    evaluate_with(images, &model.preprocess, progress, |input, label, start| {
        networks.see(input, label, start)
    })
}

/// Measures top-1 and top-5 of a full-precision network on labelled images, which `preprocess` prepares for it.
///
/// # Errors
/// A network that is not valid, preprocessing for another input, an image without label, no readable image.
pub fn evaluate_network(
    graph: &Graph,
    preprocess: &Preprocess,
    images: &dyn Images,
    progress: &dyn Progress,
) -> Result<Evaluation> {
    preprocess.check_input(graph.input.channels, graph.input.height, graph.input.width)?;
    let interpreter = Interpreter::new(graph)?;
    evaluate_with(images, preprocess, progress, |input, label, start| {
        let logits = full_precision(&interpreter, input, preprocess)?;
        let times = [start.elapsed(), Duration::ZERO];
        Ok(Seen { model: Ranking { top: best(&logits, TOP), label }, reference: None, times })
    })
}

/// What `see` finds for the pixels and the label of every image, whose reading began at the time it is given.
fn evaluate_with(
    images: &dyn Images,
    preprocess: &Preprocess,
    progress: &dyn Progress,
    see: impl Fn(&EvaluatedInput, usize, Instant) -> Result<Seen> + Sync,
) -> Result<Evaluation> {
    let start = Instant::now();
    progress.start("evaluating", images.len());
    let (seen, unreadable) = see_all(images, preprocess, progress, see)?;
    let seconds = start.elapsed().as_secs_f64() * share_of_model(&seen);
    let answers: Vec<Ranking> = seen.iter().map(|seen| seen.model.clone()).collect();
    let reference: Vec<(Ranking, Answers)> = seen.into_iter().filter_map(|seen| seen.reference).collect();
    Ok(Evaluation {
        accuracy: Accuracy::of(&answers),
        comparison: Comparison::of(&answers, &reference),
        images_per_second: answers.len() as f64 / seconds,
        unreadable,
    })
}

fn interpreter<'a>(graph: &'a Graph, model: &PackedModel) -> Result<Interpreter<'a>> {
    if graph.input != model.input {
        let message = format!("the reference reads {}, the packed model {}", graph.input, model.input);
        return Err(Error::new(ErrorKind::Shape, message));
    }
    Interpreter::new(graph)
}

/// What networks read of an image.
struct EvaluatedInput {
    pixels: Vec<u8>,
    /// What full precision reads, if that is more than pixels say.
    values: Option<Array3<f32>>,
}

/// What an image showed.
struct Seen {
    model: Ranking,
    /// The reference's answer, and how the model's logits compare with its.
    reference: Option<(Ranking, Answers)>,
    /// How long reading the image and running the model took, and how long the reference.
    times: [Duration; 2],
}

/// Share of the time that was not the reference's.
fn share_of_model(seen: &[Seen]) -> f64 {
    let seconds = |part: usize| -> f64 { seen.iter().map(|seen| seen.times[part].as_secs_f64()).sum() };
    let [model, reference] = [seconds(0), seconds(1)];
    if reference > 0.0 { model / (model + reference) } else { 1.0 }
}

/// The packed model and maybe the full-precision network, to be run on one image after another.
struct Networks<'a> {
    model: &'a PackedModel,
    session: &'a Session,
    interpreter: Option<&'a Interpreter<'a>>,
}

impl Networks<'_> {
    fn see(&self, input: &EvaluatedInput, label: usize, start: Instant) -> Result<Seen> {
        let logits = self.session.run(&input.pixels)?;
        let (model, ran) = (Ranking { top: logits.top(0, TOP), label }, start.elapsed());
        let reference = self.interpreter.map(|interpreter| {
            let full = full_precision(interpreter, input, &self.model.preprocess)?;
            let packed = logits.data.iter().map(|&logit| f64::from(logit) * self.model.logit_scale);
            let answers = Answers::of(&full, &packed.collect::<Vec<_>>());
            Ok((Ranking { top: best(&full, TOP), label }, answers))
        });
        Ok(Seen { model, reference: reference.transpose()?, times: [ran, start.elapsed() - ran] })
    }
}

fn full_precision(
    interpreter: &Interpreter,
    input: &EvaluatedInput,
    preprocess: &Preprocess,
) -> Result<Vec<f64>> {
    let image = input.values.clone().map_or_else(|| normalise(&input.pixels, preprocess), Ok)?;
    let logits = interpreter.run(image.as_slice().unwrap_or_default())?;
    Ok(logits.iter().map(|&logit| f64::from(logit)).collect())
}

/// What every readable image shows; each is read once.
fn see_all(
    images: &dyn Images,
    preprocess: &Preprocess,
    progress: &dyn Progress,
    see: impl Fn(&EvaluatedInput, usize, Instant) -> Result<Seen> + Sync,
) -> Result<(Vec<Seen>, Unreadable)> {
    let read_and_see = |index: usize| -> Result<std::result::Result<Seen, (String, Error)>> {
        let label = images.label(index).ok_or_else(|| unlabelled(&images.name(index)))?;
        let start = Instant::now();
        let outcome = match input(images, index, preprocess) {
            Ok(input) => Ok(see(&input, label, start)?),
            Err(error) => Err((images.name(index), error)),
        };
        progress.advance(1);
        Ok(outcome)
    };
    let outcomes: Result<Vec<_>> = (0..images.len()).into_par_iter().map(read_and_see).collect();
    let (mut all, mut unreadable) = (Vec::new(), Vec::new());
    for outcome in outcomes? {
        match outcome {
            Ok(seen) => all.push(seen),
            Err(error) => unreadable.push(error),
        }
    }
    if all.is_empty() {
        let error = Error::new(ErrorKind::Image, format!("none of {} images can be read", images.len()));
        return Err(match unreadable.into_iter().next() {
            Some((_, cause)) => error.because(cause),
            None => error,
        });
    }
    Ok((all, unreadable))
}

fn input(images: &dyn Images, index: usize, preprocess: &Preprocess) -> Result<EvaluatedInput> {
    let (pixels, values) = (images.pixels(index, preprocess)?, images.values(index, preprocess)?);
    Ok(EvaluatedInput { pixels, values })
}

fn unlabelled(name: &str) -> Error {
    let message = format!("image '{name}' has no label; give class folders or a label file");
    Error::new(ErrorKind::Argument, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn comparison(only_reference: usize, only_model: usize) -> Comparison {
        let reference = Accuracy { images: 100, top1: 80, top5: 95 };
        let judgement = Judgement { images: 100, agreeing: 90, divergence: 0.0, divergence_error: None };
        Comparison { reference, judgement, only_reference, only_model }
    }

    #[test]
    fn mcnemar_matches_the_binomial_distribution() {
        // scipy.stats.binomtest(k, n, 0.5).pvalue
        assert!((comparison(8, 2).p_value() - 0.109_375).abs() < 1e-12);
        assert!((comparison(15, 3).p_value() - 0.007_537_841_796_875).abs() < 1e-12);
        assert_eq!(comparison(5, 5).p_value(), 1.0);
        assert_eq!(comparison(0, 0).p_value(), 1.0);
    }

    #[test]
    fn the_drop_has_an_interval() {
        let comparison = comparison(8, 2);
        assert_eq!(comparison.drop(), 6.0);
        let [low, high] = comparison.drop_interval();
        assert!((high - low - 2.0 * 100.0 * Z95 * (10.0f64 - 0.36).sqrt() / 100.0).abs() < 1e-9);
    }

    #[test]
    fn top5_counts_the_right_class_among_five() {
        let answers = [
            Ranking { top: vec![1, 2, 3, 4, 5], label: 5 },
            Ranking { top: vec![1, 2, 3, 4, 5], label: 1 },
            Ranking { top: vec![1, 2], label: 0 },
        ];
        let accuracy = Accuracy::of(&answers);
        assert_eq!((accuracy.images, accuracy.top1, accuracy.top5), (3, 1, 2));
    }
}
