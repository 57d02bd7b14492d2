//! Log lines on stderr that name nobody.
//!
//! The relay's own crates log lifecycle, codes and counts. Libraries below them know addresses, paths and
//! header values and print them when asked for `debug` or `trace`, so whatever `RUST_LOG` says, they are
//! heard from `warn` upwards only. What they warn of may be some client's doing, as often as it likes: each kind is
//! logged once a minute at most, and all are counted.

use crate::variables::LogFormat;
use crate::{Exit, Failure};
use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};
use tracing::callsite::Identifier;
use tracing::subscriber::Interest;
use tracing::{Event, Level, Metadata};
use tracing_subscriber::filter::FilterExt as _;
use tracing_subscriber::layer::{Context, Filter, SubscriberExt as _};
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Layer as _};

/// First segments of the targets that may say more than a warning.
const OURS: [&str; 6] = ["relay", "relay_daemon", "relay_proto", "storaged", "gateway", "federated"];

/// How long after a library's warning the next one of its kind is logged.
const BETWEEN_WARNINGS: Duration = Duration::from_secs(60);

/// Starts logging for the whole process.
///
/// # Errors
/// When the filter makes no sense, or logging was started before.
pub fn start(filter: &str, format: LogFormat) -> Result<(), Failure> {
    let filter = EnvFilter::try_new(filter).map_err(|error| Failure::new(Exit::Config, error))?;
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
        .with(layer.with_filter(filter.and(Seldom::default())))
        .try_init()
        .map_err(|error| Failure::new(Exit::Internal, error))
}

fn is_ours(metadata: &Metadata<'_>) -> bool {
    OURS.contains(&metadata.target().split("::").next().unwrap_or_default())
}

/// Lets libraries warn, each kind once a minute.
#[derive(Default)]
struct Seldom {
    /// When a line of the program was last logged. There are only so many in a program.
    logged: Mutex<HashMap<Identifier, Instant>>,
}

impl Seldom {
    fn may_speak(metadata: &Metadata<'_>) -> bool {
        is_ours(metadata) || *metadata.level() <= Level::WARN
    }

    fn is_due(&self, kind: Identifier, now: Instant) -> bool {
        let mut logged = self.logged.lock().unwrap_or_else(PoisonError::into_inner);
        let is_due = logged.get(&kind).is_none_or(|last| now.duration_since(*last) >= BETWEEN_WARNINGS);
        if is_due {
            logged.insert(kind, now);
        }
        is_due
    }
}

impl<S> Filter<S> for Seldom {
    fn enabled(&self, metadata: &Metadata<'_>, _: &Context<'_, S>) -> bool {
        Self::may_speak(metadata)
    }

    fn callsite_enabled(&self, metadata: &'static Metadata<'static>) -> Interest {
        if is_ours(metadata) {
            Interest::always()
        } else if Self::may_speak(metadata) {
            // What is decided at each event must not be cached.
            Interest::sometimes()
        } else {
            Interest::never()
        }
    }
    fn event_enabled(&self, event: &Event<'_>, _: &Context<'_, S>) -> bool {
        let metadata = event.metadata();
        if is_ours(metadata) {
            return true;
        }
        crate::metrics::LIBRARY_WARNINGS.inc();
        self.is_due(metadata.callsite(), Instant::now())
    }
}

/// Reports a panic by its place only: the message may hold what a client sent.
pub(crate) fn count_panics() {
    std::panic::set_hook(Box::new(|panic| {
        crate::metrics::PANICS.inc();
        match panic.location() {
            Some(place) => tracing::error!(file = place.file(), line = place.line(), "panic"),
            None => tracing::error!("panic"),
        }
    }));
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io;
    use std::sync::Arc;

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_library_warns_once_a_minute_of_each_kind_and_all_is_counted() {
        let lines = Lines::default();
        let writer = lines.clone();
        let layer = tracing_subscriber::fmt::layer().with_writer(move || writer.clone());
        let subscriber = tracing_subscriber::registry()
            .with(layer.with_filter(EnvFilter::new("trace").and(Seldom::default())));
        let before = crate::metrics::LIBRARY_WARNINGS.get();
        tracing::subscriber::with_default(subscriber, || {
            for _ in 0..20 {
                tracing::warn!(target: "h2::proto", "one kind");
                tracing::error!(target: "h2::proto", "another kind");
                tracing::info!(target: "h2::proto", "an address");
                tracing::warn!(target: "gateway::edge", "our own");
            }
        });
        let text = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
        let count = |what: &str| text.matches(what).count();
        assert_eq!((count("one kind"), count("another kind")), (1, 1), "{text}");
        assert_eq!((count("an address"), count("our own")), (0, 20), "{text}");
        assert_eq!(crate::metrics::LIBRARY_WARNINGS.get() - before, 40);
    }

    #[test]
    fn after_a_minute_a_kind_is_logged_again() {
        let (seldom, now) = (Seldom::default(), Instant::now());
        let kind = tracing::subscriber::with_default(tracing_subscriber::registry(), || {
            tracing::error_span!("kind").metadata().unwrap().callsite()
        });
        assert!(seldom.is_due(kind.clone(), now));
        assert!(!seldom.is_due(kind.clone(), now + BETWEEN_WARNINGS / 2));
        assert!(seldom.is_due(kind, now + BETWEEN_WARNINGS));
    }
}
