//! Long work: without Python's lock, watched, and ended by Ctrl-C.

use crate::errors::exception;
use crate::pool::pool;
use fgq::Progress;
use pyo3::prelude::*;
use std::panic::resume_unwind;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::Duration;

/// How often Python is asked for signals and told how far the work is.
const PERIOD: Duration = Duration::from_millis(50);

/// How far work is.
#[derive(Default)]
struct Watch {
    stage: Mutex<(String, usize)>,
    done: AtomicUsize,
    status: Mutex<String>,
    is_cancelled: AtomicBool,
}

impl Progress for Watch {
    fn start(&self, stage: &str, total: usize) {
        let mut current = self.stage.lock().unwrap_or_else(PoisonError::into_inner);
        *current = (stage.to_owned(), total);
        self.done.store(0, Ordering::Relaxed);
    }

    fn advance(&self, steps: usize) {
        self.done.fetch_add(steps, Ordering::Relaxed);
    }

    fn status(&self, text: &str) {
        text.clone_into(&mut self.status.lock().unwrap_or_else(PoisonError::into_inner));
    }

    fn is_cancelled(&self) -> bool {
        self.is_cancelled.load(Ordering::Relaxed)
    }
}

/// What Python was told last.
type Told = (String, usize, usize);

impl Watch {
    /// Calls `report(stage, done, total, status)`, if there is news.
    fn report(&self, py: Python<'_>, report: &Py<PyAny>, told: &mut Told) -> PyResult<()> {
        let (stage, total) = self.stage.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let now = (stage, self.done.load(Ordering::Relaxed).min(total), total);
        if now != *told && !now.0.is_empty() {
            let status = self.status.lock().unwrap_or_else(PoisonError::into_inner).clone();
            report.call1(py, (&now.0, now.1, now.2, status))?;
            *told = now;
        }
        Ok(())
    }
}

/// What `work` returns, done on `threads` threads. `report`, if there is one, is called now and then, by this thread; what it
/// raises, or Ctrl-C, ends the work.
pub fn watched<T: Send>(
    py: Python<'_>,
    threads: Option<usize>,
    report: Option<&Py<PyAny>>,
    work: impl FnOnce(&dyn Progress) -> fgq::Result<T> + Send,
) -> PyResult<T> {
    let pool = pool(threads)?;
    let watch = Watch::default();
    let (end, ended) = channel::<()>();
    let ended = Mutex::new(ended);
    thread::scope(|scope| {
        let watch = &watch;
        let worker = scope.spawn(move || {
            // Dropped however the work ends.
            let _end = end;
            pool.install(|| work(watch))
        });
        let (mut told, mut raised) = (Told::default(), None);
        let is_working = || {
            let ended = ended.lock().unwrap_or_else(PoisonError::into_inner);
            ended.recv_timeout(PERIOD) == Err(RecvTimeoutError::Timeout)
        };
        while py.detach(is_working) {
            let news = py.check_signals().and_then(|()| match report {
                Some(report) => watch.report(py, report, &mut told),
                None => Ok(()),
            });
            if let (Err(error), None) = (news, &raised) {
                watch.is_cancelled.store(true, Ordering::Relaxed);
                raised = Some(error);
            }
        }
        let outcome = py.detach(|| worker.join()).unwrap_or_else(|panic| resume_unwind(panic));
        match raised {
            Some(error) => Err(error),
            None => {
                report.map(|report| watch.report(py, report, &mut told)).transpose()?;
                outcome.map_err(exception)
            }
        }
    })
}
