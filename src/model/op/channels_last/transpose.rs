//! Images turned over: channels first to channels last, and back.

use std::mem::MaybeUninit;

/// Side of the squares that are turned over in registers.
const SIDE: usize = 4;
/// Rows of the transpose that are written before the next ones: they stay in the first cache.
const BAND: usize = 64;

/// Numbers whose squares can be turned over.
pub(crate) trait Square: Copy + Default {
    /// Rows as columns.
    #[inline(always)]
    fn turned(square: [[Self; SIDE]; SIDE]) -> [[Self; SIDE]; SIDE] {
        let mut turned = [[Self::default(); SIDE]; SIDE];
        for (row, line) in turned.iter_mut().enumerate() {
            for (column, value) in line.iter_mut().enumerate() {
                *value = square[column][row];
            }
        }
        turned
    }
}

impl Square for f64 {}

#[cfg(not(target_arch = "x86_64"))]
impl Square for f32 {}

/// The compiler would move each number by itself, which takes three times as long.
#[cfg(target_arch = "x86_64")]
impl Square for f32 {
    #[inline(always)]
    fn turned(square: [[f32; SIDE]; SIDE]) -> [[f32; SIDE]; SIDE] {
        use std::arch::x86_64::{
            __m128, _mm_movehl_ps, _mm_movelh_ps, _mm_unpackhi_ps, _mm_unpacklo_ps,
        };
        // SAFETY: both are sixteen numbers of f32, and every x86-64 processor has these instructions.
        unsafe {
            let [a, b, c, d]: [__m128; SIDE] = std::mem::transmute(square);
            let (low, high) = (_mm_unpacklo_ps(a, b), _mm_unpackhi_ps(a, b));
            let (other_low, other_high) = (_mm_unpacklo_ps(c, d), _mm_unpackhi_ps(c, d));
            std::mem::transmute([
                _mm_movelh_ps(low, other_low),
                _mm_movehl_ps(other_low, low),
                _mm_movelh_ps(high, other_high),
                _mm_movehl_ps(other_high, high),
            ])
        }
    }
}

/// Writes the transpose `[rows, columns]` of `from` `[columns, rows]`, every element of it.
///
/// # Panics
/// Lengths that do not fit.
pub(crate) fn write_transpose<T: Square>(
    (rows, columns): (usize, usize),
    from: &[T],
    to: &mut [MaybeUninit<T>],
) {
    assert!(from.len() == rows * columns);
    write((rows, columns), from, rows, to);
}

/// The transpose `[rows, columns]` of the first `rows` numbers of each line of `from`, of which there are `columns`, each `length`
/// numbers after the one before.
///
/// # Panics
/// Lengths that do not fit.
pub(crate) fn transpose_lines<T: Square>(
    shape: (usize, usize),
    from: &[T],
    length: usize,
    to: &mut [T],
) {
    write(shape, from, length, as_unwritten(to));
}

fn write<T: Square>(
    (rows, columns): (usize, usize),
    from: &[T],
    length: usize,
    to: &mut [MaybeUninit<T>],
) {
    assert!(to.len() == rows * columns);
    let (whole_rows, whole_columns) = (rows - rows % SIDE, columns - columns % SIDE);
    for start in (0..whole_rows).step_by(BAND) {
        let band = start..whole_rows.min(start + BAND);
        for column in (0..whole_columns).step_by(SIDE) {
            let line = |index: usize| {
                from[(column + index) * length..][band.clone()]
                    .as_chunks()
                    .0
            };
            let lines = line(0).iter().zip(line(1)).zip(line(2)).zip(line(3));
            for (index, (((a, b), c), d)) in lines.enumerate() {
                for (row, turned) in T::turned([*a, *b, *c, *d]).into_iter().enumerate() {
                    let to = &mut to[(start + SIDE * index + row) * columns + column..][..SIDE];
                    to.iter_mut().zip(turned).for_each(|(to, value)| {
                        to.write(value);
                    });
                }
            }
        }
    }
    for row in 0..rows {
        let first = if row < whole_rows { whole_columns } else { 0 };
        for column in first..columns {
            to[row * columns + column].write(from[column * length + row]);
        }
    }
}

/// [`write_transpose`] over numbers that are there already.
pub(crate) fn transpose<T: Square>(shape: (usize, usize), from: &[T], to: &mut [T]) {
    write_transpose(shape, from, as_unwritten(to));
}

fn as_unwritten<T>(numbers: &mut [T]) -> &mut [MaybeUninit<T>] {
    let numbers: *mut [T] = numbers;
    // SAFETY: the same memory, and nothing but numbers is written to it here.
    unsafe { &mut *(numbers as *mut [MaybeUninit<T>]) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_become_columns() {
        for (rows, columns) in [
            (1, 1),
            (3, 5),
            (8, 8),
            (17, 9),
            (16, 40),
            (64, 3),
            (2, 33),
            (150, 12),
        ] {
            let from: Vec<f32> = (0..rows * columns).map(|value| value as f32).collect();
            let mut to = vec![0.0; from.len()];
            transpose((rows, columns), &from, &mut to);
            let doubles: Vec<f64> = from.iter().map(|&value| f64::from(value)).collect();
            let mut plain = vec![0.0; from.len()];
            transpose((rows, columns), &doubles, &mut plain);
            for (place, value) in to.into_iter().enumerate() {
                let (row, column) = (place / columns, place % columns);
                assert_eq!(value, from[column * rows + row], "{rows} × {columns}");
                assert_eq!(plain[place], f64::from(value), "{rows} × {columns}");
            }
        }
    }
}
