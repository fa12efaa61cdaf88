//! Audits: by `ascribe audit`, of runs through blocks too, and their page in a browser.

mod command;
mod page;
mod through_blocks;
