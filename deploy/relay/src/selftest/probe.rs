//! The fewest requests that show whether clients are served: is the relay there, which key does it give, and is a sealed
//! request answered. It leaves nothing behind.

use super::reply::{ApiReply, StepError, check_type};
use super::transport::Transport;
use relay_client::binary::Request;
use relay_client::{Key, Response, Url, key_record, oblivious};
use relay_daemon::Clock;
use relay_proto::UnixSeconds;
use serde_json::json;
use std::time::{Duration, UNIX_EPOCH};

/// Too Many Requests.
const LIMITED: u16 = 429;

/// What was found.
#[derive(Debug)]
pub(crate) struct Probe {
    /// The answer to `/health`.
    pub(crate) health: Health,
    /// How far the clock there is from this machine's, in seconds.
    pub(crate) skew: Option<u64>,
    /// SHA-256 of the key that clients are given.
    pub(crate) key: Option<[u8; 32]>,
    /// The signed key record that clients are given: its body, or the status of an answer without one.
    pub(crate) record: Option<Result<Vec<u8>, u16>>,
    /// How a sealed request went; `None` where none was sent.
    pub(crate) sealed: Option<Result<(), ProbeError>>,
    /// How many requests were answered that a gateway of this relay would count.
    pub(crate) requests: u32,
}

/// The answer to `/health`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Health {
    /// No answer came.
    None(String),
    /// The relay's.
    Good,
    /// This status, or a 200 with something else in it.
    Other(u16),
}

/// Why a sealed request was not answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ProbeError {
    /// A rate limit.
    Limited,
    /// Something else.
    Broken(String),
}

impl From<StepError> for ProbeError {
    fn from(error: StepError) -> Self {
        Self::Broken(error.to_string())
    }
}

/// Runs it. Each request has the same deadline.
pub(crate) fn run(url: Url, deadline: Duration, clock: &Clock) -> Probe {
    let mut transport = match Transport::oblivious(url, None, deadline) {
        Ok(transport) => transport,
        Err(error) => return Probe::failed(error),
    };
    let health = match transport.get("/health") {
        Ok(health) => health,
        Err(error) => return Probe::failed(error),
    };
    let mut probe =
        Probe { skew: date(&health).map(|theirs| theirs.distance(clock.now())), ..Probe::failed("") };
    if health.status == 200 && health.json() == json!({ "status": "ok" }) {
        probe.health = Health::Good;
        probe.requests += 1;
        probe.sealed = Some(probe.seal(&mut transport));
    } else {
        probe.health = Health::Other(health.status);
    }
    probe
}

impl Probe {
    /// Without an answer to anything.
    pub(crate) fn failed(reason: impl ToString) -> Self {
        let health = Health::None(reason.to_string());
        Self { health, skew: None, key: None, record: None, sealed: None, requests: 0 }
    }

    fn seal(&mut self, transport: &mut Transport) -> Result<(), ProbeError> {
        let answer = self.count(transport.get(oblivious::KEY_PATH)?)?;
        check_type(&answer, 200, oblivious::KEYS_TYPE)?;
        let key = Key::parse(answer.body).map_err(StepError::from)?;
        self.key = Some(key.fingerprint());
        let record = self.count(transport.get(key_record::PATH)?)?;
        self.record = Some(if record.status == 200 { Ok(record.body.into()) } else { Err(record.status) });
        transport.seal_to(key);
        // Without an authority: the relay need not know the name of a proxy in front of it.
        let answer = transport.as_binary(Request::new("GET", "/v2/health", ""))?;
        ApiReply::from(&self.count(answer)?).success()?;
        Ok(())
    }

    fn count(&mut self, answer: Response) -> Result<Response, ProbeError> {
        self.requests += 1;
        if answer.status == LIMITED { Err(ProbeError::Limited) } else { Ok(answer) }
    }
}

/// The `Date` of an answer.
fn date(answer: &Response) -> Option<UnixSeconds> {
    let date = httpdate::parse_http_date(answer.header("date")?).ok()?;
    Some(UnixSeconds::new(date.duration_since(UNIX_EPOCH).ok()?.as_secs()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::selftest::transport::relay_url;

    #[test]
    fn where_nobody_serves_there_is_a_reason_and_nothing_else() {
        let held = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", held.local_addr().unwrap());
        drop(held);
        let probe = run(url.parse().unwrap(), Duration::from_secs(1), &Clock::system());
        assert!(
            matches!(probe.health, Health::None(_)) && probe.sealed.is_none() && probe.requests == 0,
            "{probe:?}"
        );
    }

    #[test]
    fn what_is_no_url_is_told() {
        assert!(relay_url("https://relay.example/below").is_ok());
        assert!(relay_url("relay.example").is_err());
    }
}
