//! Derivatives and scores through the residual blocks of a network.

#[path = "../command_line/mod.rs"]
mod command_line;
mod curvature;
mod groups;
#[path = "../killed_run/mod.rs"]
mod killed_run;
#[path = "../parquet_table/mod.rs"]
mod parquet_table;
mod pytorch;
#[path = "../pytorch_fixture/mod.rs"]
mod pytorch_fixture;
mod resumption;
mod small_network;
mod through_blocks;
mod unrolled;
