//! Panics of decoders, which read whatever lies in a file, as reasons why it cannot be read.
//!
//! A decoder should not panic, whatever it is given, but some do (png 0.18 of a palette that breaks off within a colour).

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};

thread_local! {
    /// Whether a panic of this thread will be caught and told as an error.
    static CAUGHT: Cell<bool> = const { Cell::new(false) };
}

/// What `decode` gives; where it panics, a reason.
pub(crate) fn caught<T>(decode: impl FnOnce() -> Result<T, String>) -> Result<T, String> {
    let before = CAUGHT.replace(true);
    // What a panic may leave half done is dropped with the closure.
    let decoded = catch_unwind(AssertUnwindSafe(decode));
    CAUGHT.set(before);
    decoded.unwrap_or_else(|_| Err("something that no decoder understands".into()))
}

/// From now on says nothing of panics that are caught and told as errors: for the start of a program.
pub fn silence_caught() {
    let usual = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        if !CAUGHT.get() {
            usual(panic);
        }
    }));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_a_reason_and_the_next_one_is_not_lost() {
        silence_caught();
        let none: [u8; 0] = [];
        let index = std::hint::black_box(3);
        let found = caught(|| Ok(none[index]));
        assert_eq!(found, Err("something that no decoder understands".into()));
        assert_eq!(caught(|| Ok(7)), Ok(7));
        assert!(!CAUGHT.get());
    }
}
