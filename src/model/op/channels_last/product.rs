//! Numbers that matrix products are made of, and products of row-major matrices.

use super::buffer::Pool;
use super::transpose::Square;
use crate::model::op::Element;
use faer::linalg::matmul::matmul;
use faer::{Accum, MatMut, MatRef, Par};

/// `f32` or `f64`, with matrix products.
pub(crate) trait Scalar: Element + Square + faer::traits::RealField {
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
    let beta = if accumulate {
        Accum::Add
    } else {
        Accum::Replace
    };
    matmul(
        c,
        beta,
        a,
        b,
        <T as candle_core::WithDType>::from_f64(1.0),
        Par::Seq,
    );
}
