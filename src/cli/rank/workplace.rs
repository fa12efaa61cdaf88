//! The device that does a run's work, and how fast it is.

use crate::Result;
use crate::device::DeviceChoice;
use crate::influence::product_rate;
use candle_core::{DType, Device};

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

    /// Opens it while `read` is at work: a CUDA device takes a second to be ready. The processor is measured afterwards.
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
            let opening = scope.spawn(|| Self::open(choice, precision));
            let value = read();
            let opened = opening.join();
            Ok((
                opened.unwrap_or_else(|panic| std::panic::resume_unwind(panic))?,
                value?,
            ))
        })
    }
}
