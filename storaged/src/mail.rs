//! Mailboxes: blobs, pages of them, who registered a mailbox, and how an owner purges it.

pub(crate) mod blobs;
pub(crate) mod page;
pub(crate) mod purges;
pub(crate) mod purging;
pub(crate) mod registering;
pub(crate) mod registrations;
pub(crate) mod writing;
