//! The runtime in WebAssembly: three functions for a page or a server (`run.mjs` calls them).

use fgq::{PackedModel, Session};
use std::cell::RefCell;

/// A model ready to run, and what the last image gave.
struct Running {
    session: Session,
    logits: Vec<i32>,
}

thread_local! {
    static RUNNING: RefCell<Option<Running>> = const { RefCell::new(None) };
}

/// Memory for `len` bytes, which stays with whoever asked for it.
#[unsafe(no_mangle)]
pub extern "C" fn room(len: usize) -> *mut u8 {
    vec![0u8; len].leak().as_mut_ptr()
}

/// Prepares the model in the file's `len` bytes at `file`; the number of pixel bytes of one image, 0 if it cannot be read.
///
/// # Safety
/// The bytes must be there.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn open(file: *const u8, len: usize) -> usize {
    // SAFETY: as the caller promises.
    let bytes = unsafe { std::slice::from_raw_parts(file, len) };
    let session = PackedModel::from_bytes(bytes).and_then(|model| Session::new(&model));
    let running = session.ok().map(|session| Running { session, logits: Vec::new() });
    let pixels = running.as_ref().map_or(0, |running| running.session.input().len());
    RUNNING.set(running);
    pixels
}

/// Runs the open model on the `len` pixel bytes at `pixels`; where the logits are until the next run, or null.
///
/// # Safety
/// The bytes must be there.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn run(pixels: *const u8, len: usize) -> *const i32 {
    // SAFETY: as the caller promises.
    let pixels = unsafe { std::slice::from_raw_parts(pixels, len) };
    RUNNING.with_borrow_mut(|running| {
        let Some(running) = running else { return std::ptr::null() };
        let Ok((logits, _)) = running.session.run_timed(pixels) else { return std::ptr::null() };
        running.logits = logits.data;
        running.logits.as_ptr()
    })
}
