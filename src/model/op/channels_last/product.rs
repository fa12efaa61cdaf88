//! Numbers that matrix products are made of, and products of row-major matrices.

use super::buffer::Pool;
use super::transpose::Square;
use crate::model::op::Element;
use crate::product::{Real, product_here};
use faer::{Accum, MatMut, MatRef};
use std::mem::MaybeUninit;

/// `f32` or `f64`, with matrix products.
pub(crate) trait Scalar: Element + Square + Real {
    /// Memory for its next use.
    fn pool() -> &'static Pool<Self>;
}

macro_rules! scalar {
    ($type:ty) => {
        impl Scalar for $type {
            fn pool() -> &'static Pool<Self> {
                static POOL: Pool<$type> = Pool::new();
                &POOL
            }
        }
    };
}
scalar!(f32);
scalar!(f64);

/// `[rows, columns]` in row-major order.
pub(crate) fn rows<T>(values: &[T], columns: usize) -> MatRef<'_, T> {
    MatRef::from_row_major_slice(values, values.len() / columns, columns)
}

/// `c (+)= a b` on this thread alone, `c` row-major.
pub(crate) fn multiply<T: Scalar>(c: &mut [T], a: MatRef<T>, b: MatRef<T>, accumulate: bool) {
    let c = MatMut::from_row_major_slice_mut(c, a.nrows(), b.ncols());
    let before = match accumulate {
        true => Accum::Add,
        false => Accum::Replace,
    };
    let one = <T as candle_core::WithDType>::from_f64(1.0);
    product_here(c, before, a, b, one);
}

/// `c = a b` on this thread alone, `c` row-major in memory that nobody has written before.
///
/// # Panics
/// A length that does not fit.
pub(crate) fn write_product<T: Scalar>(c: &mut [MaybeUninit<T>], a: MatRef<T>, b: MatRef<T>) {
    let (rows, columns) = (a.nrows(), b.ncols());
    assert_eq!(c.len(), rows * columns);
    // SAFETY: the elements are those of `c`, borrowed mutably, and a product that replaces reads none of them.
    let c = unsafe {
        MatMut::from_raw_parts_mut(c.as_mut_ptr().cast(), rows, columns, columns as isize, 1)
    };
    let one = <T as candle_core::WithDType>::from_f64(1.0);
    product_here(c, Accum::Replace, a, b, one);
}
