//! The ground every process of the relay stands on.
//!
//! `daemon` owns what all of them do alike: reading variables, logging without secrets, starting and
//! stopping, health and metrics endpoints, listening. It knows nothing of mail.

mod backoff;
pub mod bucket;
pub mod build;
mod clock;
mod confine;
mod exit;
pub mod headers;
pub mod health;
pub mod inherited;
pub mod lifecycle;
mod limits;
mod listen;
mod logging;
pub mod metrics;
pub mod notify;
pub mod ops;
pub mod program;
pub mod report;
pub mod signals;
mod socket_lock;
mod throttle;
pub mod variables;
mod vars;
pub mod watchdog;

pub use backoff::Backoff;
pub use clock::{Clock, ManualClock};
pub use confine::{Confined, Level, confine};
pub use exit::{Exit, Failure};
pub use lifecycle::{Running, Shutdown};
pub use limits::raise_open_files;
pub use listen::{Sharing, listen_tcp, listen_unix, port_is_free, socket_secret};
pub use logging::start as start_logging;
pub use socket_lock::{SocketLocks, patiently};
pub use throttle::Throttle;
pub use vars::{ConfigError, Reader, Vars};
