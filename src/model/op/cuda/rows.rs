//! Passes over the rows of f32 and f64 matrices (`extremes.cu`, `rows.cu`), which rankings are made of: one small source apart from
//! the kernels of networks, that none of them waits for.

use super::{CudaElement, Kernel, THREADS, constant, launch, load, over, unwritten, with_views};
use candle_core::cuda::CudaDevice;
use candle_core::cuda::cudarc::driver::LaunchConfig;
use candle_core::{DType, Result, Tensor, bail};
use std::sync::OnceLock;

/// Columns of an inner product that one block of threads sums.
const PART: usize = 1 << 16;

const SOURCE: &str = concat!(include_str!("extremes.cu"), include_str!("rows.cu"));

/// The element types that these kernels are compiled for.
pub(super) trait RowElement: CudaElement {
    /// Names the module.
    const ROWS: &'static str;
    /// What the source is compiled with.
    const OPTIONS: &'static [&'static str];
    /// The module's code, once it is compiled.
    fn row_code() -> &'static OnceLock<String>;
}

macro_rules! row_element {
    ($element:ty, $module:literal, $options:expr) => {
        impl RowElement for $element {
            const ROWS: &'static str = $module;
            const OPTIONS: &'static [&'static str] = $options;
            fn row_code() -> &'static OnceLock<String> {
                static CODE: OnceLock<String> = OnceLock::new();
                &CODE
            }
        }
    };
}
row_element!(f32, "ascribe-rows-f32", &[]);
row_element!(f64, "ascribe-rows-f64", &["-DDOUBLE"]);

/// A kernel of [`SOURCE`].
pub(super) fn row_kernel<T: RowElement>(device: &CudaDevice, name: &'static str) -> Result<Kernel> {
    let module = (T::ROWS, SOURCE);
    load(device, name, module, T::OPTIONS, T::row_code())
}

/// `rows` times `parts` blocks of threads.
pub(super) fn by_rows(rows: usize, parts: usize) -> Result<LaunchConfig> {
    let (Ok(rows @ 1..=0x7fff_ffff), Ok(parts @ 1..=0xffff)) =
        (u32::try_from(rows), u32::try_from(parts))
    else {
        bail!("{rows} rows in {parts} parts are none, or too many for one step of a CUDA device");
    };
    Ok(LaunchConfig {
        grid_dim: (rows, parts, 1),
        block_dim: (THREADS, 1, 1),
        shared_mem_bytes: 0,
    })
}

/// The inner product of each row of `left` with the same row of `right`, contiguous `[rows, columns]` of one precision: f64 `[rows]`,
/// multiplied and summed in f64.
pub(crate) fn row_products(left: &Tensor, right: &Tensor) -> Result<Tensor> {
    match left.dtype() {
        DType::F32 => products::<f32>(left, right),
        DType::F64 => products::<f64>(left, right),
        other => bail!("inner products of {other:?}, not of f32 or f64"),
    }
}

fn products<T: RowElement>(left: &Tensor, right: &Tensor) -> Result<Tensor> {
    let (rows, columns) = left.dims2()?;
    if right.dims() != left.dims() {
        bail!("rows do not fit: {:?} and {:?}", left.dims(), right.dims());
    }
    if left.elem_count() == 0 {
        return Tensor::zeros(rows, DType::F64, left.device());
    }
    let count = columns.div_ceil(PART);
    let parts = with_views([left, right], |[left, right]| {
        let device = left.device();
        let mut parts = unwritten::<f64>(device, rows * count)?;
        let ((_, width), part) = (over(columns, 1)?, PART as u32);
        launch!(
            row_kernel::<T>(device, "row_products")?,
            by_rows(rows, count)?,
            &left.elements::<T>()?,
            &right.elements::<T>()?,
            &mut parts,
            &width,
            &part
        );
        Ok(constant(parts, device, (rows, count)))
    })?;
    match count {
        1 => parts.flatten_all(),
        _ => parts.sum(1),
    }
}

/// The outer product of each row of `left` `[rows, lefts]` with the same row of `right` `[rows, rights]`, both contiguous and of one
/// precision: `[rows, lefts · rights]`.
pub(crate) fn row_outer(left: &Tensor, right: &Tensor) -> Result<Tensor> {
    match left.dtype() {
        DType::F32 => outer::<f32>(left, right),
        DType::F64 => outer::<f64>(left, right),
        other => bail!("outer products of {other:?}, not of f32 or f64"),
    }
}

fn outer<T: RowElement>(left: &Tensor, right: &Tensor) -> Result<Tensor> {
    let ((rows, lefts), (others, rights)) = (left.dims2()?, right.dims2()?);
    if rows != others {
        bail!("rows do not fit: {:?} and {:?}", left.dims(), right.dims());
    }
    if rows * lefts * rights == 0 {
        return Tensor::zeros((rows, lefts * rights), left.dtype(), left.device());
    }
    with_views([left, right], |[left, right]| {
        let device = left.device();
        let mut products = unwritten::<T>(device, rows * lefts * rights)?;
        let ((_, heights), (_, widths)) = (over(lefts, 1)?, over(rights, 1)?);
        launch!(
            row_kernel::<T>(device, "row_outer")?,
            by_rows(rows * lefts, 1)?,
            &left.elements::<T>()?,
            &right.elements::<T>()?,
            &mut products,
            &heights,
            &widths
        );
        Ok(constant(products, device, (rows, lefts * rights)))
    })
}
