//! Rows of numbers in memory, or in a scratch file where they are too many.

use super::keeping::Keeping;
use crate::model::op::channels_last::Scalar;
use crate::{Error, Result};
use candle_core::{DType, Tensor};
use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::PathBuf;
use std::sync::Mutex;

/// A precision that a [`Storage`] keeps.
pub(crate) trait Stored: Scalar {
    /// What is kept of it in memory.
    fn kept(storage: &Storage) -> Option<&[Self]>;

    /// The same, to append to.
    fn kept_mut(storage: &mut Storage) -> Option<&mut Vec<Self>>;

    /// Little-endian.
    fn to_bytes(values: &[Self]) -> Vec<u8>;

    /// Appends the numbers that little-endian bytes hold.
    fn extend_from_bytes(bytes: &[u8], values: &mut Vec<Self>);
}

macro_rules! stored {
    ($type:ty, $variant:ident) => {
        impl Stored for $type {
            fn kept(storage: &Storage) -> Option<&[Self]> {
                match storage {
                    Storage::$variant(kept) => Some(kept),
                    _ => None,
                }
            }

            fn kept_mut(storage: &mut Storage) -> Option<&mut Vec<Self>> {
                match storage {
                    Storage::$variant(kept) => Some(kept),
                    _ => None,
                }
            }

            fn to_bytes(values: &[Self]) -> Vec<u8> {
                values
                    .iter()
                    .flat_map(|value| value.to_le_bytes())
                    .collect()
            }

            fn extend_from_bytes(bytes: &[u8], values: &mut Vec<Self>) {
                let (numbers, _) = bytes.as_chunks();
                values.extend(numbers.iter().map(|&number| Self::from_le_bytes(number)));
            }
        }
    };
}
stored!(f32, F32);
stored!(f64, F64);

/// Numbers of one precision, appended once and read by rows.
#[derive(Debug)]
pub(crate) enum Storage {
    F32(Vec<f32>),
    F64(Vec<f64>),
    /// Little-endian numbers; the file has no name any more, so that it goes with the process.
    File {
        file: Mutex<File>,
        folder: PathBuf,
    },
}

impl Storage {
    /// For `bytes` in all.
    pub(crate) fn new(dtype: DType, bytes: u64, keeping: &Keeping) -> Result<Self> {
        if bytes > keeping.memory {
            let file = tempfile::tempfile_in(&keeping.folder)
                .map_err(Error::io(&keeping.folder, "create a scratch file in"))?;
            return Ok(Self::File {
                file: Mutex::new(file),
                folder: keeping.folder.clone(),
            });
        }
        let numbers = bytes as usize / dtype.size_in_bytes();
        Ok(match dtype {
            DType::F64 => Self::F64(Vec::with_capacity(numbers)),
            _ => Self::F32(Vec::with_capacity(numbers)),
        })
    }

    pub(crate) fn is_on_disk(&self) -> bool {
        matches!(self, Self::File { .. })
    }

    /// Appends a vector; `place` says which image one of its elements belongs to.
    pub(crate) fn push(&mut self, values: &Tensor, place: impl Fn(usize) -> usize) -> Result<()> {
        let finite = |not: Option<usize>| match not {
            None => Ok(()),
            Some(index) => Err(Error::non_finite(
                "activations of the frozen layers",
                format!("image {}", place(index)),
                "look at that image and at the model's weights",
            )),
        };
        match values.dtype() {
            DType::F64 => {
                let values = values.to_vec1::<f64>()?;
                finite(values.iter().position(|value| !value.is_finite()))?;
                self.append(&values)
            }
            _ => {
                let values = values.to_vec1::<f32>()?;
                finite(values.iter().position(|value| !value.is_finite()))?;
                self.append(&values)
            }
        }
    }

    fn append<T: Stored>(&mut self, values: &[T]) -> Result<()> {
        if let Some(kept) = T::kept_mut(self) {
            kept.extend_from_slice(values);
            return Ok(());
        }
        let Self::File { file, folder } = self else {
            return Err(other_precision());
        };
        let bytes = T::to_bytes(values);
        let file = file.get_mut().unwrap_or_else(|broken| broken.into_inner());
        file.write_all(&bytes)
            .map_err(Error::io(folder, "write a scratch file in"))
    }

    /// The rows at `positions`, each of `size` numbers.
    pub(crate) fn read<T: Stored>(&self, positions: &[u32], size: usize) -> Result<Vec<T>> {
        if let Some(kept) = T::kept(self) {
            let mut values = Vec::with_capacity(positions.len() * size);
            for &position in positions {
                values.extend_from_slice(&kept[position as usize * size..][..size]);
            }
            return Ok(values);
        }
        let Self::File { file, folder } = self else {
            return Err(other_precision());
        };
        let mut file = file.lock().unwrap_or_else(|broken| broken.into_inner());
        let mut bytes = vec![0; size * T::DTYPE.size_in_bytes()];
        let mut values = Vec::with_capacity(positions.len() * size);
        for &position in positions {
            file.seek(SeekFrom::Start(u64::from(position) * bytes.len() as u64))
                .and_then(|_| file.read_exact(&mut bytes))
                .map_err(Error::io(folder, "read a scratch file in"))?;
            T::extend_from_bytes(&bytes, &mut values);
        }
        Ok(values)
    }
}

fn other_precision() -> Error {
    Error::mismatch(
        "activations of the frozen layers",
        "the network's precision",
        "another one",
        "compute them with the same model",
    )
}
