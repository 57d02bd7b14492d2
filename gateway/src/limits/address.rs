//! Whose address counts, and what of it.
//!
//! A peer's own address counts unless the operator trusts that peer as a proxy. Behind trusted proxies the
//! client is found in `X-Forwarded-For`, counted from the right: each trusted hop vouches for the entry to
//! its left, and the first untrusted one is the client. What lies further left was written by strangers.

use hyper::HeaderMap;
use ipnet::IpNet;
use relay_proto::{AddressHash, AddressKey};
use std::net::{IpAddr, SocketAddr};

const FORWARDED_FOR: &str = "x-forwarded-for";

/// Where a client's address was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Source {
    /// The peer is no trusted proxy and claims nothing.
    Connection,
    /// A trusted proxy named the client.
    Forwarded,
    /// The peer is a trusted proxy and names nobody: it is charged for its clients itself.
    Unnamed,
    /// The peer names somebody and is no trusted proxy: it is charged itself.
    Unbelieved,
}

impl Source {
    pub(crate) const ALL: [Self; 4] = [Self::Connection, Self::Forwarded, Self::Unnamed, Self::Unbelieved];

    pub(crate) const fn label(self) -> &'static str {
        match self {
            Self::Connection => "connection",
            Self::Forwarded => "forwarded",
            Self::Unnamed => "unnamed",
            Self::Unbelieved => "unbelieved",
        }
    }
}

/// Where the address of the client behind a request is to be found: for counting, it says nothing of the client.
pub(crate) fn source(peer: IpAddr, headers: &HeaderMap, trusted: &[IpNet]) -> Source {
    match (is_among(peer.to_canonical(), trusted), headers.contains_key(FORWARDED_FOR)) {
        (false, false) => Source::Connection,
        (false, true) => Source::Unbelieved,
        (true, false) => Source::Unnamed,
        (true, true) => Source::Forwarded,
    }
}

/// The client behind a request.
pub(crate) fn client_address(peer: IpAddr, headers: &HeaderMap, trusted: &[IpNet]) -> IpAddr {
    let mut client = peer.to_canonical();
    if !is_among(client, trusted) {
        return client;
    }
    let hops = headers.get_all(FORWARDED_FOR).into_iter().rev();
    for entry in hops.flat_map(|value| value.as_bytes().rsplit(|byte| *byte == b',')) {
        // A hop that cannot be read ends what is known: the proxy that wrote it is charged.
        let Some(address) = read(entry) else { return client };
        client = address;
        if !is_among(client, trusted) {
            return client;
        }
    }
    client
}

/// Whether an address lies in one of some networks.
pub(crate) fn is_among(address: IpAddr, networks: &[IpNet]) -> bool {
    networks.iter().any(|network| network.contains(&address))
}

/// Reads one hop: an address, with or without a port, IPv6 with or without brackets.
fn read(entry: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(entry).ok()?.trim();
    let address = text
        .parse()
        .or_else(|_| text.parse().map(|socket: SocketAddr| socket.ip()))
        .or_else(|_| text.trim_start_matches('[').trim_end_matches(']').parse())
        .ok()?;
    Some(IpAddr::to_canonical(&address))
}

/// What storage and the buckets know an address by. An IPv6 customer holds a /64, so that is what counts.
pub(crate) fn hash(key: &AddressKey, address: IpAddr) -> AddressHash {
    match address.to_canonical() {
        IpAddr::V4(address) => AddressHash::of(key, &address.octets()),
        IpAddr::V6(address) => AddressHash::of(key, &address.octets()[..8]),
    }
}

/// What counts as one client of an address: an IPv6 customer holds a /64.
pub(crate) fn prefix(address: IpAddr) -> [u8; 8] {
    let mut prefix = [0; 8];
    match address.to_canonical() {
        // No IPv6 address of the internet begins with zeros.
        IpAddr::V4(address) => prefix[4..].copy_from_slice(&address.octets()),
        IpAddr::V6(address) => prefix.copy_from_slice(&address.octets()[..8]),
    }
    prefix
}

/// The wider network of an IPv6 address, of which a customer can often have all.
pub(crate) fn wider_network(address: IpAddr) -> Option<[u8; 6]> {
    match address.to_canonical() {
        IpAddr::V4(_) => None,
        IpAddr::V6(address) => address.octets().first_chunk().copied(),
    }
}

/// The same for the wider network that an address is in: of IPv6 a customer can often have a whole /48.
pub(crate) fn network_hash(key: &AddressKey, address: IpAddr) -> AddressHash {
    match address.to_canonical() {
        IpAddr::V4(_) => hash(key, address),
        IpAddr::V6(address) => AddressHash::of(key, &address.octets()[..6]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hyper::header::HeaderValue;
    use proptest::prelude::*;

    fn found(peer: &str, forwarded: &[&str]) -> IpAddr {
        let trusted = ["10.0.0.0/8".parse().unwrap(), "fd00::/8".parse().unwrap()];
        let mut headers = HeaderMap::new();
        for value in forwarded {
            headers.append(FORWARDED_FOR, HeaderValue::from_str(value).unwrap());
        }
        client_address(peer.parse().unwrap(), &headers, &trusted)
    }

    #[test]
    fn the_client_is_the_first_untrusted_hop_from_the_right() {
        for (peer, forwarded, client) in [
            ("203.0.113.9", &["198.51.100.1"][..], "203.0.113.9"),
            ("10.0.0.1", &[], "10.0.0.1"),
            ("10.0.0.1", &["198.51.100.1"], "198.51.100.1"),
            ("10.0.0.1", &["1.1.1.1, 198.51.100.1, 10.0.0.2"], "198.51.100.1"),
            ("10.0.0.1", &["1.1.1.1", "198.51.100.1", "10.0.0.2"], "198.51.100.1"),
            ("10.0.0.1", &["10.0.0.3,10.0.0.2"], "10.0.0.3"),
            ("10.0.0.1", &["1.1.1.1, unknown, 10.0.0.2"], "10.0.0.2"),
            ("10.0.0.1", &["1.1.1.1,"], "10.0.0.1"),
            ("10.0.0.1", &["198.51.100.1:4711"], "198.51.100.1"),
            ("10.0.0.1", &["[2001:db8::1]:4711"], "2001:db8::1"),
            ("10.0.0.1", &["[2001:db8::1]"], "2001:db8::1"),
            ("::ffff:10.0.0.1", &["::ffff:198.51.100.1"], "198.51.100.1"),
            ("fd00::1", &["2001:db8::1"], "2001:db8::1"),
            ("::ffff:203.0.113.9", &["198.51.100.1"], "203.0.113.9"),
        ] {
            assert_eq!(found(peer, forwarded), client.parse::<IpAddr>().unwrap(), "{peer} {forwarded:?}");
        }
    }

    #[test]
    fn where_an_address_is_found_depends_on_trust_and_header() {
        let trusted = ["10.0.0.0/8".parse().unwrap()];
        let mut headers = HeaderMap::new();
        let seen = |peer: &str, headers: &HeaderMap| source(peer.parse().unwrap(), headers, &trusted);
        assert_eq!(seen("203.0.113.9", &headers), Source::Connection);
        assert_eq!(seen("::ffff:10.0.0.1", &headers), Source::Unnamed);
        headers.append(FORWARDED_FOR, HeaderValue::from_static("198.51.100.1"));
        assert_eq!(seen("203.0.113.9", &headers), Source::Unbelieved);
        assert_eq!(seen("10.0.0.1", &headers), Source::Forwarded);
    }

    #[test]
    fn an_ipv6_customer_is_one_client_and_mapping_makes_no_second_one() {
        let key = AddressKey::from_bytes([3; 32]);
        let hash = |text: &str| hash(&key, text.parse().unwrap());
        assert_eq!(hash("2001:db8::1"), hash("2001:db8:0:0:ffff::2"));
        assert_ne!(hash("2001:db8::1"), hash("2001:db8:0:1::1"));
        assert_eq!(hash("::ffff:192.0.2.1"), hash("192.0.2.1"));
        assert_ne!(hash("192.0.2.1"), hash("192.0.2.2"));
        let network = |text: &str| network_hash(&key, text.parse().unwrap());
        assert_eq!(network("2001:db8::1"), network("2001:db8:0:1::1"));
        assert_ne!(network("2001:db8::1"), network("2001:db8:1::1"));
        assert_ne!(network("2001:db8::1"), hash("2001:db8::1"));
        assert_eq!(network("::ffff:192.0.2.1"), hash("192.0.2.1"));
        assert_ne!(
            hash("192.0.2.1"),
            super::hash(&AddressKey::from_bytes([4; 32]), "192.0.2.1".parse().unwrap())
        );
    }

    proptest! {
        #[test]
        fn no_header_panics_and_none_moves_an_untrusted_peer(bytes in prop::collection::vec(32_u8..=255, 0..80)) {
            let value = HeaderValue::from_bytes(&bytes);
            prop_assume!(value.is_ok());
            let mut headers = HeaderMap::new();
            headers.append(FORWARDED_FOR, value.unwrap());
            let trusted = ["10.0.0.0/8".parse().unwrap()];
            let stranger: IpAddr = "203.0.113.9".parse().unwrap();
            prop_assert_eq!(client_address(stranger, &headers, &trusted), stranger);
            client_address("10.0.0.1".parse().unwrap(), &headers, &trusted);
        }
    }
}
