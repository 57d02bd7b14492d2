//! What can be wrong with a set-up: every finding's code, in one table. Codes are for runbooks and alerts, and stay as
//! they are.

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Severity {
    /// Clients are not served, mail is in danger, or a promise is broken.
    Error,
    /// It works, and not as it should or not for long.
    Warning,
    /// Good to know.
    Note,
}

impl Severity {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
            Self::Note => "note",
        }
    }
}

macro_rules! codes {
    ($($code:ident = ($name:literal, $severity:ident, $meaning:literal, $fix:literal);)*) => {
        /// A kind of finding.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
        pub(crate) enum Code {
            $(#[doc = $meaning] $code,)*
        }

        impl Code {
            /// All of them, in the order in which the documentation shows them.
            pub(crate) const ALL: &[Self] = &[$(Self::$code,)*];

            /// The code.
            pub(crate) const fn name(self) -> &'static str {
                match self { $(Self::$code => $name,)* }
            }

            /// How bad it is.
            pub(crate) const fn severity(self) -> Severity {
                match self { $(Self::$code => Severity::$severity,)* }
            }

            /// What it means.
            pub(crate) const fn meaning(self) -> &'static str {
                match self { $(Self::$code => $meaning,)* }
            }

            /// What fixes it, for every setup. A finding that knows the exact command has that instead.
            pub(crate) const fn fix(self) -> &'static str {
                match self { $(Self::$code => $fix,)* }
            }
        }
    };
}

codes! {
    Variables = ("variables", Error, "A variable does not parse, is unknown, or contradicts another one; no process starts with it.",
        "Correct the variable that is named, where the relay's variables are set; REFERENCE.md lists all of them.");
    SocketPath = ("socket-path", Error, "The path of a socket is longer than the kernel takes.",
        "Set `RELAY_SOCKET_DIR` to a shorter directory, for example `/run/relay`.");
    ProxiesEverybody = ("proxies-everybody", Error, "`RELAY_TRUSTED_PROXIES` has all addresses in it, so every client may say that it is another one.",
        "Name the addresses of the proxy alone, for example `RELAY_TRUSTED_PROXIES=127.0.0.1,::1`.");
    AllowEverywhere = ("allow-everywhere", Warning, "`RELAY_FEDERATION_ALLOW_CIDRS` has all addresses in it, so the name of a peer may lead into the relay's own network.",
        "Name the networks in which peers are, for example `RELAY_FEDERATION_ALLOW_CIDRS=10.7.0.0/16`, or leave it unset.");
    RotationForTests = ("rotation-for-tests", Warning, "Keys for Oblivious HTTP turn after seconds, which is for tests: clients take none of them.",
        "Leave `RELAY_OHTTP_KEY_ROTATION_HOURS` unset, or set 24.");
    MetricsOpen = ("metrics-open", Warning, "The operator's port is open beyond this machine and its metrics want no token.",
        "Set `RELAY_METRICS_ADDR=127.0.0.1:8081`, or `RELAY_METRICS_TOKEN`.");
    DataMissing = ("data-missing", Error, "The data directory is not there, and no relay runs.",
        "Set `RELAY_DATA_DIR` as the relay has it, mount its volume, or start a new relay with `relay up`.");
    DataOwner = ("data-owner", Error, "The data directory, or a file in it, belongs to another user than the rest or than the relay.",
        "Give all of it to storaged's user: `chown -R USER DIRECTORY`.");
    DataMode = ("data-mode", Warning, "Others than its owner may read the data directory or the database.",
        "`chmod 700` the directory, `chmod 600` the files.");
    DataLost = ("data-lost", Error, "The data directory held a relay's data and its database is gone. storaged refuses to begin anew.",
        "Bring `relay.db` back, or restore a backup. To begin anew, empty the directory.");
    DataDamaged = ("data-damaged", Error, "`relay.db` does not begin as a database does.",
        "Keep the file, and restore a backup into an empty directory.");
    DataNewer = ("data-newer", Error, "The database was written by a newer version of the relay, or is another program's.",
        "Install the newer version, or take the database back with `relay downgrade` of that version.");
    DiskLow = ("disk-low", Error, "The volume of the data directory is nearly full: new mail is refused, or soon will be.",
        "Make room on the volume, or make it larger.");
    DiskRoom = ("disk-room", Warning, "The volume has less room than the store may still take.",
        "Make the volume larger, or lower `RELAY_MAX_STORAGE_BYTES`.");
    StoreFull = ("store-full", Error, "The store holds as much as it may: new mail is refused.",
        "Raise `RELAY_MAX_STORAGE_BYTES` and restart storaged, or peer with other relays.");
    StoreNearlyFull = ("store-nearly-full", Warning, "The store is above 90 %; at 95 % new mail is refused.",
        "Raise `RELAY_MAX_STORAGE_BYTES` and restart storaged, or peer with other relays.");
    StoreMemory = ("store-memory", Warning, "Mail is kept in memory and lost when storaged stops.",
        "Leave `RELAY_STORAGE_BACKEND` unset.");
    SocketMissing = ("socket-missing", Error, "There is no socket of storaged: no relay runs here, or its sockets are elsewhere.",
        "Start the relay with `relay up`, or set `RELAY_DATA_DIR` or `RELAY_SOCKET_DIR` as it has them.");
    SocketDead = ("socket-dead", Error, "The socket of storaged is there and nobody listens: it has ended, or does not start.",
        "Start the relay. The last line of storaged's log says why it ended.");
    SocketDenied = ("socket-denied", Error, "This user may not enter the directory of the socket.",
        "Run this as the relay's user, or as a member of the group of that directory.");
    SocketRefused = ("socket-refused", Error, "storaged turns this user away: it is not in `RELAY_SOCKET_UIDS`. Gateways under that user are turned away as well.",
        "Add the user's id to `RELAY_SOCKET_UIDS` of storaged, and restart it.");
    SocketOpen = ("socket-open", Warning, "Every user of this machine may connect to a socket between the processes.",
        "`chmod o-rwx` its directory.");
    StorageSilent = ("storage-silent", Error, "storaged takes connections and does not answer.",
        "See its log; restart it if it does not recover.");
    StorageNotReady = ("storage-not-ready", Error, "storaged answers and cannot commit, is stopping, or its clock is behind.",
        "See its log: the disk may be full or failing.");
    SqliteOld = ("sqlite-old", Error, "storaged was built with an SQLite that can lose commits.",
        "Build it with the bundled SQLite.");
    SweepSuspended = ("sweep-suspended", Error, "Expiry waits: the clock of storaged's machine jumped ahead, or the relay was off for long, so the clock is not trusted.",
        "Set the clock right; if it is right, `relay clock trust`. After a day of uptime it is trusted anyway.");
    ClockBehind = ("clock-behind", Error, "New mail is refused: the clock of storaged's machine is behind the time that the relay knows, or before the relay was built.",
        "Set the clock right; if it is right, `relay clock trust`. After a day of uptime it is trusted anyway.");
    ClockOff = ("clock-off", Error, "The clocks of this machine, of storaged or of the front are more than a minute apart. Signed requests are refused.",
        "Let every machine keep time: `timedatectl set-ntp true`, or chrony.");
    BlobsDamaged = ("blobs-damaged", Error, "Blobs were not served because their content does not match their name: the disk or the memory is failing.",
        "Check disk and memory, and restore a backup on another machine.");
    Panics = ("panics", Warning, "A process of the relay met a fault of its own since storaged started.",
        "Keep the log of that time, report it, and update. A restart of storaged clears the count.");
    GatewayMissing = ("gateway-missing", Error, "No gateway reports to storaged: no client is served.",
        "Start one (`relay up` starts all). If one runs, its log says why it does not reach `gateway/storage.sock`.");
    GatewayFew = ("gateway-few", Warning, "Fewer gateways report than `RELAY_GATEWAYS` wants.",
        "See the log of `relay up` for why they end.");
    GatewayNotReady = ("gateway-not-ready", Error, "A gateway answers its operator and says that it is not ready.",
        "See its log; the reason is in the finding.");
    ProcessSilent = ("process-silent", Error, "A process is connected to storaged and does not report: it hangs or is stopped.",
        "Under `relay up` and systemd it is replaced within 40 seconds; restart it where neither is.");
    FilesFew = ("files-few", Warning, "A gateway may open fewer files than `RELAY_MAX_CONNECTIONS` needs: clients are turned away early.",
        "Raise the limit on open files (`LimitNOFILE=`, `ulimit -n`), or lower `RELAY_MAX_CONNECTIONS`.");
    ConnectionsRefused = ("connections-refused", Warning, "Clients were turned away because too many were connected.",
        "Raise `RELAY_MAX_CONNECTIONS`, or run more gateways (`RELAY_GATEWAYS`).");
    VersionsMixed = ("versions-mixed", Warning, "Processes of different versions run together, beyond the time of an upgrade.",
        "Restart those that are behind.");
    VersionCommand = ("version-command", Warning, "This command is of another version than storaged.",
        "Use the `relay` command of the relay's own version.");
    ProxySilent = ("front-silent", Error, "The public URL does not answer.",
        "Start the proxy, open its port, and let the name lead to it.");
    ProxyTls = ("front-tls", Error, "What answers at the public URL does not speak TLS as clients do.",
        "Let the proxy, and not the gateway, have that port, with TLS 1.2 or newer.");
    ProxyCertificate = ("front-certificate", Error, "The certificate of the public URL does not hold: clients do not connect.",
        "Renew it in the proxy, for the name in the URL, with the whole chain.");
    ProxyCertificateEnds = ("front-certificate-ends", Warning, "The certificate of the public URL ends soon and was not renewed.",
        "See in the proxy's log why it is not renewed.");
    ProxyPlain = ("front-plain", Error, "The public URL is plain HTTP: tokens travel in the open.",
        "Put TLS in front, and set `RELAY_PUBLIC_URL=https://…`.");
    ProxyGateway = ("front-gateway", Error, "The front answers and reaches no gateway.",
        "Point the proxy to `RELAY_LISTEN_ADDR`.");
    ProxyOther = ("front-other", Error, "What answers at the public URL is no relay.",
        "Pass every path on to the gateway, and let the name lead to this proxy.");
    ForwardedMissing = ("forwarded-missing", Error, "The proxy does not say who its clients are: all share the limits of one address.",
        "Let the proxy set `X-Forwarded-For` to the address it sees.");
    ForwardedUntrusted = ("forwarded-untrusted", Error, "The proxy says who its clients are and is not trusted: all share the limits of one address.",
        "Set `RELAY_TRUSTED_PROXIES` to the proxy's address (`127.0.0.1,::1` if it is on this machine).");
    OuterRelayUnnamed = ("outer-relay-unnamed", Warning, "Sealed requests from one address are refused by the limit of an address, and no outer relay is named: if that is one, all its users share what a single client may ask.",
        "Name it: `RELAY_OHTTP_RELAYS=ITS-ADDRESS`, and restart the gateways. A single client that asks too much is rightly refused.");
    LimitsOneAddress = ("limits-one-address", Warning, "Requests are refused by the limit of an address while only one address is active: a proxy hides the others, or one client asks too much.",
        "Let the proxy set `X-Forwarded-For`, and trust it (`RELAY_TRUSTED_PROXIES`). A single client that asks too much is rightly refused.");
    OhttpBroken = ("ohttp-broken", Error, "A request that was sealed to the relay's key did not come back answered.",
        "Let the proxy pass POST bodies of `/v2/ohttp` on unchanged; `relay selftest URL --via ohttp` shows which step fails.");
    OhttpKey = ("ohttp-key", Error, "The key that clients are given is not one of this relay's: another relay answers there, or a cache keeps an old one.",
        "Let the name lead to this relay, and let nothing cache `/v2/ohttp-key` for longer than it says.");
    KeysUnknown = ("keys-unknown", Error, "storaged does not tell of its keys.",
        "See its log.");
    RecordMissing = ("record-missing", Error, "No signed key record is served: clients that pin the anchor are not served.",
        "Certify the key again (`relay anchor certify`) and copy `anchor.json` to `RELAY_ANCHOR_DIR`.");
    RecordRefused = ("record-refused", Error, "Clients refuse the signed key record that they are given: its anchor, certificate, window, key id, suites or size is not what they want.",
        "Let the name lead to this relay, let nothing cache or change `/v2/ohttp-key-signed`, and keep the clock right.");
    CertificateEnds = ("certificate-ends", Warning, "The last certificate of the offline anchor ends within two weeks.",
        "`relay anchor certify` on the offline machine, and copy `anchor.json` to `RELAY_ANCHOR_DIR`.");
    FederationSilent = ("federation-silent", Error, "Peers are wanted and federated does not report.",
        "Start federated. If it runs, its log says why it does not reach `federation/storage.sock`.");
    FederationOff = ("federation-off", Warning, "Federation is off while mail of this relay lies with peers.",
        "Set `RELAY_FEDERATION_ENABLED=true` and the same `RELAY_FEDERATION_PEERS` as before, until that mail is fetched or has expired.");
    ProxyUpgrade = ("front-upgrade", Error, "The front does not pass WebSockets on at `/federation`: peers cannot connect.",
        "Let the proxy pass `Upgrade` and `Connection` on for `/federation`, over HTTP/1.1. For nginx: `proxy_http_version 1.1`, and `proxy_set_header` for `Upgrade $http_upgrade` and `Connection upgrade`.");
    PeerUnreachable = ("peer-unreachable", Warning, "A peer that is to be dialled has no connection.",
        "The reason is in the finding; ask its operator. `relay selftest URL` tries it as a client would.");
    PeerPin = ("peer-pin", Error, "A peer shows another key than the one it is pinned to.",
        "Ask its operator whether the key was changed; only then `relay peers forget URL`.");
    PeerClock = ("peer-clock", Warning, "The clocks of a peer and of this relay are more than five minutes apart: no mail moves between the two.",
        "Let both machines keep time (`timedatectl set-ntp true`), and ask the peer's operator.");
    PeersFull = ("peers-full", Warning, "No peer that is connected has room.",
        "Ask their operators for room, or name more peers in `RELAY_FEDERATION_PEERS`.");
    PeerLeaving = ("peer-leaving", Note, "A peer said that it leaves: it takes no mail.",
        "Nothing, if it comes back.");
    Draining = ("draining", Note, "This relay is being emptied into its peers.",
        "`relay drain --stop` ends it.");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_distinct_words_and_say_what_they_mean() {
        let mut names: Vec<_> = Code::ALL.iter().map(|code| code.name()).collect();
        assert!(names.iter().all(|name| {
            name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'-') && !name.is_empty()
        }));
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), Code::ALL.len());
        for code in Code::ALL {
            assert!(code.meaning().ends_with('.') && code.fix().ends_with('.'), "{code:?}");
        }
    }
}
