//! Messages of the admin and offload services.

use crate::admin::{BackupPart, Capacity, ClockStanding, ClockStatus, Key, Slack, Status};
use crate::telemetry::Process;
use crate::{Refusal, UnixSeconds, wire};
use std::borrow::Cow;

impl From<wire::CapacityReply> for Capacity {
    fn from(message: wire::CapacityReply) -> Self {
        let wire::CapacityReply { live_bytes, ceiling_bytes, durable, foreign_bytes } = message;
        Self { live_bytes, ceiling_bytes, durable, foreign_bytes }
    }
}

impl From<Capacity> for wire::CapacityReply {
    fn from(capacity: Capacity) -> Self {
        let Capacity { live_bytes, ceiling_bytes, durable, foreign_bytes } = capacity;
        Self { live_bytes, ceiling_bytes, durable, foreign_bytes }
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
            clock,
        } = message;
        Ok(Self {
            processes: processes.into_iter().map(Process::try_from).collect::<Result<_, _>>()?,
            capacity: Capacity { live_bytes, ceiling_bytes, durable, foreign_bytes: 0 },
            blobs,
            registrations,
            schema_version,
            sqlite_version,
            sweep_suspended,
            keys: keys
                .into_iter()
                .map(|wire::Key { name, since }| Key { name, since: UnixSeconds::new(since) })
                .collect(),
            clock: clock.map(ClockStatus::try_from).transpose()?,
        })
    }
}

impl From<Status> for wire::StatusReply {
    fn from(status: Status) -> Self {
        let Status {
            processes,
            capacity: Capacity { live_bytes, ceiling_bytes, durable, foreign_bytes: _ },
            blobs,
            registrations,
            schema_version,
            sqlite_version,
            sweep_suspended,
            keys,
            clock,
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
            clock: clock.map(wire::ClockStatus::from),
        }
    }
}

impl From<ClockStatus> for wire::ClockStatus {
    fn from(status: ClockStatus) -> Self {
        let ClockStatus { standing, apart_secs, trusted_in_secs } = status;
        let standing = match standing {
            ClockStanding::Trusted => wire::ClockStanding::Trusted,
            ClockStanding::Ahead => wire::ClockStanding::Ahead,
            ClockStanding::Behind => wire::ClockStanding::Behind,
            ClockStanding::BeforeBuild => wire::ClockStanding::BeforeBuild,
        };
        Self { standing: standing.into(), apart_secs, trusted_in_secs }
    }
}

impl TryFrom<wire::ClockStatus> for ClockStatus {
    type Error = Refusal;

    fn try_from(message: wire::ClockStatus) -> Result<Self, Refusal> {
        let wire::ClockStatus { standing, apart_secs, trusted_in_secs } = message;
        let standing = match wire::ClockStanding::try_from(standing) {
            Ok(wire::ClockStanding::Trusted) => ClockStanding::Trusted,
            Ok(wire::ClockStanding::Ahead) => ClockStanding::Ahead,
            Ok(wire::ClockStanding::Behind) => ClockStanding::Behind,
            Ok(wire::ClockStanding::BeforeBuild) => ClockStanding::BeforeBuild,
            Ok(wire::ClockStanding::Unspecified) | Err(_) => return Err(Refusal::invalid("standing")),
        };
        Ok(Self { standing, apart_secs, trusted_in_secs })
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
        for standing in
            [ClockStanding::Trusted, ClockStanding::Ahead, ClockStanding::Behind, ClockStanding::BeforeBuild]
        {
            let clock = ClockStatus { standing, apart_secs: 3, trusted_in_secs: 9 };
            assert_eq!(ClockStatus::try_from(wire::ClockStatus::from(clock)), Ok(clock));
        }
        assert!(ClockStatus::try_from(wire::ClockStatus::default()).is_err());
        let slack = Slack { free_bytes: 5, file_bytes: 7 };
        assert_eq!(Slack::from(wire::CompactReply::from(slack)), slack);
    }
}
