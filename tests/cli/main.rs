//! The `fgq` command as a user runs it: real binary, real files, exact exit codes.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod arrays;
mod bench;
mod checkpoints;
mod config;
mod demo;
mod errors;
mod export;
mod files;
mod goal;
mod networks;
mod options;
mod pipeline;
mod plan;
mod reports;
mod sameness;
mod support;
mod switching;
mod usual;
