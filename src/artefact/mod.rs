//! Files on disk that are whole or absent: atomic writes, digests, run folders and `run.json`.
//!
//! A command that leaves results opens a [`RunFolder`], writes every file through [`AtomicFile`],
//! and finishes; a later command takes up those results through [`RunFolder::read`].

mod atomic;
mod beside;
mod columns;
mod csv_table;
mod digest;
mod invocation;
mod json;
mod left;
mod memory;
mod moved;
mod parquet;
mod processor;
mod record;
mod run;

pub use atomic::{AtomicFile, write_atomically};
pub(crate) use atomic::{folder_of, remove_unfinished, scratch_folder};
pub use beside::RecordBeside;
pub(crate) use columns::{Column, Columns};
pub(crate) use csv_table::{csv_bytes, write_csv, write_csv_below};
pub(crate) use digest::file_names;
pub use digest::{digest_bytes, digest_file};
pub use invocation::Invocation;
pub use json::{read_json, write_json};
pub use left::{Condition, LeftFile, check_as_left, left_files};
pub(crate) use left::{DIGESTS, check_digest_as_left};
pub(crate) use memory::{GIB, gib, machine_memory_bytes, measured_peak_bytes, reset_peak_memory};
pub use memory::{keep_freed_memory, physical_memory_bytes};
pub use moved::Moved;
pub(crate) use moved::{hold_moves, leads_somewhere};
pub(crate) use parquet::{ParquetTable, read_parquet, write_parquet, write_parquet_in_parts};
pub(crate) use processor::processor;
pub use record::{Input, Options, RunRecord, Stage, Status, effective};
pub(crate) use record::{quoted, shell_line};
pub use run::RunFolder;
pub(crate) use run::{LOCK, lock as lock_folder};
