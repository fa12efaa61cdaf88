//! Derivatives and scores through the residual blocks of a network.

mod curvature;
#[path = "../killed_run/mod.rs"]
mod killed_run;
mod pytorch;
mod resumption;
mod small_network;
mod through_blocks;
