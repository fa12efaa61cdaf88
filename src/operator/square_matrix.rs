//! A square matrix in one piece of memory, which the system provides page by page with first use.
//!
//! Of a matrix by halves of which the upper one is never written, nearly that half is never there; and what is written by many
//! threads is cleared by them too, not by the one that allocates it.

use crate::product::Real;
use faer::{MatMut, MatRef};
use std::ops::{Index, IndexMut, Range};

/// `[size, size]`, column-major.
#[derive(Debug, Clone)]
pub struct SquareMatrix<T> {
    values: Vec<T>,
    size: usize,
}

impl<T> SquareMatrix<T> {
    /// Memory of one with so many rows.
    pub fn bytes(size: usize) -> u64 {
        (size as u64)
            .saturating_pow(2)
            .saturating_mul(size_of::<T>() as u64)
    }

    /// How many rows, and columns.
    pub fn size(&self) -> usize {
        self.size
    }
}

#[allow(private_bounds)] // Its functions are the crate's own.
impl<T: Real> SquareMatrix<T> {
    /// Zeros everywhere.
    pub(crate) fn zeros(size: usize) -> Self {
        // A vector of zeros is allocated as such, and not written.
        let values = vec![T::from_f64(0.0); size * size];
        Self { values, size }
    }

    /// Of its elements (row, column ≤ row).
    pub(crate) fn from_lower(size: usize, element: impl Fn(usize, usize) -> T) -> Self {
        let mut matrix = Self::zeros(size);
        for column in 0..size {
            (column..size).for_each(|row| matrix[(row, column)] = element(row, column));
        }
        matrix
    }

    pub(crate) fn as_ref(&self) -> MatRef<'_, T> {
        MatRef::from_column_major_slice(&self.values, self.size, self.size)
    }

    pub(crate) fn as_mut(&mut self) -> MatMut<'_, T> {
        MatMut::from_column_major_slice_mut(&mut self.values, self.size, self.size)
    }

    pub(crate) fn part_mut(&mut self, rows: Range<usize>, columns: Range<usize>) -> MatMut<'_, T> {
        let (row, column) = (rows.start, columns.start);
        self.as_mut()
            .submatrix_mut(row, column, rows.len(), columns.len())
    }

    /// The elements of the diagonal.
    pub(crate) fn diagonal_mut(&mut self) -> impl Iterator<Item = &mut T> {
        self.values.iter_mut().step_by(self.size + 1)
    }
}

impl<T> Index<(usize, usize)> for SquareMatrix<T> {
    type Output = T;

    fn index(&self, (row, column): (usize, usize)) -> &T {
        &self.values[column * self.size + row]
    }
}

impl<T> IndexMut<(usize, usize)> for SquareMatrix<T> {
    fn index_mut(&mut self, (row, column): (usize, usize)) -> &mut T {
        &mut self.values[column * self.size + row]
    }
}
