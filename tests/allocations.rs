//! A session allocates nothing but the logits once it has run, and nothing when it goes back to widths that it had.

#![allow(unsafe_code, clippy::unwrap_used)]

use fgq::{Session, read_model};
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::path::Path;

thread_local! {
    static COUNT: Cell<usize> = const { Cell::new(0) };
}

struct Counting;

// SAFETY: everything is the system's.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let _ = COUNT.try_with(|count| count.set(count.get() + 1));
        // SAFETY: as the caller promises.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, place: *mut u8, layout: Layout) {
        // SAFETY: as the caller promises.
        unsafe { System.dealloc(place, layout) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

#[test]
fn runs_allocate_only_their_logits() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/runtime");
    let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
    for name in ["every_operator", "global_sum"] {
        let session = Session::new(&read_model(&folder.join(format!("{name}.fgq"))).unwrap()).unwrap();
        let pixels = vec![7; session.input().len()];
        let planned = fgq::Kernels::default() > fgq::Kernels::Portable;
        let count = pool.install(|| {
            session.run(&pixels).unwrap();
            let before = COUNT.get();
            session.run(&pixels).unwrap();
            COUNT.get() - before
        });
        assert!(!planned || count == 1, "{name}: {count} allocations");
    }
}

#[test]
fn going_back_to_widths_allocates_nothing() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/runtime");
    let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
    for name in ["planes", "bits"] {
        let mut session = Session::new(&read_model(&folder.join(format!("{name}.fgq"))).unwrap()).unwrap();
        let widths = session.widths().to_vec();
        let count = pool.install(|| {
            let round = |session: &mut Session| {
                widths.iter().rev().for_each(|&width| session.set_bits(None, width).unwrap());
            };
            round(&mut session);
            round(&mut session);
            let before = COUNT.get();
            round(&mut session);
            COUNT.get() - before
        });
        assert_eq!(count, 0, "{name}");
    }
}
