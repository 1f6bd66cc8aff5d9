//! Progress bars with the time left, on stderr, if that is a terminal.

use super::output::is_quiet;
use fgq::Progress;
use indicatif::{ProgressBar, ProgressStyle};
use std::sync::{Mutex, MutexGuard, PoisonError};

const TEMPLATE: &str = "{msg:<24} {wide_bar} {human_pos}/{human_len}  {eta} left";

/// One bar at a time; the last one is cleared when this is dropped.
#[derive(Debug)]
pub struct Bars(Mutex<ProgressBar>);

impl Bars {
    /// No bar yet.
    pub fn new() -> Self {
        Self(Mutex::new(ProgressBar::hidden()))
    }

    fn bar(&self) -> MutexGuard<'_, ProgressBar> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Progress for Bars {
    fn start(&self, stage: &str, total: usize) {
        let style = ProgressStyle::with_template(TEMPLATE).unwrap_or_else(|_| ProgressStyle::default_bar());
        let mut bar = self.bar();
        bar.finish_and_clear();
        let new = if is_quiet() { ProgressBar::hidden() } else { ProgressBar::new(total as u64) };
        *bar = new.with_style(style).with_message(stage.to_owned());
    }

    fn advance(&self, steps: usize) {
        self.bar().inc(steps as u64);
    }

    fn status(&self, text: &str) {
        self.bar().set_message(text.to_owned());
    }
}

impl Drop for Bars {
    fn drop(&mut self) {
        self.bar().finish_and_clear();
    }
}
