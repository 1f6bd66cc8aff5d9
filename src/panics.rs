//! Panics of decoders that are not ours.

use std::cell::Cell;
use std::panic::{self, UnwindSafe};
use std::sync::Once;

thread_local! {
    static SILENT: Cell<bool> = const { Cell::new(false) };
}

/// What `work` returns; `None` if it panicked, without a word on the error stream.
///
/// A program built with `panic = "abort"` ends nevertheless.
pub(crate) fn caught<T>(work: impl FnOnce() -> T + UnwindSafe) -> Option<T> {
    silence_where_asked();
    let before = SILENT.replace(true);
    let result = panic::catch_unwind(work).ok();
    SILENT.set(before);
    result
}

/// All other panics are reported as before.
fn silence_where_asked() {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let report = panic::take_hook();
        panic::set_hook(Box::new(move |what| {
            if !SILENT.get() {
                report(what);
            }
        }));
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_nothing_and_the_next_one_is_reported() {
        assert_eq!(caught(|| 7), Some(7));
        assert_eq!(
            caught(|| if SILENT.get() {
                panic!("not to be seen")
            }),
            None
        );
        assert!(!SILENT.get());
    }
}
