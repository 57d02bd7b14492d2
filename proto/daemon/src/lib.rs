//! The ground every process of the relay stands on.
//!
//! `daemon` owns what all of them do alike: reading variables, logging without secrets, starting and
//! stopping, health and metrics endpoints, listening. It knows nothing of mail.

mod backoff;
pub mod bucket;
mod clock;
mod confine;
pub mod headers;
pub mod ip_filter;
pub mod lifecycle;
mod limits;
mod logging;
pub mod ops;
pub mod outbound;
mod sockets;
mod throttle;
pub mod variables;

pub use backoff::Backoff;
pub use clock::{Clock, ManualClock};
pub use confine::{Confined, Level, confine};
pub use lifecycle::{Exit, Failure, Running, Shutdown, notify, program, signals, watchdog};
pub use limits::raise_open_files;
pub use logging::start as start_logging;
pub use ops::{build, health, metrics, report};
pub use sockets::{
    Sharing, SocketLocks, inherited, listen_tcp, listen_unix, patiently, port_is_free, socket_secret,
};
pub use throttle::Throttle;
pub use variables::{ConfigError, Reader, Vars};
