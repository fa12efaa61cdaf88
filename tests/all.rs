//! All tests of the library and the program from outside, in one program: it is linked once, and its tests keep all cores busy to the end.
//!
//! Apart are `cuda`, which needs a device, and `network_memory`, which measures its own process.

mod artefacts;
mod audit;
mod command_line;
mod digit_archives;
mod documentation;
mod evaluate;
mod feature_archive;
mod figures;
mod inputs;
mod killed;
mod killed_run;
mod model;
mod network;
mod parquet_table;
mod pytorch_fixture;
mod rank;
mod rerun;
mod run_record;
mod sets;
mod study;
mod training;
