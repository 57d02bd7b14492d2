//! The shortest walk that tells whether clients are served: is it there, which key does it give, and is a sealed request
//! answered. It leaves nothing behind.

use super::client::{Base, Client, Raw, Trouble};
use super::oblivious::binary;
use super::way::Way;
use relay_proto::UnixSeconds;
use relay_proto::keys::fingerprint;
use serde_json::json;
use std::time::{Duration, UNIX_EPOCH};

/// Too Many Requests.
const LIMITED: u16 = 429;

/// What came of it.
#[derive(Debug)]
pub(crate) struct Errand {
    /// The status of the answer to `/health`, and whether it is a relay's; or why there is none.
    pub(crate) health: Result<(u16, bool), String>,
    /// By the clock there.
    pub(crate) date: Option<UnixSeconds>,
    /// SHA-256 of the key that is given.
    pub(crate) key: Option<[u8; 32]>,
    /// The body of the signed key record; or the status of an answer without one.
    pub(crate) record: Option<Result<Vec<u8>, u16>>,
    /// How a sealed request went; nothing where it did not come to that.
    pub(crate) sealed: Option<Result<(), Setback>>,
    /// How many requests were answered.
    pub(crate) answered: u32,
}

/// Why a sealed request was not answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Setback {
    /// A rate limit.
    Limited,
    /// Something else.
    Broken(String),
}

/// Whether this is the URL of a relay.
///
/// # Errors
/// What is wrong with it.
pub(crate) fn check(url: &str) -> Result<(), &'static str> {
    url.parse::<Base>().map(drop)
}

/// Runs it. Each request has the same limit of time.
pub(crate) fn run(url: &str, patience: Duration) -> Errand {
    let health = Err("that is not a URL".to_owned());
    let mut errand = Errand { health, date: None, key: None, record: None, sealed: None, answered: 0 };
    let Ok(base) = url.parse::<Base>() else { return errand };
    let client = Client::with_patience(base, patience);
    let health = match client.get("/health") {
        Ok(answer) => answer,
        Err(trouble) => {
            errand.health = Err(trouble.to_string());
            return errand;
        }
    };
    let good = health.status == 200 && health.json() == json!({ "status": "ok" });
    errand.health = Ok((health.status, good));
    errand.date = date(&health);
    if good {
        errand.answered += 1;
        errand.sealed = Some(errand.seal(&client));
    }
    errand
}

impl Errand {
    fn seal(&mut self, client: &Client) -> Result<(), Setback> {
        let broken = |trouble: Trouble| Setback::Broken(trouble.to_string());
        let answer = client.get("/v2/ohttp-key").map_err(broken)?;
        self.answered += 1;
        if answer.status == LIMITED {
            return Err(Setback::Limited);
        }
        answer.is(200, "application/ohttp-keys").map_err(broken)?;
        self.key = Some(fingerprint(&answer.body));
        let record = client.get("/v2/ohttp-key-signed").map_err(broken)?;
        self.answered += 1;
        if record.status == LIMITED {
            return Err(Setback::Limited);
        }
        self.record = Some(if record.status == 200 { Ok(record.body) } else { Err(record.status) });
        let mut way = Way::oblivious(None);
        way.learn(answer.body);
        // Without an authority: a front's name need not be one that the relay knows.
        let asked = binary::request("GET", "", "/v2/health", None).map_err(broken)?;
        let answer = way.as_binary(client, &asked).map_err(broken)?.answer();
        self.answered += 1;
        if answer.status == Some(LIMITED) {
            return Err(Setback::Limited);
        }
        answer.success().map(drop).map_err(broken)
    }
}

/// The `Date` of an answer.
fn date(answer: &Raw) -> Option<UnixSeconds> {
    let date = httpdate::parse_http_date(answer.header("date")?).ok()?;
    Some(UnixSeconds::new(date.duration_since(UNIX_EPOCH).ok()?.as_secs()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_nobody_serves_there_is_a_reason_and_nothing_else() {
        let held = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", held.local_addr().unwrap());
        drop(held);
        let errand = run(&url, Duration::from_secs(1));
        assert!(errand.health.is_err() && errand.sealed.is_none() && errand.answered == 0, "{errand:?}");
    }

    #[test]
    fn what_is_no_url_is_told() {
        assert!(check("https://relay.example/below").is_ok());
        assert!(check("relay.example").is_err());
    }
}
