//! Loops compiled once more for the vector instructions of newer processors, which is chosen when the program runs.
//!
//! Products and sums are not fused, so that results are the same on every processor.

use pulp::{Arch, Simd, WithSimd};

/// A loop over numbers.
pub(crate) trait Loop {
    /// What it gives.
    type Output;

    /// Runs it. To be marked `#[inline(always)]`, as all that it calls: what is not inlined keeps the old instructions.
    fn run(self) -> Self::Output;
}

/// Runs a loop with the widest vectors that we compile for and this processor has.
#[inline]
pub(crate) fn vectorised<L: Loop>(work: L) -> L::Output {
    struct Work<L>(L);
    impl<L: Loop> WithSimd for Work<L> {
        type Output = L::Output;

        #[inline(always)]
        fn with_simd<S: Simd>(self, _: S) -> L::Output {
            self.0.run()
        }
    }
    Arch::new().dispatch(Work(work))
}
