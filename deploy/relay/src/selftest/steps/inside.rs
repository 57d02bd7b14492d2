//! What can only be seen inside a sealed request.

use super::{Trial, versions};
use crate::selftest::client::{Trouble, wrong};
use crate::selftest::oblivious::{binary, envelope};
use serde_json::json;

impl Trial {
    pub(super) fn other_version(&mut self) -> Result<(), Trouble> {
        let plaintext = envelope::request_of_version(1, "fetch", &json!({ "mailbox_tokens": [] }))?;
        self.way.in_envelope(&self.client, &plaintext)?.refusal(400, "version")
    }

    pub(super) fn unknown_action(&mut self) -> Result<(), Trouble> {
        let plaintext = envelope::request("dance", &json!({}))?;
        self.way.in_envelope(&self.client, &plaintext)?.refusal(400, "unknown action")
    }

    pub(super) fn binary_health(&mut self) -> Result<(), Trouble> {
        let request = binary::request("GET", self.client.authority(), "/v2/health", None)?;
        let response = self.way.as_binary(&self.client, &request)?;
        response.answer().success()?;
        versions(|name| response.header(name))
    }

    pub(super) fn binary_not_found(&mut self) -> Result<(), Trouble> {
        let request = binary::request("GET", self.client.authority(), "/v2/nowhere", None)?;
        match self.way.as_binary(&self.client, &request)?.status {
            404 => Ok(()),
            status => Err(wrong(format_args!("status {status} inside, and not 404"))),
        }
    }
}
