//! The same number of several channels, added and subtracted as vectors.

use super::Scalar;

/// Channels that are transformed together, as vector instructions.
pub(super) const LANES: usize = 8;

/// The same number of several channels.
pub(super) type Lanes<T> = [T; LANES];

#[inline(always)]
pub(super) fn plus<T: Scalar>(mut a: Lanes<T>, b: Lanes<T>) -> Lanes<T> {
    for lane in 0..LANES {
        a[lane] += b[lane];
    }
    a
}

#[inline(always)]
pub(super) fn minus<T: Scalar>(mut a: Lanes<T>, b: Lanes<T>) -> Lanes<T> {
    for lane in 0..LANES {
        a[lane] -= b[lane];
    }
    a
}

/// All of it times a factor.
#[inline(always)]
pub(super) fn times<T: Scalar>(a: Lanes<T>, factor: T) -> Lanes<T> {
    a.map(|a| a * factor)
}

/// Column `k` of a matrix.
#[inline(always)]
pub(super) fn column_of<T: Scalar, const ROWS: usize, const COLUMNS: usize>(
    rows: &[[Lanes<T>; COLUMNS]; ROWS],
    k: usize,
) -> [Lanes<T>; ROWS] {
    let mut column = [[T::default(); LANES]; ROWS];
    for (value, row) in column.iter_mut().zip(rows) {
        *value = row[k];
    }
    column
}

/// The first numbers of `from`, zeros behind its end.
#[inline(always)]
pub(super) fn load<T: Scalar>(from: &[T]) -> Lanes<T> {
    match from.first_chunk() {
        Some(lanes) => *lanes,
        None => {
            let mut lanes = [T::default(); LANES];
            lanes.iter_mut().zip(from).for_each(|(lane, &x)| *lane = x);
            lanes
        }
    }
}

/// As many numbers as `to` has room for.
#[inline(always)]
pub(super) fn store<T: Scalar>(lanes: Lanes<T>, to: &mut [T]) {
    match to.first_chunk_mut() {
        Some(to) => *to = lanes,
        None => to.iter_mut().zip(lanes).for_each(|(to, lane)| *to = lane),
    }
}
