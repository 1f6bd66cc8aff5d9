//! Progress bars with the time left, on stderr, if that is a terminal.

use super::output::{is_quiet, is_verbose, message};
use fgq::Progress;
use indicatif::{ProgressBar, ProgressStyle};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

const TEMPLATE: &str = "{msg:<24} {wide_bar} {human_pos}/{human_len}  {eta} left";

/// One bar at a time; the last one is cleared when this is dropped.
#[derive(Debug)]
pub struct Bars(Mutex<RunningStage>);

/// What is being done.
#[derive(Debug)]
struct RunningStage {
    name: String,
    start: Instant,
    bar: ProgressBar,
}

impl RunningStage {
    /// Clears its bar, and tells of it where that is asked for.
    fn end(&self) {
        self.bar.finish_and_clear();
        if is_verbose() && !self.name.is_empty() {
            message(&format!("{:>9.2} s  {}", self.start.elapsed().as_secs_f64(), self.name));
        }
    }
}

impl Bars {
    /// No bar yet.
    pub fn new() -> Self {
        Self(Mutex::new(RunningStage {
            name: String::new(),
            start: Instant::now(),
            bar: ProgressBar::hidden(),
        }))
    }

    fn stage(&self) -> MutexGuard<'_, RunningStage> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Progress for Bars {
    fn start(&self, stage: &str, total: usize) {
        let style = ProgressStyle::with_template(TEMPLATE).unwrap_or_else(|_| ProgressStyle::default_bar());
        let mut now = self.stage();
        now.end();
        let bar = if is_quiet() { ProgressBar::hidden() } else { ProgressBar::new(total as u64) };
        let bar = bar.with_style(style).with_message(stage.to_owned());
        *now = RunningStage { name: stage.to_owned(), start: Instant::now(), bar };
    }

    fn advance(&self, steps: usize) {
        self.stage().bar.inc(steps as u64);
    }

    fn status(&self, text: &str) {
        self.stage().bar.set_message(text.to_owned());
    }
}

impl Drop for Bars {
    fn drop(&mut self) {
        self.stage().end();
    }
}
