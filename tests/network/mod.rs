//! Derivatives and scores through the residual blocks of a network.

mod curvature;
mod groups;
mod pytorch;
mod resumption;
mod small_network;
mod through_blocks;
mod unrolled;
