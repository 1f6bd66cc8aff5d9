//! The `fgq` command.

fn main() {}
