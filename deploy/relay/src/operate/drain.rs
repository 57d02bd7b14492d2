//! `relay drain`: empties a relay into its peers, and shows how far that is.
//!
//! Storage keeps the order and federated carries it out. This command gives it and watches, and may end at any moment:
//! mail goes on moving, also after a restart, until `relay drain --stop`.

mod progress;

use crate::admin_client::{AdminClient, call, with_client};
use crate::display::output::Answer;
use crate::display::progress::Progress;
use crate::display::units::counted;
use crate::operate::federation_summary::{Federation, FederationSummary};
use progress::DrainProgress;
use relay_daemon::{Exit, Failure, Vars, variables};
use std::future::{Future, pending};
use std::io::Write;
use std::time::Duration;
use tokio::time::{Instant, sleep, sleep_until};

/// What goes on without this command, and how to see or end it.
const GOES_ON: &str = "the order stands, and mail moves as peers take it, also after a restart; `relay drain` shows \
                       how far it is, `relay drain --stop` ends it";

/// How long things may take.
#[derive(Debug, Clone, Copy)]
struct Timing {
    /// Until this command gives up.
    timeout: Duration,
    /// Between two requests for the number of blobs.
    poll: Duration,
    /// Between two requests for the peers, which cost storage more.
    look: Duration,
    /// For how long storage may be away: it may be started again meanwhile.
    silence: Duration,
}

impl Timing {
    const fn of(timeout: Duration) -> Self {
        Self {
            timeout,
            poll: Duration::from_millis(500),
            look: Duration::from_secs(5),
            silence: Duration::from_secs(15),
        }
    }
}

/// How the watching ended.
enum Outcome {
    Emptied,
    TimeOver,
    Interrupted,
    /// Another command ended the draining.
    Withdrawn,
}

/// Empties the relay that the variables point to, or ends that.
///
/// # Errors
/// When nothing would move, when blobs are left at the end, or when no relay answers.
pub(crate) fn drain(vars: &Vars, stop: bool, errors: &mut impl Write) -> Result<Answer, Failure> {
    if stop {
        let left = call(vars, async |admin| admin.drain(false).await)?;
        return Ok(format!("the relay is not being emptied any more; {} here\n", are(left)).into());
    }
    let mut reader = vars.reader();
    let timeout = Duration::from_secs(reader.read(&variables::FEDERATION_DRAIN_TIMEOUT));
    reader.finish()?;
    let interrupted = async {
        // Where Ctrl-C cannot be watched it ends the process, which is as good.
        if tokio::signal::ctrl_c().await.is_err() {
            pending::<()>().await;
        }
    };
    empty(vars, Timing::of(timeout), Progress::new(errors), interrupted)
}

fn empty<E: Write>(
    vars: &Vars,
    timing: Timing,
    mut progress: Progress<'_, E>,
    interrupted: impl Future<Output = ()>,
) -> Result<Answer, Failure> {
    with_client(vars, async |client| {
        let deadline = Instant::now() + timing.timeout;
        let mut drained = begin(&client).await?;
        progress.show(drained.gone(), drained.most, &drained);
        let end = tokio::select! {
            biased;
            end = follow(&client, timing, &mut drained, &mut progress) => end,
            () = interrupted => Ok(Outcome::Interrupted),
            () = sleep_until(deadline) => Ok(Outcome::TimeOver),
        };
        progress.end();
        let (left, staying) = (are(drained.left), drained.staying());
        let unfinished = |why: String| Err(Failure::new(Exit::Forced, why));
        match end? {
            Outcome::Emptied => {
                let text =
                    "the relay is empty; what still arrives moves as well, until `relay drain --stop`\n";
                Ok(text.to_owned().into())
            }
            Outcome::TimeOver => {
                let seconds = timing.timeout.as_secs();
                unfinished(format!(
                    "{left} still here after {seconds} seconds (RELAY_FEDERATION_DRAIN_TIMEOUT){staying}; {GOES_ON}"
                ))
            }
            Outcome::Interrupted => unfinished(format!("{left} still here{staying}; {GOES_ON}")),
            Outcome::Withdrawn => {
                unfinished(format!("somebody ended this by `relay drain --stop`; {left} still here"))
            }
        }
    })
}

fn are(blobs: u64) -> String {
    format!("{} {}", counted(blobs, "blob"), if blobs == 1 { "is" } else { "are" })
}

/// Gives the order, if anything would come of it.
async fn begin(client: &AdminClient) -> Result<DrainProgress, Failure> {
    let (status, peering) =
        client.call(async |admin| Ok((admin.status().await?, admin.peers().await?))).await?;
    let summary = FederationSummary::of(&peering);
    if let Some(reason) = why_not(&summary, status.durable) {
        let order = if summary.draining { "; the order from before stands" } else { "" };
        return Err(failure!(Unavailable, "{reason}, so nothing would move{order}"));
    }
    let left = client.call(async |admin| admin.drain(true).await).await?;
    Ok(DrainProgress { most: left, left, blocked_by: blocked_by(&summary), outlasting: peering.outlasting })
}

/// Why mail would stay where it is, and how to fix that.
fn why_not(summary: &FederationSummary, durable: bool) -> Option<&'static str> {
    match summary.federation {
        Federation::Off => {
            Some("federation is off (RELAY_FEDERATION_ENABLED=true and RELAY_FEDERATION_PEERS turn it on)")
        }
        Federation::Silent => Some("federated does not report to storaged (its log says why)"),
        Federation::On if !durable => Some("a store in memory keeps its mail (RELAY_STORAGE_BACKEND=memory)"),
        Federation::On if summary.taking == 0 => Some("no peer is up (`relay peers` says why)"),
        Federation::On => None,
    }
}

/// Why nothing moves at the moment, although the order was worth giving.
fn blocked_by(summary: &FederationSummary) -> Option<&'static str> {
    let full = (summary.roomy == 0).then_some("no peer that is up has room");
    why_not(summary, true).or(full)
}

/// Watches until no blob is left, or the order is withdrawn.
async fn follow<E: Write>(
    client: &AdminClient,
    timing: Timing,
    drained: &mut DrainProgress,
    progress: &mut Progress<'_, E>,
) -> Result<Outcome, Failure> {
    let mut answered = Instant::now();
    let mut looked = answered;
    while drained.left > 0 {
        sleep(timing.poll).await;
        let is_time = looked.elapsed() >= timing.look;
        let seen = client
            .call(async |admin| {
                let blobs = admin.status().await?.blobs;
                Ok((blobs, if is_time { Some(admin.peers().await?) } else { None }))
            })
            .await;
        match seen {
            Ok((blobs, peering)) => {
                answered = Instant::now();
                drained.saw(blobs);
                if let Some(summary) = peering.as_ref().map(FederationSummary::of) {
                    looked = answered;
                    drained.blocked_by = blocked_by(&summary);
                    drained.outlasting = peering.as_ref().map_or(0, |peering| peering.outlasting);
                    if !summary.draining {
                        return Ok(Outcome::Withdrawn);
                    }
                }
            }
            Err(failure) if answered.elapsed() >= timing.silence => {
                return Err(Failure::new(failure.exit, format_args!("{failure}; {GOES_ON}")));
            }
            // Storage may be starting again.
            Err(_) => {}
        }
        progress.show(drained.gone(), drained.most, drained);
    }
    Ok(Outcome::Emptied)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::{Answers, Storage, nobody, peer, sample};
    use relay_proto::messages::{Link, PeerState, PeersReply};

    /// Looks as often as it can, at everything, and is in no hurry.
    const QUICK: Timing = Timing {
        timeout: Duration::from_secs(600),
        poll: Duration::from_millis(1),
        look: Duration::ZERO,
        silence: Duration::from_secs(600),
    };

    fn run(
        storage: &Storage,
        timing: Timing,
        interrupted: impl Future<Output = ()>,
    ) -> (Result<Answer, Failure>, String) {
        let mut errors = Vec::new();
        let progress = Progress::lines(&mut errors, Duration::ZERO);
        let outcome = empty(&storage.vars(), timing, progress, interrupted);
        (outcome, String::from_utf8(errors).unwrap())
    }

    fn refusal(peering: PeersReply) -> String {
        let storage = Storage::start(peering);
        let before = storage.is_draining();
        let (outcome, errors) = run(&storage, QUICK, pending());
        let refused = outcome.unwrap_err();
        assert_eq!(refused.exit, Exit::Unavailable);
        assert!(errors.is_empty());
        assert_eq!(storage.is_draining(), before, "no order was given");
        refused.text
    }

    #[test]
    fn it_ends_well_when_no_blob_is_left_and_tells_of_its_way() {
        let storage = Storage::answering(sample(), |answers| answers.moving = 500);
        let (outcome, errors) = run(&storage, QUICK, pending());
        let out = outcome.unwrap().text;
        assert!(out.starts_with("the relay is empty") && out.contains("relay drain --stop"), "{out}");
        assert_eq!(
            errors,
            "0 of 1,200 blobs gone, 1,200 left\n\
             500 of 1,200 blobs gone, 700 left\n\
             1,000 of 1,200 blobs gone, 200 left\n\
             1,200 of 1,200 blobs gone, 0 left\n"
        );
        assert!(storage.is_draining(), "what still arrives moves as well");
    }

    #[test]
    fn an_empty_relay_is_empty_at_once() {
        let storage = Storage::answering(sample(), |answers| answers.blobs = 0);
        assert!(run(&storage, QUICK, pending()).0.is_ok());
    }

    #[test]
    fn when_its_time_is_over_it_says_how_many_stay_and_what_goes_on() {
        let storage = Storage::start(sample());
        let timing = Timing { timeout: Duration::from_millis(20), ..QUICK };
        let (outcome, _) = run(&storage, timing, pending());
        let unfinished = outcome.unwrap_err();
        assert_eq!(unfinished.exit.code(), 1);
        for said in ["1,200 blobs are still here", "RELAY_FEDERATION_DRAIN_TIMEOUT", "restart", "--stop"] {
            assert!(unfinished.text.contains(said), "{unfinished}");
        }
        assert!(storage.is_draining());
    }

    #[test]
    fn what_would_outlast_the_peers_time_is_said_to_be_the_reason() {
        let storage = Storage::start(PeersReply { outlasting: 7, ..sample() });
        let timing = Timing { timeout: Duration::from_millis(20), ..QUICK };
        let (outcome, errors) = run(&storage, timing, pending());
        let unfinished = outcome.unwrap_err();
        assert!(unfinished.text.contains("7 of them would outlast"), "{unfinished}");
        assert!(errors.contains("7 of them would outlast"), "{errors}");
    }

    #[test]
    fn ctrl_c_leaves_the_order_standing_and_says_so() {
        let storage = Storage::answering(sample(), |answers| answers.blobs = 1);
        let (outcome, _) = run(&storage, QUICK, std::future::ready(()));
        let unfinished = outcome.unwrap_err();
        assert_eq!(unfinished.exit, Exit::Forced);
        assert!(unfinished.text.starts_with("1 blob is still here; the order stands"), "{unfinished}");
        assert!(storage.is_draining());
    }

    #[test]
    fn an_order_that_somebody_withdraws_is_not_given_again() {
        let storage = Storage::answering(sample(), |answers| answers.withdrawn = true);
        let (outcome, _) = run(&storage, QUICK, pending());
        let unfinished = outcome.unwrap_err();
        assert_eq!(unfinished.exit, Exit::Forced);
        assert!(unfinished.text.contains("somebody ended this"), "{unfinished}");
        assert!(!storage.is_draining());
    }

    #[test]
    fn a_storage_that_is_started_again_meanwhile_is_waited_for() {
        let storage = Storage::answering(sample(), |answers| (answers.moving, answers.away) = (1200, 3));
        let (outcome, errors) = run(&storage, QUICK, pending());
        assert!(outcome.is_ok(), "{outcome:?}");
        assert_eq!(
            errors.lines().count(),
            5,
            "at the start, three times without news, and at the end: {errors}"
        );
    }

    #[test]
    fn a_storage_that_stays_away_is_not() {
        let storage = Storage::answering(sample(), |answers| answers.away = u64::MAX);
        let (outcome, _) = run(&storage, Timing { silence: Duration::ZERO, ..QUICK }, pending());
        let unfinished = outcome.unwrap_err();
        assert_eq!(unfinished.exit, Exit::Unavailable);
        assert!(unfinished.text.contains("the order stands"), "{unfinished}");
    }

    #[test]
    fn without_anybody_to_take_mail_no_order_is_given() {
        assert!(refusal(nobody()).contains("federation is off"));
        assert!(refusal(PeersReply { reporting: false, ..sample() }).contains("does not report"));
        let nobody_up = [Link::Down, Link::Leaving, Link::PinChanged]
            .map(|link| PeerState { link: link.into(), ..peer("ws://a", 1) })
            .to_vec();
        let down = PeersReply { peers: nobody_up, ..sample() };
        assert!(refusal(down.clone()).contains("no peer is up"));
        let ordered = refusal(PeersReply { draining: true, ..down });
        assert!(ordered.contains("the order from before stands"), "{ordered}");
    }

    #[test]
    fn peers_that_are_full_are_waited_for() {
        let full = PeerState { free_bytes: 0, ..peer("ws://a", 1) };
        let storage =
            Storage::answering(PeersReply { peers: vec![full], ..sample() }, |answers| answers.moving = 1200);
        let (outcome, errors) = run(&storage, QUICK, pending());
        assert!(outcome.is_ok(), "{outcome:?}");
        assert!(
            errors.starts_with("0 of 1,200 blobs gone, 1,200 left; waiting: no peer that is up has room\n"),
            "{errors}"
        );
    }

    #[test]
    fn what_gets_into_the_way_on_the_way_is_said() {
        let change = |answers: &mut Answers| (answers.falls_silent, answers.moving) = (true, 600);
        let (outcome, errors) = run(&Storage::answering(sample(), change), QUICK, pending());
        assert!(outcome.is_ok(), "{outcome:?}");
        let lines: Vec<_> = errors.lines().collect();
        assert_eq!(lines[0], "0 of 1,200 blobs gone, 1,200 left");
        assert!(
            lines[1].starts_with("600 of 1,200 blobs gone, 600 left; waiting: federated does not report"),
            "{errors}"
        );
    }

    #[test]
    fn a_store_in_memory_cannot_be_emptied() {
        let storage = Storage::answering(sample(), |answers| answers.durable = false);
        let refused = run(&storage, QUICK, pending()).0.unwrap_err();
        assert!(refused.text.contains("RELAY_STORAGE_BACKEND=memory"), "{refused}");
        assert!(!storage.is_draining());
    }

    #[test]
    fn stop_ends_it_whether_there_are_peers_or_not() {
        for peering in [sample(), nobody()] {
            let storage = Storage::start(PeersReply { draining: true, ..peering });
            let said = drain(&storage.vars(), true, &mut Vec::new()).unwrap().text;
            assert!(said.contains("1,200 blobs are here"), "{said}");
            assert!(!storage.is_draining());
        }
    }

    #[test]
    fn a_time_that_makes_no_sense_is_a_configuration_error() {
        let vars = Vars::from_pairs([("RELAY_FEDERATION_DRAIN_TIMEOUT", "soon")]);
        let refused = drain(&vars, false, &mut Vec::new()).unwrap_err();
        assert_eq!(refused.exit, Exit::Config);
    }
}
