//! The runtime of fgq as functions that JavaScript can call (`js/fgq.js` does): bytes go in by [`room`] and come out by
//! [`output`], one instance of the module holds one model.
//!
//! Every function but [`room`] says whether it succeeded; if not, [`output`] is the message of the error.

mod description;
mod running;

use fgq::{Error, ErrorKind, Result};
pub use running::Running;
use std::cell::RefCell;

/// What an instance holds.
#[derive(Default)]
struct Instance {
    input: Vec<u8>,
    output: Vec<u8>,
    running: Option<Running>,
}

thread_local! {
    static INSTANCE: RefCell<Instance> = RefCell::default();
}

/// Memory for the next call's `len` bytes; null where there is not so much.
#[unsafe(no_mangle)]
pub extern "C" fn room(len: usize) -> *mut u8 {
    INSTANCE.with_borrow_mut(|instance| {
        instance.input = Vec::new();
        if instance.input.try_reserve_exact(len).is_err() {
            return std::ptr::null_mut();
        }
        instance.input.resize(len, 0);
        instance.input.as_mut_ptr()
    })
}

/// Where the last call's result is.
#[unsafe(no_mangle)]
pub extern "C" fn output() -> *const u8 {
    INSTANCE.with_borrow(|instance| instance.output.as_ptr())
}

/// Bytes of the last call's result.
#[unsafe(no_mangle)]
pub extern "C" fn output_len() -> usize {
    INSTANCE.with_borrow(|instance| instance.output.len())
}

/// Loads the model in the file's bytes; what it is, in JSON.
#[unsafe(no_mangle)]
pub extern "C" fn load() -> bool {
    lend_clock();
    answer(|instance| {
        let file = std::mem::take(&mut instance.input);
        let (running, description) = Running::new(&file)?;
        instance.running = Some(running);
        Ok(description.into_bytes())
    })
}

/// The logits of a picture in the order red, green, blue, alpha: 32 bits each.
#[unsafe(no_mangle)]
pub extern "C" fn logits(width: usize, height: usize) -> bool {
    with_model(|running, rgba| {
        let logits = running.logits(&rgba, width, height)?;
        Ok(logits.into_iter().flat_map(i32::to_le_bytes).collect())
    })
}

/// Milliseconds of each layer on a picture, in the order of the description: floats of 64 bits.
#[unsafe(no_mangle)]
pub extern "C" fn times(width: usize, height: usize) -> bool {
    with_model(|running, rgba| {
        let times = running.times(&rgba, width, height)?;
        Ok(times.into_iter().flat_map(f64::to_le_bytes).collect())
    })
}

/// Gives all layers that switch the widths of a setting, by its name or number; the widths of all, 8 bits each.
#[unsafe(no_mangle)]
pub extern "C" fn set() -> bool {
    with_model(|running, setting| running.set(&text(setting)?))
}

/// Gives the layer of this name a width; the widths of all, 8 bits each.
#[unsafe(no_mangle)]
pub extern "C" fn set_layer(width: u8) -> bool {
    with_model(|running, layer| running.set_layer(&text(layer)?, width))
}

/// Calls `work` with the model and the bytes that came in.
fn with_model(work: impl FnOnce(&mut Running, Vec<u8>) -> Result<Vec<u8>>) -> bool {
    answer(|instance| {
        let input = std::mem::take(&mut instance.input);
        let no_model = || Error::new(ErrorKind::Argument, "no model is loaded");
        work(instance.running.as_mut().ok_or_else(no_model)?, input)
    })
}

/// Keeps the result of `work`, or the message of its error.
fn answer(work: impl FnOnce(&mut Instance) -> Result<Vec<u8>>) -> bool {
    INSTANCE.with_borrow_mut(|instance| {
        let result = work(instance);
        let succeeded = result.is_ok();
        instance.output = result.unwrap_or_else(|error| error.to_string().into_bytes());
        succeeded
    })
}

fn text(bytes: Vec<u8>) -> Result<String> {
    String::from_utf8(bytes).map_err(|_| Error::new(ErrorKind::Argument, "a name that is no text"))
}

#[cfg(target_family = "wasm")]
fn lend_clock() {
    #[link(wasm_import_module = "host")]
    unsafe extern "C" {
        /// Milliseconds since any one moment.
        safe fn now() -> f64;
    }
    fgq::set_clock(|| std::time::Duration::from_secs_f64(now().max(0.0) / 1e3));
}

#[cfg(not(target_family = "wasm"))]
fn lend_clock() {}
