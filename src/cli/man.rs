//! `fgq man`: man pages of all commands.

use super::Cli;
use super::output::Output;
use anyhow::ensure;
use clap::{Command, CommandFactory};
use clap_mangen::Man;
use serde_json::json;
use std::path::{Path, PathBuf};

/// Arguments of `fgq man`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The folder to write fgq.1, fgq-convert.1 and the others to
    folder: PathBuf,
}

/// Writes the pages.
pub fn run(args: &Args) -> anyhow::Result<Output> {
    let folder = args.folder.as_path();
    ensure!(folder.is_dir(), "{}: is no folder; create it", folder.display());
    let mut command = Cli::command();
    command.build();
    let mut files = vec![write(folder, &command)?];
    let shown = command.get_subcommands().filter(|it| !it.is_hide_set() && it.get_name() != "help");
    for subcommand in shown {
        files.push(write(folder, subcommand)?);
    }
    Output::new(files.join("\n"), &json!({ "files": files }))
}

fn write(folder: &Path, command: &Command) -> anyhow::Result<String> {
    let name = command.get_display_name().unwrap_or_else(|| command.get_name());
    let path = folder.join(format!("{name}.1"));
    let mut page = Vec::new();
    Man::new(command.clone()).render(&mut page)?;
    fgq::replace_file(&path, &page)?;
    Ok(path.display().to_string())
}
