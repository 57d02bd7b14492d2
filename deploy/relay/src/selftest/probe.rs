//! The shortest walk that shows whether clients are served: is the relay there, which key does it give, and is a sealed
//! request answered. It leaves nothing behind.

use super::reply::{ApiReply, StepError, check_type};
use super::transport::Transport;
use relay_client::binary::Request;
use relay_client::{Key, Response, Url, key_record, oblivious};
use relay_proto::UnixSeconds;
use serde_json::json;
use std::time::{Duration, UNIX_EPOCH};

/// Too Many Requests.
const LIMITED: u16 = 429;

/// What was found.
#[derive(Debug)]
pub(crate) struct Probe {
    /// The status of the answer to `/health`, and whether it is a relay's; or why there is none.
    pub(crate) health: Result<(u16, bool), String>,
    /// By the clock there.
    pub(crate) date: Option<UnixSeconds>,
    /// SHA-256 of the key that is given.
    pub(crate) key: Option<[u8; 32]>,
    /// The body of the signed key record; or the status of an answer without one.
    pub(crate) record: Option<Result<Vec<u8>, u16>>,
    /// How a sealed request went; `None` where none was sent.
    pub(crate) sealed: Option<Result<(), ProbeError>>,
    /// How many requests were answered.
    pub(crate) answered: u32,
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
pub(crate) fn run(url: Url, deadline: Duration) -> Probe {
    let failed = |reason: String| Probe {
        health: Err(reason),
        date: None,
        key: None,
        record: None,
        sealed: None,
        answered: 0,
    };
    let mut transport = match Transport::oblivious(url, None, deadline) {
        Ok(transport) => transport,
        Err(error) => return failed(error.to_string()),
    };
    let health = match transport.get("/health") {
        Ok(health) => health,
        Err(error) => return failed(error.to_string()),
    };
    let good = health.status == 200 && health.json() == json!({ "status": "ok" });
    let mut probe = Probe { date: date(&health), health: Ok((health.status, good)), ..failed(String::new()) };
    if good {
        probe.answered += 1;
        probe.sealed = Some(probe.seal(&mut transport));
    }
    probe
}

impl Probe {
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
        self.answered += 1;
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
        let probe = run(url.parse().unwrap(), Duration::from_secs(1));
        assert!(probe.health.is_err() && probe.sealed.is_none() && probe.answered == 0, "{probe:?}");
    }

    #[test]
    fn what_is_no_url_is_told() {
        assert!(relay_url("https://relay.example/below").is_ok());
        assert!(relay_url("relay.example").is_err());
    }
}
