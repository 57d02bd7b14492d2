//! Finding what to offer among a hundred thousand blobs, most of which are not to be offered.

use crate::tests::federation::*;
use crate::transfer::offers::Lease;
use relay_proto::transfer::Direction;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};

/// Rows of the tables, as if they had come the usual way: own blobs, those of them on offer, and held ones.
fn populate(relay: &Relay, own: Range<u32>, leased: u32, held: Range<u32>) {
    let mut sql = relay.sql();
    let transaction = sql.transaction().unwrap();
    let first = (START.get() / 3600 + 1000) << 40;
    let blobs = "INSERT INTO blobs SELECT ?1 + value, randomblob(32), randomblob(16), 100, 0, NULL, zeroblob(100)
                 FROM (WITH RECURSIVE n (value) AS (SELECT ?2 UNION ALL SELECT value + 1 FROM n WHERE value + 1 < ?3)
                       SELECT value FROM n)";
    let first = i64::try_from(first).unwrap();
    for range in [&own, &held] {
        transaction.execute(blobs, [first, range.start.into(), range.end.into()]).unwrap();
    }
    transaction
        .execute(
            "INSERT INTO leases SELECT seq, x'03', 1 << 50, 1, 0 FROM blobs
             WHERE seq >= ?1 AND seq < ?1 + ?2",
            [first + i64::from(own.start), leased.into()],
        )
        .unwrap();
    transaction
        .execute(
            "INSERT INTO held SELECT seq, ?3, NULL, 0, size FROM blobs WHERE seq >= ?1 AND seq < ?2",
            rusqlite::params![first + i64::from(held.start), first + i64::from(held.end), A.as_bytes()],
        )
        .unwrap();
    transaction.commit().unwrap();
}

/// Counts the virtual machine's steps, in hundreds.
fn search(relay: &Relay, home: bool, after: i64) -> (crate::transfer::offers::Search, u64) {
    let mut sql = relay.sql();
    let steps = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&steps);
    sql.progress_handler(
        100,
        Some(move || {
            counted.fetch_add(1, Ordering::Relaxed);
            false
        }),
    )
    .unwrap();
    let lease = Lease {
        peer: A,
        direction: Direction::from_home(home),
        max_blobs: 128,
        max_bytes: 1 << 20,
        lease_secs: LEASE_SECS,
        latest_expiry: None,
    };
    let found = crate::transfer::offers::search(&sql, &lease, after, START).unwrap();
    (found, steps.load(Ordering::Relaxed))
}

#[tokio::test]
async fn a_search_looks_at_a_bounded_part_and_goes_on_where_it_ended() {
    let relay = Relay::start(&[]);
    populate(&relay, 0..30_000, 25_000, 40_000..110_000);
    for (home, expected) in [(false, 5_000), (true, 70_000)] {
        let (mut after, mut found, mut searches) = (0, 0, 0);
        loop {
            let (search, hundreds) = search(&relay, home, after);
            assert!(hundreds < 1000, "{hundreds}00 steps");
            assert!(search.passed > after || search.is_over);
            found += search.found.len();
            after = search.passed;
            searches += 1;
            if search.is_over {
                break;
            }
        }
        assert_eq!(found, expected);
        assert!(searches < 110_000 / 128 + 2, "{searches}");
    }
}

#[tokio::test]
async fn every_question_asked_often_is_answered_by_an_index() {
    let relay = Relay::start(&[]);
    let questions = [
        "SELECT leases.seq FROM leases LEFT JOIN held ON held.seq = leases.seq
         WHERE until <= 1 AND leases.seq >= 1 AND held.peer IS NULL ORDER BY until LIMIT 1",
        "SELECT seq FROM held WHERE seq > 1 AND peer = x'00' ORDER BY seq LIMIT 1",
        "SELECT count(*), coalesce(sum(size), 0) FROM hints WHERE mailbox = x'00' AND seq >= 1",
        "SELECT created, seq, size, id, peer FROM hints WHERE mailbox = x'00' AND seq >= 1",
        "SELECT count(*), coalesce(sum(blobs.size), 0) FROM blobs JOIN held ON held.seq = blobs.seq
         WHERE mailbox = x'00' AND blobs.seq >= 1 AND NOT shared",
        "SELECT number, mailbox, id FROM outbox WHERE peer = x'00' ORDER BY number LIMIT 1",
        "UPDATE outbox SET expires = 1 WHERE id = x'00' AND peer = x'00'",
        "SELECT number FROM outbox WHERE expires <= 1 ORDER BY expires LIMIT 1",
        "SELECT blobs.id FROM held JOIN blobs ON blobs.seq = held.seq WHERE held.owner = x'00'",
        "SELECT peer, count(*) FROM held GROUP BY peer",
        "SELECT peer, count(*) FROM outbox GROUP BY peer",
    ];
    let sql = relay.sql();
    for question in questions {
        let mut plan = sql.prepare(&format!("EXPLAIN QUERY PLAN {question}")).unwrap();
        let steps: Vec<String> = plan.query_map([], |row| row.get(3)).unwrap().map(Result::unwrap).collect();
        for step in steps {
            let scans = step.starts_with("SCAN") && !step.contains("COVERING INDEX");
            assert!(!scans && !step.contains("TEMP B-TREE"), "{question}\n{step}");
        }
    }
}
