//! Loops on all threads, compiled once for each type that they write in place of once for each loop: for items that take long beside a
//! call.

use rayon::prelude::*;

/// Calls `work` with the place and the elements of each row of `width`; the last one may be shorter.
pub(crate) fn for_each_row<T: Send>(
    rows: &mut [T],
    width: usize,
    work: &(dyn Fn(usize, &mut [T]) + Sync),
) {
    let rows = rows.par_chunks_mut(width.max(1)).enumerate();
    rows.for_each(|(place, row)| work(place, row));
}

/// What `item` makes of each place below `count`, in their order.
pub(crate) fn mapped<T: Send>(count: usize, item: &(dyn Fn(usize) -> T + Sync)) -> Vec<T> {
    (0..count).into_par_iter().map(item).collect()
}
