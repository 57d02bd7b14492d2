//! Messages of the admin and offload services.

use crate::admin::{BackupPart, Capacity, Key, Slack, Status};
use crate::telemetry::Process;
use crate::{Refusal, UnixSeconds, wire};
use std::borrow::Cow;

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

impl From<BackupPart> for wire::BackupPart {
    fn from(part: BackupPart) -> Self {
        use wire::backup_part::Part;
        Self {
            part: Some(match part {
                BackupPart::Course { copied, total } => {
                    Part::Course(wire::BackupCourse { copied_bytes: copied, total_bytes: total })
                }
                BackupPart::Piece(bytes) => Part::Piece(bytes),
            }),
        }
    }
}

impl TryFrom<wire::BackupPart> for BackupPart {
    type Error = Refusal;

    fn try_from(message: wire::BackupPart) -> Result<Self, Refusal> {
        use wire::backup_part::Part;
        match message.part {
            Some(Part::Course(wire::BackupCourse { copied_bytes, total_bytes })) => {
                Ok(Self::Course { copied: copied_bytes, total: total_bytes })
            }
            Some(Part::Piece(bytes)) => Ok(Self::Piece(bytes)),
            None => Err(Refusal::Invalid { field: Cow::Borrowed("part") }),
        }
    }
}

impl From<Slack> for wire::CompactReply {
    fn from(slack: Slack) -> Self {
        let Slack { free_bytes, file_bytes } = slack;
        Self { free_bytes, file_bytes }
    }
}

impl From<wire::CompactReply> for Slack {
    fn from(message: wire::CompactReply) -> Self {
        let wire::CompactReply { free_bytes, file_bytes } = message;
        Self { free_bytes, file_bytes }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_of_a_backup_survive_the_wire_and_an_empty_one_is_none() {
        for part in [BackupPart::Course { copied: 3, total: 9 }, BackupPart::Piece(vec![1, 2, 3].into())] {
            assert_eq!(BackupPart::try_from(wire::BackupPart::from(part.clone())), Ok(part));
        }
        assert!(BackupPart::try_from(wire::BackupPart { part: None }).is_err());
        let slack = Slack { free_bytes: 5, file_bytes: 7 };
        assert_eq!(Slack::from(wire::CompactReply::from(slack)), slack);
    }
}
