//! Lists of mailbox tokens, as fetch and register take them.

use super::error::{ApiError, ErrorCode};
use super::fields::Field;
use bytes::Bytes;
use relay_proto::limits::MAX_MAILBOXES;
use relay_proto::{MailboxHash, MailboxToken, TokensDigest};
use std::borrow::Cow;
use std::collections::HashSet;

/// Mailboxes that a client names, each once.
pub(super) struct Tokens<'a> {
    /// What storage knows them by.
    pub(super) mailboxes: Vec<MailboxHash>,
    /// The tokens as the client wrote them, in the same order.
    pub(super) spellings: Vec<Cow<'a, str>>,
    /// Of the tokens as the client sent them, repetitions included: what an owner signs.
    given: Vec<MailboxToken>,
}

impl<'a> Tokens<'a> {
    /// Reads a list of 1 to 1900 tokens. The first spelling of a token stands.
    pub(super) fn read(field: Field<'a>) -> Result<Self, ApiError> {
        let entries = field.list(ErrorCode::TokenCount)?;
        if entries.is_empty() || entries.len() > MAX_MAILBOXES {
            return Err(ErrorCode::TokenCount.into());
        }
        let mut tokens = Self {
            mailboxes: Vec::with_capacity(entries.len()),
            spellings: Vec::with_capacity(entries.len()),
            given: Vec::with_capacity(entries.len()),
        };
        let mut seen = HashSet::with_capacity(entries.len());
        for entry in entries {
            let spelling = entry.ok_or(ErrorCode::Token)?;
            let token = MailboxToken::from_hex(&spelling).map_err(|_| ErrorCode::Token)?;
            tokens.given.push(token);
            if seen.insert(token) {
                tokens.mailboxes.push(token.hash());
                tokens.spellings.push(spelling);
            }
        }
        Ok(tokens)
    }

    /// The mailboxes as messages name them. They share one buffer, so that a message that is kept for another attempt is
    /// cheap to copy.
    pub(super) fn names(&self) -> Vec<Bytes> {
        let mut all = Vec::with_capacity(self.mailboxes.len() * MailboxHash::LENGTH);
        for mailbox in &self.mailboxes {
            all.extend_from_slice(mailbox.as_bytes());
        }
        let mut all = Bytes::from(all);
        self.mailboxes.iter().map(|_| all.split_to(MailboxHash::LENGTH)).collect()
    }

    /// What an owner's signature covers.
    pub(super) fn digest(&self) -> TokensDigest {
        TokensDigest::of(&self.given)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(entries: &[Option<&'static str>]) -> Field<'static> {
        Field::List(entries.iter().map(|entry| entry.map(Cow::Borrowed)).collect())
    }

    const TOKEN: &str = "00000000000000000000000000000000000000000000000000000000000000aB";
    const SAME_TOKEN: &str = "00000000000000000000000000000000000000000000000000000000000000Ab";
    const OTHER_TOKEN: &str = "0000000000000000000000000000000000000000000000000000000000000001";

    #[test]
    fn a_token_counts_once_and_keeps_its_first_spelling() {
        let tokens = Tokens::read(list(&[Some(TOKEN), Some(OTHER_TOKEN), Some(SAME_TOKEN)])).unwrap();
        assert_eq!(tokens.spellings, [TOKEN, OTHER_TOKEN]);
        assert_eq!(tokens.mailboxes[0], MailboxToken::from_hex(TOKEN).unwrap().hash());
        assert_eq!(tokens.mailboxes.len(), 2);
        let names: Vec<Bytes> = tokens.mailboxes.iter().map(|mailbox| Bytes::from(*mailbox)).collect();
        assert_eq!(tokens.names(), names);
    }

    #[test]
    fn a_list_has_1_to_1900_tokens() {
        let fault = |field| Tokens::read(field).map(drop).unwrap_err().fault;
        for field in [Field::Missing, Field::Wrong, Field::Number(1), Field::Text(TOKEN.into()), list(&[])] {
            assert_eq!(fault(field), ErrorCode::TokenCount);
        }
        assert_eq!(fault(list(&[Some(TOKEN); MAX_MAILBOXES + 1])), ErrorCode::TokenCount);
        assert!(Tokens::read(list(&[Some(TOKEN); MAX_MAILBOXES])).is_ok());
        for entry in [None, Some(""), Some("zz"), Some(&TOKEN[1..])] {
            assert_eq!(fault(list(&[Some(TOKEN), entry])), ErrorCode::Token, "{entry:?}");
        }
    }
}
