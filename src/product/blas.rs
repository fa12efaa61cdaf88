//! The two routines of OpenBLAS that ndarray does not reach, and how its routines are told of a matrix.

use cblas_sys::{
    CBLAS_DIAG, CBLAS_LAYOUT, CBLAS_SIDE, CBLAS_TRANSPOSE, CBLAS_UPLO, cblas_dsyrk, cblas_dtrsm,
    cblas_ssyrk, cblas_strsm,
};
use faer::{MatMut, MatRef};
use std::ffi::c_int;
use std::sync::Once;

/// The scalars that products are made of.
pub(crate) trait Real:
    candle_core::WithDType + faer::traits::RealField + ndarray::LinalgScalar + Copy
{
    /// ?SYRK
    const SELF_PRODUCT: SelfProduct<Self>;
    /// ?TRSM
    const TRIANGULAR_SOLVE: TriangularSolve<Self>;
}

impl Real for f32 {
    const SELF_PRODUCT: SelfProduct<f32> = cblas_ssyrk;
    const TRIANGULAR_SOLVE: TriangularSolve<f32> = cblas_strsm;
}

impl Real for f64 {
    const SELF_PRODUCT: SelfProduct<f64> = cblas_dsyrk;
    const TRIANGULAR_SOLVE: TriangularSolve<f64> = cblas_dtrsm;
}

type SelfProduct<T> = unsafe extern "C" fn(
    CBLAS_LAYOUT,
    CBLAS_UPLO,
    CBLAS_TRANSPOSE,
    c_int,
    c_int,
    T,
    *const T,
    c_int,
    T,
    *mut T,
    c_int,
);

type TriangularSolve<T> = unsafe extern "C" fn(
    CBLAS_LAYOUT,
    CBLAS_SIDE,
    CBLAS_UPLO,
    CBLAS_TRANSPOSE,
    CBLAS_DIAG,
    c_int,
    c_int,
    T,
    *const T,
    c_int,
    *mut T,
    c_int,
);

/// Which half of a square matrix counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Triangle {
    Lower,
    Upper,
}

/// Lower triangle of `target` ← `before` · this + `scale` · `rows` `rows`ᵀ, on the thread that calls it.
pub(super) fn syrk<T: Real>(target: MatMut<T>, before: T, rows: MatRef<T>, scale: T) {
    use_one_thread_a_call();
    let (size, terms) = (target.nrows(), rows.ncols());
    assert_eq!((target.ncols(), rows.nrows()), (size, size));
    let to = Stored::of(target.as_ref());
    let from = Stored::of(rows);
    // SAFETY: every element of both is within its view, as the sizes agree and the strides are theirs; `target` is borrowed
    // mutably.
    unsafe {
        T::SELF_PRODUCT(
            to.layout,
            CBLAS_UPLO::CblasLower,
            transpose(from.is_turned_in(to)),
            length(size),
            length(terms),
            scale,
            rows.as_ptr(),
            from.leading,
            before,
            target.as_ptr_mut(),
            to.leading,
        );
    }
}

/// Columns ← `triangle`⁻¹ · columns, on the thread that calls it.
pub(super) fn trsm<T: Real>(triangle: MatRef<T>, half: Triangle, columns: MatMut<T>) {
    use_one_thread_a_call();
    let (size, count) = columns.shape();
    assert_eq!(triangle.shape(), (size, size));
    let to = Stored::of(columns.as_ref());
    let from = Stored::of(triangle);
    let turned = from.is_turned_in(to);
    // The lower half of a matrix is the upper one of its transpose.
    let half = match (half == Triangle::Lower) != turned {
        true => CBLAS_UPLO::CblasLower,
        false => CBLAS_UPLO::CblasUpper,
    };
    // SAFETY: as for `syrk`.
    unsafe {
        T::TRIANGULAR_SOLVE(
            to.layout,
            CBLAS_SIDE::CblasLeft,
            half,
            transpose(turned),
            CBLAS_DIAG::CblasNonUnit,
            length(size),
            length(count),
            T::from_f64(1.0),
            triangle.as_ptr(),
            from.leading,
            columns.as_ptr_mut(),
            to.leading,
        );
    }
}

/// How a matrix lies in memory: columns, or rows, of neighbours, and how far they are apart.
#[derive(Clone, Copy)]
struct Stored {
    layout: CBLAS_LAYOUT,
    leading: c_int,
}

impl Stored {
    fn of<T>(matrix: MatRef<T>) -> Self {
        let (rows, columns) = matrix.shape();
        let (down, across) = (matrix.row_stride(), matrix.col_stride());
        // The stride of a single row or column says nothing.
        let leading = |count: usize, stride: isize, each: usize| {
            let apart = if count > 1 { stride } else { each as isize };
            assert!(
                apart >= each as isize,
                "a matrix product of a reversed or overlapping view"
            );
            length(apart.unsigned_abs().max(1))
        };
        if down == 1 || (rows <= 1 && across != 1) {
            let leading = leading(columns, across, rows);
            return Self {
                layout: CBLAS_LAYOUT::CblasColMajor,
                leading,
            };
        }
        assert!(
            across == 1 || columns <= 1,
            "a matrix product of a view with gaps"
        );
        let leading = leading(rows, down, columns);
        Self {
            layout: CBLAS_LAYOUT::CblasRowMajor,
            leading,
        }
    }

    /// Whether this is the transpose of what it is, where all is stored like `other`.
    fn is_turned_in(self, other: Self) -> bool {
        self.layout as u32 != other.layout as u32
    }
}

fn transpose(turned: bool) -> CBLAS_TRANSPOSE {
    match turned {
        true => CBLAS_TRANSPOSE::CblasTrans,
        false => CBLAS_TRANSPOSE::CblasNoTrans,
    }
}

/// BLAS counts in 32 bits; a matrix with more rows than that has no place in memory.
fn length(length: usize) -> c_int {
    c_int::try_from(length).unwrap_or_else(|_| panic!("a matrix of {length} rows or columns"))
}

/// OpenBLAS's own threads would take no heed of `--threads` and of a surrounding pool.
pub(super) fn use_one_thread_a_call() {
    unsafe extern "C" {
        fn openblas_set_num_threads(count: c_int);
    }
    static ONCE: Once = Once::new();
    // SAFETY: as OpenBLAS declares it in cblas.h.
    ONCE.call_once(|| unsafe { openblas_set_num_threads(1) });
}
