//! The `fgq` command.

fn main() -> std::process::ExitCode {
    // Without it files may be left behind, and nothing else is lost.
    let _ = fgq::clean_up_on_signals();
    fgq::command_line(std::env::args_os()).into()
}
