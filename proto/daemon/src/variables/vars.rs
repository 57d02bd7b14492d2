//! The only reader of the environment. All mistakes come in one report.

use crate::variables::{HANG_TIMEOUT, KNOWN, LOG_FORMAT, RUST_LOG, Variable};
use crate::{Exit, Failure};
use std::collections::BTreeMap;
use std::fmt;

/// How names of variables begin that only the relay has: one of them that is unknown is a mistake.
const OURS: [&str; 2] = ["RELAY_", "OBLIVIOUS_"];

/// The protocols of a scheduler's services.
const SERVICE_PROTOCOLS: [&str; 3] = ["tcp://", "udp://", "sctp://"];

/// The process's variables, taken once at start.
#[derive(Debug, Clone, Default)]
pub struct Vars(BTreeMap<String, String>);

impl Vars {
    /// The environment as it is. A value that is not UTF-8 reads as one that cannot be right.
    #[expect(clippy::disallowed_methods, reason = "the one place that reads the environment")]
    pub fn from_environment() -> Self {
        let text = |value: std::ffi::OsString| value.to_string_lossy().into_owned();
        Self(std::env::vars_os().map(|(name, value)| (text(name), text(value))).collect()).with_credentials()
    }

    /// Variables that are not set and that the service manager has as credentials of their names
    /// (systemd.exec(5), `LoadCredential=`).
    fn with_credentials(mut self) -> Self {
        let Some(directory) = self.0.get("CREDENTIALS_DIRECTORY").map(std::path::PathBuf::from) else {
            return self;
        };
        for name in KNOWN.iter().map(|known| known.name) {
            if !self.is_set(name)
                && let Ok(value) = std::fs::read_to_string(directory.join(name))
            {
                self.0.insert(name.to_owned(), value.trim_end_matches('\n').to_owned());
            }
        }
        self
    }

    /// These variables and no others.
    pub fn from_pairs<K: Into<String>, V: Into<String>>(pairs: impl IntoIterator<Item = (K, V)>) -> Self {
        Self(pairs.into_iter().map(|(name, value)| (name.into(), value.into())).collect())
    }

    /// The same with one variable set.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl Into<String>) -> Self {
        self.0.insert(name.to_owned(), value.into());
        self
    }

    /// Whether a variable has a value. An empty one counts as unset, as in an `.env` template.
    pub fn is_set(&self, name: &str) -> bool {
        self.0.get(name).is_some_and(|value| !value.is_empty())
    }

    /// Whether every variable that is set has a value that parses. Contradictions are for whoever reads them together.
    pub(crate) fn parse(&self) -> bool {
        KNOWN.iter().all(|known| {
            self.0.get(known.name).is_none_or(|value| value.is_empty() || (known.accepts)(value))
        })
    }

    /// Where the environment says that the certificates of authorities lie (`SSL_CERT_FILE`, `SSL_CERT_DIR`).
    pub(crate) fn trust_files(&self) -> impl Iterator<Item = std::path::PathBuf> + '_ {
        ["SSL_CERT_FILE", "SSL_CERT_DIR"].into_iter().filter_map(|name| self.0.get(name)).map(Into::into)
    }

    /// Starts reading a configuration.
    pub fn reader(&self) -> Reader<'_> {
        let mut reader = Reader { vars: self, mistakes: Vec::new() };
        for (name, value) in &self.0 {
            let Some(rest) = OURS.iter().find_map(|ours| name.strip_prefix(ours)) else { continue };
            if !KNOWN.iter().any(|known| known.name == name) && !is_of_a_scheduler(rest, value) {
                reader.mistakes.push(unknown(name));
            }
        }
        // Logging and the watchdog start before any configuration is read; their mistakes belong into the same report.
        reader.read(&LOG_FORMAT);
        reader.read(&RUST_LOG);
        reader.read(&HANG_TIMEOUT);
        reader
    }
}

/// Returns true for a variable that a scheduler sets in all containers beside a service named `relay` or `oblivious`, as
/// Kubernetes and Docker's links do: where that service is. `name` comes without the service's own name. `PORT` is one
/// only with a URL in it: with a number it is an operator's, who means another variable.
fn is_of_a_scheduler(name: &str, value: &str) -> bool {
    match name {
        "SERVICE_HOST" | "SERVICE_PORT" => true,
        "PORT" => SERVICE_PROTOCOLS.iter().any(|protocol| value.starts_with(protocol)),
        _ => name.starts_with("SERVICE_PORT_") || name.starts_with("PORT_"),
    }
}

fn unknown(name: &str) -> String {
    let nearest = KNOWN
        .iter()
        .map(|known| (strsim::damerau_levenshtein(known.name, name), known.name))
        .min()
        .filter(|(distance, _)| *distance * 4 <= name.len());
    match nearest {
        Some((_, known)) => format!("{name}: unknown variable; did you mean {known}?"),
        None => format!("{name}: unknown variable; REFERENCE.md lists all of them"),
    }
}

/// Reads typed values and remembers every mistake.
#[derive(Debug)]
pub struct Reader<'a> {
    vars: &'a Vars,
    mistakes: Vec<String>,
}

impl Reader<'_> {
    /// The value, or the default: where the variable is unset, and, so that reading goes on, where it is
    /// wrong. [`Reader::finish`] then refuses.
    pub fn read<T>(&mut self, variable: &Variable<T>) -> T {
        let Some(value) = self.vars.0.get(variable.name).filter(|value| !value.is_empty()) else {
            return variable.default_value();
        };
        match (variable.parse)(value) {
            Ok(value) => value,
            Err(expected) => {
                let shown = if variable.secret { "the value given" } else { value.as_str() };
                self.mistakes.push(format!(
                    "{}={shown}: expected {expected}, for example {}={}",
                    variable.name, variable.name, variable.example
                ));
                variable.default_value()
            }
        }
    }

    /// Adds a mistake that lies between variables.
    pub fn contradiction(&mut self, text: impl Into<String>) {
        self.mistakes.push(text.into());
    }

    /// Ends reading.
    ///
    /// # Errors
    /// [`ConfigError`] with every mistake found.
    pub fn finish(self) -> Result<(), ConfigError> {
        if self.mistakes.is_empty() { Ok(()) } else { Err(ConfigError { mistakes: self.mistakes }) }
    }
}

/// Every mistake in the variables, one a line.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct ConfigError {
    /// The mistakes.
    pub mistakes: Vec<String>,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "cannot start with these variables:")?;
        for mistake in &self.mistakes {
            write!(formatter, "\n  {mistake}")?;
        }
        Ok(())
    }
}

impl From<ConfigError> for Failure {
    fn from(error: ConfigError) -> Self {
        Self::new(Exit::Config, error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::variables::{METRICS_TOKEN, RATE_LIMIT, TLS_VERIFIED};

    #[test]
    fn every_mistake_is_in_one_report_with_name_expectation_and_example() {
        let vars = Vars::from_pairs([
            ("RELAY_RATE_LIMIT", "many"),
            ("RELAY_TLS_VERIFIED", "yes"),
            ("RELAY_RATE_LIMITS", "5"),
            ("RELAY_LOG_FORMAT", "xml"),
            ("OTHER", "ignored"),
        ]);
        let mut reader = vars.reader();
        assert_eq!(reader.read(&RATE_LIMIT), RATE_LIMIT.default_value());
        reader.read(&TLS_VERIFIED);
        let report = reader.finish().unwrap_err().to_string();
        assert!(report.contains("RELAY_RATE_LIMITS: unknown variable; did you mean RELAY_RATE_LIMIT?"));
        assert!(report.contains("RELAY_RATE_LIMIT=many: expected a whole number from 1 to 1000000000"));
        assert!(report.contains("for example RELAY_RATE_LIMIT=60"));
        assert!(report.contains("RELAY_TLS_VERIFIED=yes: expected true or false"));
        assert!(report.contains("RELAY_LOG_FORMAT=xml: expected text or json"));
        assert_eq!(report.lines().count(), 5);
    }

    #[test]
    fn a_name_that_is_like_no_other_gets_no_hint() {
        let hint = |name: &str| unknown(name).contains("did you mean");
        assert!(hint("RELAY_LISTEN_ADR"));
        assert!(hint("RELAY_MAX_BLOB_PER_USERS"));
        assert!(!hint("RELAY_FOO"));
        assert!(!hint("RELAY_ENTIRELY_DIFFERENT"));
    }

    #[test]
    fn what_a_scheduler_says_of_a_service_of_that_name_is_passed_over() {
        for service in ["RELAY", "OBLIVIOUS"] {
            let set = |pairs: &[(&str, &str)]| {
                let named = pairs.iter().map(|(name, value)| (format!("{service}_{name}"), *value));
                Vars::from_pairs(named).reader().finish().map_err(|error| error.mistakes.len())
            };
            let of_a_scheduler = [
                ("SERVICE_HOST", "10.96.0.7"),
                ("SERVICE_PORT", "8080"),
                ("SERVICE_PORT_CLIENTS", "8080"),
                ("PORT", "tcp://10.96.0.7:8080"),
                ("PORT_8080_TCP", "tcp://10.96.0.7:8080"),
                ("PORT_8080_TCP_PROTO", "tcp"),
                ("PORT_8080_TCP_PORT", "8080"),
                ("PORT_8080_TCP_ADDR", "10.96.0.7"),
            ];
            assert_eq!(set(&of_a_scheduler), Ok(()));
            let mistaken = [("PORT", "8080"), ("SERVICE", "x"), ("SERVICE_HOSTS", "x"), ("PORTS", "80")];
            assert_eq!(set(&mistaken), Err(mistaken.len()));
        }
        let names =
            KNOWN.iter().filter_map(|known| OURS.iter().find_map(|ours| known.name.strip_prefix(ours)));
        assert!(names.into_iter().all(|name| !is_of_a_scheduler(name, "tcp://")), "none of them is ours");
    }

    #[test]
    fn a_secret_is_not_shown_even_when_it_is_wrong() {
        let vars = Vars::from_pairs([("RELAY_METRICS_TOKEN", "no spaces allowed")]);
        let mut reader = vars.reader();
        reader.read(&METRICS_TOKEN);
        let report = reader.finish().unwrap_err().to_string();
        assert!(report.contains("RELAY_METRICS_TOKEN=the value given: expected"));
        assert!(!report.contains("no spaces"));
    }

    #[test]
    fn a_credential_stands_in_for_a_variable_that_is_not_set() {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("RELAY_METRICS_TOKEN"), "d41bd6a17a9f4a2c\n").unwrap();
        std::fs::write(directory.path().join("RELAY_RATE_LIMIT"), "7\n").unwrap();
        let vars = Vars::from_pairs([
            ("CREDENTIALS_DIRECTORY", directory.path().display().to_string()),
            ("RELAY_RATE_LIMIT", "9".to_owned()),
        ]);
        let vars = vars.with_credentials();
        let mut reader = vars.reader();
        assert_eq!(reader.read(&crate::variables::METRICS_TOKEN).as_deref(), Some("d41bd6a17a9f4a2c"));
        assert_eq!(reader.read(&crate::variables::RATE_LIMIT), 9);
    }

    #[test]
    fn an_empty_value_is_an_unset_one() {
        let vars = Vars::from_pairs([("RELAY_RATE_LIMIT", "")]);
        let mut reader = vars.reader();
        assert_eq!(reader.read(&RATE_LIMIT), 60);
        reader.finish().unwrap();
    }
}
