//! What the messages of storage's services mean: what their fields are read into, what they are called when they are shown,
//! and how much of something fits.

pub mod admin;
pub mod caller;
pub mod guardian;
pub mod mail;
pub mod page;
pub mod telemetry;
pub mod transfer;
