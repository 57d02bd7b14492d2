//! The serving half: the services of a socket, and what stands before every call.

mod budget;
mod connection;
mod entrance;
mod services;

pub(crate) use services::MessageBounds;
pub use services::Services;
