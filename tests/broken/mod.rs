//! Training that is broken off.

use fgq::Progress;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicBool, AtomicUsize};

/// Breaks the training of the whole network off after so many images.
pub struct Break {
    is_training: AtomicBool,
    left: AtomicUsize,
}

impl Progress for Break {
    fn start(&self, stage: &str, _: usize) {
        self.is_training.store(stage == "training", Relaxed);
    }

    fn advance(&self, steps: usize) {
        if self.is_training.load(Relaxed) {
            let left = self.left.fetch_update(Relaxed, Relaxed, |left| left.checked_sub(steps));
            left.expect("broken off");
        }
    }
}

impl Break {
    /// After so many images.
    pub fn after(images: usize) -> Self {
        Self { is_training: AtomicBool::new(false), left: AtomicUsize::new(images) }
    }
}
