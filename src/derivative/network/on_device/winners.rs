//! Which pixel a max pool took, so that tangents go the same way: ẏ = ẋ at the winner.
//!
//! By tensor operations alone: each place in the window is a choice of rows and columns, and the first one that equals the
//! maximum wins, in the order that [`max_pool`](crate::model::op::max_pool) looks at them. A place in the border stands for the
//! nearest pixel inside, which the window holds too: it can neither win against it nor come before it.

use crate::model::op::Window;
use candle_core::{DType, Result, Tensor};

/// For `y` `[B, C, H', W']`, the max pool of `x` `[B, C, H, W]`, the winners' places in a plane, `[B, C, H'·W']`.
pub(super) fn winners(x: &Tensor, y: &Tensor, window: Window) -> Result<Tensor> {
    let (_, _, height, width) = x.dims4()?;
    let (_, _, out_h, out_w) = y.dims4()?;
    let device = x.device();
    let Window { size, .. } = window;
    let places = Tensor::arange(0u32, (height * width) as u32, device)?;
    let places = places.reshape((height, width))?;
    let mut winners = Tensor::zeros(y.dims(), DType::U32, device)?;
    // Last to first, so that the first match has the last word.
    for tap in (0..size * size).rev() {
        let rows = chosen(window, tap / size, (out_h, height));
        let columns = chosen(window, tap % size, (out_w, width));
        let rows = Tensor::from_vec(rows, out_h, device)?;
        let columns = Tensor::from_vec(columns, out_w, device)?;
        let pick = |from: &Tensor, dimension: usize| {
            from.index_select(&rows, dimension)?
                .index_select(&columns, dimension + 1)
        };
        let here = pick(&places, 0)?.broadcast_as(y.dims())?.contiguous()?;
        winners = pick(x, 2)?.eq(y)?.where_cond(&here, &winners)?;
    }
    winners.flatten_from(2)
}

/// The pixel at `place` of each of `out` windows, moved inside a side of `side` pixels.
fn chosen(window: Window, place: usize, (out, side): (usize, usize)) -> Vec<u32> {
    let pixel = |o: usize| (o * window.stride + place).saturating_sub(window.padding);
    (0..out).map(|o| pixel(o).min(side - 1) as u32).collect()
}

/// Tangents `[B, k, C, H, W]` at the winners `[B, C, H'·W']` of a value's pool.
pub(super) fn at_winners(tangents: &Tensor, winners: &Tensor) -> Result<Tensor> {
    let (batch, directions, channels, ..) = tangents.dims5()?;
    let (_, _, places) = winners.dims3()?;
    let winners = winners.unsqueeze(1)?;
    let winners = winners.broadcast_as((batch, directions, channels, places))?;
    tangents.flatten_from(3)?.gather(&winners.contiguous()?, 3)
}
