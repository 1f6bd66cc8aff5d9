//! Whether two networks say the same, and how sure some images make of it.

/// Half-width of a 95% interval in standard deviations.
pub(crate) const Z95: f64 = 1.959_963_984_540_054;

/// What some images say of a converted network.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Judgement {
    /// Images.
    pub images: usize,
    /// Images that full precision and the converted network give the same best class.
    pub agreeing: usize,
    /// Mean Kullback–Leibler divergence of the converted network's class probabilities from full precision's, in nats, to
    /// six digits after the point.
    pub divergence: f64,
    /// Standard error of that mean in nats; `None` for a single image.
    pub divergence_error: Option<f64>,
}

/// The logits of one image, compared.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Answers {
    pub agree: bool,
    /// In nats.
    pub divergence: f64,
}

impl Answers {
    /// Compares logits with those of full precision.
    pub(crate) fn of(reference: &[f64], other: &[f64]) -> Self {
        let agree = best(reference, 1) == best(other, 1);
        // Rounding must not make equal probabilities diverge by less than nothing.
        Self { agree, divergence: divergence(reference, other).max(0.0) }
    }
}

impl Judgement {
    /// Of the answers for each image, in their order; none for no image.
    pub(crate) fn of(answers: &[Answers]) -> Option<Self> {
        if answers.is_empty() {
            return None;
        }
        let images = answers.len() as f64;
        let mean = answers.iter().map(|answer| answer.divergence).sum::<f64>() / images;
        let squares: f64 = answers.iter().map(|answer| (answer.divergence - mean).powi(2)).sum();
        let error = (squares / (images - 1.0) / images).sqrt();
        Some(Self {
            images: answers.len(),
            agreeing: answers.iter().filter(|answer| answer.agree).count(),
            divergence: rounded(mean),
            divergence_error: (answers.len() > 1).then(|| rounded(error)),
        })
    }

    /// Share of images with the same best class, in percent.
    pub fn agreement_percent(&self) -> f64 {
        100.0 * self.agreeing as f64 / self.images.max(1) as f64
    }

    /// 95% interval of that share in percent (Wilson's score interval).
    pub fn agreement_interval(&self) -> [f64; 2] {
        wilson(self.agreeing, self.images)
    }

    /// 95% interval of the mean divergence in nats, from its standard error.
    pub fn divergence_interval(&self) -> Option<[f64; 2]> {
        let half = Z95 * self.divergence_error?;
        Some([(self.divergence - half).max(0.0), self.divergence + half])
    }
}

fn rounded(nats: f64) -> f64 {
    (1e6 * nats).round() / 1e6
}

/// 95% interval in percent of a probability, after so many successes of as many trials (Wilson's score interval).
pub(crate) fn wilson(successes: usize, trials: usize) -> [f64; 2] {
    let (n, p) = (trials.max(1) as f64, successes as f64 / trials.max(1) as f64);
    let centre = p + Z95 * Z95 / (2.0 * n);
    let half = Z95 * (p * (1.0 - p) / n + Z95 * Z95 / (4.0 * n * n)).sqrt();
    let scale = 100.0 / (1.0 + Z95 * Z95 / n);
    [(centre - half) * scale, (centre + half) * scale].map(|bound| bound.clamp(0.0, 100.0))
}

/// The best classes; the smaller class wins a tie.
pub(crate) fn best(logits: &[f64], count: usize) -> Vec<usize> {
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

/// Logarithms of the class probabilities.
pub(crate) fn log_softmax(logits: &[f64]) -> Vec<f64> {
    let largest = logits.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let sum: f64 = logits.iter().map(|logit| (logit - largest).exp()).sum();
    logits.iter().map(|logit| logit - largest - sum.ln()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wilson_interval() {
        // statsmodels.stats.proportion.proportion_confint(90, 100, method='wilson')
        let [low, high] = wilson(90, 100);
        assert!((low - 82.563_432_2).abs() < 1e-4 && (high - 94.477_084_6).abs() < 1e-4, "{low} {high}");
        assert!((wilson(10, 10)[1] - 100.0).abs() < 1e-9);
        assert_eq!(wilson(0, 10)[0], 0.0);
    }

    #[test]
    fn divergence_matches_scipy() {
        // scipy.stats.entropy(softmax([1, 2, 3]), softmax([1.5, 1, 3.5]))
        let found = divergence(&[1.0, 2.0, 3.0], &[1.5, 1.0, 3.5]);
        assert!((found - 0.156_220_839_057_433_28).abs() < 1e-12, "{found}");
        assert!(divergence(&[1000.0, 0.0], &[1010.0, 10.0]).abs() < 1e-12);
    }

    #[test]
    fn the_smaller_class_wins_a_tie() {
        assert_eq!(best(&[1.0, 3.0, 3.0, 2.0], 3), [1, 2, 3]);
        assert!(Answers::of(&[0.0, 0.0], &[5.0, 5.0]).agree);
        assert!(!Answers::of(&[0.0, 0.0], &[5.0, 6.0]).agree);
    }

    /// Mean 2 and sample variance 4 of four values: a standard error of 1.
    #[test]
    fn the_interval_of_a_mean_follows_from_its_standard_error() {
        let answer = |divergence| Answers { agree: divergence < 3.0, divergence };
        let root = 3f64.sqrt();
        let judgement = Judgement::of(&[2.0 - root, 2.0 + root, 2.0 - root, 2.0 + root].map(answer)).unwrap();
        assert_eq!((judgement.images, judgement.agreeing), (4, 2));
        assert!((judgement.divergence_error.unwrap() - 1.0).abs() < 1e-6);
        let [low, high] = judgement.divergence_interval().unwrap();
        assert!((low - (2.0 - Z95)).abs() < 1e-5 && (high - (2.0 + Z95)).abs() < 1e-5);
        assert_eq!(judgement.agreement_percent(), 50.0);
    }

    #[test]
    fn one_image_says_nothing_of_the_spread() {
        assert_eq!(Judgement::of(&[]), None);
        let one = Judgement::of(&[Answers { agree: true, divergence: 0.5 }]).unwrap();
        assert_eq!((one.divergence, one.divergence_interval()), (0.5, None));
    }
}
