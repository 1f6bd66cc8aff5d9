//! What training makes small: losses of logits, with their gradients.

use crate::judge::log_softmax;

/// A loss of the logits of one image.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Criterion {
    /// Divergence of the class probabilities from those of full precision, both softened by a temperature, times its
    /// square, which keeps gradients alike (Hinton et al., arXiv 1503.02531, section 2).
    Divergence {
        /// At least 1; 1 for the probabilities as they are.
        temperature: f64,
    },
    /// Mean squared distance from full precision's logits, less the mean over classes of each, which says nothing.
    Distance,
    /// Cross entropy with the label, of which a share is spread over all classes (Szegedy et al., arXiv 1512.00567,
    /// section 7).
    CrossEntropy {
        /// 0 to below 1.
        smoothing: f64,
    },
}

/// What an image's logits should be.
#[derive(Debug, Clone, Copy)]
pub(super) enum LossTarget<'a> {
    /// Full precision's logits.
    Logits(&'a [f32]),
    /// The class.
    Class(usize),
}

impl Criterion {
    /// The loss of one image's logits and its gradient; nothing where the target is of another kind.
    pub(super) fn of(self, logits: &[f32], target: LossTarget<'_>) -> (f64, Vec<f32>) {
        match (self, target) {
            (Self::Divergence { temperature }, LossTarget::Logits(wanted)) => {
                divergence(logits, wanted, temperature)
            }
            (Self::Distance, LossTarget::Logits(wanted)) => distance(logits, wanted),
            (Self::CrossEntropy { smoothing }, LossTarget::Class(class)) => {
                cross_entropy(logits, class, smoothing)
            }
            _ => (0.0, vec![0.0; logits.len()]),
        }
    }
}

fn divergence(logits: &[f32], wanted: &[f32], temperature: f64) -> (f64, Vec<f32>) {
    let (own, wanted) = (softened(logits, temperature), softened(wanted, temperature));
    let loss: f64 = own.iter().zip(&wanted).map(|(q, p)| p.exp() * (p - q)).sum();
    let gradient = own.iter().zip(&wanted).map(|(q, p)| (temperature * (q.exp() - p.exp())) as f32).collect();
    (loss.max(0.0) * temperature.powi(2), gradient)
}

fn distance(logits: &[f32], wanted: &[f32]) -> (f64, Vec<f32>) {
    let differences: Vec<f64> =
        logits.iter().zip(wanted).map(|(a, b)| f64::from(*a) - f64::from(*b)).collect();
    let count = differences.len().max(1) as f64;
    let mean = differences.iter().sum::<f64>() / count;
    let loss = differences.iter().map(|difference| (difference - mean).powi(2)).sum::<f64>() / count;
    (loss, differences.iter().map(|difference| (2.0 * (difference - mean) / count) as f32).collect())
}

/// Squared distance of some values from those wanted as a share of their squares, times `weight`, and its gradient.
pub(super) fn relative_distance(values: &[f32], wanted: &[f32], weight: f64) -> (f64, Vec<f32>) {
    let power: f64 = wanted.iter().map(|&value| f64::from(value).powi(2)).sum();
    let factor = weight / power.max(1e-12);
    let square: f64 = values.iter().zip(wanted).map(|(a, b)| f64::from(a - b).powi(2)).sum();
    let slope = (2.0 * factor) as f32;
    (factor * square, values.iter().zip(wanted).map(|(a, b)| slope * (a - b)).collect())
}

fn cross_entropy(logits: &[f32], class: usize, smoothing: f64) -> (f64, Vec<f32>) {
    let own = softened(logits, 1.0);
    let share = smoothing / own.len().max(1) as f64;
    let wanted = |index: usize| share + if index == class { 1.0 - smoothing } else { 0.0 };
    let loss = own.iter().enumerate().map(|(index, q)| -wanted(index) * q).sum();
    (loss, own.iter().enumerate().map(|(index, q)| (q.exp() - wanted(index)) as f32).collect())
}

fn softened(logits: &[f32], temperature: f64) -> Vec<f64> {
    log_softmax(&logits.iter().map(|&logit| f64::from(logit) / temperature).collect::<Vec<_>>())
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOGITS: [f32; 4] = [0.5, -1.0, 2.0, 0.25];
    const WANTED: [f32; 4] = [0.0, 1.5, 1.0, -0.5];

    fn close(found: &[f32], expected: &[f64]) -> bool {
        found.iter().zip(expected).all(|(a, b)| (f64::from(*a) - b).abs() < 1e-6)
    }

    /// `torch.nn.functional` in double precision: `kl_div(log_softmax(x / 2), softmax(y / 2), reduction='sum') * 4`,
    /// `mse_loss` of what is left without the means, `cross_entropy(x, 2, label_smoothing=0.1)`, with autograd.
    #[test]
    fn losses_and_gradients_equal_pytorch() {
        let of = |loss: Criterion, target| loss.of(&LOGITS, target);
        let (loss, gradient) = of(Criterion::Divergence { temperature: 2.0 }, LossTarget::Logits(&WANTED));
        assert!((loss - DIVERGENCE.0).abs() < 1e-6 && close(&gradient, &DIVERGENCE.1), "{loss} {gradient:?}");
        let (loss, gradient) = of(Criterion::Distance, LossTarget::Logits(&WANTED));
        assert!((loss - DISTANCE.0).abs() < 1e-6 && close(&gradient, &DISTANCE.1), "{loss} {gradient:?}");
        let (loss, gradient) = of(Criterion::CrossEntropy { smoothing: 0.1 }, LossTarget::Class(2));
        assert!((loss - ENTROPY.0).abs() < 1e-6 && close(&gradient, &ENTROPY.1), "{loss} {gradient:?}");
        assert_eq!(of(Criterion::Distance, LossTarget::Class(1)), (0.0, vec![0.0; 4]));
    }

    #[test]
    fn distances_are_shares_of_what_is_wanted() {
        let (loss, gradient) = relative_distance(&[1.0, 2.0], &[3.0, 4.0], 0.5);
        assert!((loss - 0.5 * 8.0 / 25.0).abs() < 1e-9 && close(&gradient, &[-0.08, -0.08]), "{loss}");
        assert_eq!(relative_distance(&[0.0], &[0.0], 1.0), (0.0, vec![0.0]));
    }

    const DIVERGENCE: (f64, [f64; 4]) =
        (1.063_297_000_064_94, [0.086_524_452_851, -0.552_374_992_739, 0.352_088_088_088, 0.113_762_451_798]);
    const DISTANCE: (f64, [f64; 4]) = (2.011_718_75, [0.281_25, -1.218_75, 0.531_25, 0.406_25]);
    const ENTROPY: (f64, [f64; 4]) =
        (0.525_528_998_448, [0.129_234_825_284, 0.009_414_441_266, -0.233_767_469_258, 0.095_118_202_708]);
}
