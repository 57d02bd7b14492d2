//! Messages of the admin and offload services.

use crate::admin::{Capacity, Key, Status};
use crate::telemetry::Process;
use crate::{Refusal, UnixSeconds, wire};

impl From<wire::CapacityReply> for Capacity {
    fn from(message: wire::CapacityReply) -> Self {
        let wire::CapacityReply { live_bytes, ceiling_bytes, durable } = message;
        Self { live_bytes, ceiling_bytes, durable }
    }
}

impl From<Capacity> for wire::CapacityReply {
    fn from(capacity: Capacity) -> Self {
        let Capacity { live_bytes, ceiling_bytes, durable } = capacity;
        Self { live_bytes, ceiling_bytes, durable }
    }
}

impl TryFrom<wire::StatusReply> for Status {
    type Error = Refusal;

    fn try_from(message: wire::StatusReply) -> Result<Self, Refusal> {
        let wire::StatusReply {
            processes,
            live_bytes,
            ceiling_bytes,
            blobs,
            registrations,
            durable,
            schema_version,
            sqlite_version,
            sweep_suspended,
            keys,
        } = message;
        Ok(Self {
            processes: processes.into_iter().map(Process::try_from).collect::<Result<_, _>>()?,
            capacity: Capacity { live_bytes, ceiling_bytes, durable },
            blobs,
            registrations,
            schema_version,
            sqlite_version,
            sweep_suspended,
            keys: keys
                .into_iter()
                .map(|wire::Key { name, since }| Key { name, since: UnixSeconds::new(since) })
                .collect(),
        })
    }
}

impl From<Status> for wire::StatusReply {
    fn from(status: Status) -> Self {
        let Status {
            processes,
            capacity: Capacity { live_bytes, ceiling_bytes, durable },
            blobs,
            registrations,
            schema_version,
            sqlite_version,
            sweep_suspended,
            keys,
        } = status;
        Self {
            processes: processes.into_iter().map(wire::Process::from).collect(),
            live_bytes,
            ceiling_bytes,
            blobs,
            registrations,
            durable,
            schema_version,
            sqlite_version,
            sweep_suspended,
            keys: keys
                .into_iter()
                .map(|Key { name, since }| wire::Key { name, since: since.get() })
                .collect(),
        }
    }
}
