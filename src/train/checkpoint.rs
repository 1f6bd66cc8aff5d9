//! Where training stands, in a file from which it goes on to the same bits.

use super::memory::MemoryUse;
use super::optimise::Means;
use super::reconstruct::BlockError;
use crate::error::{Error, ErrorKind, Result};
use crate::files::replace_file;
use crate::format::hex;
use crate::inputs::read_regular;
use crate::judge::Judgement;
use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensors};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::collections::HashMap;
use std::fmt;
use std::path::Path;

/// The key of the record among the file's metadata.
const KEY: &str = "fgq_training";

/// The state of a refinement after an epoch.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Epoch {
    /// Mean loss of the images that were fitted; none before the first.
    pub loss: Option<f64>,
    /// What the images held back say.
    pub judgement: Option<Judgement>,
}

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(loss) = self.loss {
            write!(f, "loss {loss:.4}")?;
        }
        match &self.judgement {
            Some(found) => write!(f, " {:.1}% {:.4}", found.agreement_percent(), found.divergence),
            None => Ok(()),
        }
    }
}

/// Everything that is learned, in the order of the layers.
pub(super) type LearnedTensors = Vec<Vec<f32>>;

/// All that training goes on from.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct Standing {
    /// Epochs done.
    pub epoch: usize,
    /// Seconds of training so far.
    pub seconds: f64,
    /// Steps of the optimiser.
    pub steps: u64,
    /// The optimiser's means.
    pub means: Vec<Means>,
    pub now: LearnedTensors,
    /// None while nothing is better than the start, or nothing counts.
    pub best: Option<LearnedTensors>,
    /// The least divergence of what counts.
    pub lowest: Option<f64>,
    /// The start, if it counts, then epoch after epoch; where blocks learned before, the first.
    pub curve: Vec<Epoch>,
    pub blocks: Vec<BlockError>,
    /// What the network takes after every epoch, if precision is learned.
    pub memory: Vec<MemoryUse>,
}

impl Standing {
    /// At the start, which is better than nothing.
    pub(super) fn at(start: Epoch, now: LearnedTensors) -> Self {
        let lowest = start.judgement.map(|found| found.divergence);
        Self { now, lowest, curve: vec![start], ..Self::default() }
    }

    /// Adds to the curve, and keeps `tensors` if nothing that counts was better before.
    pub(super) fn judge(&mut self, epoch: Epoch, counts: bool, tensors: &LearnedTensors) {
        let divergence = epoch.judgement.map(|found| found.divergence).filter(|_| counts);
        let is_better = |found: &f64| self.lowest.is_none_or(|lowest| *found < lowest);
        if let Some(divergence) = divergence.filter(is_better) {
            self.lowest = Some(divergence);
            self.best = Some(tensors.clone());
        }
        self.curve.push(epoch);
    }
}

/// What of a checkpoint is not a tensor.
#[derive(Serialize, Deserialize)]
struct CheckpointRecord {
    subject: String,
    epoch: usize,
    seconds: f64,
    steps: u64,
    has_best: bool,
    lowest: Option<f64>,
    curve: Vec<Epoch>,
    blocks: Vec<BlockError>,
    memory: Vec<MemoryUse>,
}

impl Standing {
    /// Writes the file, whole or not at all; `subject` says of which training.
    ///
    /// # Errors
    /// `Io`.
    pub(super) fn write(&self, path: &Path, subject: &str) -> Result<()> {
        let Self { means, now, best, .. } = self;
        let named = |name: &'static str, tensors: Vec<&Vec<f32>>| -> Vec<(String, Vec<u8>)> {
            let bytes = |values: &Vec<f32>| values.iter().flat_map(|value| value.to_le_bytes()).collect();
            tensors
                .into_iter()
                .enumerate()
                .map(|(at, values)| (format!("{name}.{at}"), bytes(values)))
                .collect()
        };
        let tensors: Vec<(String, Vec<u8>)> = [
            named("now", now.iter().collect()),
            named("best", best.iter().flatten().collect()),
            named("first", means.iter().map(|means| &means.first).collect()),
            named("second", means.iter().map(|means| &means.second).collect()),
        ]
        .concat();
        let views = tensors.iter().map(|(name, bytes)| {
            TensorView::new(Dtype::F32, vec![bytes.len() / 4], bytes)
                .map(|view| (name, view))
                .map_err(unwritable)
        });
        let views = views.collect::<Result<Vec<_>>>()?;
        let record = serde_json::to_string(&self.record(subject)).map_err(unwritable)?;
        let metadata = HashMap::from([(KEY.to_owned(), record)]);
        replace_file(path, &safetensors::serialize(views, Some(metadata)).map_err(unwritable)?)
    }

    fn record(&self, subject: &str) -> CheckpointRecord {
        let Self { epoch, seconds, steps, best, lowest, curve, blocks, memory, .. } = self;
        CheckpointRecord {
            subject: subject.to_owned(),
            epoch: *epoch,
            seconds: *seconds,
            steps: *steps,
            has_best: best.is_some(),
            lowest: *lowest,
            curve: curve.clone(),
            blocks: blocks.clone(),
            memory: memory.clone(),
        }
    }

    /// What the file holds; none if there is no file.
    ///
    /// # Errors
    /// `Io`; a file that is damaged, or of something else than `subject`.
    pub(super) fn read(path: &Path, subject: &str) -> Result<Option<Self>> {
        if path.try_exists().is_ok_and(|exists| !exists) {
            return Ok(None);
        }
        let bytes = read_regular(path, u64::MAX)?;
        let (found, standing) = Self::of(&bytes).ok_or_else(|| {
            let message = "no checkpoint of training, or a damaged one; remove it, or give another path";
            Error::new(ErrorKind::Format, message).at_path(path)
        })?;
        if found != subject {
            let message = "the checkpoint is of another training (network, images or options); remove it, or give \
                           another path";
            return Err(Error::new(ErrorKind::Argument, message).at_path(path));
        }
        Ok(Some(standing))
    }

    /// The subject and the standing in a file.
    fn of(bytes: &[u8]) -> Option<(String, Self)> {
        let (_, header) = SafeTensors::read_metadata(bytes).ok()?;
        let record: CheckpointRecord = serde_json::from_str(header.metadata().as_ref()?.get(KEY)?).ok()?;
        let file = SafeTensors::deserialize(bytes).ok()?;
        let tensors = |name: &str| -> LearnedTensors {
            let tensor = |at: usize| file.tensor(&format!("{name}.{at}")).ok();
            let value = |bytes: &[u8]| f32::from_le_bytes(bytes.try_into().unwrap_or_default());
            (0..).map_while(tensor).map(|tensor| tensor.data().chunks_exact(4).map(value).collect()).collect()
        };
        let means = tensors("first").into_iter().zip(tensors("second"));
        let CheckpointRecord { subject, epoch, seconds, steps, has_best, lowest, curve, blocks, memory } =
            record;
        let standing = Self {
            epoch,
            seconds,
            steps,
            means: means.map(|(first, second)| Means { first, second }).collect(),
            now: tensors("now"),
            best: has_best.then(|| tensors("best")),
            lowest,
            curve,
            blocks,
            memory,
        };
        Some((subject, standing))
    }
}

/// Copies `tensors`, which were once taken from `own`, back.
///
/// # Errors
/// Tensors of another network.
pub(super) fn copy_back(own: Vec<&mut [f32]>, tensors: &[Vec<f32>]) -> Result<()> {
    let is_same = |(own, tensor): (&&mut [f32], &Vec<f32>)| own.len() == tensor.len();
    if own.len() != tensors.len() || !own.iter().zip(tensors).all(is_same) {
        return Err(misfit());
    }
    own.into_iter().zip(tensors).for_each(|(own, tensor)| own.copy_from_slice(tensor));
    Ok(())
}

/// What to say of tensors of another network.
pub(super) fn misfit() -> Error {
    Error::new(ErrorKind::Shape, "parameters of another network")
}

/// SHA-256 of what training starts from and is told.
pub(super) fn digest(tensors: &LearnedTensors, told: &str) -> String {
    let mut hasher = Sha256::new();
    hasher.update(told);
    for tensor in tensors {
        hasher.update((tensor.len() as u64).to_le_bytes());
        tensor.iter().for_each(|value| hasher.update(value.to_le_bytes()));
    }
    hex(&hasher.finalize())
}

fn unwritable(source: impl std::error::Error + Send + Sync + 'static) -> Error {
    Error::new(ErrorKind::Format, "the checkpoint cannot be written").because(source)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn standing(best: Option<LearnedTensors>) -> Standing {
        let judgement =
            Judgement { images: 7, agreeing: 5, divergence: 0.1, divergence_error: Some(1.0 / 3.0) };
        let curve = vec![
            Epoch { loss: None, judgement: None },
            Epoch { loss: Some(0.3), judgement: Some(judgement) },
        ];
        let blocks = vec![BlockError { name: "a\"b".into(), before: 0.7, after: 1.0 / 7.0 }];
        let means = vec![Means { first: vec![0.5, -1e-30], second: Vec::new() }, Means::default()];
        let now = vec![vec![1.0, f32::MIN_POSITIVE, -0.1], Vec::new(), vec![3.0]];
        let memory = vec![MemoryUse { weights: 1, largest_activation: 2, activations: u64::MAX }];
        Standing {
            epoch: 3,
            seconds: 0.1,
            steps: 9,
            means,
            now,
            best,
            lowest: Some(0.1),
            curve,
            blocks,
            memory,
        }
    }

    #[test]
    fn what_was_written_is_read_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("c.safetensors");
        assert_eq!(Standing::read(&path, "abc").unwrap(), None);
        for best in [None, Some(Vec::new()), Some(vec![vec![2.0], vec![]])] {
            standing(best.clone()).write(&path, "abc").unwrap();
            assert_eq!(Standing::read(&path, "abc").unwrap(), Some(standing(best)));
        }
        let error = Standing::read(&path, "abd").unwrap_err();
        assert!(error.kind() == ErrorKind::Argument && error.path() == Some(&path), "{error}");
        let bytes = std::fs::read(&path).unwrap();
        for length in [0, 7, 100, bytes.len() - 1] {
            std::fs::write(&path, &bytes[..length]).unwrap();
            assert_eq!(Standing::read(&path, "abc").unwrap_err().kind(), ErrorKind::Format);
        }
        assert!(Standing::read(folder.path(), "abc").is_err());
        assert!(standing(None).write(&folder.path().join("none/c"), "abc").is_err());
    }

    #[test]
    fn the_best_epoch_is_kept() {
        let epoch = |divergence: f64| Epoch {
            loss: None,
            judgement: Some(Judgement { images: 1, agreeing: 1, divergence, divergence_error: None }),
        };
        let mut standing = Standing::at(epoch(0.5), Vec::new());
        for (at, divergence) in [0.6, 0.4, 0.4, 0.45, 0.3].into_iter().enumerate() {
            standing.judge(epoch(divergence), at < 4, &vec![vec![at as f32]]);
        }
        assert_eq!((standing.best, standing.curve.len()), (Some(vec![vec![1.0]]), 6));
        let mut nothing = Standing::default();
        nothing.judge(epoch(0.1), false, &Vec::new());
        assert_eq!((nothing.best, nothing.lowest), (None, None));
    }

    #[test]
    fn a_digest_tells_tensors_and_words_apart() {
        let all = [
            digest(&vec![vec![1.0], vec![2.0]], "a"),
            digest(&vec![vec![1.0, 2.0]], "a"),
            digest(&vec![vec![1.0], vec![2.0]], "b"),
            digest(&vec![vec![1.0], vec![-2.0]], "a"),
        ];
        assert!((0..4).all(|a| (0..a).all(|b| all[a] != all[b])));
    }
}
