//! The older relay's keys, in files of their own. The seeds for Oblivious HTTP lie wherever its operator said, so they
//! are known by how they begin.

use crate::config::KeySettings;
use crate::db::{Batch, StoreError};
use crate::offline::import::report::Fate;
use crate::offline::import::{ImportPart, ImportTally, Target};
use crate::ohttp_keys::keys;
use relay_daemon::{Exit, Failure};
use relay_proto::keys::DAY_SECS;
use relay_proto::{NoiseKey, NoiseSecret, WindowSeed};
use std::fs::File;
use std::io::Read as _;
use std::path::Path;

/// No file of keys is longer, in bytes.
const LONGEST: u64 = 16 << 10;

/// How a file of window seeds begins. Behind it: how many, in one byte, and of each the window's number, big-endian in
/// eight bytes, and the seed.
const SEEDS: &[u8] = b"VOW1";

/// Bytes of one of them.
const SEED_ENTRY: usize = 8 + WindowSeed::LENGTH;

/// Takes a file over, if it is one of keys.
pub(crate) fn take(
    target: &mut Target,
    config: &KeySettings,
    name: &str,
    file: &Path,
) -> Result<ImportPart, Failure> {
    let failed = |error: std::io::Error| {
        Failure::new(Exit::Io, format_args!("cannot read {}: {error}", file.display()))
    };
    let mut content = Vec::new();
    File::open(file).and_then(|file| file.take(LONGEST).read_to_end(&mut content)).map_err(failed)?;
    match name {
        "relay_noise_key.bin" => noise(target, &content),
        "ohttp-anchor.key" if config.anchor.is_some() => {
            Ok(ImportPart::left("RELAY_ANCHOR_DIR names another anchor"))
        }
        "ohttp-anchor.key" => secret(target, "anchor", "anchor", &content, DIFFERENT_ANCHOR),
        "ohttp-intermediate.key" | "ohttp-intermediate.certs" => Ok(ImportPart::left(
            "the anchor certifies another key by itself; with an offline anchor, see `relay anchor certify`",
        )),
        _ if content.starts_with(SEEDS) => seeds(target, config, &content),
        _ if content.len() == WindowSeed::LENGTH => Ok(ImportPart::left(
            "a single key for Oblivious HTTP has no windows; clients ask for the new one when theirs is refused",
        )),
        _ => Ok(ImportPart::left("it is not known")),
    }
}

const DIFFERENT_ANCHOR: &str = "this relay has an anchor of its own already, which clients may pin; take over into an empty data directory instead";

/// The key of the older relay's end of its channels: the secret half, and the public one.
fn noise(target: &mut Target, content: &[u8]) -> Result<ImportPart, Failure> {
    let halves = content.split_at_checked(NoiseSecret::LENGTH);
    let sound = halves.and_then(|(secret_half, public_half)| {
        let public_half = NoiseKey::try_from(public_half).ok()?;
        (NoiseSecret::try_from(secret_half).ok()?.public() == public_half).then_some(secret_half)
    });
    match sound {
        Some(bytes) => secret(
            target,
            "federation-noise",
            "Noise key",
            bytes,
            "this relay has a Noise key of its own already, which peers may have pinned",
        ),
        None => Ok(ImportPart::Read { of: "Noise key", tally: one(Fate::Malformed) }),
    }
}

/// Keeps 32 secret bytes, unless others are kept under the name.
fn secret(
    target: &mut Target,
    name: &str,
    of: &'static str,
    content: &[u8],
    different: &'static str,
) -> Result<ImportPart, Failure> {
    let Ok(bytes) = <[u8; 32]>::try_from(content) else {
        return Ok(ImportPart::Read { of, tally: one(Fate::Malformed) });
    };
    let kept = target.write_one(|sql| keys::take_over_secret(sql, name, &bytes))?;
    Ok(match kept {
        keys::TakenOver::Now => ImportPart::Read { of, tally: one(Fate::Taken) },
        keys::TakenOver::Before => ImportPart::Read { of, tally: one(Fate::Known) },
        keys::TakenOver::Different => ImportPart::left(different),
    })
}

/// Keeps the seeds of the windows around this moment, so that clients go on with the key they have.
fn seeds(target: &mut Target, config: &KeySettings, content: &[u8]) -> Result<ImportPart, Failure> {
    const OF: &str = "key window";
    let Some(found) = parse(content) else {
        return Ok(ImportPart::Read { of: OF, tally: one(Fate::Malformed) });
    };
    if config.window_secs != DAY_SECS {
        return Ok(ImportPart::left(
            "its keys last for a day; set RELAY_OHTTP_KEY_ROTATION_HOURS=24 to go on with them",
        ));
    }
    let window = target.now.get() / DAY_SECS;
    let mut tally = ImportTally::default();
    for (number, seed) in found {
        let fate = if number < window.saturating_sub(1) {
            Fate::Expired
        } else if number > window + 1 {
            Fate::Malformed
        } else {
            match target.write_one(|sql| keys::take_over_window(sql, number, &seed, DAY_SECS))? {
                keys::TakenOver::Now => Fate::Taken,
                keys::TakenOver::Before => Fate::Known,
                keys::TakenOver::Different => {
                    return Ok(ImportPart::left("this relay has keys of its own already, which clients use"));
                }
            }
        };
        tally.count(fate);
    }
    Ok(ImportPart::Read { of: OF, tally })
}

fn parse(content: &[u8]) -> Option<Vec<(u64, WindowSeed)>> {
    let (count, entries) = content.strip_prefix(SEEDS)?.split_first()?;
    if entries.len() != usize::from(*count) * SEED_ENTRY {
        return None;
    }
    let read = |entry: &[u8]| {
        let (number, seed) = entry.split_first_chunk::<8>()?;
        Some((u64::from_be_bytes(*number), WindowSeed::try_from(seed).ok()?))
    };
    entries.chunks_exact(SEED_ENTRY).map(read).collect()
}

fn one(fate: Fate) -> ImportTally {
    let mut tally = ImportTally::default();
    tally.count(fate);
    tally
}

impl Target {
    /// Does one write in a transaction of its own.
    fn write_one<T>(
        &self,
        write: impl FnOnce(&rusqlite::Connection) -> Result<T, StoreError>,
    ) -> Result<T, Failure> {
        let mut batch = Batch::begin(&self.sql, &self.gauges).map_err(Failure::from)?;
        let outcome = batch.with_savepoint(|write_one| write(write_one.sql)).map_err(Failure::from)?;
        batch.commit(false).map_err(Failure::from)?;
        Ok(outcome)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_file_of_seeds_is_read_as_it_is_laid_out() {
        let mut content = b"VOW1\x02".to_vec();
        for number in [20_000_u64, 20_001] {
            content.extend_from_slice(&number.to_be_bytes());
            content.extend_from_slice(&[number.to_le_bytes()[0]; 32]);
        }
        let found = parse(&content).unwrap();
        assert_eq!(found.iter().map(|(number, _)| *number).collect::<Vec<_>>(), [20_000, 20_001]);
        assert_eq!(found[0].1.as_bytes(), &[0x20; 32]);
        for cut in 0..content.len() {
            assert!(parse(&content[..cut]).is_none(), "{cut}");
        }
        content.push(0);
        assert!(parse(&content).is_none(), "a byte too many");
    }

    proptest! {
        #[test]
        fn no_file_panics(content in prop::collection::vec(any::<u8>(), 0..200)) {
            let seeds = [SEEDS, &content].concat();
            if let Some(found) = parse(&seeds) {
                prop_assert_eq!(found.len(), usize::from(content[0]));
            }
            prop_assert!(content.starts_with(SEEDS) || parse(&content).is_none());
        }
    }
}
