//! Convolutions by unfolding and cuBLAS: as on the processor, for as many images at once as a scratch space takes.

use super::patches::{rearranged, unfold};
use super::{CudaElement, View, for_cuda_dtype, unwritten};
use crate::model::op::convolution::{Geometry, Role};
use candle_core::backend::BackendStorage;
use candle_core::cuda::CudaDevice;
use candle_core::op::ReduceOp;
use candle_core::{CudaStorage, Layout, Result, Shape};

/// Elements of the unfolded images that are held at once: 256 MiB in f32.
const UNFOLDED: usize = 1 << 26;

/// One of the three roles on `a` and `b`; what they are is said at [`Role`].
pub(in super::super) fn convolve(
    geometry: &Geometry,
    role: Role,
    a: View,
    b: View,
) -> Result<(CudaStorage, Shape)> {
    let shape = geometry.result(role);
    for_cuda_dtype!(a.storage.dtype(), T => {
        let steps = Steps::<T> { geometry, device: a.device(), element: std::marker::PhantomData };
        Ok((steps.run(role, a, b, &shape)?, shape))
    })
}

struct Steps<'a, T> {
    geometry: &'a Geometry,
    device: &'a CudaDevice,
    element: std::marker::PhantomData<T>,
}

impl<T: CudaElement> Steps<'_, T> {
    fn run(&self, role: Role, a: View, b: View, shape: &Shape) -> Result<CudaStorage> {
        let g = self.geometry;
        let (k, n) = (g.taps(), g.positions());
        let at_once = (UNFOLDED / (k * n).max(g.c_out * k)).clamp(1, g.batch);
        let mut out = self.device_zeros(shape)?;
        for start in (0..g.batch).step_by(at_once) {
            let images = at_once.min(g.batch - start);
            match role {
                Role::Forward => {
                    let unfolded = self.unfold(&images_of(&a, start, images))?;
                    let weight = repeated(&b, (images, g.c_out, k))?;
                    let y = b.storage.matmul(
                        &unfolded,
                        (images, g.c_out, n, k),
                        &weight,
                        &plain((images, k, n)),
                    )?;
                    y.copy_strided_src(
                        &mut out,
                        start * g.output_len(),
                        &plain((images, g.c_out, n)),
                    )?;
                }
                Role::InputGradient => {
                    let y = images_of(&a, start, images);
                    let weight = repeated(&b, (images, g.c_out, k))?.transpose(1, 2)?;
                    let unfolded = b.storage.matmul(
                        y.storage,
                        (images, k, n, g.c_out),
                        &weight,
                        &flat(&y, (images, g.c_out, n))?,
                    )?;
                    let x = self.fold(&unfolded, images)?;
                    x.copy_strided_src(
                        &mut out,
                        start * g.image_len(),
                        &plain(images * g.image_len()),
                    )?;
                }
                Role::WeightGradient => {
                    let unfolded = self.unfold(&images_of(&a, start, images))?;
                    let y = images_of(&b, start, images);
                    let transposed = plain((images, k, n)).transpose(1, 2)?;
                    let parts = y.storage.matmul(
                        &unfolded,
                        (images, g.c_out, k, n),
                        &flat(&y, (images, g.c_out, n))?,
                        &transposed,
                    )?;
                    let sum =
                        parts.reduce_op(ReduceOp::Sum, &plain((images, g.c_out * k)), &[0])?;
                    let whole = plain(g.c_out * k);
                    out = out.binary_impl::<candle_core::op::Add>(&sum, &whole, &whole)?;
                }
            }
        }
        Ok(out)
    }

    fn device_zeros(&self, shape: &Shape) -> Result<CudaStorage> {
        use candle_core::backend::BackendDevice;
        self.device.zeros_impl(shape, T::DTYPE)
    }

    /// `[images, K, N]`.
    fn unfold(&self, x: &OwnedView) -> Result<CudaStorage> {
        let unfolded = unfold::<T>(self.geometry, View::new(x.storage, &x.layout))?;
        Ok(CudaStorage::wrap_cuda_slice(unfolded, self.device.clone()))
    }

    fn fold(&self, unfolded: &CudaStorage, images: usize) -> Result<CudaStorage> {
        let g = self.geometry;
        let mut image = unwritten::<T>(self.device, images * g.image_len())?;
        let layout = plain(images * g.taps() * g.positions());
        let from = View::new(unfolded, &layout).elements::<T>()?;
        rearranged((self.device, "fold"), g, (&from, &mut image))?;
        Ok(CudaStorage::wrap_cuda_slice(image, self.device.clone()))
    }
}

/// Some images of a batch.
struct OwnedView<'a> {
    storage: &'a CudaStorage,
    layout: Layout,
}

fn images_of<'a>(batch: &View<'a>, start: usize, images: usize) -> OwnedView<'a> {
    let mut dims = batch.dims().to_vec();
    let size: usize = dims[1..].iter().product();
    dims[0] = images;
    let offset = batch.layout.start_offset() + start * size;
    OwnedView {
        storage: batch.storage,
        layout: Layout::contiguous_with_offset(dims, offset),
    }
}

fn plain(shape: impl Into<Shape>) -> Layout {
    Layout::contiguous(shape)
}

fn flat(view: &OwnedView, shape: (usize, usize, usize)) -> Result<Layout> {
    Ok(Layout::contiguous_with_offset(
        shape,
        view.layout.start_offset(),
    ))
}

/// The weight `[C_out, K]`, once for each image without a copy.
fn repeated(weight: &View, (images, rows, columns): (usize, usize, usize)) -> Result<Layout> {
    let matrix = Layout::contiguous_with_offset((1, rows, columns), weight.layout.start_offset());
    matrix.broadcast_as((images, rows, columns))
}
