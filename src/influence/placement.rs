//! Where the features of a side lie while they are worked with.

use crate::Result;
use crate::data::Rows;
use crate::device::free_memory;
use candle_core::{DType, Device};

/// Forms in which rows are held: as read, with a constant appended, and in feature axes.
const FORMS: usize = 3;
/// The share of a device's free memory that one side may take.
const SHARE: f64 = 0.3;

/// The rows for work on `device` in `precision`: on the processor as they are, on another device moved there where its free
/// memory allows, else left where they are and moved chunk by chunk.
///
/// # Errors
/// They do not fit after all, or a mapped file has changed since it was opened.
pub fn placed(rows: &Rows, precision: DType, device: &Device) -> Result<Rows> {
    let Some(free) = free_memory(device)? else {
        return Ok(rows.streamed_to(device));
    };
    let elements = rows.count() * (rows.columns() + 1);
    let bytes = FORMS * elements * precision.size_in_bytes();
    // Candle's kernels count elements in 32 bits.
    let counted = u32::try_from(elements).is_ok();
    match counted && bytes as f64 <= SHARE * free as f64 {
        true => rows.to_device(device),
        false => Ok(rows.streamed_to(device)),
    }
}
