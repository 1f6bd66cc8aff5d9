//! What asks the command to end.

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use signal_hook::low_level::emulate_default_handler;
use std::thread;

/// What ends the command as if it had no handler, but for its temporary files.
#[cfg(unix)]
const ENDING: [i32; 3] = [SIGINT, SIGTERM, signal_hook::consts::SIGHUP];
#[cfg(not(unix))]
const ENDING: [i32; 2] = [SIGINT, SIGTERM];

/// From now on SIGINT, SIGTERM and SIGHUP remove the process's temporary files before they end it.
///
/// # Errors
/// A system that refuses to tell of signals.
///
/// # Examples
/// ```
/// fgq::clean_up_on_signals()?;
/// # Ok::<(), std::io::Error>(())
/// ```
pub fn clean_up_on_signals() -> std::io::Result<()> {
    let mut signals = Signals::new(ENDING)?;
    thread::Builder::new().name("signals".into()).spawn(move || {
        for signal in signals.forever() {
            fgq::abandon_writes();
            super::stdin::forget();
            // It does what the signal does to a process that does not handle it.
            let _ = emulate_default_handler(signal);
        }
    })?;
    Ok(())
}
