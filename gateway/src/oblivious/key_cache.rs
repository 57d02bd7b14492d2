//! What the paths of one target show: keys, each kept for as long as the target says and not a second longer, and what
//! may not be kept, which is shared for a second. However many clients wait for one, it is fetched once.

use super::reply::{ForwardError, PassedHead, Reply};
use super::routes::{Kind, RESOURCES};
use super::share::Client;
use super::target::TargetAnswer;
use crate::limits::places::Places;
use bytes::Bytes;
use hyper::StatusCode;
use hyper::header::{AGE, CACHE_CONTROL, HeaderMap};
use relay_daemon::Clock;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::watch;

/// Bytes of the longest document. Deployed keys have less than 700, all rollovers together about 2100.
pub(super) const LONGEST_DOCUMENT: usize = 16 << 10;

/// Longest that anything is kept. Keys change every day.
const LONGEST_KEPT: Duration = Duration::from_secs(86_400);

/// How long what may not be kept, or failed, is shared after it was asked for. Without sharing, one client that asks for
/// it again and again spends what the target takes from all that come through here. A second is the bound because who
/// keeps rollovers breaks clients: one that meets a key of a new anchor asks how the anchor changed, and finds the
/// new key not to be trusted where it is shown what was true before.
const SHARED_FOR: Duration = Duration::from_secs(1);

/// Requests of one client at once that wait for fetches of one target.
const WAITING: usize = 64;

/// How a document came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum CacheStatus {
    /// It was kept, or somebody else was fetching it already.
    Hit,
    /// It was fetched for this request.
    Miss,
}

/// What one of a target's paths shows.
#[derive(Debug, Clone)]
struct Document {
    passed: PassedHead,
    body: Bytes,
    /// Until when it may be kept; `None` is not at all.
    fresh_until: Option<Duration>,
}

/// A fetch that has ended.
#[derive(Debug, Clone)]
struct Fetch {
    /// Before anything was asked: no answer is older than the target says.
    began: Duration,
    outcome: Result<Document, ForwardError>,
}

impl Fetch {
    fn is_usable(&self, now: Duration) -> bool {
        let is_fresh = |document: &Document| document.fresh_until.is_some_and(|until| now < until);
        now.saturating_sub(self.began) < SHARED_FOR || self.outcome.as_ref().is_ok_and(is_fresh)
    }
}

/// The last fetch of a path: `None` in it until it ends. Its sender is the task that fetches.
type Slot = Mutex<Option<watch::Receiver<Option<Fetch>>>>;

/// What the paths of one target show.
#[derive(Debug)]
pub(super) struct KeyCache {
    slots: [Slot; RESOURCES.len()],
    waiting: Arc<Places<Client>>,
    clock: Clock,
}

impl KeyCache {
    pub(super) fn new(clock: Clock) -> Self {
        Self { slots: Default::default(), waiting: Arc::default(), clock }
    }

    /// What a resource shows: kept, of a fetch that ends while this request waits, or fetched now. The fetch is a task
    /// of its own, which no client can end by going away.
    ///
    /// # Errors
    /// When the target has no answer, which all that wait for it are told, or the client waits too often already.
    pub(super) async fn get(
        &self,
        resource: usize,
        client: Client,
        fetch: impl Future<Output = Result<TargetAnswer, ForwardError>> + Send + 'static,
    ) -> Result<(Reply, CacheStatus), ForwardError> {
        let now = self.clock.monotonic();
        let (mut receiver, _slot, status) = {
            // It is whole after any panic.
            let mut slot = self.slots[resource].lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(known) = slot.as_ref().and_then(|last| last.borrow().clone())
                && known.is_usable(now)
            {
                return self.show(known, CacheStatus::Hit);
            }
            let waits = self.waiting.take(client, WAITING).ok_or(ForwardError::InProgress)?;
            // Without a sender it never ends.
            let in_progress =
                slot.clone().filter(|last| last.borrow().is_none() && last.has_changed().is_ok());
            match in_progress {
                Some(last) => (last, waits, CacheStatus::Hit),
                None => {
                    let started = self.start(RESOURCES[resource].kind, now, fetch);
                    *slot = Some(started.clone());
                    (started, waits, CacheStatus::Miss)
                }
            }
        };
        let ended = receiver.wait_for(Option::is_some).await.ok().and_then(|ended| ended.clone());
        self.show(ended.ok_or(ForwardError::Unreachable)?, status)
    }

    fn start(
        &self,
        kind: Kind,
        began: Duration,
        fetch: impl Future<Output = Result<TargetAnswer, ForwardError>> + Send + 'static,
    ) -> watch::Receiver<Option<Fetch>> {
        let (sender, receiver) = watch::channel(None);
        tokio::spawn(async move {
            let outcome = fetch.await.map(|answer| document(kind, began, answer));
            sender.send_replace(Some(Fetch { began, outcome }));
        });
        receiver
    }

    fn show(&self, fetch: Fetch, status: CacheStatus) -> Result<(Reply, CacheStatus), ForwardError> {
        let document = fetch.outcome?;
        let left = document.fresh_until.map(|until| until.saturating_sub(self.clock.monotonic()));
        Ok((document.passed.reply(document.body, left), status))
    }
}

fn document(kind: Kind, began: Duration, answer: TargetAnswer) -> Document {
    let TargetAnswer { passed, headers, body } = answer;
    let may_be_kept = kind == Kind::Key && passed.status == StatusCode::OK;
    let lifetime = if may_be_kept { lifetime(&headers) } else { None };
    let fresh_until = lifetime.map(|lifetime| began.saturating_add(lifetime));
    Document { passed, body: body.into(), fresh_until }
}

/// For how long an answer may still be kept by a cache that many share (RFC 9111); `None` where it may not or says nothing.
fn lifetime(headers: &HeaderMap) -> Option<Duration> {
    let values = headers.get_all(CACHE_CONTROL).into_iter();
    let mut longest: Option<u64> = None;
    for directive in values.flat_map(|value| value.to_str().unwrap_or("no-store").split(',')) {
        let directive = directive.trim().to_ascii_lowercase();
        let (name, value) = directive.split_once('=').unwrap_or((&directive, ""));
        match name {
            "no-store" | "no-cache" | "private" => return None,
            "max-age" | "s-maxage" => {
                let seconds = value.trim_matches('"').parse().unwrap_or(0);
                longest = Some(longest.map_or(seconds, |longest| longest.min(seconds)));
            }
            _ => {}
        }
    }
    let age = headers
        .get(AGE)
        .map_or(0, |age| age.to_str().ok().and_then(|age| age.parse().ok()).unwrap_or(u64::MAX));
    let left = Duration::from_secs(longest?.saturating_sub(age)).min(LONGEST_KEPT);
    (!left.is_zero()).then_some(left)
}

#[cfg(test)]
mod tests {
    use super::*;
    use hyper::header::{CONTENT_TYPE, HeaderName, HeaderValue};
    use relay_daemon::ManualClock;
    use relay_proto::UnixSeconds;
    use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

    const KEY: usize = 1;
    const ROLLOVER: usize = 3;

    fn headers(cache: &[&'static str], age: Option<&'static str>) -> HeaderMap {
        let cache = cache.iter().map(|value| (CACHE_CONTROL, HeaderValue::from_static(value)));
        let age = age.map(|age| (AGE, HeaderValue::from_static(age)));
        let kind = (CONTENT_TYPE, HeaderValue::from_static("application/ohttp-keys"));
        let all: Vec<(HeaderName, HeaderValue)> = cache.chain(age).chain([kind]).collect();
        let mut headers = HeaderMap::new();
        for (name, value) in all {
            headers.append(name, value);
        }
        headers
    }

    fn answer(status: u16, cache: &'static str) -> Result<TargetAnswer, ForwardError> {
        let headers = headers(&[cache], None);
        let passed = PassedHead::of(StatusCode::from_u16(status).unwrap(), &headers)?;
        Ok(TargetAnswer { passed, headers, body: b"key".to_vec() })
    }

    const CLIENT: Client = [1; 8];

    struct Fixture {
        hands: ManualClock,
        cache: KeyCache,
        fetches: Arc<AtomicUsize>,
    }

    fn fixture() -> Arc<Fixture> {
        let hands = ManualClock::at(UnixSeconds::new(0));
        let cache = KeyCache::new(hands.clock());
        Arc::new(Fixture { hands, cache, fetches: Arc::default() })
    }

    impl Fixture {
        async fn get_as(
            &self,
            client: Client,
            resource: usize,
            status: u16,
            cache: &'static str,
        ) -> Result<Reply, ForwardError> {
            let fetches = Arc::clone(&self.fetches);
            let fetch = async move {
                fetches.fetch_add(1, Relaxed);
                tokio::time::sleep(Duration::from_secs(1)).await;
                answer(status, cache)
            };
            self.cache.get(resource, client, fetch).await.map(|(reply, _)| reply)
        }

        async fn get(
            &self,
            resource: usize,
            status: u16,
            cache: &'static str,
        ) -> Result<Reply, ForwardError> {
            self.get_as(CLIENT, resource, status, cache).await
        }

        fn fetches(&self) -> usize {
            self.fetches.load(Relaxed)
        }
    }

    #[test]
    fn an_answer_says_for_how_long_it_may_be_kept() {
        let seconds = |cache: &[&'static str], age| lifetime(&headers(cache, age)).map(|left| left.as_secs());
        assert_eq!(seconds(&["public, max-age=300"], None), Some(300));
        assert_eq!(seconds(&["Max-Age=\"300\""], Some("100")), Some(200));
        assert_eq!(seconds(&["max-age=300", "s-maxage=60"], None), Some(60));
        assert_eq!(seconds(&["max-age=999999999"], None), Some(86_400));
        for (cache, age) in [
            (&[][..], None),
            (&["public"], None),
            (&["max-age=0"], None),
            (&["max-age=x"], None),
            (&["max-age=-1"], None),
            (&["max-age=300, no-store"], None),
            (&["max-age=300", "no-cache"], None),
            (&["private=\"x\", max-age=300"], None),
            (&["max-age=300"], Some("300")),
            (&["max-age=300"], Some("old")),
        ] {
            assert_eq!(seconds(cache, age), None, "{cache:?} {age:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_key_is_kept_for_as_long_as_it_says_and_no_longer() {
        let fixture = fixture();
        let shown = async || {
            fixture.get(KEY, 200, "public, max-age=10").await.unwrap().headers()[CACHE_CONTROL].clone()
        };
        assert_eq!(shown().await, "public, max-age=10");
        fixture.hands.advance(Duration::from_millis(3500));
        assert_eq!((shown().await.to_str().unwrap(), fixture.fetches()), ("public, max-age=6", 1));
        fixture.hands.advance(Duration::from_millis(6499));
        assert_eq!((shown().await.to_str().unwrap(), fixture.fetches()), ("public, max-age=0", 1));
        fixture.hands.advance(Duration::from_millis(1));
        assert_eq!((shown().await.to_str().unwrap(), fixture.fetches()), ("public, max-age=10", 2));
    }

    #[tokio::test(start_paused = true)]
    async fn all_that_wait_are_served_by_one_fetch_also_where_it_fails_or_may_not_be_kept() {
        for (resource, status, cache) in
            [(KEY, 200, "max-age=10"), (KEY, 200, "no-store"), (ROLLOVER, 200, "max-age=10"), (KEY, 302, "x")]
        {
            let fixture = fixture();
            let waiting: Vec<_> = (0..50)
                .map(|number| {
                    let fixture = Arc::clone(&fixture);
                    tokio::spawn(
                        async move { fixture.get_as([number; 8], resource, status, cache).await.is_ok() },
                    )
                })
                .collect();
            for one in waiting {
                assert_eq!(one.await.unwrap(), status == 200);
            }
            assert_eq!(fixture.fetches(), 1, "{resource} {status} {cache}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn rollovers_refusals_and_what_says_nothing_are_shared_for_a_second_and_not_kept() {
        for (resource, status, cache) in [
            (ROLLOVER, 200, "max-age=10"),
            (KEY, 404, "max-age=10"),
            (KEY, 200, "no-store"),
            (KEY, 200, "public"),
        ] {
            let fixture = fixture();
            for fetches in 1..4 {
                for _ in 0..20 {
                    let reply = fixture.get(resource, status, cache).await.unwrap();
                    assert_eq!(
                        (reply.status().as_u16(), &reply.headers()[CACHE_CONTROL]),
                        (status, &"no-store".parse().unwrap())
                    );
                    assert_eq!(fixture.fetches(), fetches);
                }
                fixture.hands.advance(SHARED_FOR - Duration::from_millis(1));
                fixture.get(resource, status, cache).await.unwrap();
                assert_eq!(fixture.fetches(), fetches);
                fixture.hands.advance(Duration::from_millis(1));
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_failure_is_shared_for_a_second_too() {
        let fixture = fixture();
        for fetches in [1, 1, 2] {
            assert_eq!(fixture.get(KEY, 302, "x").await.err(), Some(ForwardError::Unusable));
            assert_eq!(fixture.fetches(), fetches);
            fixture.hands.advance(SHARED_FOR / 2);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_time_of_a_key_begins_before_it_is_asked_for() {
        let fixture = fixture();
        let asking = fixture.get(KEY, 200, "max-age=10");
        let (reply, ()) = tokio::join!(asking, async { fixture.hands.advance(Duration::from_secs(4)) });
        assert_eq!(reply.unwrap().headers()[CACHE_CONTROL], "public, max-age=6");
        fixture.hands.advance(Duration::from_secs(6));
        fixture.get(KEY, 200, "max-age=10").await.unwrap();
        assert_eq!(fixture.fetches(), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn clients_that_go_away_leave_the_fetch_to_all_that_wait_for_it() {
        let fixture = fixture();
        for _ in 0..100 {
            let first = Arc::clone(&fixture);
            let first = tokio::spawn(async move { first.get(KEY, 200, "max-age=10").await.is_ok() });
            tokio::task::yield_now().await;
            first.abort();
        }
        assert!(fixture.get(KEY, 200, "max-age=10").await.is_ok());
        assert_eq!(fixture.fetches(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_fetch_that_panics_is_a_failure_and_the_next_request_fetches() {
        let fixture = fixture();
        let broken = fixture.cache.get(KEY, CLIENT, async { panic!("the fetch's own") }).await;
        assert_eq!(broken.err(), Some(ForwardError::Unreachable));
        assert!(fixture.get(KEY, 200, "max-age=10").await.is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_waits_for_so_many_at_once_and_others_are_served() {
        let fixture = fixture();
        let waiting: Vec<_> = (0..=WAITING)
            .map(|_| {
                let fixture = Arc::clone(&fixture);
                tokio::spawn(async move { fixture.get(ROLLOVER, 200, "x").await.err() })
            })
            .collect();
        let mut refused = Vec::new();
        assert!(fixture.get_as([2; 8], ROLLOVER, 200, "x").await.is_ok());
        for one in waiting {
            refused.extend(one.await.unwrap());
        }
        assert_eq!(refused, [ForwardError::InProgress]);
        assert!(fixture.get(ROLLOVER, 200, "x").await.is_ok(), "nobody waits any more");
    }
}
