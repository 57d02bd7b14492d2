//! A copy of a database, what is in it, and putting it into the place of the relay's own.

pub(crate) mod integrity;
pub(crate) mod restore;
