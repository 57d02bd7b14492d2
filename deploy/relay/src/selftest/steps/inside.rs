//! What can only be seen inside a sealed request.

use super::{Step, versions};
use crate::selftest::reply::{ApiReply, wrong};
use relay_client::binary::Request;
use relay_client::envelope;
use serde_json::json;

pub(super) const STEPS: &[Step] = &[
    ("an envelope of another version is refused", |trial| {
        let plaintext = envelope::request_with(json!(1), json!("fetch"), &json!({ "mailbox_tokens": [] }))?;
        trial.transport.in_envelope(&plaintext)?.refusal(400, "version")
    }),
    ("an envelope with an unknown action is refused", |trial| {
        let plaintext = envelope::request("dance", &json!({}))?;
        trial.transport.in_envelope(&plaintext)?.refusal(400, "unknown action")
    }),
    ("Binary HTTP: health, with version headers", |trial| {
        let request = Request::new("GET", "/v2/health", "").at(trial.transport.authority());
        let response = trial.transport.as_binary(request)?;
        ApiReply::from(&response).success()?;
        versions(|name| response.header(name))
    }),
    ("Binary HTTP: no such path is a 404 inside", |trial| {
        let request = Request::new("GET", "/v2/nowhere", "").at(trial.transport.authority());
        match trial.transport.as_binary(request)?.status {
            404 => Ok(()),
            status => Err(wrong(format_args!("status {status} inside, and not 404"))),
        }
    }),
];
