//! Files with the options of a conversion: read as if they stood on the command line, and written from what stood there.

use super::Cli;
use super::output::check_writable;
use anyhow::{Context, anyhow, bail, ensure};
use clap::parser::ValueSource;
use clap::{Arg, ArgAction, ArgMatches, Command, CommandFactory};
use fgq::PRESETS;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf, absolute};
use toml::{Table, Value};

/// The command whose options files hold.
const COMMAND: &str = "convert";
/// Options that do not change what is made.
const NOT_KEPT: [&str; 9] =
    ["config", "write_config", "dry_run", "report", "threads", "json", "quiet", "help", "version"];
/// Options that name files, from the folder of the file that they stand in.
const PATHS: [&str; 6] = ["model", "calib", "output", "plan", "classes", "preprocess"];

/// Options on files of options.
#[derive(Debug, Default, clap::Args)]
pub(super) struct ConfigArgs {
    /// Take options from a file, as --write-config writes it; those on the command line replace its
    #[arg(long, value_name = "FILE.toml")]
    config: Option<PathBuf>,
    /// Write the options to a file, for --config [default name: the output's with .toml]
    #[arg(long, value_name = "FILE.toml", num_args = 0..=1, require_equals = true)]
    write_config: Option<Option<PathBuf>>,
}

impl ConfigArgs {
    /// The file with the options that `given` has, if one is wanted: where, beside `output` if nothing else is said, and
    /// what. Checked before any work.
    pub(super) fn file(
        &self,
        output: &Path,
        given: &ArgMatches,
    ) -> anyhow::Result<Option<(PathBuf, String)>> {
        let Some(chosen) = &self.write_config else { return Ok(None) };
        let path = chosen.clone().unwrap_or_else(|| output.with_extension("toml"));
        check_writable(&path, "--write-config")?;
        let text = GivenOptions::of(given)?.to_toml(&path)?;
        Ok(Some((path, text)))
    }
}

/// The command line with the options of the file that `--config` names.
pub(super) fn expanded(arguments: Vec<OsString>) -> anyhow::Result<Vec<OsString>> {
    let command = Cli::command();
    // What is wrong with the command line is said when all of it is there.
    let Ok(matches) = command.clone().ignore_errors(true).try_get_matches_from(&arguments) else {
        return Ok(arguments);
    };
    let Some(given) = matches.subcommand_matches(COMMAND) else { return Ok(arguments) };
    let Some(path) = given.get_one::<PathBuf>("config") else { return Ok(arguments) };
    let place =
        arguments.iter().position(|argument| argument == COMMAND).map_or(arguments.len(), |at| at + 1);
    let (before, after) = arguments.split_at(place);
    let read = read(path, given).with_context(|| path.display().to_string())?;
    Ok([before, &read, after].concat())
}

/// The arguments that a file stands for, without those that were given.
fn read(path: &Path, given: &ArgMatches) -> anyhow::Result<Vec<OsString>> {
    let table: Table = fs::read_to_string(path)?.parse()?;
    let known = options()?;
    let find = |key: &str| known.iter().find(|option| key_of(option) == key);
    let unknown: Vec<String> =
        table.keys().filter(|key| find(key).is_none()).map(|key| format!("'{key}'")).collect();
    ensure!(
        unknown.is_empty(),
        "unknown {}: {}; known are {}",
        if unknown.len() == 1 { "key" } else { "keys" },
        unknown.join(", "),
        known.iter().map(key_of).collect::<Vec<_>>().join(", ")
    );
    let folder = path.parent().unwrap_or(Path::new(""));
    let mut arguments = Vec::new();
    for (key, value) in &table {
        let option = find(key).filter(|option| !is_given(given, option.get_id().as_str()));
        if let Some(option) = option {
            arguments.extend(arguments_of(option, key, value, folder)?);
        }
    }
    Ok(arguments)
}

/// What may stand in a file.
fn options() -> anyhow::Result<Vec<Arg>> {
    let mut command = Cli::command();
    command.build();
    let command: &Command =
        command.find_subcommand(COMMAND).ok_or_else(|| anyhow!("no command {COMMAND}"))?;
    let kept = command.get_arguments().filter(|option| !NOT_KEPT.contains(&option.get_id().as_str()));
    Ok(kept.cloned().collect())
}

/// An option's name without dashes in front, or what the argument without a name is called.
fn key_of(option: &Arg) -> String {
    option.get_long().map_or_else(|| option.get_id().to_string(), str::to_owned)
}

fn is_given(matches: &ArgMatches, id: &str) -> bool {
    matches.value_source(id) == Some(ValueSource::CommandLine)
}

fn arguments_of(option: &Arg, key: &str, value: &Value, folder: &Path) -> anyhow::Result<Vec<OsString>> {
    if let ArgAction::SetTrue = option.get_action() {
        let wanted = value.as_bool().with_context(|| format!("'{key}': give true or false"))?;
        return Ok(wanted.then(|| format!("--{key}").into()).into_iter().collect());
    }
    let texts = match (value, option.get_action()) {
        (Value::Array(items), ArgAction::Append) => items.iter().map(|item| text(key, item)).collect(),
        (Value::Array(items), _) => items
            .iter()
            .map(|item| text(key, item))
            .collect::<anyhow::Result<Vec<_>>>()
            .map(|all| vec![all.join(",")]),
        _ => text(key, value).map(|text| vec![text]),
    }?;
    let place =
        |text: String| if is_path(key, &text) { folder.join(text).into() } else { OsString::from(text) };
    Ok(texts.into_iter().map(place).map(|value| argument(option, value)).collect())
}

/// An option's value with its name, where it has one.
fn argument(option: &Arg, value: OsString) -> OsString {
    let Some(long) = option.get_long() else { return value };
    let mut argument = OsString::from(format!("--{long}="));
    argument.push(value);
    argument
}

fn text(key: &str, value: &Value) -> anyhow::Result<String> {
    Ok(match value {
        Value::String(text) => text.clone(),
        Value::Integer(number) => number.to_string(),
        Value::Float(number) => number.to_string(),
        _ => bail!("'{key}': give text, a number or a list of them"),
    })
}

/// Whether a value of an option is a path from somewhere.
fn is_path(key: &str, text: &str) -> bool {
    PATHS.contains(&key) && !(key == "preprocess" && PRESETS.contains(&text))
}

/// The options of a command line that change what is made: key and value.
#[derive(Debug)]
struct GivenOptions(Vec<(String, GivenValue)>);

#[derive(Debug)]
enum GivenValue {
    Flag,
    One(String),
    Several(Vec<String>),
}

impl GivenOptions {
    fn of(matches: &ArgMatches) -> anyhow::Result<Self> {
        let known = options()?;
        let given = known.iter().filter(|option| is_given(matches, option.get_id().as_str()));
        given
            .map(|option| Ok((key_of(option), GivenValue::of(option, matches)?)))
            .collect::<anyhow::Result<_>>()
            .map(Self)
    }

    /// The file at `path` that stands for them.
    fn to_toml(&self, path: &Path) -> anyhow::Result<String> {
        let is_here = path.parent().is_none_or(|folder| folder.as_os_str().is_empty());
        let value = |key: &str, text: &String| match is_path(key, text) && !is_here {
            true => located(text),
            false => Ok(typed(text)),
        };
        let mut table = Table::new();
        for (key, given) in &self.0 {
            let value = match given {
                GivenValue::Flag => Value::Boolean(true),
                GivenValue::One(text) => value(key, text)?,
                GivenValue::Several(texts) => {
                    Value::Array(texts.iter().map(|text| value(key, text)).collect::<anyhow::Result<_>>()?)
                }
            };
            table.insert(key.clone(), value);
        }
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let version = env!("CARGO_PKG_VERSION");
        Ok(format!("# Written by fgq {version}; once more: fgq {COMMAND} --config {name}\n{table}"))
    }
}

impl GivenValue {
    fn of(option: &Arg, matches: &ArgMatches) -> anyhow::Result<Self> {
        let values = matches.get_raw(option.get_id().as_str()).into_iter().flatten();
        let texts: Option<Vec<String>> = values.map(|value| value.to_str().map(str::to_owned)).collect();
        let mut texts = texts.with_context(|| format!("'{}': is not UTF-8", key_of(option)))?;
        Ok(match option.get_action() {
            ArgAction::SetTrue => Self::Flag,
            ArgAction::Append => Self::Several(texts),
            _ => Self::One(texts.pop().unwrap_or_default()),
        })
    }
}

/// A path that holds from every folder.
fn located(text: &str) -> anyhow::Result<Value> {
    let path = absolute(text)?;
    Ok(Value::String(path.to_str().context("a path is not UTF-8")?.to_owned()))
}

/// A number if it is read as the same number again, or else text.
fn typed(text: &str) -> Value {
    let integer = text.parse::<i64>().ok().filter(|number| number.to_string() == text).map(Value::Integer);
    let is_same = |number: &f64| number.is_finite() && number.to_string() == text;
    let float = || text.parse().ok().filter(is_same).map(Value::Float);
    integer.or_else(float).unwrap_or_else(|| Value::String(text.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_stay_what_they_are() {
        for text in ["16", "-3", "0.25", "1e3", "007", "mixed", "true", "1.0", "inf", "99999999999999999999"]
        {
            assert_eq!(super::text("key", &typed(text)).unwrap(), text);
        }
        assert_eq!((typed("16"), typed("0.25")), (Value::Integer(16), Value::Float(0.25)));
    }

    #[test]
    fn options_that_are_not_kept_exist() {
        let mut command = Cli::command();
        command.build();
        let command = command.find_subcommand(COMMAND).unwrap().clone();
        let ids: Vec<&str> = command.get_arguments().map(|option| option.get_id().as_str()).collect();
        for id in NOT_KEPT.iter().filter(|id| **id != "version").chain(&PATHS) {
            assert!(ids.contains(id), "{id}");
        }
    }
}
