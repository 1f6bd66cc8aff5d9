//! The command line: arguments → resolved options → one library call → text or JSON → exit code.

// A command runs where there is a clock.
#![allow(clippy::disallowed_methods)]

mod amount;
mod bench;
mod check;
mod classify;
mod completions;
mod config;
mod convert;
mod course;
mod demo;
mod dry_run;
mod eval;
mod export;
mod files;
mod flags;
mod goal;
mod images;
mod indicators;
mod info;
mod inspect;
mod judged;
mod layers;
mod learn;
mod man;
mod model;
mod nested;
mod network;
mod output;
mod plan;
mod preprocess;
mod progress;
mod report;
mod settings;
mod signals;
mod source;
mod stdin;
mod table;
mod tune;
mod uniform;

pub use signals::clean_up_on_signals;

use clap::{ArgMatches, CommandFactory, FromArgMatches, Parser, Subcommand};
use output::{Output, failure};
use std::ffi::OsString;

/// Exit code when a check that was asked for failed.
const CHECK_FAILED: u8 = 1;
/// Exit code of everything that went wrong.
const ERROR: u8 = 2;

/// Converts trained convolutional networks to fine-grained ternary weights, without training, and runs
/// them with integers only.
#[derive(Debug, Parser)]
#[command(name = "fgq", version, long_version = env!("FGQ_VERSION"), arg_required_else_help = true)]
#[command(after_help = "Exit codes: 0 done, 1 a check that was asked for failed, 2 error.")]
struct Cli {
    #[command(subcommand)]
    command: Command,
    /// Number of threads; results do not depend on it [default: all cores]
    #[arg(long, global = true, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    threads: Option<u16>,
    /// Print one JSON object instead of text
    #[arg(long, global = true)]
    json: bool,
    /// Show no progress and no notes, only results, warnings and errors
    #[arg(short, long, global = true)]
    quiet: bool,
    /// Say what was done in how much time
    #[arg(short, long, global = true, conflicts_with = "quiet")]
    verbose: bool,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Convert and measure an embedded network on embedded images; needs no files
    Demo,
    /// Show what a conversion would make of a trained network, or why it cannot be converted; needs no images
    Check(Box<check::Args>),
    /// Convert a trained network to a packed ternary model
    Convert(Box<convert::Args>),
    /// Convert a trained network and train it, without labels, to answer as before
    Tune(Box<tune::Args>),
    /// Train a network until it fits budgets: weights and the bits of every tensor are learned
    Learn(Box<learn::Args>),
    /// Choose the precision of every layer under a budget
    Plan(Box<plan::Args>),
    /// Measure the accuracy of a packed model, alone or against full precision, or of a full-precision network
    Eval(eval::Args),
    /// Write a packed model as C for small devices, or as an ONNX file
    Export(export::Args),
    /// Name the five most probable classes of images
    Classify(classify::Args),
    /// Time a packed model layer by layer on noise
    Bench(bench::Args),
    /// Show the layers, bytes and preprocessing of a packed model or a full-precision network
    Inspect(inspect::Args),
    /// Show version, CPU features, kernels, known architectures and presets
    Info,
    /// Print a completion script for a shell
    Completions(completions::Args),
    /// Write man pages of all commands to a folder
    Man(man::Args),
}

/// Runs the command `fgq` with the arguments of a process, the first of which is its name, and returns the exit code: 0 done,
/// 1 a check that was asked for failed, 2 error. Prints to the process's stdout and stderr.
///
/// # Examples
/// ```
/// let code = fgq::command_line(["fgq", "eval", "no-such-model.fgq", "--images", "."].map(Into::into));
/// assert_eq!(code, 2);
/// ```
pub fn command_line(arguments: impl IntoIterator<Item = OsString>) -> u8 {
    let arguments: Vec<OsString> = arguments.into_iter().collect();
    let json = arguments.iter().any(|argument| argument == "--json") && !files::takes_stdout(&arguments);
    let code = run(arguments, json).unwrap_or_else(|error| {
        failure(&error, json);
        ERROR
    });
    stdin::forget();
    code
}

/// Runs the command; `json` is whether errors are wanted as JSON.
fn run(arguments: Vec<OsString>, json: bool) -> anyhow::Result<u8> {
    let arguments = config::expanded(stdin::expanded(arguments)?)?;
    let parsed = Cli::command().try_get_matches_from(arguments);
    let parsed = parsed.and_then(|matches| Ok((Cli::from_arg_matches(&matches)?, matches)));
    let (cli, matches) = match parsed {
        Ok(parsed) => parsed,
        Err(error) if json && error.use_stderr() => {
            anyhow::bail!("{}", error.to_string().trim_start_matches("error: ").trim_end())
        }
        Err(error) => {
            // Where help cannot be printed, nobody reads it.
            let _ = error.print();
            return Ok(error.exit_code() as u8);
        }
    };
    if cli.quiet {
        output::be_quiet();
    }
    if cli.verbose {
        output::be_verbose();
    }
    let json = cli.json;
    command(cli, &matches)?.print(json)
}

fn command(cli: Cli, matches: &ArgMatches) -> anyhow::Result<Output> {
    if let Some(threads) = cli.threads {
        rayon::ThreadPoolBuilder::new().num_threads(threads.into()).build_global()?;
    }
    match cli.command {
        Command::Demo => demo::run(),
        Command::Check(args) => check::run(*args),
        Command::Convert(args) => {
            convert::run(*args, matches.subcommand_matches("convert").unwrap_or(matches))
        }
        Command::Tune(args) => tune::run(*args),
        Command::Learn(args) => learn::run(*args),
        Command::Plan(args) => plan::run(&args),
        Command::Eval(args) => eval::run(&args),
        Command::Export(args) => export::run(&args),
        Command::Classify(args) => classify::run(&args),
        Command::Bench(args) => bench::run(&args),
        Command::Inspect(args) => inspect::run(&args),
        Command::Info => info::run(),
        Command::Completions(args) => completions::run(&args),
        Command::Man(args) => man::run(&args),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_of_a_command_have_names_of_their_own() {
        Cli::command().debug_assert();
    }
}
