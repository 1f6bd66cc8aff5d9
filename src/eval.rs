//! Accuracy on labelled images, alone and against full precision.

use crate::clock::Instant;
use crate::data::{Images, Unreadable, normalise};
use crate::error::{Error, ErrorKind, Result};
use crate::format::{PackedModel, Preprocess};
use crate::graph::{Graph, Interpreter};
use crate::judge::{Answers, Judgement, Z95, best, log_softmax, wilson};
use crate::progress::{Progress, advance};
use crate::runtime::{Logits, Session};
use ndarray::Array3;
use rayon::prelude::*;
use std::time::Duration;

/// Classes compared for top-5.
const TOP: usize = 5;

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
    /// Of the classes that one network gave, each with the right one.
    fn of(given: impl Iterator<Item = (GivenClass, Option<usize>)>) -> Self {
        given.fold(Self { images: 0, top1: 0, top5: 0 }, |sum, (given, label)| Self {
            images: sum.images + 1,
            top1: sum.top1 + usize::from(Some(given.class) == label),
            top5: sum.top5 + usize::from(given.in_top5),
        })
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
    /// Of the answers, image by image; none without reference.
    fn of(answers: &[ImageAnswer]) -> Option<Self> {
        let pairs = answers.iter().filter_map(|answer| Some((answer, answer.reference?, answer.divergence?)));
        let pairs: Vec<(&ImageAnswer, GivenClass, f64)> = pairs.collect();
        let compared: Vec<Answers> =
            pairs.iter().map(|&(it, _, divergence)| Answers { agree: !it.differs(), divergence }).collect();
        let only = |model: bool| {
            let is_right = |given: GivenClass, it: &ImageAnswer| Some(given.class) == it.label;
            let rights = pairs.iter().map(|(it, full, _)| (is_right(it.given, it), is_right(*full, it)));
            rights.filter(|&(own, full)| own == model && full != model).count()
        };
        Some(Self {
            reference: Accuracy::of(pairs.iter().map(|(it, reference, _)| (*reference, it.label))),
            judgement: Judgement::of(&compared)?,
            only_reference: only(false),
            only_model: only(true),
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

/// The class that a network gives an image first.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct GivenClass {
    /// Index of the output.
    pub class: usize,
    /// Its probability, 0 to 1.
    pub probability: f64,
    /// Whether the right class, if known, is among the five that it gives first.
    pub in_top5: bool,
}

impl GivenClass {
    fn of(logits: &[f64], label: Option<usize>) -> Self {
        let top = best(logits, TOP);
        let class = top.first().copied().unwrap_or(0);
        Self {
            class,
            probability: log_softmax(logits).get(class).map_or(0.0, |ln| ln.exp()),
            in_top5: label.is_some_and(|label| top.contains(&label)),
        }
    }
}

/// What became of one image.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ImageAnswer {
    /// Its place among the images.
    pub image: usize,
    /// The right class, if known.
    pub label: Option<usize>,
    /// The answer of the network that was measured.
    pub given: GivenClass,
    /// Full precision's answer, if that was asked for.
    pub reference: Option<GivenClass>,
    /// Divergence of the probabilities from full precision's, in nats.
    pub divergence: Option<f64>,
}

impl ImageAnswer {
    /// Of the logits of both networks.
    fn of(image: usize, label: Option<usize>, logits: &[f64], reference: Option<&[f64]>) -> Self {
        Self {
            image,
            label,
            given: GivenClass::of(logits, label),
            reference: reference.map(|reference| GivenClass::of(reference, label)),
            divergence: reference.map(|reference| Answers::of(reference, logits).divergence),
        }
    }

    /// Whether the network gives another class than full precision.
    pub fn differs(&self) -> bool {
        self.reference.is_some_and(|reference| reference.class != self.given.class)
    }

    /// Whether the network gives another class than the right one.
    pub fn is_wrong(&self) -> bool {
        self.label.is_some_and(|label| label != self.given.class)
    }
}

/// What [`evaluate`] or [`evaluate_network`] measured.
#[derive(Debug)]
pub struct Evaluation {
    /// The accuracy of the packed model or the network.
    pub accuracy: Accuracy,
    /// Against full precision, if that was asked for.
    pub comparison: Option<Comparison>,
    /// Images per second, reading and decoding included, full precision not; NaN where no time was taken.
    pub images_per_second: f64,
    /// What became of every readable image, in their order.
    pub answers: Vec<ImageAnswer>,
    /// Images that could not be read: name and error.
    pub unreadable: Vec<(String, Error)>,
}

impl Evaluation {
    /// What answers say together, wherever they were found ([`answers_of`]); nothing of how fast.
    ///
    /// # Errors
    /// No answer.
    ///
    /// # Examples
    /// ```
    /// use fgq::{Evaluation, GivenClass, ImageAnswer};
    /// let given = GivenClass { class: 3, probability: 0.9, in_top5: true };
    /// let answer = ImageAnswer { image: 0, label: Some(3), given, reference: None, divergence: None };
    /// assert_eq!(Evaluation::of(vec![answer], Vec::new())?.accuracy.top1, 1);
    /// # Ok::<(), fgq::Error>(())
    /// ```
    pub fn of(answers: Vec<ImageAnswer>, unreadable: Vec<(String, Error)>) -> Result<Self> {
        if answers.is_empty() {
            let message = format!("none of {} images can be read", unreadable.len());
            let error = Error::new(ErrorKind::Image, message);
            return Err(match unreadable.into_iter().next() {
                Some((_, cause)) => error.because(cause),
                None => error,
            });
        }
        Ok(Self {
            accuracy: Accuracy::of(answers.iter().map(|answer| (answer.given, answer.label))),
            comparison: Comparison::of(&answers),
            images_per_second: f64::NAN,
            answers,
            unreadable,
        })
    }
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
    evaluate_with(images, &model.preprocess, progress, |input, place, start| {
        networks.see(input, place, start)
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
    evaluate_with(images, preprocess, progress, |input, (image, label), start| {
        let logits = full_precision(&interpreter, input, preprocess)?;
        Ok(Seen {
            answer: ImageAnswer::of(image, label, &logits, None),
            times: [start.elapsed(), Duration::ZERO],
        })
    })
}

/// What a packed model and full precision say of the images at some places, which need no labels.
///
/// # Errors
/// As [`evaluate`], and an image that cannot be read.
pub fn answers(
    model: &PackedModel,
    reference: &Graph,
    images: &dyn Images,
    places: &[usize],
    progress: &dyn Progress,
) -> Result<Vec<ImageAnswer>> {
    let (session, interpreter) = (Session::new(model)?, interpreter(reference, model)?);
    let networks = Networks { model, session: &session, interpreter: Some(&interpreter) };
    progress.start("answers", places.len());
    let answer = |&image: &usize| {
        let input = input(images, image, &model.preprocess)?;
        let seen = networks.see(&input, (image, images.label(image)), Instant::now())?;
        advance(progress, 1)?;
        Ok(seen.answer)
    };
    places.par_iter().map(answer).collect()
}

/// What a packed model, which `session` runs, and maybe full precision say of images, which need no labels: a part of an
/// evaluation that [`Evaluation::of`] puts together. The names of those that cannot be read come with the errors.
///
/// # Errors
/// As [`evaluate`], but for labels and images that cannot be read.
pub fn answers_of(
    model: &PackedModel,
    session: &Session,
    reference: Option<&Graph>,
    images: &dyn Images,
    progress: &dyn Progress,
) -> Result<(Vec<ImageAnswer>, Unreadable)> {
    let interpreter = reference.map(|graph| interpreter(graph, model)).transpose()?;
    let networks = Networks { model, session, interpreter: interpreter.as_ref() };
    progress.start("answers", images.len());
    let see = |input: &EvaluatedInput, place, start| networks.see(input, place, start);
    let (seen, unreadable) = see_all(images, &model.preprocess, progress, see)?;
    Ok((seen.into_iter().map(|seen| seen.answer).collect(), unreadable))
}

fn real_logits(model: &PackedModel, logits: &Logits) -> Vec<f64> {
    logits.data.iter().map(|&logit| f64::from(logit) * model.logit_scale).collect()
}

/// The place of an image and the right class, if known.
type Place = (usize, Option<usize>);

/// What `see` finds for the pixels and the place of every image, whose reading began at the time it is given.
fn evaluate_with(
    images: &dyn Images,
    preprocess: &Preprocess,
    progress: &dyn Progress,
    see: impl Fn(&EvaluatedInput, Place, Instant) -> Result<Seen> + Sync,
) -> Result<Evaluation> {
    let unlabelled = (0..images.len()).find(|&index| images.label(index).is_none());
    if let Some(index) = unlabelled {
        let message =
            format!("image '{}' has no label; give class folders or a label file", images.name(index));
        return Err(Error::new(ErrorKind::Argument, message));
    }
    let start = Instant::now();
    progress.start("evaluating", images.len());
    let (seen, unreadable) = see_all(images, preprocess, progress, see)?;
    let seconds = start.elapsed().as_secs_f64() * share_of_model(&seen);
    let images_per_second = seen.len() as f64 / seconds;
    let evaluation = Evaluation::of(seen.into_iter().map(|seen| seen.answer).collect(), unreadable)?;
    Ok(Evaluation { images_per_second, ..evaluation })
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
    answer: ImageAnswer,
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
    fn see(&self, input: &EvaluatedInput, (image, label): Place, start: Instant) -> Result<Seen> {
        let logits = real_logits(self.model, &self.session.run(&input.pixels)?);
        let ran = start.elapsed();
        let full =
            self.interpreter.map(|it| full_precision(it, input, &self.model.preprocess)).transpose()?;
        let answer = ImageAnswer::of(image, label, &logits, full.as_deref());
        Ok(Seen { answer, times: [ran, start.elapsed() - ran] })
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

/// What every readable image shows, in their order; each is read once.
fn see_all(
    images: &dyn Images,
    preprocess: &Preprocess,
    progress: &dyn Progress,
    see: impl Fn(&EvaluatedInput, Place, Instant) -> Result<Seen> + Sync,
) -> Result<(Vec<Seen>, Unreadable)> {
    let read_and_see = |index: usize| -> Result<std::result::Result<Seen, (String, Error)>> {
        let start = Instant::now();
        let outcome = match input(images, index, preprocess) {
            Ok(input) => Ok(see(&input, (index, images.label(index)), start)?),
            Err(error) => Err((images.name(index), error)),
        };
        advance(progress, 1)?;
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
    Ok((all, unreadable))
}

fn input(images: &dyn Images, index: usize, preprocess: &Preprocess) -> Result<EvaluatedInput> {
    let (pixels, values) = (images.pixels(index, preprocess)?, images.values(index, preprocess)?);
    Ok(EvaluatedInput { pixels, values })
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

    fn answer(label: usize, logits: &[f64], reference: Option<&[f64]>) -> ImageAnswer {
        ImageAnswer::of(0, Some(label), logits, reference)
    }

    #[test]
    fn top5_counts_the_right_class_among_five() {
        let falling = [0.0, 9.0, 8.0, 7.0, 6.0, 5.0];
        let answers = [answer(5, &falling, None), answer(1, &falling, None), answer(0, &falling, None)];
        let accuracy = Accuracy::of(answers.iter().map(|answer| (answer.given, answer.label)));
        assert_eq!((accuracy.images, accuracy.top1, accuracy.top5), (3, 1, 2));
    }

    #[test]
    fn answers_found_in_parts_say_what_all_say() {
        let logits = [[3.0, 1.0], [1.0, 3.0], [2.0, 2.5]];
        let full = [[3.0, 0.0], [2.0, 1.0], [3.0, 2.0]];
        let labels = [0, 1, 0];
        let answers = (0..3).map(|i| answer(labels[i], &logits[i], Some(&full[i]))).collect();
        let evaluation = Evaluation::of(answers, Vec::new()).unwrap();
        let comparison = evaluation.comparison.unwrap();
        assert_eq!((evaluation.accuracy.top1, comparison.reference.top1), (2, 2));
        assert_eq!((comparison.only_reference, comparison.only_model), (1, 1));
        assert_eq!(comparison.judgement.agreeing, 1);
        assert!(Evaluation::of(Vec::new(), Vec::new()).is_err());
    }
}
