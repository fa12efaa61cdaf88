//! Blocks of work side by side on the processor.
//!
//! A block is a chain of products and passes over memory, each as fast as its slowest thread. With another block at hand a
//! thread that would wait, for the other half of a product or for a pass that takes one thread, works for that one instead. No
//! number depends on it: every block is computed as it would be alone.

use crate::Result;
use candle_core::Device;
use rayon::prelude::*;
use std::sync::{Mutex, PoisonError};

/// Blocks that are under way at once: each has its own vectors in memory.
pub(super) const LANES: usize = 2;

/// `of` every item, the results in the order of the items; at most [`LANES`] of them at a time, and one on a device or where there
/// is but one thread.
///
/// # Errors
/// That of the first item that has one; later ones may not have been begun.
pub(super) fn side_by_side<I: Send, T: Send>(
    items: Vec<I>,
    device: &Device,
    of: impl Fn(I) -> Result<T> + Sync,
) -> Result<Vec<T>> {
    let lanes = LANES.min(rayon::current_num_threads()).min(items.len());
    if lanes < 2 || !device.is_cpu() {
        return items.into_iter().map(of).collect();
    }
    let queue = Mutex::new(items.into_iter().enumerate());
    let next = || (queue.lock().unwrap_or_else(PoisonError::into_inner)).next();
    let lane = |_| {
        let mut done = Vec::new();
        while let Some((place, item)) = next() {
            let result = of(item);
            if result.is_err() {
                // Those before have all been begun, and nothing after is wanted.
                while next().is_some() {}
            }
            done.push((place, result));
        }
        done
    };
    let mut done: Vec<(usize, Result<T>)> = (0..lanes)
        .into_par_iter()
        .with_max_len(1)
        .flat_map_iter(lane)
        .collect();
    done.sort_by_key(|&(place, _)| place);
    done.into_iter().map(|(_, result)| result).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Error;
    use std::sync::atomic::{AtomicUsize, Ordering};

    #[test]
    fn results_are_in_order_and_few_are_under_way() {
        let (running, most) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let found = side_by_side((0..40).collect(), &Device::Cpu, |item: usize| {
            let now = running.fetch_add(1, Ordering::SeqCst) + 1;
            most.fetch_max(now, Ordering::SeqCst);
            let sum: usize = (0..1000 * (40 - item)).into_par_iter().sum();
            running.fetch_sub(1, Ordering::SeqCst);
            Ok((item, sum))
        });
        let expected = |item: usize| (item, (0..1000 * (40 - item)).sum());
        assert_eq!(found.unwrap(), (0..40).map(expected).collect::<Vec<_>>());
        assert!(most.into_inner() <= LANES);
        let none = side_by_side(Vec::<usize>::new(), &Device::Cpu, Ok).unwrap();
        assert!(none.is_empty());
    }

    #[test]
    fn the_first_error_is_told_and_ends_the_work() {
        let begun = AtomicUsize::new(0);
        let failed = side_by_side((0..1000).collect(), &Device::Cpu, |item: usize| {
            begun.fetch_add(1, Ordering::SeqCst);
            match item {
                3 | 4 => Err(Error::config("item", format!("{item} fails"))),
                _ => {
                    // Time for the other lane to say that the work is over, however the machine is used.
                    std::thread::sleep(std::time::Duration::from_millis(2));
                    Ok(item)
                }
            }
        });
        assert!(failed.unwrap_err().to_string().contains("3 fails"));
        assert!(begun.into_inner() < 500);
    }
}
