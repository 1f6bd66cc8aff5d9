//! Time. In WebAssembly without a system there is none, unless who runs the library lends it a clock.

use std::ops::Sub;
use std::time::Duration;

/// A moment, as [`std::time::Instant`], which panics where there is no clock: the time since any one other moment.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Instant(Option<Duration>);

#[cfg(not(all(target_family = "wasm", target_os = "unknown")))]
#[allow(clippy::disallowed_methods)]
fn time() -> Option<Duration> {
    static START: std::sync::LazyLock<std::time::Instant> = std::sync::LazyLock::new(std::time::Instant::now);
    Some(START.elapsed())
}

#[cfg(all(target_family = "wasm", target_os = "unknown"))]
static LENT: std::sync::OnceLock<fn() -> Duration> = std::sync::OnceLock::new();

#[cfg(all(target_family = "wasm", target_os = "unknown"))]
fn time() -> Option<Duration> {
    LENT.get().map(|clock| clock())
}

/// Lends the library a clock, a function that says how much time has passed since any one moment; only the first one counts.
/// Without it no time passes, so that [`Session::run_timed`](crate::Session::run_timed) finds none.
#[cfg(all(target_family = "wasm", target_os = "unknown"))]
pub fn set_clock(clock: fn() -> Duration) {
    let _: Result<(), _> = LENT.set(clock);
}

impl Instant {
    /// This moment.
    pub fn now() -> Self {
        Self(time())
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
        times.map_or(Duration::ZERO, |(this, earlier)| this.saturating_sub(earlier))
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
