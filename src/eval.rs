//! Accuracy on labelled images, alone and against full precision.

use crate::clock::Instant;
use crate::data::{Images, normalise};
use crate::error::{Error, ErrorKind, Result};
use crate::format::{PackedModel, Preprocess};
use crate::graph::{Graph, Interpreter};
use crate::progress::Progress;
use crate::runtime::Session;
use rayon::prelude::*;

/// Half-width of a 95% interval in standard deviations.
const Z95: f64 = 1.959_963_984_540_054;
/// Classes compared for top-5.
const TOP: usize = 5;

/// The classes an image was given, best first, and the right one.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Answer {
    top: Vec<usize>,
    label: usize,
}

impl Answer {
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
    fn of(answers: &[Answer]) -> Self {
        let count = |right: fn(&Answer) -> bool| answers.iter().filter(|answer| right(answer)).count();
        Self {
            images: answers.len(),
            top1: count(Answer::is_right),
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
        let (n, p) = (self.images.max(1) as f64, self.top1 as f64 / self.images.max(1) as f64);
        let centre = p + Z95 * Z95 / (2.0 * n);
        let half = Z95 * (p * (1.0 - p) / n + Z95 * Z95 / (4.0 * n * n)).sqrt();
        let scale = 100.0 / (1.0 + Z95 * Z95 / n);
        [(centre - half) * scale, (centre + half) * scale].map(|bound| bound.clamp(0.0, 100.0))
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
    /// Images that both give the same best class.
    pub agreeing: usize,
    /// Images that only full precision gets right.
    pub only_reference: usize,
    /// Images that only the packed model gets right.
    pub only_model: usize,
    /// Mean Kullback–Leibler divergence of the packed model's class probabilities from full precision's, in nats.
    pub divergence: f64,
}

impl Comparison {
    fn of(model: &[Answer], reference: &[(Answer, f64)]) -> Self {
        let (reference, divergences): (Vec<Answer>, Vec<f64>) = reference.iter().cloned().unzip();
        let pairs = || model.iter().zip(&reference);
        let count = |holds: fn(&Answer, &Answer) -> bool| pairs().filter(|(m, r)| holds(m, r)).count();
        Self {
            reference: Accuracy::of(&reference),
            divergence: divergences.iter().sum::<f64>() / divergences.len().max(1) as f64,
            agreeing: count(|m, r| m.top.first() == r.top.first()),
            only_reference: count(|m, r| r.is_right() && !m.is_right()),
            only_model: count(|m, r| m.is_right() && !r.is_right()),
        }
    }

    /// Share of images with the same best class, in percent.
    pub fn agreement_percent(&self) -> f64 {
        percent(self.agreeing, self.reference.images)
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

/// What [`evaluate`] measured.
#[derive(Debug)]
pub struct Evaluation {
    /// The packed model's accuracy.
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
    let start = Instant::now();
    progress.start("packed model", images.len());
    let run = |pixels: &[u8], label| Ok(Answer { top: session.run(pixels)?.top(0, TOP), label });
    let (answers, unreadable) = answers(images, &model.preprocess, &run, progress)?;
    let images_per_second = answers.len() as f64 / start.elapsed().as_secs_f64();
    let comparison = match reference {
        Some(graph) => {
            let reference = reference_answers(graph, (model, &session), images, progress)?;
            Some(Comparison::of(&answers, &reference))
        }
        None => None,
    };
    Ok(Evaluation { accuracy: Accuracy::of(&answers), comparison, images_per_second, unreadable })
}

/// Full precision's answers, and the divergence of the packed model's from each.
fn reference_answers(
    graph: &Graph,
    (model, session): (&PackedModel, &Session),
    images: &dyn Images,
    progress: &dyn Progress,
) -> Result<Vec<(Answer, f64)>> {
    if graph.input != model.input {
        let message = format!("the reference reads {}, the packed model {}", graph.input, model.input);
        return Err(Error::new(ErrorKind::Shape, message));
    }
    let interpreter = Interpreter::new(graph)?;
    progress.start("full precision", images.len());
    let run = |pixels: &[u8], label| {
        let reference = full_precision(&interpreter, pixels, &model.preprocess)?;
        let packed = session.run(pixels)?;
        let packed = packed.data.iter().map(|&logit| f64::from(logit) * model.logit_scale);
        let answer = Answer { top: best(&reference, TOP), label };
        Ok((answer, divergence(&reference, &packed.collect::<Vec<_>>())))
    };
    Ok(answers(images, &model.preprocess, &run, progress)?.0)
}

fn full_precision(interpreter: &Interpreter, pixels: &[u8], preprocess: &Preprocess) -> Result<Vec<f64>> {
    let image = normalise(pixels, preprocess)?;
    let logits = interpreter.run(image.as_slice().unwrap_or_default())?;
    Ok(logits.iter().map(|&logit| f64::from(logit)).collect())
}

/// The best classes; the smaller class wins a tie.
fn best(logits: &[f64], count: usize) -> Vec<usize> {
    let mut order: Vec<usize> = (0..logits.len()).collect();
    order.sort_by(|&a, &b| logits[b].total_cmp(&logits[a]).then(a.cmp(&b)));
    order.truncate(count);
    order
}

/// Kullback–Leibler divergence `Σ p·(ln p − ln q)` of the softmax of `other` from that of `reference`, in nats.
pub(crate) fn divergence(reference: &[f64], other: &[f64]) -> f64 {
    let (reference, other) = (log_softmax(reference), log_softmax(other));
    reference.iter().zip(&other).map(|(p, q)| p.exp() * (p - q)).sum()
}

fn log_softmax(logits: &[f64]) -> Vec<f64> {
    let largest = logits.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let sum: f64 = logits.iter().map(|logit| (logit - largest).exp()).sum();
    logits.iter().map(|logit| logit - largest - sum.ln()).collect()
}

type Unreadable = Vec<(String, Error)>;

/// `run` on the pixels and label of every readable image.
fn answers<T: Send>(
    images: &dyn Images,
    preprocess: &Preprocess,
    run: &(dyn Fn(&[u8], usize) -> Result<T> + Sync),
    progress: &dyn Progress,
) -> Result<(Vec<T>, Unreadable)> {
    let answer = |index: usize| -> Result<std::result::Result<T, (String, Error)>> {
        let label = images.label(index).ok_or_else(|| unlabelled(&images.name(index)))?;
        let outcome = match images.pixels(index, preprocess) {
            Ok(pixels) => Ok(run(&pixels, label)?),
            Err(error) => Err((images.name(index), error)),
        };
        progress.advance(1);
        Ok(outcome)
    };
    let outcomes: Result<Vec<_>> = (0..images.len()).into_par_iter().map(answer).collect();
    let (mut answers, mut unreadable) = (Vec::new(), Vec::new());
    for outcome in outcomes? {
        match outcome {
            Ok(answer) => answers.push(answer),
            Err(error) => unreadable.push(error),
        }
    }
    if answers.is_empty() {
        return Err(Error::new(ErrorKind::Image, format!("none of {} images can be read", images.len())));
    }
    Ok((answers, unreadable))
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
        Comparison { reference, agreeing: 90, only_reference, only_model, divergence: 0.0 }
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
    fn wilson_interval() {
        // statsmodels.stats.proportion.proportion_confint(90, 100, method='wilson')
        let [low, high] = Accuracy { images: 100, top1: 90, top5: 100 }.top1_interval();
        assert!((low - 82.563_432_2).abs() < 1e-4 && (high - 94.477_084_6).abs() < 1e-4, "{low} {high}");
        let all = Accuracy { images: 10, top1: 10, top5: 10 };
        assert!((all.top1_interval()[1] - 100.0).abs() < 1e-9);
    }

    #[test]
    fn divergence_matches_scipy() {
        // scipy.stats.entropy(softmax([1, 2, 3]), softmax([1.5, 1, 3.5]))
        let found = divergence(&[1.0, 2.0, 3.0], &[1.5, 1.0, 3.5]);
        assert!((found - 0.156_220_839_057_433_28).abs() < 1e-12, "{found}");
        assert!(divergence(&[1000.0, 0.0], &[1010.0, 10.0]).abs() < 1e-12);
    }

    #[test]
    fn top5_counts_the_right_class_among_five() {
        let answers = [
            Answer { top: vec![1, 2, 3, 4, 5], label: 5 },
            Answer { top: vec![1, 2, 3, 4, 5], label: 1 },
            Answer { top: vec![1, 2], label: 0 },
        ];
        let accuracy = Accuracy::of(&answers);
        assert_eq!((accuracy.images, accuracy.top1, accuracy.top5), (3, 1, 2));
    }
}
