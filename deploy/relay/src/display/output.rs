//! How commands answer.

use relay_daemon::{Exit, Failure};
use serde_json::Value;
use std::fmt::Display;
use std::io;

/// A line of an answer in which names stand in a column.
pub(crate) fn row(name: &str, value: impl Display) -> String {
    format!("{name:<14}{value}\n")
}

/// What a command prints at its end, and its exit code.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) text: String,
    pub(crate) exit: Exit,
}

impl From<String> for Answer {
    fn from(text: String) -> Self {
        Self { text, exit: Exit::Success }
    }
}

/// Of a command that printed as it went.
impl From<Exit> for Answer {
    fn from(exit: Exit) -> Self {
        Self { text: String::new(), exit }
    }
}

/// Returns JSON for programs, or lines for people.
pub(crate) fn answer(as_json: bool, value: impl FnOnce() -> Value, text: impl FnOnce() -> String) -> Answer {
    if as_json { format!("{:#}\n", value()) } else { text() }.into()
}

/// The failure for a broken pipe or a full disk behind the output.
#[expect(clippy::needless_pass_by_value, reason = "stands in map_err")]
pub(crate) fn unwritable(error: io::Error) -> Failure {
    failure!(Io, "cannot write the answer: {error}")
}

/// A runtime for the one thread of a command.
pub(crate) fn runtime() -> Result<tokio::runtime::Runtime, Failure> {
    let built = tokio::runtime::Builder::new_current_thread().enable_all().build();
    built.map_err(|error| failure!(Internal, "cannot start the runtime: {error}"))
}
