//! How commands answer.

use relay_daemon::Failure;
use serde_json::Value;
use std::fmt::Display;
use std::io::{self, Write};

/// A line of an answer in which names stand in a column.
pub(crate) fn row(name: &str, value: impl Display) -> String {
    format!("{name:<14}{value}")
}

/// Writes an answer as JSON for programs, or as lines for people.
pub(crate) fn answer(
    out: &mut impl Write,
    as_json: bool,
    value: impl FnOnce() -> Value,
    text: impl FnOnce() -> String,
) -> Result<(), Failure> {
    let text = if as_json { format!("{:#}\n", value()) } else { text() };
    out.write_all(text.as_bytes()).map_err(unwritable)
}

/// What a broken pipe or a full disk under the output means.
#[expect(clippy::needless_pass_by_value, reason = "stands in map_err")]
pub(crate) fn unwritable(error: io::Error) -> Failure {
    failure!(Io, "cannot write the answer: {error}")
}

/// A runtime for the one thread of a command.
pub(crate) fn runtime() -> Result<tokio::runtime::Runtime, Failure> {
    let built = tokio::runtime::Builder::new_current_thread().enable_all().build();
    built.map_err(|error| failure!(Internal, "cannot start the runtime: {error}"))
}
