//! `fgq classify`: the most probable classes of images.

use super::images;
use super::model::Model;
use super::network::{ClassArgs, NetworkArgs};
use super::output::{Output, message};
use super::settings::BitsArgs;
use fgq::{Dataset, Images, Interpreter, Preprocess, Session};
use rayon::prelude::*;
use serde::Serialize;
use std::path::PathBuf;

/// Classes shown per image.
const TOP: usize = 5;

/// Arguments of `fgq classify`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The packed model, or a full-precision network
    model: PathBuf,
    /// Image files, or folders of them
    #[arg(value_name = "IMAGE", required = true)]
    images: Vec<PathBuf>,
    /// Write the preprocessed input (f32, channels x height x width) of the one image as a NumPy array
    #[arg(long, value_name = "FILE.npy")]
    dump_input: Option<PathBuf>,
    #[command(flatten)]
    network: NetworkArgs,
    #[command(flatten)]
    classes: ClassArgs,
    #[command(flatten)]
    bits: BitsArgs,
}

#[derive(Serialize)]
struct Guess {
    class: usize,
    name: Option<String>,
    /// In percent.
    probability: f64,
}

#[derive(Serialize)]
struct ImageJson {
    image: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    top: Option<Vec<Guess>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

#[derive(Serialize)]
struct ClassifyJson {
    images: Vec<ImageJson>,
}

/// Classifies every image; unreadable ones are reported and make the exit code 2.
pub fn run(args: &Args) -> anyhow::Result<Output> {
    let model = Model::open(&args.model, &args.network, None)?.at(&args.model, &args.bits)?;
    let classifier = Classifier::new(&model, &args.classes)?;
    let sets: Vec<Dataset> =
        args.images.iter().map(|path| images::unlabelled(path)).collect::<Result<_, _>>()?;
    if let Some(path) = &args.dump_input {
        dump(model.preprocess(), &sets, path)?;
    }
    let images: Vec<(&Dataset, usize)> =
        sets.iter().flat_map(|set| (0..set.len()).map(move |index| (set, index))).collect();
    let answers: Vec<ImageJson> =
        images.into_par_iter().map(|(set, index)| classifier.answer(set, index)).collect();
    answers.iter().filter_map(|answer| answer.error.as_ref()).for_each(|e| message(&format!("error: {e}")));
    let failed = answers.iter().any(|answer| answer.error.is_some());
    let answers = ClassifyJson { images: answers };
    Ok(Output::new(answers.text(), &answers)?.with_code(if failed { super::ERROR } else { 0 }))
}

fn dump(preprocess: &Preprocess, sets: &[Dataset], path: &std::path::Path) -> anyhow::Result<()> {
    let [set] = sets else { anyhow::bail!("--dump-input takes one image, not {}", sets.len()) };
    if set.len() != 1 {
        anyhow::bail!("--dump-input takes one image, not {}", set.len());
    }
    let input = fgq::normalise(&set.pixels(0, preprocess)?, preprocess)?;
    Ok(fgq::write_npy(path, &input)?)
}

/// A model ready to run, and what its outputs are called.
struct Classifier<'a> {
    runner: Runner<'a>,
    preprocess: &'a Preprocess,
    classes: Vec<String>,
}

enum Runner<'a> {
    /// With the real value of one unit of the logits.
    Packed(Session, f64),
    Full(Interpreter<'a>),
}

impl<'a> Classifier<'a> {
    fn new(model: &'a Model, classes: &ClassArgs) -> anyhow::Result<Self> {
        let preprocess = model.preprocess();
        match model {
            Model::Packed(model) => {
                anyhow::ensure!(
                    !classes.is_given(),
                    "a packed model has its class names in it; leave out --classes"
                );
                let runner = Runner::Packed(Session::new(model)?, model.logit_scale);
                Ok(Self { runner, preprocess, classes: model.classes.clone() })
            }
            Model::Full(graph, _) => {
                let runner = Runner::Full(Interpreter::new(graph)?);
                Ok(Self { runner, preprocess, classes: classes.known(graph)? })
            }
        }
    }

    /// Real logits.
    fn logits(&self, pixels: &[u8]) -> fgq::Result<Vec<f64>> {
        match &self.runner {
            Runner::Packed(session, scale) => {
                let logits = session.run(pixels)?;
                Ok(logits.image(0).iter().map(|&logit| scale * f64::from(logit)).collect())
            }
            Runner::Full(interpreter) => {
                let image = fgq::normalise(pixels, self.preprocess)?;
                let logits = interpreter.run(image.as_slice().unwrap_or_default())?;
                Ok(logits.into_iter().map(f64::from).collect())
            }
        }
    }

    fn answer(&self, set: &Dataset, index: usize) -> ImageJson {
        let image = set.entries()[index].path.display().to_string();
        let logits = set.pixels(index, self.preprocess).and_then(|pixels| self.logits(&pixels));
        match logits {
            Ok(logits) => ImageJson { image, top: Some(self.guesses(&logits)), error: None },
            Err(error) => ImageJson { image, top: None, error: Some(error.to_string()) },
        }
    }

    /// The most probable classes; of equally probable ones the first.
    fn guesses(&self, logits: &[f64]) -> Vec<Guess> {
        let probabilities = softmax(logits);
        let mut classes: Vec<usize> = (0..logits.len()).collect();
        classes.sort_by(|&a, &b| logits[b].total_cmp(&logits[a]));
        let guess = |class: usize| Guess {
            class,
            name: self.classes.get(class).cloned(),
            probability: 100.0 * probabilities[class],
        };
        classes.into_iter().take(TOP).map(guess).collect()
    }
}

fn softmax(logits: &[f64]) -> Vec<f64> {
    let largest = logits.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let powers: Vec<f64> = logits.iter().map(|logit| (logit - largest).exp()).collect();
    let sum: f64 = powers.iter().sum();
    powers.into_iter().map(|power| power / sum).collect()
}

impl ClassifyJson {
    fn text(&self) -> String {
        let answers = self.images.iter().filter_map(|answer| Some((&answer.image, answer.top.as_ref()?)));
        let lines = |(image, top): (&String, &Vec<Guess>)| {
            format!("{image}\n{}", top.iter().map(Guess::line).collect::<String>())
        };
        answers.map(lines).collect()
    }
}

impl Guess {
    fn line(&self) -> String {
        let name = self.name.clone().unwrap_or_else(|| format!("class {}", self.class));
        format!("  {:>5.1}%  {name}\n", self.probability)
    }
}

#[cfg(test)]
mod tests {
    use super::softmax;

    #[test]
    fn softmax_of_large_logits_is_finite() {
        let probabilities = softmax(&[i32::MAX, i32::MIN, i32::MAX].map(f64::from));
        assert_eq!(probabilities, [0.5, 0.0, 0.5]);
        assert!((softmax(&[2f64.ln(), 0.0])[0] - 2.0 / 3.0).abs() < 1e-12);
    }
}
