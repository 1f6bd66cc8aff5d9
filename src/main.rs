//! The `fgq` command.

use std::io::{self, Write};
use std::process::ExitCode;

/// What commands exit with that fail.
const ERROR: u8 = 2;

fn main() -> ExitCode {
    if stdout::was_closed() {
        let message =
            "error: stdout is closed, so that no result can be told; send it to a file or to /dev/null";
        let _ = writeln!(io::stderr(), "{message}");
        return ERROR.into();
    }
    // Without it files may be left behind, and nothing else is lost.
    let _ = fgq::clean_up_on_signals();
    fgq::command_line(std::env::args_os()).into()
}

#[cfg(unix)]
mod stdout {
    use std::fs::symlink_metadata;
    use std::sync::atomic::{AtomicBool, Ordering};

    static WAS_CLOSED: AtomicBool = AtomicBool::new(false);

    /// Run before `main`: Rust's runtime opens `/dev/null` in place of a closed stdout, and then nothing tells them apart.
    // SAFETY: the sections hold functions without arguments that are called once each, on the only thread, before `main`;
    // `look` needs nothing of Rust's runtime, allocates nothing and cannot unwind.
    #[allow(unsafe_code)]
    #[used]
    #[cfg_attr(target_vendor = "apple", unsafe(link_section = "__DATA,__mod_init_func"))]
    #[cfg_attr(not(target_vendor = "apple"), unsafe(link_section = ".init_array"))]
    static LOOK: extern "C" fn() = look;

    extern "C" fn look() {
        let is_open = symlink_metadata("/dev/fd/1").is_ok();
        // Without /dev/fd nobody knows.
        let is_known = symlink_metadata("/dev/fd").is_ok();
        WAS_CLOSED.store(is_known && !is_open, Ordering::Relaxed);
    }

    /// Whether stdout was closed when the process began (`>&-`).
    pub(super) fn was_closed() -> bool {
        WAS_CLOSED.load(Ordering::Relaxed)
    }
}

#[cfg(not(unix))]
mod stdout {
    /// Whether stdout was closed when the process began.
    pub(super) fn was_closed() -> bool {
        false
    }
}
