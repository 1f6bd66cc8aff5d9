//! Threads that work.

use crate::errors::argument;
use pyo3::prelude::*;
use rayon::{ThreadPool, ThreadPoolBuilder};
use std::sync::{Arc, Mutex, PoisonError};
use std::{mem, process, thread};

/// The pools of one process, by their number of threads.
static POOLS: Mutex<Pools> = Mutex::new(Pools { process: 0, pools: Vec::new() });

struct Pools {
    process: u32,
    pools: Vec<(usize, Arc<ThreadPool>)>,
}

/// A pool of so many threads, as many as the machine has cores if nothing is said; always the same one in one process. A
/// forked process has no threads of its parent's and gets pools of its own.
pub fn pool(threads: Option<usize>) -> PyResult<Arc<ThreadPool>> {
    let threads = count(threads)?;
    let mut pools = POOLS.lock().unwrap_or_else(PoisonError::into_inner);
    if pools.process != process::id() {
        // To end the parent's threads would wait for threads that are not there.
        mem::take(&mut pools.pools).into_iter().for_each(mem::forget);
        pools.process = process::id();
    }
    if let Some((_, pool)) = pools.pools.iter().find(|(count, _)| *count == threads) {
        return Ok(Arc::clone(pool));
    }
    let built = ThreadPoolBuilder::new().num_threads(threads).build();
    let pool = Arc::new(built.map_err(|error| argument(format!("{threads} threads: {error}")))?);
    pools.pools.push((threads, Arc::clone(&pool)));
    Ok(pool)
}

/// How many threads work.
pub fn count(threads: Option<usize>) -> PyResult<usize> {
    match threads {
        Some(threads @ 1..=1024) => Ok(threads),
        Some(threads) => Err(argument(format!("`threads = {threads}`: give 1 to 1024"))),
        None => Ok(thread::available_parallelism().map_or(1, usize::from)),
    }
}
