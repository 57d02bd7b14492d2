//! What all endpoints need to read a request and to reply: bodies bounded in memory, fields, kinds of values, errors.

pub(crate) mod budget;
pub(crate) mod error;
pub(crate) mod fields;
pub(crate) mod reply;
pub(crate) mod success;
pub(crate) mod tokens;
pub(crate) mod values;
