//! Stages that any number of threads work off together.

use super::memory::Memory;
use super::ring::Ring;
use std::fmt::Debug;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// Rounds of waiting before a thread offers its core to others.
const SPINS: usize = 128;

/// What the tasks of a program work on.
pub(crate) struct Context<'a> {
    /// All values.
    pub memory: &'a Memory,
    /// The images that come from outside, in the order row, column, channel.
    pub inputs: &'a [&'a [u8]],
}

/// A part of the work that can be cut into chunks.
///
/// Chunks of one task write disjoint bytes of the memory, and none that the task reads; what they read and write lies
/// within the slots they were made for, which the program's memory covers.
pub(crate) trait Task: Send + Sync + Debug {
    /// Number of chunks.
    fn chunks(&self) -> usize;

    /// Bytes of weights that it holds.
    fn weights(&self) -> usize {
        0
    }

    /// Does one chunk.
    ///
    /// # Safety
    /// `context` is of the task's own program; nobody else runs this chunk, or a task that writes what it reads.
    unsafe fn run(&self, chunk: usize, context: &Context);
}

/// One operator: the ring of its result, then the result.
#[derive(Debug)]
struct Stage {
    ring: Option<Ring>,
    task: Box<dyn Task>,
    chunks: usize,
}

/// Operators in execution order.
#[derive(Debug, Default)]
pub(crate) struct Program {
    stages: Vec<Stage>,
    /// Bytes of memory that the stages use.
    bytes: usize,
}

impl Program {
    /// Adds an operator and the ring around its result.
    pub fn push(&mut self, task: Box<dyn Task>, ring: Option<Ring>) {
        let chunks = task.chunks() + usize::from(ring.is_some());
        self.stages.push(Stage { ring, task, chunks });
    }

    /// Makes room for everything below `bytes`.
    pub fn reserve(&mut self, bytes: usize) {
        self.bytes = self.bytes.max(bytes);
    }

    /// Bytes of weights of each operator.
    pub fn weights(&self) -> impl Iterator<Item = usize> {
        self.stages.iter().map(|stage| stage.task.weights())
    }

    /// Memory to run in.
    pub fn memory(&self) -> Memory {
        Memory::new(self.bytes)
    }

    /// Works all stages off, helped by the threads of the current `rayon` pool that have nothing else to do.
    ///
    /// `memory` must come from this program's [`memory`](Self::memory); nothing happens otherwise.
    pub fn run(&self, memory: &mut Memory, inputs: &[&[u8]]) {
        self.run_watched(memory, inputs, &|_| {});
    }

    /// Like [`run`](Self::run); calls `finished` with the index of each stage when it is done.
    pub fn run_watched(&self, memory: &mut Memory, inputs: &[&[u8]], finished: &(dyn Fn(usize) + Sync)) {
        if memory.len() < self.bytes {
            return;
        }
        let context = Context { memory, inputs };
        let (ticket, done) = (AtomicU64::new(0), AtomicUsize::new(0));
        Crew { program: self, context, ticket, done, finished }.work_with(rayon::current_num_threads());
    }
}

/// Threads at work on one run. Whoever finishes the last chunk of a stage opens the next one; so nobody waits for a
/// thread that has not come yet.
struct Crew<'a> {
    program: &'a Program,
    context: Context<'a>,
    /// The open stage (upper half) and the first of its chunks that nobody has taken (lower half).
    ticket: AtomicU64,
    /// Finished chunks of the open stage.
    done: AtomicUsize,
    finished: &'a (dyn Fn(usize) + Sync),
}

impl Crew<'_> {
    fn work_with(&self, threads: usize) {
        match threads {
            0 | 1 => self.work(),
            _ => {
                let half = threads / 2;
                rayon::join(|| self.work_with(threads - half), || self.work_with(half));
            }
        }
    }

    fn work(&self) {
        let mut idle = 0;
        loop {
            let (place, chunk) = split(self.ticket.load(Ordering::Acquire));
            let Some(stage) = self.program.stages.get(place) else { return };
            if chunk < stage.chunks {
                idle = 0;
                self.take();
            } else {
                idle += 1;
                wait(idle);
            }
        }
    }

    fn take(&self) {
        let (place, chunk) = split(self.ticket.fetch_add(1, Ordering::AcqRel));
        let Some(stage) = self.program.stages.get(place) else { return };
        if chunk >= stage.chunks {
            return;
        }
        // SAFETY: each ticket is given out once, and a stage opens when all chunks of the one before are done.
        unsafe { stage.run(chunk, &self.context) };
        if self.done.fetch_add(1, Ordering::AcqRel) + 1 == stage.chunks {
            (self.finished)(place);
            self.done.store(0, Ordering::Relaxed);
            self.ticket.store((place as u64 + 1) << 32, Ordering::Release);
        }
    }
}

impl Stage {
    unsafe fn run(&self, chunk: usize, context: &Context) {
        // SAFETY: as the caller promises; the ring and the image are different bytes.
        unsafe {
            match (&self.ring, chunk) {
                (None, _) => self.task.run(chunk, context),
                (Some(ring), 0) => ring.fill(context.memory),
                (Some(_), _) => self.task.run(chunk - 1, context),
            }
        }
    }
}

fn split(ticket: u64) -> (usize, usize) {
    ((ticket >> 32) as usize, (ticket & u64::from(u32::MAX)) as usize)
}

fn wait(round: usize) {
    if round.is_multiple_of(SPINS) { std::thread::yield_now() } else { std::hint::spin_loop() }
}
