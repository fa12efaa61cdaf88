//! The largest or smallest of each row (`extremes.cu`).

use super::rows::{RowElement, by_rows, row_kernel};
use super::{constant, launch, unwritten, with_view};
use candle_core::{DType, Result, Tensor, bail};

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

fn chosen<T: RowElement>(scores: &Tensor, kept: usize, smallest: bool) -> Result<[Tensor; 3]> {
    let (rows, columns) = scores.dims2()?;
    let (Ok(width), true) = (u32::try_from(columns), (1..columns).contains(&kept)) else {
        bail!("extremes: {kept} of {columns} columns");
    };
    with_view(scores, |scores| {
        let device = scores.device();
        let mut chosen = unwritten::<T>(device, rows * kept)?;
        let mut places = unwritten::<u32>(device, rows * kept)?;
        let mut unsound = unwritten::<u32>(device, rows)?;
        let (number, order) = (kept as u32, u32::from(smallest));
        launch!(
            row_kernel::<T>(device, "extremes")?,
            by_rows(rows, 1)?,
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
