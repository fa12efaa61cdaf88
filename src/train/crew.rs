//! Trainings side by side, each with its own threads.

use crate::device::DeviceChoice;
use crate::{Error, Result};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

/// How many runs at once, with how many threads each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Crew {
    /// Runs side by side.
    pub at_once: usize,
    /// Threads of each.
    pub threads: usize,
}

impl Crew {
    /// `threads` for `at_once` runs. Where that is not given, as many runs as threads on the processor, and one on a card: work there
    /// goes one after another in any case, and each run would take memory of its own.
    #[must_use]
    pub fn of(threads: usize, at_once: Option<usize>, device: DeviceChoice) -> Self {
        let threads = threads.max(1);
        let usual = if device == DeviceChoice::Cpu {
            threads
        } else {
            1
        };
        let at_once = at_once.unwrap_or(usual).clamp(1, threads);
        Self {
            at_once,
            threads: threads / at_once,
        }
    }

    /// `work` of 0..count, so many at a time in this order, each in a pool of its own; results in order. After one that fails no
    /// further begins.
    ///
    /// Plain threads: a task of rayon's that waits for another pool takes up further tasks, which would then all be under way at once.
    ///
    /// # Errors
    /// The first of the work's, or threads that cannot be had.
    pub fn each<T: Send>(
        self,
        count: usize,
        work: &(dyn Fn(usize) -> Result<T> + Sync),
    ) -> Result<Vec<T>> {
        let (next, stopped) = (AtomicUsize::new(0), AtomicBool::new(false));
        let results: Mutex<Vec<(usize, Result<T>)>> = Mutex::new(Vec::new());
        let worker = || -> Result<()> {
            let pool = rayon::ThreadPoolBuilder::new()
                .num_threads(self.threads)
                .build()
                .map_err(|reason| Error::config("threads", reason.to_string()))?;
            while !stopped.load(Ordering::Relaxed) {
                let turn = next.fetch_add(1, Ordering::Relaxed);
                if turn >= count {
                    break;
                }
                let result = pool.install(|| work(turn));
                if result.is_err() {
                    stopped.store(true, Ordering::Relaxed);
                }
                let mut results = results.lock().unwrap_or_else(PoisonError::into_inner);
                results.push((turn, result));
            }
            Ok(())
        };
        std::thread::scope(|scope| {
            let workers = (0..self.at_once.min(count)).map(|_| scope.spawn(worker));
            let workers: Vec<_> = workers.collect();
            (workers.into_iter()).try_for_each(|worker| match worker.join() {
                Ok(result) => result,
                Err(panic) => std::panic::resume_unwind(panic),
            })
        })?;
        let mut results = results.into_inner().unwrap_or_else(PoisonError::into_inner);
        results.sort_by_key(|(turn, _)| *turn);
        results.into_iter().map(|(_, result)| result).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_are_under_way_than_asked_for_even_where_they_wait_for_pools() {
        let (under_way, most) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let crew = Crew::of(2, None, DeviceChoice::Cpu);
        let found = crew.each(20, &|turn| {
            let now = under_way.fetch_add(1, Ordering::SeqCst) + 1;
            most.fetch_max(now, Ordering::SeqCst);
            assert_eq!(rayon::current_num_threads(), 1);
            std::thread::sleep(std::time::Duration::from_millis(2));
            under_way.fetch_sub(1, Ordering::SeqCst);
            Ok(turn)
        });
        assert_eq!(found.unwrap(), (0..20).collect::<Vec<_>>());
        assert!(most.into_inner() <= 2);
        let failed = crew.each(100, &|turn| match turn {
            3 => Err(Error::config("three", "is refused")),
            _ => Ok(()),
        });
        assert!(failed.is_err());
    }
}
