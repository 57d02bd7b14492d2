//! A good set-up, for tests to break.

use crate::doctor::checks::judge;
use crate::doctor::facts::*;
use ed25519_dalek::SigningKey;
use relay_daemon::variables::Backend;
use relay_proto::UnixSeconds;
use relay_proto::anchor::{Certificate, public};
use relay_proto::key_record::KeyRecord;
use relay_proto::messages::{CertificateStatus, KeyStatus, KeyWindow, Process, StatusReply, WindowStatus};
use relay_proto::telemetry::Role;

pub(crate) const NOW: u64 = 1_750_000_000;
const DAY: u64 = 86_400;

/// A relay with a proxy, on one machine, of which everything can be seen.
pub(crate) fn good() -> Facts {
    Facts {
        now: UnixSeconds::new(NOW),
        user: 10001,
        settings: settings(),
        data: Some(Data::Open(contents())),
        volume: Some(Volume { total: 100 << 30, free: 50 << 30, database: 0 }),
        sockets: vec![Socket {
            path: "/run/relay/admin/storage.sock".into(),
            modes: vec![0o755, 0o750, 0o660],
        }],
        reached: Reached::Ready,
        report: Some(report()),
        files: vec![1 << 19],
        operator: Some(Operator { not_ready: None }),
        proxy: Some(proxy()),
    }
}

fn settings() -> Settings {
    Settings {
        mistakes: Vec::new(),
        socket_path: None,
        data: "/var/lib/relay".into(),
        sockets: "/run/relay".into(),
        backend: Backend::Sqlite,
        listen: "127.0.0.1:8080".parse().unwrap(),
        ops: "127.0.0.1:8081".parse().unwrap(),
        has_token: false,
        trusts_everybody: false,
        names_relays: false,
        allows_everywhere: false,
        public_url: Some("https://relay.example".to_owned()),
        gateways: None,
        max_connections: 1000,
        rotation_secs: DAY,
        federates: false,
        own_peer_port: false,
    }
}

pub(crate) fn contents() -> Contents {
    let file = |name: &str| (name.to_owned(), 10001, 0o600);
    Contents {
        owner: 10001,
        mode: 0o700,
        files: ["relay.db", "relay.db-wal", "lock", "initialized", "ballast"].map(file).to_vec(),
        header: Some(Header::Schema(1)),
    }
}

pub(crate) fn process(role: Role) -> Process {
    Process { role: role.into(), pid: 41, version: "0.1.0".to_owned(), started_at: NOW - 100, silent_secs: 0 }
}

pub(crate) fn report() -> StorageReport {
    let before = Counters { busy: 3.0, ..Counters::default() };
    let sources = Sources { forwarded: 4.0, ..Sources::default() };
    StorageReport {
        status: StatusReply {
            processes: vec![process(Role::Storaged), process(Role::Gateway)],
            live_bytes: 1 << 20,
            ceiling_bytes: 1 << 30,
            durable: true,
            blobs: 12,
            registrations: 0,
            schema_version: 1,
            sqlite_version: "3.51.3".to_owned(),
            sweep_suspended: false,
            keys: Vec::new(),
            clock: Some(crate::fixture::TRUSTED),
        },
        keys: Some(KeyStatus {
            window_secs: DAY,
            windows: [-1_i64, 0, 1].map(window).to_vec(),
            self_anchored: false,
            anchor: public(&key(1)).into(),
            certificates: vec![CertificateStatus { not_before: NOW - DAY, not_after: NOW + 89 * DAY }],
            ..KeyStatus::default()
        }),
        peering: Some(crate::fixture::nobody()),
        before,
        after: Counters { sources, ..before },
    }
}

fn window(offset: i64) -> WindowStatus {
    let number = (NOW / DAY).checked_add_signed(offset).unwrap();
    WindowStatus { number, fingerprint: vec![u8::try_from(number % 251).unwrap(); 32].into() }
}

fn proxy() -> Proxy {
    Proxy {
        url: "https://relay.example".to_owned(),
        is_public: true,
        is_open: false,
        tls: Some(Tls::Good { from: UnixSeconds::new(NOW - 10 * DAY), to: UnixSeconds::new(NOW + 80 * DAY) }),
        seen: Probe {
            health: Health::Good,
            skew: Some(1),
            key: window(0).fingerprint[..].try_into().ok(),
            record: Some(Ok(record(UnixSeconds::new(NOW), |_| ()).encode().to_vec())),
            sealed: Some(Ok(())),
            requests: 3,
        },
        upgrade: None,
    }
}

/// The codes of what is wrong with the good set-up after a change.
pub(crate) fn codes(change: impl FnOnce(&mut Facts)) -> Vec<&'static str> {
    let mut facts = good();
    change(&mut facts);
    judge(&facts).iter().map(|finding| finding.code.name()).collect()
}

/// The same, where storage reports something else.
pub(crate) fn codes_reported(change: impl FnOnce(&mut StorageReport)) -> Vec<&'static str> {
    codes(|facts| change(facts.report.as_mut().unwrap()))
}

/// The same, where clients meet something else.
pub(crate) fn codes_met(change: impl FnOnce(&mut Proxy)) -> Vec<&'static str> {
    codes(|facts| change(facts.proxy.as_mut().unwrap()))
}

pub(crate) fn key(seed: u8) -> SigningKey {
    SigningKey::from_bytes(&[seed; 32])
}

/// A record for the window of a time, with a configuration that may be changed before it is signed.
pub(crate) fn record(at: UnixSeconds, change: impl FnOnce(&mut Vec<u8>)) -> KeyRecord {
    let number = at.get() / DAY;
    let window = KeyWindow { number, seed: vec![7; 32].into() };
    let mut config = window.encoded_config().unwrap();
    change(&mut config);
    let certificate = Certificate::issue(&key(1), &public(&key(2)), at.minus(DAY), at.plus(DAY));
    KeyRecord::sign(number, config.into(), &key(2), certificate).unwrap()
}
