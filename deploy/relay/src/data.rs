//! The relay's data as a whole: copies of it, checks of it, and changes to it while no relay runs.

pub(crate) mod backup;
pub(crate) mod compact;
pub(crate) mod downgrade;
pub(crate) mod import;
pub(crate) mod restore;
pub(crate) mod verify;
