//! Lists of mailbox tokens, as fetch and register take them.

use super::error::{ApiError, ErrorCode};
use super::fields::{Distinct, Field, List, Spelled};
use bytes::Bytes;
use relay_proto::limits::MAX_MAILBOXES;
use relay_proto::{MailboxHash, MailboxToken};

/// Reads a list of 1 to 1900 tokens.
pub(crate) fn read(
    field: Field<List<Spelled<'_, MailboxToken>>>,
) -> Result<Distinct<'_, MailboxToken>, ApiError> {
    field.distinct(MAX_MAILBOXES, [ErrorCode::TokenCount, ErrorCode::Token])
}

/// What storage knows mailboxes by.
pub(crate) fn hashes(tokens: &[MailboxToken]) -> Vec<MailboxHash> {
    tokens.iter().map(MailboxToken::hash).collect()
}

/// The mailboxes as messages name them. They share one buffer, so that a message that is kept for another attempt is
/// cheap to copy.
pub(crate) fn names(mailboxes: &[MailboxHash]) -> Vec<Bytes> {
    let mut all = Vec::with_capacity(mailboxes.len() * MailboxHash::LENGTH);
    for mailbox in mailboxes {
        all.extend_from_slice(mailbox.as_bytes());
    }
    let mut all = Bytes::from(all);
    mailboxes.iter().map(|_| all.split_to(MailboxHash::LENGTH)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::Deserialize;

    #[derive(Deserialize)]
    struct Body<'a> {
        #[serde(borrow)]
        tokens: Field<List<Spelled<'a, MailboxToken>>>,
    }

    fn count_of(tokens: &[&str]) -> Result<usize, ErrorCode> {
        let body = serde_json::json!({ "tokens": tokens }).to_string();
        let Body { tokens } = super::super::fields::read(body.as_bytes()).unwrap();
        read(tokens).map(|tokens| tokens.values.len()).map_err(|error| error.fault)
    }

    #[test]
    fn a_list_has_1_to_1900_tokens() {
        let tokens: Vec<_> = (0..=MAX_MAILBOXES).map(|number| format!("{number:064x}")).collect();
        let mut tokens: Vec<&str> = tokens.iter().map(String::as_str).collect();
        assert_eq!(count_of(&tokens), Err(ErrorCode::TokenCount));
        tokens.pop();
        assert_eq!(count_of(&tokens), Ok(MAX_MAILBOXES));
        assert_eq!(count_of(&[]), Err(ErrorCode::TokenCount));
        assert_eq!(count_of(&[tokens[0], "zz"]), Err(ErrorCode::Token));
    }

    #[test]
    fn names_are_the_hashes_in_their_order() {
        let hashes = hashes(&[MailboxToken::from_bytes([1; 32]), MailboxToken::from_bytes([2; 32])]);
        let expected: Vec<Bytes> = hashes.iter().map(|mailbox| Bytes::from(*mailbox)).collect();
        assert_eq!(names(&hashes), expected);
    }
}
