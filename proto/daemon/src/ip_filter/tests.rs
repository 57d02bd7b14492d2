use super::examples::FORBIDDEN;
use super::*;
use proptest::prelude::*;

const PASSING: [&str; 12] = [
    "1.1.1.1",
    "8.8.8.8",
    "100.63.255.255",
    "172.32.0.1",
    "198.20.0.1",
    "223.255.255.255",
    "::ffff:8.8.8.8",
    "::FFFF:101:101",
    "2000::1",
    "2606:4700:4700::1111",
    "2A00:1450:4001:0801:0000:0000:0000:200E",
    "2a00:1450::8.8.8.8",
];

fn address(text: &str) -> IpAddr {
    text.parse().unwrap_or_else(|_| panic!("{text} is no address"))
}

fn network(text: &str) -> IpNet {
    text.parse().unwrap_or_else(|_| panic!("{text} is no network"))
}

fn is_let_through(text: &str, allowed: &[&str]) -> bool {
    let allowed: Vec<IpNet> = allowed.iter().map(|text| network(text)).collect();
    !is_forbidden(address(text), &allowed)
}

#[test]
fn no_spelling_of_a_forbidden_address_passes_until_all_addresses_are_allowed() {
    for text in FORBIDDEN {
        assert!(!is_let_through(text, &[]), "{text}");
        assert!(is_let_through(text, &["0.0.0.0/0", "::/0"]), "{text}");
    }
}

#[test]
fn hosts_of_the_internet_pass() {
    for text in PASSING {
        assert!(is_let_through(text, &[]), "{text}");
    }
}

/// A block, its first and last address, and those just outside of it.
type Row = (&'static str, [&'static str; 2], &'static [&'static str]);

const ROWS_V4: [Row; SPECIAL_V4.len()] = [
    ("0.0.0.0/8", ["0.0.0.0", "0.255.255.255"], &["1.0.0.0"]),
    ("10.0.0.0/8", ["10.0.0.0", "10.255.255.255"], &["9.255.255.255", "11.0.0.0"]),
    ("100.64.0.0/10", ["100.64.0.0", "100.127.255.255"], &["100.63.255.255", "100.128.0.0"]),
    ("127.0.0.0/8", ["127.0.0.0", "127.255.255.255"], &["126.255.255.255", "128.0.0.0"]),
    ("168.63.129.16/32", ["168.63.129.16", "168.63.129.16"], &["168.63.129.15", "168.63.129.17"]),
    ("169.254.0.0/16", ["169.254.0.0", "169.254.255.255"], &["169.253.255.255", "169.255.0.0"]),
    ("172.16.0.0/12", ["172.16.0.0", "172.31.255.255"], &["172.15.255.255", "172.32.0.0"]),
    ("192.0.0.0/24", ["192.0.0.0", "192.0.0.255"], &["191.255.255.255", "192.0.1.0"]),
    ("192.0.2.0/24", ["192.0.2.0", "192.0.2.255"], &["192.0.1.255", "192.0.3.0"]),
    ("192.31.196.0/24", ["192.31.196.0", "192.31.196.255"], &["192.31.195.255", "192.31.197.0"]),
    ("192.52.193.0/24", ["192.52.193.0", "192.52.193.255"], &["192.52.192.255", "192.52.194.0"]),
    ("192.88.99.0/24", ["192.88.99.0", "192.88.99.255"], &["192.88.98.255", "192.88.100.0"]),
    ("192.168.0.0/16", ["192.168.0.0", "192.168.255.255"], &["192.167.255.255", "192.169.0.0"]),
    ("192.175.48.0/24", ["192.175.48.0", "192.175.48.255"], &["192.175.47.255", "192.175.49.0"]),
    ("198.18.0.0/15", ["198.18.0.0", "198.19.255.255"], &["198.17.255.255", "198.20.0.0"]),
    ("198.51.100.0/24", ["198.51.100.0", "198.51.100.255"], &["198.51.99.255", "198.51.101.0"]),
    ("203.0.113.0/24", ["203.0.113.0", "203.0.113.255"], &["203.0.112.255", "203.0.114.0"]),
    ("224.0.0.0/3", ["224.0.0.0", "255.255.255.255"], &["223.255.255.255"]),
];

const ROWS_V6: [Row; SPECIAL_V6.len()] = [
    (
        "2001::/23",
        ["2001::", "2001:1ff:ffff:ffff:ffff:ffff:ffff:ffff"],
        &["2000:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "2001:200::"],
    ),
    (
        "2001:db8::/32",
        ["2001:db8::", "2001:db8:ffff:ffff:ffff:ffff:ffff:ffff"],
        &["2001:db7:ffff:ffff:ffff:ffff:ffff:ffff", "2001:db9::"],
    ),
    (
        "2002::/16",
        ["2002::", "2002:ffff:ffff:ffff:ffff:ffff:ffff:ffff"],
        &["2001:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "2003::"],
    ),
    (
        "2620:4f:8000::/48",
        ["2620:4f:8000::", "2620:4f:8000:ffff:ffff:ffff:ffff:ffff"],
        &["2620:4f:7fff:ffff:ffff:ffff:ffff:ffff", "2620:4f:8001::"],
    ),
    (
        "3fff::/20",
        ["3fff::", "3fff:fff:ffff:ffff:ffff:ffff:ffff:ffff"],
        &["3ffe:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "3fff:1000::"],
    ),
];

#[test]
fn every_block_ends_where_it_ends() {
    let blocks_v4 = SPECIAL_V4.map(IpNet::from).into_iter().zip(ROWS_V4);
    let blocks_v6 = SPECIAL_V6.map(IpNet::from).into_iter().zip(ROWS_V6);
    for (block, (text, [first, last], outside)) in blocks_v4.chain(blocks_v6) {
        assert_eq!(block, network(text));
        assert_eq!((block.network(), block.broadcast()), (address(first), address(last)), "{text}");
        for inside in [first, last] {
            assert!(!is_let_through(inside, &[]), "{inside} of {text}");
            assert!(is_let_through(inside, &[text]), "{inside} of {text}");
        }
        for outside in outside {
            assert!(is_let_through(outside, &[]), "{outside} beside {text}");
        }
    }
}

#[test]
fn ipv6_is_what_was_given_out_and_no_more() {
    for text in ["2000::", "3fff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"] {
        assert!(is_let_through(text, &[]), "{text}");
    }
    for text in ["1fff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "4000::"] {
        assert!(!is_let_through(text, &[]), "{text}");
    }
}

#[test]
fn allowing_an_ipv4_network_allows_it_in_every_form_that_says_where_it_is() {
    for text in [
        "10.1.2.3",
        "::ffff:10.1.2.3",
        "::10.1.2.3",
        "64:ff9b::10.1.2.3",
        "2002:a01:203::1",
        "2001:0:808:808:0:0:f5fe:fdfc",
    ] {
        assert!(is_let_through(text, &["10.0.0.0/8"]), "{text}");
        assert!(!is_let_through(text, &["11.0.0.0/8", "fd00::/8"]), "{text}");
    }
    for text in ["64:ff9b:1::10.1.2.3", "64:ff9b:1:a01:2:300::", "2001:0:a01:203::1", "fd00::10.1.2.3"] {
        assert!(!is_let_through(text, &["10.0.0.0/8"]), "{text}");
    }
    assert!(is_let_through("64:ff9b:1::10.1.2.3", &["64:ff9b:1::/48"]));
}

#[test]
fn allowing_all_of_ipv4_does_not_allow_loopback_of_ipv6() {
    assert!(!is_let_through("::1", &["0.0.0.0/0"]));
    assert!(!is_let_through("::", &["0.0.0.0/0"]));
    assert!(is_let_through("::1", &["::1/128"]));
}

fn addresses() -> impl Strategy<Value = IpAddr> {
    let beside_the_table =
        (0..FORBIDDEN.len(), any::<u16>()).prop_map(|(row, low)| match address(FORBIDDEN[row]) {
            IpAddr::V4(near) => IpAddr::V4((u32::from(near) ^ u32::from(low)).into()),
            IpAddr::V6(near) => IpAddr::V6((u128::from(near) ^ u128::from(low) << 96).into()),
        });
    prop_oneof![any::<IpAddr>(), beside_the_table]
}

fn networks() -> impl Strategy<Value = IpNet> {
    (addresses(), 0..=128_u8).prop_map(|(address, prefix)| {
        let longest = if address.is_ipv4() { 32 } else { 128 };
        IpNet::new(address, prefix.min(longest)).unwrap()
    })
}

/// The bits of a network, and beyond its prefix those of another address.
fn inside(network: IpNet, bits: u128) -> IpAddr {
    match (network.network(), network.hostmask()) {
        (IpAddr::V4(base), IpAddr::V4(mask)) => {
            let low = u32::try_from(bits >> 96).unwrap();
            IpAddr::V4((u32::from(base) | u32::from(mask) & low).into())
        }
        (IpAddr::V6(base), IpAddr::V6(mask)) => {
            IpAddr::V6((u128::from(base) | u128::from(mask) & bits).into())
        }
        _ => unreachable!("a network and its mask are of one family"),
    }
}

proptest! {
    #[test]
    fn what_the_standard_library_knows_to_be_special_never_passes(address in addresses()) {
        let special = match address.to_canonical() {
            IpAddr::V4(address) => {
                address.is_loopback()
                    || address.is_private()
                    || address.is_link_local()
                    || address.is_multicast()
                    || address.is_broadcast()
                    || address.is_documentation()
                    || address.is_unspecified()
            }
            IpAddr::V6(address) => {
                address.is_loopback()
                    || address.is_unique_local()
                    || address.is_unicast_link_local()
                    || address.is_multicast()
                    || address.is_unspecified()
            }
        };
        prop_assert!(is_forbidden(address, &[]) || !special);
    }

    #[test]
    fn a_mapped_address_is_judged_as_what_it_maps(bits in any::<u32>(), allowed in networks()) {
        let address = Ipv4Addr::from(bits);
        let mapped = IpAddr::V6(address.to_ipv6_mapped());
        prop_assert_eq!(is_forbidden(mapped, &[]), is_forbidden(address.into(), &[]));
        if allowed.addr().is_ipv4() {
            prop_assert_eq!(is_forbidden(mapped, &[allowed]), is_forbidden(address.into(), &[allowed]));
        }
    }

    #[test]
    fn everything_inside_an_allowed_network_passes(network in networks(), bits in any::<u128>()) {
        let address = inside(network, bits);
        prop_assert!(network.contains(&address));
        prop_assert!(!is_forbidden(address, &[network]));
    }

    #[test]
    fn an_allowed_network_changes_nothing_outside_of_it(address in addresses(), network in networks()) {
        let forms = [Some(address), held(address).map(IpAddr::V4)];
        let within = forms.iter().flatten().any(|form| network.contains(form));
        prop_assert_eq!(is_forbidden(address, &[network]), !within && is_forbidden(address, &[]));
    }
}
