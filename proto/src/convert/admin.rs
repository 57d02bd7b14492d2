//! Messages of the admin and offload services.

use crate::admin::{
    AgeUsage, BackupPart, Capacity, ClockStanding, ClockStatus, Evict, Evicted, Key, KindUsage, RowKind,
    Slack, Status,
};
use crate::telemetry::Process;
use crate::{Refusal, UnixSeconds, wire};
use std::borrow::Cow;

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

impl From<RowKind> for wire::RowKind {
    fn from(kind: RowKind) -> Self {
        match kind {
            RowKind::Mail => Self::Mail,
            RowKind::Held => Self::Held,
            RowKind::Moved => Self::Moved,
            RowKind::Outbox => Self::Outbox,
            RowKind::Registrations => Self::Registrations,
            RowKind::Offers => Self::Offers,
            RowKind::Proofs => Self::Proofs,
            RowKind::Guardians => Self::Guardians,
            RowKind::Escrow => Self::Escrow,
            RowKind::Tombstones => Self::Tombstones,
            RowKind::Used => Self::Used,
        }
    }
}

fn row_kind(number: i32) -> Result<RowKind, Refusal> {
    RowKind::ALL
        .into_iter()
        .find(|kind| i32::from(wire::RowKind::from(*kind)) == number)
        .ok_or(Refusal::Invalid { field: Cow::Borrowed("kind") })
}

impl From<KindUsage> for wire::KindUsage {
    fn from(usage: KindUsage) -> Self {
        let KindUsage { kind, ages } = usage;
        let age = |AgeUsage { below_secs, rows, bytes }| wire::AgeUsage {
            below_secs: below_secs.unwrap_or(0),
            rows,
            bytes,
        };
        Self { kind: wire::RowKind::from(kind).into(), ages: ages.into_iter().map(age).collect() }
    }
}

impl TryFrom<wire::KindUsage> for KindUsage {
    type Error = Refusal;

    fn try_from(message: wire::KindUsage) -> Result<Self, Refusal> {
        let wire::KindUsage { kind, ages } = message;
        let age = |wire::AgeUsage { below_secs, rows, bytes }| AgeUsage {
            below_secs: Some(below_secs).filter(|below| *below > 0),
            rows,
            bytes,
        };
        Ok(Self { kind: row_kind(kind)?, ages: ages.into_iter().map(age).collect() })
    }
}

impl From<Evict> for wire::EvictRequest {
    fn from(evict: Evict) -> Self {
        let Evict { kind, older_than_secs, larger_than_bytes, dry_run } = evict;
        Self { kind: wire::RowKind::from(kind).into(), older_than_secs, larger_than_bytes, dry_run }
    }
}

impl TryFrom<wire::EvictRequest> for Evict {
    type Error = Refusal;

    fn try_from(message: wire::EvictRequest) -> Result<Self, Refusal> {
        let wire::EvictRequest { kind, older_than_secs, larger_than_bytes, dry_run } = message;
        Ok(Self { kind: row_kind(kind)?, older_than_secs, larger_than_bytes, dry_run })
    }
}

impl From<Evicted> for wire::EvictReply {
    fn from(evicted: Evicted) -> Self {
        let Evicted { rows, bytes } = evicted;
        Self { rows, bytes }
    }
}

impl From<wire::EvictReply> for Evicted {
    fn from(message: wire::EvictReply) -> Self {
        let wire::EvictReply { rows, bytes } = message;
        Self { rows, bytes }
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

    #[test]
    fn usage_and_eviction_survive_the_wire_and_an_unknown_kind_is_none() {
        for kind in RowKind::ALL {
            let evict = Evict { kind, older_than_secs: 7, larger_than_bytes: Some(0), dry_run: true };
            assert_eq!(Evict::try_from(wire::EvictRequest::from(evict)), Ok(evict));
            let ages = [Some(3600), None].map(|below_secs| AgeUsage { below_secs, rows: 1, bytes: 2 });
            let usage = KindUsage { kind, ages: ages.to_vec() };
            assert_eq!(KindUsage::try_from(wire::KindUsage::from(usage.clone())), Ok(usage));
        }
        for kind in [0, 12, -1] {
            assert!(Evict::try_from(wire::EvictRequest { kind, ..Default::default() }).is_err());
        }
        let evicted = Evicted { rows: 3, bytes: 4 };
        assert_eq!(Evicted::from(wire::EvictReply::from(evicted)), evicted);
    }
}
