//! The `fgq` command.

fn main() -> std::process::ExitCode {
    fgq::command_line(std::env::args_os()).into()
}
