//! Numbers whose memory is used again: a product takes and gives back hundreds of megabytes, and having the system map and
//! clear them each time costs as much as the arithmetic.

use super::product::Scalar;
use std::ops::{Deref, DerefMut};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Bytes of one precision that may wait for their next use.
static WAITING: AtomicUsize = AtomicUsize::new(1 << 30);
/// Smaller buffers are the allocator's business.
const SMALLEST: usize = 1 << 12;

/// From now on no more than `bytes` of each precision wait for their next use.
pub(crate) fn limit_waiting(bytes: usize) {
    WAITING.fetch_min(bytes, Ordering::Relaxed);
}

/// Memory that waits for its next use.
pub(crate) struct Pool<T> {
    waiting: Mutex<Vec<Vec<T>>>,
}

impl<T: Scalar> Pool<T> {
    pub(crate) const fn new() -> Self {
        Self {
            waiting: Mutex::new(Vec::new()),
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Vec<T>>> {
        // Every buffer in it is whole, whatever became of the thread that put it there.
        self.waiting
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// Any `length` numbers: the smallest buffer that is large enough and not four times too large.
    fn take(&self, length: usize) -> Vec<T> {
        let mut waiting = self.lock();
        let fits = |buffer: &Vec<T>| (length..=4 * length).contains(&buffer.len());
        let best = (waiting.iter().enumerate())
            .filter(|(_, buffer)| fits(buffer))
            .min_by_key(|(_, buffer)| buffer.len())
            .map(|(index, _)| index);
        match best {
            Some(index) => waiting.swap_remove(index),
            None => {
                drop(waiting);
                vec![T::default(); length]
            }
        }
    }

    /// The oldest go first where there are too many.
    fn give(&self, buffer: Vec<T>) {
        let bytes = |buffer: &Vec<T>| buffer.len() * T::DTYPE.size_in_bytes();
        let mut waiting = self.lock();
        let mut total: usize = waiting.iter().map(bytes).sum::<usize>() + bytes(&buffer);
        waiting.push(buffer);
        let mut leaving = 0;
        let most = WAITING.load(Ordering::Relaxed);
        while total > most && leaving < waiting.len() {
            total -= bytes(&waiting[leaving]);
            leaving += 1;
        }
        let gone: Vec<Vec<T>> = waiting.drain(..leaving).collect();
        drop(waiting);
        drop(gone);
    }
}

/// `length` numbers in memory that is given back for its next use.
#[derive(Debug)]
pub(crate) struct Buffer<T: Scalar> {
    memory: Vec<T>,
    length: usize,
}

impl<T: Scalar> Buffer<T> {
    /// Numbers left over from some earlier use, for what is written before it is read.
    pub(crate) fn stale(length: usize) -> Self {
        let memory = match length >= SMALLEST {
            true => T::pool().take(length),
            false => vec![T::default(); length],
        };
        Self { memory, length }
    }

    pub(crate) fn zeros(length: usize) -> Self {
        let mut buffer = Self::stale(length);
        buffer.fill(T::default());
        buffer
    }

    /// Grows or shrinks to `length` stale numbers.
    pub(crate) fn resize(&mut self, length: usize) {
        if length > self.memory.len() {
            *self = Self::stale(length);
        }
        self.length = length;
    }
}

impl<T: Scalar> Default for Buffer<T> {
    fn default() -> Self {
        Self::stale(0)
    }
}

impl<T: Scalar> From<Vec<T>> for Buffer<T> {
    fn from(memory: Vec<T>) -> Self {
        let length = memory.len();
        Self { memory, length }
    }
}

impl<T: Scalar> Clone for Buffer<T> {
    fn clone(&self) -> Self {
        let mut copy = Self::stale(self.length);
        copy.copy_from_slice(self);
        copy
    }
}

impl<T: Scalar> Deref for Buffer<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        &self.memory[..self.length]
    }
}

impl<T: Scalar> DerefMut for Buffer<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        &mut self.memory[..self.length]
    }
}

impl<T: Scalar> Drop for Buffer<T> {
    fn drop(&mut self) {
        if self.memory.len() >= SMALLEST {
            T::pool().give(std::mem::take(&mut self.memory));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_and_contents_are_those_asked_for() {
        let mut buffer = Buffer::<f64>::stale(10_000);
        buffer.fill(3.0);
        let copy = buffer.clone();
        drop(buffer);
        // Whether or not the memory is the same, zeros are zeros and the copy stays.
        let zeros = Buffer::<f64>::zeros(9_000);
        assert_eq!(zeros.len(), 9_000);
        assert!(zeros.iter().all(|&x| x == 0.0));
        assert!(copy.len() == 10_000 && copy.iter().all(|&x| x == 3.0));
        let mut small = Buffer::<f32>::from(vec![1.0, 2.0]);
        small.resize(1);
        assert_eq!(*small, [1.0]);
        small.resize(8_000);
        assert_eq!(small.len(), 8_000);
        assert_eq!(Buffer::<f32>::default().len(), 0);
    }

    #[test]
    fn what_waits_is_bounded_and_fits() {
        let pool = Pool::<f32>::new();
        let count = WAITING.load(Ordering::Relaxed) / 4 / (1 << 20);
        (0..count + 3).for_each(|_| pool.give(vec![0.0; 1 << 20]));
        assert_eq!(pool.lock().len(), count);
        assert_eq!(pool.take(1 << 19).len(), 1 << 20);
        assert_eq!(pool.take(1 << 17).len(), 1 << 17);
        assert_eq!(pool.lock().len(), count - 1);
    }
}
