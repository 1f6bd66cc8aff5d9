//! Memory for images while they are decoded: so much for all threads together.

use std::sync::{Condvar, Mutex, PoisonError};

/// Bytes that all images may take at once.
pub(super) const ALL: u64 = 768 << 20;

/// Bytes that nobody has.
static FREE: Mutex<u64> = Mutex::new(ALL);
static MORE_IS_FREE: Condvar = Condvar::new();

/// Bytes that an image may take, for as long as this lives.
#[derive(Debug)]
pub(super) struct Allowance(u64);

impl Allowance {
    /// Waits until so many bytes are free; `None` if they never will be. A thread that has one must not ask for another.
    pub(super) fn of(bytes: u64) -> Option<Self> {
        if bytes > ALL {
            return None;
        }
        let free = FREE.lock().unwrap_or_else(PoisonError::into_inner);
        let free = MORE_IS_FREE.wait_while(free, |free| *free < bytes);
        *free.unwrap_or_else(PoisonError::into_inner) -= bytes;
        Some(Self(bytes))
    }
}

impl Drop for Allowance {
    fn drop(&mut self) {
        *FREE.lock().unwrap_or_else(PoisonError::into_inner) += self.0;
        MORE_IS_FREE.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU64, Ordering};

    #[test]
    fn threads_never_have_more_than_all() {
        assert!(Allowance::of(ALL + 1).is_none());
        let (taken, most) = (AtomicU64::new(0), AtomicU64::new(0));
        std::thread::scope(|scope| {
            for thread in 1..=8 {
                let (taken, most) = (&taken, &most);
                scope.spawn(move || {
                    for _ in 0..50 {
                        let bytes = ALL / 16 * thread;
                        let held = Allowance::of(bytes);
                        most.fetch_max(taken.fetch_add(bytes, Ordering::SeqCst) + bytes, Ordering::SeqCst);
                        taken.fetch_sub(bytes, Ordering::SeqCst);
                        drop(held);
                    }
                });
            }
        });
        assert!((ALL / 2..=ALL).contains(&most.into_inner()));
    }
}
