//! `fgq completions`: scripts that complete the command's arguments.

use super::Cli;
use super::output::Output;
use clap::CommandFactory;
use clap_complete::Shell;
use serde_json::json;

/// Arguments of `fgq completions`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The shell to write a script for
    shell: Shell,
}

/// The script.
pub fn run(args: &Args) -> anyhow::Result<Output> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "fgq", &mut script);
    let script = String::from_utf8(script)?;
    Output::new(&script, &json!({ "shell": args.shell.to_string(), "script": script }))
}
