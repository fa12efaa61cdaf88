//! Rows of activations: one tensor on a device where it takes no more than a share of the free memory; else in the host's memory or in
//! a scratch file, and uploaded when they are read.

use crate::derivative::network::{Keeping, Storage};
use crate::device::free_memory;
use crate::{Error, Result};
use candle_core::{DType, Device, Tensor};

/// The share of a device's free memory that they may take.
const SHARE: usize = 3;

/// Rows of one shape, appended once and read by their positions.
#[derive(Debug)]
pub(crate) enum KeptRows {
    /// `[n, …]`
    Device(Tensor),
    /// On the host.
    Host(Storage),
}

impl KeptRows {
    /// Room for `count` rows of the shape `dims`; `keeping` says where they go if the device has none.
    pub(crate) fn new(
        (dims, count): (&[usize], usize),
        dtype: DType,
        device: &Device,
        keeping: &Keeping,
    ) -> Result<Self> {
        let elements = count * dims.iter().product::<usize>();
        let bytes = elements * dtype.size_in_bytes();
        let room = match free_memory(device)? {
            Some(free) => (free / SHARE) as u64,
            None => keeping.memory,
        };
        // Candle's kernels count elements in 32 bits.
        if bytes as u64 > room || u32::try_from(elements).is_err() {
            return Ok(Self::Host(Storage::new(dtype, bytes as u64, keeping)?));
        }
        let shape = [&[count], dims].concat();
        Ok(Self::Device(Tensor::zeros(shape, dtype, device)?))
    }

    /// Appends contiguous rows `[m, …]` to the first `start`; `image` says whose row one of them is.
    pub(crate) fn push(
        &mut self,
        rows: &Tensor,
        start: usize,
        image: impl Fn(usize) -> usize,
    ) -> Result<()> {
        match self {
            Self::Device(all) => {
                check_finite(rows, image)?;
                Ok(all.slice_set(rows, 0, start)?)
            }
            Self::Host(storage) => {
                let size: usize = rows.dims()[1..].iter().product();
                storage.push(&rows.flatten_all()?, |index| image(index / size.max(1)))
            }
        }
    }

    /// The rows `[m, …]` at `positions`, each of the shape `dims`, on `device`.
    pub(crate) fn read(
        &self,
        positions: &[u32],
        dims: &[usize],
        (dtype, device): (DType, &Device),
    ) -> Result<Tensor> {
        let storage = match self {
            Self::Device(rows) => {
                return Ok(rows.index_select(&Tensor::new(positions, device)?, 0)?);
            }
            Self::Host(storage) => storage,
        };
        let size = dims.iter().product();
        let shape = [&[positions.len()], dims].concat();
        Ok(match dtype {
            DType::F64 => Tensor::from_vec(storage.read::<f64>(positions, size)?, shape, device)?,
            _ => Tensor::from_vec(storage.read::<f32>(positions, size)?, shape, device)?,
        })
    }
}

/// 0·x is 0 but for values that are not finite, of which it makes NaN; the sums say which row has some.
fn check_finite(rows: &Tensor, image: impl Fn(usize) -> usize) -> Result<()> {
    let rows = rows.flatten_from(1)?;
    let sums = (rows * 0.0)?
        .sum(1)?
        .to_dtype(DType::F64)?
        .to_vec1::<f64>()?;
    match sums.iter().position(|sum| !sum.is_finite()) {
        None => Ok(()),
        Some(row) => Err(Error::non_finite(
            "activations of the frozen layers",
            format!("image {}", image(row)),
            "look at that image and at the model's weights",
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn they_are_the_same_wherever_they_are_kept() {
        let rows: Vec<f32> = (0..5 * 6).map(|at| at as f32).collect();
        let rows = Tensor::from_vec(rows, (5, 2, 3), &Device::Cpu).unwrap();
        let kept = |memory: u64| {
            let keeping = Keeping {
                memory,
                ..Keeping::default()
            };
            let mut kept = KeptRows::new((&[2, 3], 5), DType::F32, &Device::Cpu, &keeping).unwrap();
            for (start, count) in [(0, 3), (3, 2)] {
                let part = rows.narrow(0, start, count).unwrap();
                kept.push(&part, start, |row| start + row).unwrap();
            }
            kept
        };
        let (there, here) = (kept(5 * 6 * 4), kept(5 * 6 * 4 - 1));
        assert!(matches!(there, KeptRows::Device(_)) && matches!(here, KeptRows::Host(_)));
        let positions = [4, 0, 3, 3];
        let expected = rows.index_select(&Tensor::new(&positions, &Device::Cpu).unwrap(), 0);
        let expected = expected.unwrap().flatten_all().unwrap();
        for mut kept in [there, here] {
            let found = kept
                .read(&positions, &[2, 3], (DType::F32, &Device::Cpu))
                .unwrap();
            assert_eq!(found.dims(), [4, 2, 3]);
            let found = found.flatten_all().unwrap().to_vec1::<f32>().unwrap();
            assert_eq!(found, expected.to_vec1::<f32>().unwrap());
            let broken = Tensor::new(&[[[1f32; 3]; 2], [[f32::NAN; 3]; 2]], &Device::Cpu);
            let message = kept.push(&broken.unwrap(), 0, |row| 40 + row).unwrap_err();
            assert!(message.to_string().contains("image 41"), "{message}");
        }
    }
}
