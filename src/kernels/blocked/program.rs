//! Stages that any number of threads work off together.

use super::memory::Memory;
use super::ring::Ring;
use super::slot::Slot;
use crate::threads;
use std::fmt::Debug;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// Rounds of waiting before a thread offers its core to others.
const SPINS: usize = 128;

/// Most parts into which a stage is divided beforehand.
const SHARES: usize = 16;
/// Work that is worth waking threads for, as [`Task::work`] counts.
const WORTH: usize = 1 << 21;

/// What the tasks of a program work on.
pub(crate) struct TaskContext<'a> {
    /// All values.
    pub memory: &'a Memory,
    /// The images that come from outside, in the order row, column, channel.
    pub inputs: &'a [&'a [u8]],
}

/// A part of the work that can be cut into chunks.
///
/// # Safety
/// Of the memory, chunks read bytes of the slots [`reads`](Self::reads) and [`writes`](Self::writes) alone, through the
/// functions of [`Memory`]. They write positions of images in the slots `writes`, no rings, and different chunks write
/// different bytes; they read nothing that another chunk writes, as long as no slot of `reads` overlaps one of `writes`.
pub(crate) unsafe trait Task: Send + Sync + Debug {
    /// Number of chunks.
    fn chunks(&self) -> usize;

    /// Number of products, or of bytes written where there are none.
    fn work(&self) -> usize;

    /// Bytes of weights that it holds.
    fn weights(&self) -> usize {
        0
    }

    /// The slots of which chunks read.
    fn reads(&self) -> Vec<&Slot>;

    /// The slots of which chunks write.
    fn writes(&self) -> Vec<&Slot>;

    /// Does one chunk.
    ///
    /// # Safety
    /// Slots of [`reads`](Self::reads) and [`writes`](Self::writes) are sound, and those written overlap none of the others.
    /// Meanwhile nobody else runs this chunk, or uses the memory but for other chunks of this task and for rings of slots
    /// that it writes.
    unsafe fn run(&self, chunk: usize, context: &TaskContext);
}

/// One operator: its results, then their rings. Its slots are such that its chunks may run at the same time.
#[derive(Debug)]
pub(crate) struct Stage {
    rings: Vec<Ring>,
    task: Box<dyn Task>,
    chunks: usize,
    /// The end of the memory that it uses.
    end: usize,
}

/// Operators in execution order.
#[derive(Debug, Default)]
pub(crate) struct Program {
    stages: Vec<Stage>,
    /// Bytes of memory that the stages' slots cover.
    bytes: usize,
    /// All tasks' work.
    work: usize,
}

impl Program {
    /// Adds an operator and the rings around its results.
    pub fn push(&mut self, task: Box<dyn Task>, rings: impl IntoIterator<Item = Ring>) {
        self.append(Stage::new(task, rings));
    }

    /// Adds an operator.
    pub fn append(&mut self, stage: Stage) {
        self.work += stage.task.work();
        self.bytes = self.bytes.max(stage.end);
        self.stages.push(stage);
    }

    /// Exchanges an operator for another one that reads and writes the same slots.
    pub fn exchange(&mut self, place: usize, stage: &mut Stage) {
        self.work = self.work - self.stages[place].task.work() + stage.task.work();
        self.bytes = self.bytes.max(stage.end);
        std::mem::swap(&mut self.stages[place], stage);
    }

    /// Bytes of weights of each operator.
    pub fn weights(&self) -> impl Iterator<Item = usize> {
        self.stages.iter().map(|stage| stage.task.weights())
    }

    /// Memory to run in.
    pub fn memory(&self) -> Memory {
        let memory = Memory::new(self.bytes);
        #[cfg(fgq_redzones)]
        self.gaps().into_iter().for_each(|gap| memory.forbid(gap));
        memory
    }

    /// What lies between slots.
    #[cfg(fgq_redzones)]
    fn gaps(&self) -> Vec<Range<usize>> {
        let mut slots: Vec<&Slot> = self.stages.iter().flat_map(Stage::slots).collect();
        slots.sort_unstable_by_key(|slot| slot.start);
        let starts = slots.iter().map(|slot| slot.start).chain([self.bytes]);
        let ends = slots.iter().scan(0, |end, slot| {
            *end = slot.end().max(*end);
            Some(*end)
        });
        std::iter::once(0)
            .chain(ends)
            .zip(starts)
            .filter(|(end, start)| end < start)
            .map(|(end, start)| end..start)
            .collect()
    }

    /// Works all stages off, helped by the threads of the current `rayon` pool that have nothing else to do.
    ///
    /// # Panics
    /// If `memory` is shorter than this program's [`memory`](Self::memory).
    pub fn run(&self, memory: &mut Memory, inputs: &[&[u8]]) {
        self.run_watched(memory, inputs, &|_| {});
    }

    /// Like [`run`](Self::run); calls `finished` with the index of each stage when it is done.
    pub fn run_watched(&self, memory: &mut Memory, inputs: &[&[u8]], finished: &(dyn Fn(usize) + Sync)) {
        assert!(
            memory.len() >= self.bytes,
            "{} bytes of memory where {} are needed",
            memory.len(),
            self.bytes
        );
        let context = TaskContext { memory, inputs };
        let threads = if self.work < WORTH { 1 } else { threads::count() };
        let crew = Crew::new(self, context, threads, finished);
        match threads {
            1 => crew.work(),
            _ => threads::together(threads, || crew.work()),
        }
    }
}

/// Threads at work on one run. Whoever finishes the last chunk of a stage opens the next one; so nobody waits for a
/// thread that has not come yet.
///
/// The chunks of a stage are divided into shares of neighbouring chunks, and each thread begins with its own share: what
/// it wrote in one stage, and has in its caches, is what it reads in the next.
struct Crew<'a> {
    program: &'a Program,
    context: TaskContext<'a>,
    /// The open stage.
    open: Padded<AtomicUsize>,
    /// Finished chunks of the open stage.
    done: Padded<AtomicUsize>,
    /// For each share, its open stage (upper half) and the first of its chunks that nobody has taken (lower half).
    tickets: [Padded<AtomicU64>; SHARES],
    /// Number of shares in use.
    shares: usize,
    /// Number of threads that have come.
    threads: AtomicUsize,
    finished: &'a (dyn Fn(usize) + Sync),
}

/// Something that has its cache lines for itself.
#[derive(Default)]
#[repr(align(128))]
struct Padded<T>(T);

impl<'a> Crew<'a> {
    fn new(
        program: &'a Program,
        context: TaskContext<'a>,
        threads: usize,
        finished: &'a (dyn Fn(usize) + Sync),
    ) -> Self {
        let (open, done, tickets) = Default::default();
        let (shares, threads) = (threads.clamp(1, SHARES), AtomicUsize::new(0));
        let this = Self { program, context, open, done, tickets, shares, threads, finished };
        this.open(0);
        this
    }

    /// Chunks of a share.
    fn share(&self, stage: &Stage, share: usize) -> Range<usize> {
        share * stage.chunks / self.shares..(share + 1) * stage.chunks / self.shares
    }

    /// Nothing goes back: threads that opened earlier stages may be late with telling so.
    fn open(&self, place: usize) {
        if let Some(stage) = self.program.stages.get(place) {
            for (share, ticket) in self.tickets.iter().enumerate().take(self.shares) {
                let first = self.share(stage, share).start;
                ticket.0.fetch_max((place as u64) << 32 | first as u64, Ordering::AcqRel);
            }
        }
        self.open.0.fetch_max(place, Ordering::AcqRel);
    }

    fn work(&self) {
        let own = self.threads.fetch_add(1, Ordering::Relaxed);
        loop {
            let place = self.open.0.load(Ordering::Acquire);
            if place >= self.program.stages.len() {
                return;
            }
            let shares = (0..self.shares).map(|share| (own + share) % self.shares);
            let (place, count) = shares.fold((place, 0), |sum, share| self.take_all(share, sum));
            self.tell(place, count);
            let mut idle = 0;
            while self.open.0.load(Ordering::Acquire) == place {
                idle += 1;
                wait(idle);
            }
        }
    }

    /// Does what chunks of a share are left, and adds their number to that of others of one stage, which cannot end before
    /// it is told of them.
    fn take_all(&self, share: usize, (mut place, mut count): (usize, usize)) -> (usize, usize) {
        let ticket = &self.tickets[share].0;
        let chunk_of = |(place, chunk): (usize, usize)| {
            let stage = self.program.stages.get(place)?;
            self.share(stage, share).contains(&chunk).then_some((stage, place, chunk))
        };
        while chunk_of(split(ticket.load(Ordering::Acquire))).is_some() {
            let Some((stage, open, chunk)) = chunk_of(split(ticket.fetch_add(1, Ordering::AcqRel))) else {
                break;
            };
            // SAFETY: each chunk is given out once; a stage opens when all chunks of the one before are done; nobody but
            // this crew has the memory.
            unsafe { stage.run(chunk, &self.context) };
            (place, count) = (open, count + 1);
        }
        (place, count)
    }

    /// Counts finished chunks; after the last one the next stage opens.
    fn tell(&self, place: usize, count: usize) {
        let Some(stage) = self.program.stages.get(place).filter(|_| count > 0) else { return };
        if self.done.0.fetch_add(count, Ordering::AcqRel) + count == stage.chunks {
            (self.finished)(place);
            self.done.0.store(0, Ordering::Relaxed);
            self.open(place + 1);
        }
    }
}

impl Stage {
    /// An operator and the rings around its results.
    ///
    /// # Panics
    /// If slots are not sound, if one that the task writes overlaps another one, or if a ring is not around one of these.
    pub fn new(task: Box<dyn Task>, rings: impl IntoIterator<Item = Ring>) -> Self {
        let rings: Vec<Ring> = rings.into_iter().collect();
        let (reads, writes) = (task.reads(), task.writes());
        assert!(
            reads.iter().chain(&writes).all(|slot| slot.is_sound()),
            "slots that are not sound: {task:?}"
        );
        for (place, slot) in writes.iter().enumerate() {
            let mut others = reads.iter().chain(&writes[place + 1..]);
            assert!(others.all(|other| slot.is_apart(other)), "slots that overlap: {task:?}");
        }
        for (place, ring) in rings.iter().enumerate() {
            let again = rings[place + 1..].iter().any(|other| other.slot() == ring.slot());
            assert!(writes.contains(&ring.slot()) && !again, "a ring of something else: {ring:?}");
        }
        let chunks = task.chunks() + rings.len();
        assert!(u32::try_from(chunks).is_ok(), "{chunks} chunks");
        let end = reads.into_iter().chain(writes).map(Slot::end).max().unwrap_or(0);
        Self { rings, task, chunks, end }
    }

    /// What it reads and writes.
    #[cfg(fgq_redzones)]
    fn slots(&self) -> Vec<&Slot> {
        [self.task.reads(), self.task.writes()].concat()
    }

    /// Does one chunk of the task, or one ring.
    ///
    /// # Safety
    /// Meanwhile nobody else runs this chunk, or uses the memory but for other chunks of this stage.
    unsafe fn run(&self, chunk: usize, context: &TaskContext) {
        match chunk.checked_sub(self.chunks - self.rings.len()) {
            // SAFETY: as the caller promises; no task writes rings, and each slot has one.
            Some(ring) => unsafe { self.rings[ring].fill(context.memory) },
            // SAFETY: as the caller promises; `new` has found the slots as they should be.
            None => unsafe { self.task.run(chunk, context) },
        }
    }
}

fn split(ticket: u64) -> (usize, usize) {
    ((ticket >> 32) as usize, (ticket & u64::from(u32::MAX)) as usize)
}

fn wait(round: usize) {
    if round.is_multiple_of(SPINS) { std::thread::yield_now() } else { std::hint::spin_loop() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::blocked::Map;
    use crate::tensor::Shape;

    /// Adds up the bytes that the stage before wrote, and checks that all of them are there.
    #[derive(Debug)]
    struct Counting {
        stage: usize,
        chunks: usize,
        before: usize,
        slots: [Slot; 2],
    }

    impl Counting {
        /// Stages take turns with two slots of the memory.
        fn slot(stage: usize) -> Slot {
            Slot::new(stage % 2 * 128, Map::new(Shape::new(64, 1, 1), [0; 4]), 0)
        }

        fn new(stage: usize, chunks: usize, before: usize) -> Self {
            Self { stage, chunks, before, slots: [Self::slot(stage + 1), Self::slot(stage)] }
        }
    }

    // SAFETY: a chunk reads the first slot and writes a byte of its own in the second.
    unsafe impl Task for Counting {
        fn chunks(&self) -> usize {
            self.chunks
        }

        fn work(&self) -> usize {
            WORTH
        }

        fn reads(&self) -> Vec<&Slot> {
            vec![&self.slots[0]]
        }

        fn writes(&self) -> Vec<&Slot> {
            vec![&self.slots[1]]
        }

        unsafe fn run(&self, chunk: usize, context: &TaskContext) {
            // SAFETY: no chunk writes this slot.
            let before = unsafe { context.memory.read(&self.slots[0], 0, self.before) };
            let complete = before.iter().all(|&code| code == self.stage as u8);
            // SAFETY: each chunk has a byte of its own.
            let own = unsafe { context.memory.write(&self.slots[1], chunk, 1) };
            own.fill(if complete { self.stage as u8 + 1 } else { 0 });
        }
    }

    #[cfg(feature = "threads")]
    #[test]
    fn stages_wait_for_all_chunks_of_the_one_before() {
        let sizes = [1, 7, 64, 2, 1, 1, 33, 16, 3, 64, 5, 1];
        let mut program = Program::default();
        for (stage, &chunks) in sizes.iter().enumerate() {
            let before = if stage == 0 { 0 } else { sizes[stage - 1] };
            program.push(Box::new(Counting::new(stage, chunks, before)), None);
        }
        for threads in if cfg!(miri) { vec![3] } else { vec![1, 2, 3, 8, 20] } {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            for inside in [false, true] {
                for _ in 0..if cfg!(miri) { 1 } else { 200 } {
                    let (mut memory, ends) = (program.memory(), AtomicUsize::new(0));
                    let finished = |stage| assert_eq!(ends.fetch_add(1, Ordering::Relaxed), stage);
                    let mut run = || program.run_watched(&mut memory, &[], &finished);
                    // Outside the pool the calling thread takes helpers of the global one.
                    if inside {
                        pool.install(run)
                    } else {
                        run()
                    }
                    assert_eq!(ends.load(Ordering::Relaxed), sizes.len());
                    let last = memory.bytes()[Counting::slot(sizes.len() - 1).start];
                    assert_eq!(last, sizes.len() as u8, "{threads} threads");
                }
            }
        }
    }
}
