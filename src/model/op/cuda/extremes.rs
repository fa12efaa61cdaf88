//! The largest or smallest of each row (`extremes.cu`).

use super::{CudaElement, THREADS, constant, load, unwritten, with_view};
use candle_core::cuda::cudarc::driver::LaunchConfig;
use candle_core::{DType, Result, Tensor, bail};
use std::sync::OnceLock;

/// Of each row of a contiguous `scores` `[rows, columns]` in f32 or f64 the `kept` largest or `smallest`, of equal ones the first,
/// with their columns in u32, both `[rows, kept]` in no order; and `[rows]` in u32, above 0 where a number of the row is not
/// finite. Fewer are kept than there are columns, and at least one.
pub(crate) fn extremes(scores: &Tensor, kept: usize, smallest: bool) -> Result<[Tensor; 3]> {
    match scores.dtype() {
        DType::F32 => chosen::<f32>(scores, kept, smallest),
        DType::F64 => chosen::<f64>(scores, kept, smallest),
        other => bail!("extremes of {other:?}, not of f32 or f64"),
    }
}

trait Ordered: CudaElement {
    /// Names the module.
    const EXTREMES: &'static str;
    /// What the source is compiled with.
    const OPTIONS: &'static [&'static str];
    /// The module's code, once it is compiled.
    fn extremes_code() -> &'static OnceLock<String>;
}

macro_rules! ordered {
    ($element:ty, $module:literal, $options:expr) => {
        impl Ordered for $element {
            const EXTREMES: &'static str = $module;
            const OPTIONS: &'static [&'static str] = $options;
            fn extremes_code() -> &'static OnceLock<String> {
                static CODE: OnceLock<String> = OnceLock::new();
                &CODE
            }
        }
    };
}
ordered!(f32, "ascribe-extremes-f32", &[]);
ordered!(f64, "ascribe-extremes-f64", &["-DDOUBLE"]);

fn chosen<T: Ordered>(scores: &Tensor, kept: usize, smallest: bool) -> Result<[Tensor; 3]> {
    let (rows, columns) = scores.dims2()?;
    let (Ok(width), true) = (u32::try_from(columns), (1..columns).contains(&kept)) else {
        bail!("extremes: {kept} of {columns} columns");
    };
    with_view(scores, |scores| {
        let device = scores.device();
        let source = include_str!("extremes.cu");
        let kernel = load(
            device,
            "extremes",
            (T::EXTREMES, source),
            T::OPTIONS,
            T::extremes_code(),
        )?;
        let grid = LaunchConfig {
            grid_dim: (rows as u32, 1, 1),
            block_dim: (THREADS, 1, 1),
            shared_mem_bytes: 0,
        };
        let mut chosen = unwritten::<T>(device, rows * kept)?;
        let mut places = unwritten::<u32>(device, rows * kept)?;
        let mut unsound = unwritten::<u32>(device, rows)?;
        let (number, order) = (kept as u32, u32::from(smallest));
        super::launch!(
            kernel,
            grid,
            &scores.elements::<T>()?,
            &width,
            &number,
            &order,
            &mut chosen,
            &mut places,
            &mut unsound
        );
        Ok([
            constant(chosen, device, (rows, kept)),
            constant(places, device, (rows, kept)),
            constant(unsound, device, rows),
        ])
    })
}
