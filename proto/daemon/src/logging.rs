//! Log lines on stderr that cannot tell on anybody.
//!
//! The relay's own crates log lifecycle, codes and counts. Libraries below them know addresses, paths and
//! header values and print them when asked for `debug` or `trace`, so whatever `RUST_LOG` says, they are
//! heard from `warn` upwards only.

use crate::variables::LogFormat;
use crate::{Exit, Failure};
use tracing::{Level, Metadata};
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Layer as _};

/// First segments of the targets that may say more than a warning.
const OURS: [&str; 6] = ["relay", "relay_daemon", "relay_proto", "storaged", "gateway", "federated"];

/// Starts logging for the whole process.
///
/// # Errors
/// When the filter makes no sense, or logging was started before.
pub fn start(filter: &str, format: LogFormat) -> Result<(), Failure> {
    let filter = EnvFilter::try_new(filter).map_err(|error| Failure::new(Exit::Config, error))?;
    let quiet = filter_fn(may_speak);
    // A line that cannot be written is lost. To complain of it on the same stderr, which the terminal or the collector of
    // logs has closed, would panic.
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr).log_internal_errors(false);
    let layer = match format {
        LogFormat::Text => {
            use std::io::IsTerminal as _;
            lines.with_ansi(std::io::stderr().is_terminal()).boxed()
        }
        LogFormat::Json => lines.json().flatten_event(true).boxed(),
    };
    tracing_subscriber::registry()
        .with(layer.with_filter(quiet).with_filter(filter))
        .try_init()
        .map_err(|error| Failure::new(Exit::Internal, error))
}

fn may_speak(metadata: &Metadata<'_>) -> bool {
    let crate_name = metadata.target().split("::").next().unwrap_or_default();
    OURS.contains(&crate_name) || *metadata.level() <= Level::WARN
}

/// Reports a panic by its place only: the message may hold what a client sent.
pub(crate) fn count_panics() {
    std::panic::set_hook(Box::new(|panic| {
        crate::metrics::panics().inc();
        match panic.location() {
            Some(place) => tracing::error!(file = place.file(), line = place.line(), "panic"),
            None => tracing::error!("panic"),
        }
    }));
}
