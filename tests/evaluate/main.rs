//! `ascribe evaluate`: refits against independent ones, the published numbers, and the command end to end.

mod command;
mod mnist;
mod published;
mod refits;
mod scatter;
mod sets;
mod through_blocks;
mod trained_again;
