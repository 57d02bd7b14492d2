//! What can only be seen inside a sealed request.

use super::{Trial, versions};
use crate::selftest::reply::{ApiReply, StepError, wrong};
use relay_client::binary::Request;
use relay_client::envelope;
use serde_json::json;

impl Trial {
    pub(super) fn other_version(&mut self) -> Result<(), StepError> {
        let plaintext = envelope::request_with(json!(1), json!("fetch"), &json!({ "mailbox_tokens": [] }))?;
        self.transport.in_envelope(&plaintext)?.refusal(400, "version")
    }

    pub(super) fn unknown_action(&mut self) -> Result<(), StepError> {
        let plaintext = envelope::request("dance", &json!({}))?;
        self.transport.in_envelope(&plaintext)?.refusal(400, "unknown action")
    }

    pub(super) fn binary_health(&mut self) -> Result<(), StepError> {
        let request = Request::new("GET", "/v2/health", "").at(self.transport.authority());
        let response = self.transport.as_binary(request)?;
        ApiReply::from(&response).success()?;
        versions(|name| response.header(name))
    }

    pub(super) fn binary_not_found(&mut self) -> Result<(), StepError> {
        let request = Request::new("GET", "/v2/nowhere", "").at(self.transport.authority());
        match self.transport.as_binary(request)?.status {
            404 => Ok(()),
            status => Err(wrong(format_args!("status {status} inside, and not 404"))),
        }
    }
}
