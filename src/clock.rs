//! Time, where there is a clock: in WebAssembly without a system there is none, and none passes.

use std::ops::Sub;
use std::time::Duration;

/// A moment, as [`std::time::Instant`], which panics where there is no clock.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Instant(Option<std::time::Instant>);

impl Instant {
    /// This moment.
    #[allow(clippy::disallowed_methods)]
    pub fn now() -> Self {
        let has_clock = !cfg!(all(target_family = "wasm", target_os = "unknown"));
        Self(has_clock.then(std::time::Instant::now))
    }

    /// Time since then.
    pub fn elapsed(self) -> Duration {
        Self::now() - self
    }
}

impl Sub for Instant {
    type Output = Duration;

    /// Time from `earlier` to this moment, zero if it is the later one.
    fn sub(self, earlier: Self) -> Duration {
        let times = self.0.zip(earlier.0);
        times.map_or(Duration::ZERO, |(this, earlier)| this.saturating_duration_since(earlier))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_passes_in_one_direction() {
        let start = Instant::now();
        let end = loop {
            let now = Instant::now();
            if now - start > Duration::ZERO {
                break now;
            }
        };
        assert_eq!(start - end, Duration::ZERO);
        assert!(start.elapsed() >= end - start);
    }

    #[test]
    fn without_a_clock_no_time_passes() {
        let stopped = Instant(None);
        assert_eq!((stopped - stopped, stopped.elapsed(), Instant::now() - stopped), Default::default());
    }
}
