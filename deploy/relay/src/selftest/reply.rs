//! What the API answers, and why a step fails. Nothing that could be a token is repeated as text.

use relay_client::{Error, Response};
use serde_json::Value;
use std::fmt;

/// How a step that did not fail ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Passed {
    Plainly,
    /// With something that the operator should know.
    Noting(String),
    /// Not tried, and why.
    Skipped(String),
}

impl From<()> for Passed {
    fn from((): ()) -> Self {
        Self::Plainly
    }
}

/// Why a step failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum StepError {
    /// No answer came.
    Unreachable(String),
    /// The relay answered, and the answer is not right.
    Wrong(String),
}

impl fmt::Display for StepError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreachable(reason) | Self::Wrong(reason) => formatter.write_str(reason),
        }
    }
}

impl From<Error> for StepError {
    fn from(error: Error) -> Self {
        match error {
            Error::Unreachable(reason) => Self::Unreachable(reason.to_string()),
            error => Self::Wrong(error.to_string()),
        }
    }
}

/// That an answer is not right.
pub(super) fn wrong(reason: impl fmt::Display) -> StepError {
    StepError::Wrong(reason.to_string())
}

/// What must hold of an answer.
pub(super) fn expect(holds: bool, otherwise: &str) -> Result<(), StepError> {
    if holds { Ok(()) } else { Err(wrong(otherwise)) }
}

/// An answer of the API.
#[derive(Debug)]
pub(super) struct ApiReply {
    /// Its status; an envelope has none.
    pub(super) status: Option<u16>,
    /// Its body, null where that is not JSON.
    pub(super) json: Value,
}

impl ApiReply {
    /// The body of an answer that was given and is no error.
    pub(super) fn body(self) -> Result<Value, StepError> {
        if self.status.is_none_or(|status| status == 200)
            && self.json["status"].is_string()
            && !self.is_error()
        {
            Ok(self.json)
        } else {
            Err(self.unexpected())
        }
    }

    /// The body of a success.
    pub(super) fn success(self) -> Result<Value, StepError> {
        if self.json["status"] == "ok" { self.body() } else { Err(self.unexpected()) }
    }

    /// Checks that this is an error with the given status, as far as that can be seen, and these words in its
    /// text.
    pub(super) fn refusal(self, status: u16, words: &str) -> Result<(), StepError> {
        let has_words = self.json["error"].as_str().is_some_and(|text| text.contains(words));
        if self.status.is_none_or(|got| got == status) && self.is_error() && has_words {
            Ok(())
        } else {
            Err(self.unexpected())
        }
    }

    fn is_error(&self) -> bool {
        self.json["status"] == "error"
    }

    fn unexpected(self) -> StepError {
        let status = match self.status {
            Some(status) => format!("status {status}"),
            None => "in the envelope".to_owned(),
        };
        match self.json["error"].as_str() {
            Some(error) => wrong(format_args!("{status}: {}", harmless(error))),
            None => wrong(format_args!("{status}, without the body that belongs to it")),
        }
    }
}

impl From<&Response> for ApiReply {
    fn from(response: &Response) -> Self {
        Self { status: Some(response.status), json: response.json() }
    }
}

/// Checks status and content type.
pub(super) fn check_type(response: &Response, status: u16, content_type: &str) -> Result<(), StepError> {
    if response.status != status {
        return Err(wrong(format_args!("status {}, and not {status}", response.status)));
    }
    if response.is_of_type(content_type) {
        Ok(())
    } else {
        Err(wrong(format_args!("its content type is not {content_type}")))
    }
}

/// An error text without anything that looks like an identifier: a relay that is not ours may repeat one.
pub(super) fn harmless(text: &str) -> String {
    text.chars()
        .take(120)
        .collect::<String>()
        .split_whitespace()
        .map(|word| if word.len() >= 16 { "…" } else { word })
        .collect::<Vec<_>>()
        .join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn answer(status: impl Into<Option<u16>>, json: Value) -> ApiReply {
        ApiReply { status: status.into(), json }
    }

    #[test]
    fn only_a_200_that_says_ok_is_a_success() {
        assert!(answer(200, json!({ "status": "ok" })).success().is_ok());
        assert!(answer(None, json!({ "status": "ok" })).success().is_ok());
        assert!(answer(200, json!({ "status": "error", "error": "no" })).success().is_err());
        assert!(answer(201, json!({ "status": "ok" })).success().is_err());
        assert!(answer(200, Value::Null).success().is_err());
        assert!(answer(200, json!({ "status": "Stored" })).success().is_err());
        assert!(answer(200, json!({ "status": "Stored" })).body().is_ok());
        assert!(answer(200, json!({ "status": "error", "error": "no" })).body().is_err());
    }

    #[test]
    fn a_refusal_has_its_status_and_its_words() {
        let error = || json!({ "status": "error", "error": "already claimed" });
        assert!(answer(400, error()).refusal(400, "claimed").is_ok());
        assert!(answer(None, error()).refusal(400, "claimed").is_ok());
        assert!(answer(500, error()).refusal(400, "claimed").is_err());
        assert!(answer(400, error()).refusal(400, "expired").is_err());
        assert!(answer(400, json!({ "status": "error" })).refusal(400, "").is_err());
    }

    #[test]
    fn what_may_be_an_identifier_is_not_repeated() {
        let token = "ab".repeat(32);
        let error =
            answer(400, json!({ "error": format!("no mailbox {token} here") })).success().unwrap_err();
        assert_eq!(error.to_string(), "status 400: no mailbox … here");
    }
}
