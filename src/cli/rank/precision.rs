//! `--precision`.

use candle_core::DType;
use clap::ValueEnum;

/// The value of `--precision`.
#[derive(Debug, Clone, Copy, ValueEnum, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Precision {
    /// Single precision
    F32,
    /// Double precision
    F64,
}

impl Precision {
    pub(super) fn dtype(self) -> DType {
        match self {
            Self::F32 => DType::F32,
            Self::F64 => DType::F64,
        }
    }
}
