//! The device that does a run's work, and how fast it is.

use crate::Result;
use crate::device::DeviceChoice;
use crate::influence::product_rate;
use candle_core::{DType, Device, Tensor};

/// An open device.
pub(super) struct Workplace {
    pub(super) choice: DeviceChoice,
    pub(super) device: Device,
    /// Operations a second of a matrix product.
    pub(super) rate: f64,
}

impl Workplace {
    /// Opens the device and measures it.
    pub(super) fn open(choice: DeviceChoice, precision: DType) -> Result<Self> {
        let device = choice.open()?;
        let rate = product_rate(precision, &device)?;
        Ok(Self {
            choice,
            device,
            rate,
        })
    }

    /// Opens it and gets it going while `read` is at work: a CUDA device takes a second to be ready. The processor is measured afterwards.
    pub(super) fn open_beside<T>(
        choice: DeviceChoice,
        precision: DType,
        read: impl FnOnce() -> Result<T>,
    ) -> Result<(Self, T)> {
        if choice == DeviceChoice::Cpu {
            let value = read()?;
            return Ok((Self::open(choice, precision)?, value));
        }
        std::thread::scope(|scope| {
            let opening = scope.spawn(|| {
                let workplace = Self::open(choice, precision)?;
                load_kernels(&workplace.device, precision)?;
                Ok(workplace)
            });
            let value = read();
            let opened: Result<Self> =
                (opening.join()).unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            Ok((opened?, value?))
        })
    }
}

/// Uses what a run will use: a device compiles and loads its kernels, each kind together, when the first of them is called.
fn load_kernels(device: &Device, precision: DType) -> Result<()> {
    let row = Tensor::ones((2, 3), precision, device)?;
    let columns = row.sum_keepdim(1)?;
    let picked = row.index_select(&Tensor::new(&[1u32, 0], device)?, 0)?;
    let mixed = picked.broadcast_mul(&columns)?.sqr()?.affine(2.0, 0.0)?;
    let double = (mixed + Tensor::eye(3, precision, device)?.narrow(0, 0, 2)?)?;
    let double = double.to_dtype(DType::F64)?;
    double.matmul(&double.t()?)?;
    // Ours, which NVRTC compiles.
    #[cfg(feature = "cuda")]
    if device.is_cuda() {
        crate::model::op::cuda::extremes(&row, 1, false)?;
    }
    Ok(device.synchronize()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kernels_are_loaded_by_sound_operations_and_the_first_error_counts() {
        for precision in [DType::F32, DType::F64] {
            load_kernels(&Device::Cpu, precision).unwrap();
        }
        let read = || Ok(7);
        let (workplace, value) =
            Workplace::open_beside(DeviceChoice::Cpu, DType::F32, read).unwrap();
        assert!(workplace.device.is_cpu() && workplace.rate > 0.0 && value == 7);
        #[cfg(not(feature = "cuda"))]
        {
            let opened = Workplace::open_beside(DeviceChoice::Cuda(0), DType::F32, read);
            let message = opened.err().unwrap().to_string();
            assert!(message.starts_with("--device: cuda:0"), "{message}");
        }
    }
}
