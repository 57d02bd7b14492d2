//! The `relay` command; see the library.

use std::io;
use std::process::ExitCode;

fn main() -> ExitCode {
    relay::run(std::env::args_os(), &mut io::stdout(), &mut io::stderr())
}
