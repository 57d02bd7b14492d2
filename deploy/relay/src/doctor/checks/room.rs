//! Room: on the volume, and in the store.

use crate::display::units::bytes;
use crate::doctor::code::Code;
use crate::doctor::facts::{Facts, StorageReport, Volume};
use crate::doctor::finding::Findings;

/// Part of the ceiling at which new mail is refused.
const REFUSED: f64 = 0.95;
/// Part of the ceiling from which that is near.
const NEAR: f64 = 0.90;
/// A volume this free is not full, whatever part of it that is, in bytes.
const PLENTY: u64 = 2 << 30;

pub(super) fn check(facts: &Facts, findings: &mut Findings) {
    let Some(report) = &facts.report else { return };
    let status = &report.status;
    if !status.durable {
        findings.add(Code::StoreMemory, "durability=memory: mail is lost when storaged stops");
    }
    let (used, ceiling, fill) = (bytes(status.live_bytes), bytes(status.ceiling_bytes), status.fill());
    let full = report.after.full > 0.0;
    if fill >= REFUSED || (full && facts.volume.is_none()) {
        findings.add(Code::StoreFull, format!("{used} of {ceiling} are used: new mail is refused"));
    } else if fill >= NEAR {
        findings.add(Code::StoreNearlyFull, format!("{:.0} % of {ceiling} are used", fill * 100.0));
    }
    if let Some(volume) = facts.volume.filter(|_| status.durable) {
        check_volume(facts, report, volume, full && fill < REFUSED, findings);
    }
}

fn check_volume(
    facts: &Facts,
    report: &StorageReport,
    volume: Volume,
    refuses: bool,
    findings: &mut Findings,
) {
    let path = facts.settings.data.display();
    let status = &report.status;
    let (free, total) = (bytes(volume.free), bytes(volume.total));
    if refuses || (volume.free < volume.total / 20 && volume.free < PLENTY) {
        findings.add(Code::DiskLow, format!("{free} of {total} are free on the volume of {path}"));
        return;
    }
    let taken = status.live_bytes.max(volume.database);
    let growth = status.ceiling_bytes.saturating_sub(taken);
    if volume.free < growth {
        let fits = taken.saturating_add(volume.free / 10 * 9);
        findings.add_with(
            Code::DiskRoom,
            format!("the store may take {} more, and {free} are free on the volume of {path}", bytes(growth)),
            format!("RELAY_MAX_STORAGE_BYTES={fits} fits, or make the volume larger"),
        );
    }
}

#[cfg(test)]
mod tests {
    use crate::doctor::checks::fixture::{codes, codes_reported};
    use crate::doctor::facts::Volume;

    #[test]
    fn a_store_is_full_nearly_full_or_has_room() {
        let filled = |part: u64| {
            codes_reported(|report| {
                report.status.live_bytes = (1 << 30) / 100 * part;
                report.after.full = f64::from(u8::from(part >= 95));
            })
        };
        assert!(filled(89).is_empty());
        assert_eq!(filled(91), ["store-nearly-full"]);
        assert_eq!(filled(96), ["store-full"]);
    }

    #[test]
    fn a_volume_is_low_tight_or_has_room() {
        let with = |total: u64, free: u64, database: u64| {
            codes(|facts| facts.volume = Some(Volume { total, free, database }))
        };
        assert_eq!(with(20 << 30, 500 << 20, 0), ["disk-low"]);
        assert_eq!(with(8 << 30, 900 << 20, 0), ["disk-room"]);
        assert!(with(8 << 30, 900 << 20, 200 << 20).is_empty(), "the file has some of it already");
        assert!(with(4 << 40, 3 << 30, 0).is_empty(), "a small part of much is much");
    }

    #[test]
    fn mail_that_is_refused_for_the_volume_is_told_so() {
        assert_eq!(codes_reported(|report| report.after.full = 1.0), ["disk-low"]);
        let unseen = codes(|facts| {
            facts.volume = None;
            facts.report.as_mut().unwrap().after.full = 1.0;
        });
        assert_eq!(unseen, ["store-full"]);
    }

    #[test]
    fn mail_in_memory_is_told() {
        assert_eq!(codes_reported(|report| report.status.durable = false), ["store-memory"]);
    }
}
