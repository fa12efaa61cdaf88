//! Where the activations of the frozen prefix are kept, and what it may take to make them.

use std::path::PathBuf;

/// Where the activations of the prefix are kept, and what making them may take.
#[derive(Debug, Clone)]
pub struct Keeping {
    /// Bytes of memory they may take; beyond it they go to a scratch file.
    pub memory: u64,
    /// The folder of the scratch file.
    pub folder: PathBuf,
    /// Bytes that the images of a batch may take on their way through the prefix on the processor; a batch of one may take more.
    pub batch: u64,
}

impl Default for Keeping {
    /// 2 GiB of memory, the system's folder for temporary files, batches of the usual size.
    fn default() -> Self {
        Self {
            memory: 2 << 30,
            folder: std::env::temp_dir(),
            batch: u64::MAX,
        }
    }
}
