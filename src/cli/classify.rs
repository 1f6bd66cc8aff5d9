//! `fgq classify`: the most probable classes of images.

use super::output::{Output, message};
use fgq::{Dataset, Images, PackedModel, Session};
use rayon::prelude::*;
use serde::Serialize;
use std::path::PathBuf;

/// Classes shown per image.
const TOP: usize = 5;

/// Arguments of `fgq classify`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The packed model
    #[arg(value_name = "MODEL.fgq")]
    model: PathBuf,
    /// Image files, or folders of them
    #[arg(value_name = "IMAGE", required = true)]
    images: Vec<PathBuf>,
    /// Write the preprocessed input (f32, channels x height x width) of the one image as a NumPy array
    #[arg(long, value_name = "FILE.npy")]
    dump_input: Option<PathBuf>,
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
    let model = fgq::read_model(&args.model)?;
    let session = Session::new(&model)?;
    let sets: Vec<Dataset> =
        args.images.iter().map(|path| Dataset::unlabelled(path)).collect::<Result<_, _>>()?;
    if let Some(path) = &args.dump_input {
        dump(&model, &sets, path)?;
    }
    let images: Vec<(&Dataset, usize)> =
        sets.iter().flat_map(|set| (0..set.len()).map(move |index| (set, index))).collect();
    let answers: Vec<ImageJson> =
        images.into_par_iter().map(|(set, index)| answer(&model, &session, set, index)).collect();
    answers.iter().filter_map(|answer| answer.error.as_ref()).for_each(|e| message(&format!("error: {e}")));
    let failed = answers.iter().any(|answer| answer.error.is_some());
    let answers = ClassifyJson { images: answers };
    Ok(Output::new(answers.text(), &answers)?.with_code(if failed { super::ERROR } else { 0 }))
}

fn dump(model: &PackedModel, sets: &[Dataset], path: &std::path::Path) -> anyhow::Result<()> {
    let [set] = sets else { anyhow::bail!("--dump-input takes one image, not {}", sets.len()) };
    if set.len() != 1 {
        anyhow::bail!("--dump-input takes one image, not {}", set.len());
    }
    let input = fgq::normalise(&set.pixels(0, &model.preprocess)?, &model.preprocess)?;
    Ok(fgq::write_npy(path, &input)?)
}

fn answer(model: &PackedModel, session: &Session, set: &Dataset, index: usize) -> ImageJson {
    let image = set.entries()[index].path.display().to_string();
    let top = set.pixels(index, &model.preprocess).and_then(|pixels| {
        let logits = session.run(&pixels)?;
        let probabilities = softmax(logits.image(0), model.logit_scale);
        let guess = |class: usize| Guess {
            class,
            name: model.classes.get(class).cloned(),
            probability: 100.0 * probabilities[class],
        };
        Ok(logits.top(0, TOP).into_iter().map(guess).collect())
    });
    match top {
        Ok(top) => ImageJson { image, top: Some(top), error: None },
        Err(error) => ImageJson { image, top: None, error: Some(error.to_string()) },
    }
}

fn softmax(logits: &[i32], scale: f64) -> Vec<f64> {
    let largest = logits.iter().copied().max().unwrap_or(0);
    let powers: Vec<f64> =
        logits.iter().map(|&logit| (scale * (f64::from(logit) - f64::from(largest))).exp()).collect();
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
        let probabilities = softmax(&[i32::MAX, i32::MIN, i32::MAX], 1.0);
        assert_eq!(probabilities, [0.5, 0.0, 0.5]);
        assert!((softmax(&[1, 0], 2f64.ln())[0] - 2.0 / 3.0).abs() < 1e-12);
    }
}
