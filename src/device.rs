//! Where tensors live and matrix products run: the processor, or a CUDA device.
//!
//! The CUDA back end is built in by the feature `cuda`. Which arithmetic its matrix units use for `f32`, and whether sums may
//! run in any order, are settings of the process, as in cuBLAS and cuDNN: full `f32` unless [`allow_tf32`] was called, and in a
//! fixed order unless [`allow_unordered_sums`] was.

use crate::{Error, Result};
use candle_core::Device;
#[cfg(feature = "cuda")]
use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
use std::sync::atomic::{AtomicBool, Ordering};
#[cfg(feature = "cuda")]
use std::sync::{Mutex, PoisonError};

/// The value of `--device`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum DeviceChoice {
    /// The processor.
    #[default]
    Cpu,
    /// The CUDA device of this number, counted from 0.
    Cuda(usize),
}

impl FromStr for DeviceChoice {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        let number = match text {
            "cpu" => return Ok(Self::Cpu),
            "cuda" => Some(0),
            _ => (text.strip_prefix("cuda:")).and_then(|number| number.parse().ok()),
        };
        number
            .map(Self::Cuda)
            .ok_or_else(|| format!("expected cpu, cuda or cuda:N, found {text}"))
    }
}

impl fmt::Display for DeviceChoice {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Self::Cpu => f.write_str("cpu"),
            Self::Cuda(number) => write!(f, "cuda:{number}"),
        }
    }
}

impl<'de> serde::Deserialize<'de> for DeviceChoice {
    fn deserialize<D: serde::Deserializer<'de>>(
        deserializer: D,
    ) -> std::result::Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

impl serde::Serialize for DeviceChoice {
    fn serialize<S: serde::Serializer>(
        &self,
        serializer: S,
    ) -> std::result::Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl DeviceChoice {
    /// The device itself.
    ///
    /// # Errors
    /// A CUDA device where none is built in, or that this machine does not have.
    pub fn open(self) -> Result<Device> {
        match self {
            Self::Cpu => Ok(Device::Cpu),
            Self::Cuda(_) if !cfg!(feature = "cuda") => Err(refused(
                self,
                "this ascribe was built for the processor alone; build it with --features cuda (docs/gpu.md) or use \
                 --device cpu",
            )),
            Self::Cuda(number) => open_cuda(number).map_err(|error| {
                let reason = error.to_string();
                let reason = reason.lines().next().unwrap_or_default();
                refused(
                    self,
                    &format!(
                        "there is no such device here ({reason}); see what nvidia-smi lists, or use --device cpu"
                    ),
                )
            }),
        }
    }
}

#[cfg(not(feature = "cuda"))]
fn open_cuda(number: usize) -> candle_core::Result<Device> {
    Device::new_cuda(number)
}

/// The device, the same one whenever a process asks for it, with one stream for all threads, which makes events between streams needless, and which keeps the memory that is freed
/// for its next use: by default it would give it back whenever somebody waits for it, and take it anew.
#[cfg(feature = "cuda")]
fn open_cuda(number: usize) -> candle_core::Result<Device> {
    static OPEN: Mutex<BTreeMap<usize, Device>> = Mutex::new(BTreeMap::new());
    let mut open = OPEN.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(device) = open.get(&number) {
        return Ok(device.clone());
    }
    let device = candle_core::CudaDevice::new_with_stream(number)?;
    // SAFETY: everything runs on that stream, in order.
    unsafe { device.disable_event_tracking() };
    let device = Device::Cuda(device);
    pool::keep_freed_memory(&device)?;
    open.insert(number, device.clone());
    Ok(device)
}

fn refused(choice: DeviceChoice, reason: &str) -> Error {
    Error::config("device", format!("{choice}: {reason}"))
}

macro_rules! version {
    ($devices:literal) => {
        concat!(env!("CARGO_PKG_VERSION"), " (devices: ", $devices, ")")
    };
}

/// The version and the devices that are built in, as `ascribe --version` says them.
#[cfg(not(feature = "cuda"))]
pub const VERSION: &str = version!("cpu");
/// The version and the devices that are built in, as `ascribe --version` says them.
#[cfg(all(feature = "cuda", not(feature = "cudnn")))]
pub const VERSION: &str = version!("cpu, cuda");
/// The version and the devices that are built in, as `ascribe --version` says them.
#[cfg(feature = "cudnn")]
pub const VERSION: &str = version!("cpu, cuda with cuDNN");

/// Free bytes of a CUDA device's memory; `None` for the processor.
///
/// # Errors
/// The driver does not say.
pub fn free_memory(device: &Device) -> Result<Option<usize>> {
    #[cfg(feature = "cuda")]
    if let Device::Cuda(cuda) = device {
        let stream = cuda.cuda_stream();
        let (free, _) = (stream.context().mem_get_info()).map_err(candle_core::Error::wrap)?;
        return Ok(Some(free + pool::idle_bytes(device)?));
    }
    let _ = device;
    Ok(None)
}

/// All bytes of a CUDA device's memory, whatever is in use; `None` for the processor.
///
/// # Errors
/// The driver does not say.
pub fn total_memory(device: &Device) -> Result<Option<usize>> {
    #[cfg(feature = "cuda")]
    if let Device::Cuda(cuda) = device {
        let stream = cuda.cuda_stream();
        let (_, total) = (stream.context().mem_get_info()).map_err(candle_core::Error::wrap)?;
        return Ok(Some(total));
    }
    let _ = device;
    Ok(None)
}

/// Bytes for work that is cut to fit: at most `most`, of a device's memory a `share`th of half of it, so that what other work holds does
/// not decide where sums are cut; less only where less than half is free. `most` for the processor.
///
/// # Errors
/// The driver does not say.
pub fn room(device: &Device, most: usize, share: usize) -> Result<usize> {
    match (total_memory(device)?, free_memory(device)?) {
        (Some(total), Some(free)) => Ok(most.min((total / 2).min(free) / share)),
        _ => Ok(most),
    }
}

/// The memory pool that a device's tensors come from.
#[cfg(feature = "cuda")]
mod pool {
    use candle_core::Device;
    use candle_core::cuda::cudarc::driver::result::{device, mem_pool};
    use candle_core::cuda::cudarc::driver::sys::{CUmemPool_attribute, CUmemoryPool};

    pub(super) fn keep_freed_memory(device: &Device) -> candle_core::Result<()> {
        let Some(pool) = of(device)? else {
            return Ok(());
        };
        let mut most = u64::MAX;
        let threshold = CUmemPool_attribute::CU_MEMPOOL_ATTR_RELEASE_THRESHOLD;
        // SAFETY: the pool is that of an open device, and this attribute a 64-bit number.
        unsafe { mem_pool::set_attribute(pool, threshold, (&raw mut most).cast()) }
            .map_err(candle_core::Error::wrap)
    }

    /// Bytes that the pool holds and nobody uses.
    pub(super) fn idle_bytes(device: &Device) -> candle_core::Result<usize> {
        let Some(pool) = of(device)? else {
            return Ok(0);
        };
        let read = |attribute| {
            let mut bytes = 0u64;
            // SAFETY: as above.
            unsafe { mem_pool::get_attribute(pool, attribute, (&raw mut bytes).cast()) }
                .map_err(candle_core::Error::wrap)?;
            candle_core::Result::Ok(bytes)
        };
        let held = read(CUmemPool_attribute::CU_MEMPOOL_ATTR_RESERVED_MEM_CURRENT)?;
        let used = read(CUmemPool_attribute::CU_MEMPOOL_ATTR_USED_MEM_CURRENT)?;
        Ok(held.saturating_sub(used) as usize)
    }

    /// None where the device has no pools.
    fn of(device: &Device) -> candle_core::Result<Option<CUmemoryPool>> {
        let Device::Cuda(cuda) = device else {
            return Ok(None);
        };
        let stream = cuda.cuda_stream();
        if !stream.context().has_async_alloc() {
            return Ok(None);
        }
        // SAFETY: the device is open.
        let pool = unsafe { device::get_mem_pool(stream.context().cu_device()) };
        pool.map(Some).map_err(candle_core::Error::wrap)
    }
}

/// Lets `f32` products and convolutions of CUDA devices round their factors to the 10 bits of TF32, from now on.
pub fn allow_tf32() {
    #[cfg(feature = "cuda")]
    candle_core::cuda::set_gemm_reduced_precision_f32(true);
}

/// Whether [`allow_tf32`] was called.
#[must_use]
pub fn tf32_is_allowed() -> bool {
    #[cfg(feature = "cuda")]
    return candle_core::cuda::gemm_reduced_precision_f32();
    #[cfg(not(feature = "cuda"))]
    false
}

/// Refuses to solve on a device whose products are not in full precision.
///
/// # Errors
/// The device is a CUDA device, and [`allow_tf32`] was called.
pub(crate) fn check_full_precision(device: &Device) -> Result<()> {
    if device.is_cuda() && tf32_is_allowed() {
        let reason = "solves are in full precision, and TF32 is allowed in this process: solve in one that does not train in it, or on the processor";
        return Err(Error::config("device", reason));
    }
    Ok(())
}

static UNORDERED_SUMS: AtomicBool = AtomicBool::new(false);

/// Lets cuDNN sum in any order, from now on: faster in places, but what is computed twice may differ in its last digits.
pub fn allow_unordered_sums() {
    UNORDERED_SUMS.store(true, Ordering::Relaxed);
}

/// Whether [`allow_unordered_sums`] was called.
#[must_use]
pub fn unordered_sums_are_allowed() -> bool {
    UNORDERED_SUMS.load(Ordering::Relaxed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_are_named_as_on_the_command_line() {
        for (text, choice) in [
            ("cpu", DeviceChoice::Cpu),
            ("cuda", DeviceChoice::Cuda(0)),
            ("cuda:3", DeviceChoice::Cuda(3)),
        ] {
            assert_eq!(text.parse(), Ok(choice));
            assert_eq!(choice.to_string().parse(), Ok(choice));
        }
        for text in ["gpu", "cuda:", "cuda:-1", "cuda:x", ""] {
            let refused = text.parse::<DeviceChoice>().unwrap_err();
            assert!(refused.contains("cpu, cuda or cuda:N"), "{refused}");
        }
    }

    #[cfg(not(feature = "cuda"))]
    #[test]
    fn a_device_that_is_not_built_in_is_refused_in_one_line() {
        let error = DeviceChoice::Cuda(0).open().unwrap_err().to_string();
        assert!(error.starts_with("--device: cuda:0: "), "{error}");
        assert!(error.contains("--features cuda"), "{error}");
        assert!(!error.contains('\n'), "{error}");
    }
}
