//! Keys of one target, each kept for as long as the target says and not a second longer. However many clients wait for
//! one, it is fetched once.

use super::reply::{ForwardError, PassedHead, Reply};
use super::routes::{Kind, RESOURCES};
use super::target::TargetAnswer;
use bytes::Bytes;
use hyper::StatusCode;
use hyper::header::{AGE, CACHE_CONTROL, HeaderMap};
use relay_daemon::Clock;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;
use tokio::sync::Mutex;
use tokio::time::timeout;

/// Bytes of the longest document. Deployed keys have less than 700, all rollovers together about 2100.
pub(super) const LONGEST_DOCUMENT: usize = 16 << 10;

/// Longest that anything is kept. Keys change every day.
const LONGEST_KEPT: Duration = Duration::from_secs(86_400);

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

/// The last fetch of a path.
#[derive(Debug, Clone)]
struct Fetch {
    /// Of all fetches of the path, counted from one.
    number: u64,
    outcome: Result<Document, ForwardError>,
}

/// One path.
#[derive(Debug, Default)]
struct Slot {
    last: Mutex<Option<Fetch>>,
    /// Fetches that have ended.
    ended: AtomicU64,
}

/// What the paths of one target show.
#[derive(Debug)]
pub(super) struct KeyCache {
    slots: [Slot; RESOURCES.len()],
    /// How long a request waits for another one's fetch.
    limit: Duration,
    clock: Clock,
}

impl KeyCache {
    pub(super) fn new(limit: Duration, clock: Clock) -> Self {
        Self { slots: Default::default(), limit, clock }
    }

    /// What a resource shows: kept, of a fetch that ends while this request waits, or fetched now.
    ///
    /// # Errors
    /// When the target has no answer, which all that wait for it are told.
    pub(super) async fn get(
        &self,
        resource: usize,
        fetch: impl AsyncFnOnce() -> Result<TargetAnswer, ForwardError>,
    ) -> Result<(Reply, CacheStatus), ForwardError> {
        let (slot, kind) = (&self.slots[resource], RESOURCES[resource].kind);
        let ended_before = slot.ended.load(Relaxed);
        let mut last = timeout(self.limit, slot.last.lock()).await.map_err(|_| ForwardError::Silent)?;
        if let Some(fetch) = &*last {
            let is_fresh = |document: &Document| {
                document.fresh_until.is_some_and(|until| self.clock.monotonic() < until)
            };
            if fetch.number > ended_before || fetch.outcome.as_ref().is_ok_and(is_fresh) {
                return fetch.outcome.clone().map(|document| (self.reply(document), CacheStatus::Hit));
            }
        }
        // If the client goes away the fetch ends with it, and the next one that waits fetches.
        let outcome = fetch().await.map(|answer| self.document(kind, answer));
        let number = slot.ended.fetch_add(1, Relaxed) + 1;
        *last = Some(Fetch { number, outcome: outcome.clone() });
        drop(last);
        outcome.map(|document| (self.reply(document), CacheStatus::Miss))
    }

    fn document(&self, kind: Kind, answer: TargetAnswer) -> Document {
        let TargetAnswer { passed, headers, body } = answer;
        let may_be_kept = kind == Kind::Key && passed.status == StatusCode::OK;
        let lifetime = if may_be_kept { lifetime(&headers) } else { None };
        let fresh_until = lifetime.map(|lifetime| self.clock.monotonic().saturating_add(lifetime));
        Document { passed, body: body.into(), fresh_until }
    }

    fn reply(&self, document: Document) -> Reply {
        let now = self.clock.monotonic();
        let left = document.fresh_until.map(|until| until.saturating_sub(now));
        document.passed.reply(document.body, left)
    }
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
    use std::sync::Arc;
    use std::sync::atomic::AtomicUsize;

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

    struct Fixture {
        hands: ManualClock,
        cache: KeyCache,
        fetches: AtomicUsize,
    }

    fn fixture() -> Arc<Fixture> {
        let hands = ManualClock::at(UnixSeconds::new(0));
        let cache = KeyCache::new(Duration::from_secs(30), hands.clock());
        Arc::new(Fixture { hands, cache, fetches: AtomicUsize::new(0) })
    }

    impl Fixture {
        async fn get(
            &self,
            resource: usize,
            status: u16,
            cache: &'static str,
        ) -> Result<Reply, ForwardError> {
            let fetch = async || {
                self.fetches.fetch_add(1, Relaxed);
                tokio::time::sleep(Duration::from_secs(1)).await;
                answer(status, cache)
            };
            self.cache.get(resource, fetch).await.map(|(reply, _)| reply)
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
                .map(|_| {
                    let fixture = Arc::clone(&fixture);
                    tokio::spawn(async move { fixture.get(resource, status, cache).await.is_ok() })
                })
                .collect();
            for one in waiting {
                assert_eq!(one.await.unwrap(), status == 200);
            }
            assert_eq!(fixture.fetches(), 1, "{resource} {status} {cache}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn rollovers_refusals_and_what_says_nothing_are_fetched_for_each_request() {
        for (resource, status, cache) in [
            (ROLLOVER, 200, "max-age=10"),
            (KEY, 404, "max-age=10"),
            (KEY, 200, "no-store"),
            (KEY, 200, "public"),
        ] {
            let fixture = fixture();
            for fetches in 1..4 {
                let reply = fixture.get(resource, status, cache).await.unwrap();
                assert_eq!(
                    (reply.status().as_u16(), &reply.headers()[CACHE_CONTROL]),
                    (status, &"no-store".parse().unwrap())
                );
                assert_eq!(fixture.fetches(), fetches);
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_goes_away_leaves_the_fetch_to_the_next_one() {
        let fixture = fixture();
        let first = Arc::clone(&fixture);
        let first = tokio::spawn(async move { first.get(KEY, 200, "max-age=10").await.is_ok() });
        tokio::task::yield_now().await;
        first.abort();
        assert!(fixture.get(KEY, 200, "max-age=10").await.is_ok());
        assert_eq!(fixture.fetches(), 2);
    }
}
