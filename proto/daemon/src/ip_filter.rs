//! Which addresses a host that this process connects to may have.
//!
//! Whoever names such a host, or answers for its name, chooses where this process connects to. Without a table
//! they could choose this host, its neighbours, or the address at which a cloud hands out credentials. So
//! only global unicast addresses pass, less every block of the two IANA special-purpose registries, and the
//! operator names the exceptions. Judgement is pure: what is judged here is what is then connected to.
//!
//! IPv6 has several ways to write an IPv4 address. A mapped one (`::ffff:0:0/96`) reaches the very host, so
//! it is judged as what it maps. The others leave the translation to a gateway whose network nobody here
//! knows; those are refused whatever they hold, unless the operator allowed them or what they hold.

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

const SPECIAL_V4: [Ipv4Net; 18] = [
    v4([0, 0, 0, 0], 8),        // this network; Linux takes 0.0.0.0 for the host itself
    v4([10, 0, 0, 0], 8),       // private
    v4([100, 64, 0, 0], 10),    // between a provider and its customers
    v4([127, 0, 0, 0], 8),      // loopback
    v4([168, 63, 129, 16], 32), // Azure's own services, on an address that looks global
    v4([169, 254, 0, 0], 16),   // link-local; credentials at 169.254.169.254
    v4([172, 16, 0, 0], 12),    // private
    v4([192, 0, 0, 0], 24),     // protocol assignments
    v4([192, 0, 2, 0], 24),     // documentation
    v4([192, 31, 196, 0], 24),  // AS112, answered by the nearest network, which may be one's own
    v4([192, 52, 193, 0], 24),  // multicast relays (AMT), likewise
    v4([192, 88, 99, 0], 24),   // 6to4 relays, likewise
    v4([192, 168, 0, 0], 16),   // private
    v4([192, 175, 48, 0], 24),  // AS112, likewise
    v4([198, 18, 0, 0], 15),    // benchmarks
    v4([198, 51, 100, 0], 24),  // documentation
    v4([203, 0, 113, 0], 24),   // documentation
    v4([224, 0, 0, 0], 3),      // multicast, reserved, broadcast
];

/// All of IPv6 that has been given out for hosts of the Internet. Loopback, link-local, unique local,
/// multicast, NAT64, compatible and segment-routing addresses lie outside.
const GLOBAL_V6: Ipv6Net = v6([0x2000, 0, 0], 3);

/// The special blocks inside [`GLOBAL_V6`].
const SPECIAL_V6: [Ipv6Net; 5] = [
    v6([0x2001, 0x0000, 0x0000], 23), // protocol assignments: Teredo, benchmarks, ORCHID and the rest
    v6([0x2001, 0x0db8, 0x0000], 32), // documentation
    v6([0x2002, 0x0000, 0x0000], 16), // 6to4
    v6([0x2620, 0x004f, 0x8000], 48), // AS112
    v6([0x3fff, 0x0000, 0x0000], 20), // documentation
];

const fn v4([a, b, c, d]: [u8; 4], prefix: u8) -> Ipv4Net {
    Ipv4Net::new_assert(Ipv4Addr::new(a, b, c, d), prefix)
}

const fn v6([a, b, c]: [u16; 3], prefix: u8) -> Ipv6Net {
    Ipv6Net::new_assert(Ipv6Addr::new(a, b, c, 0, 0, 0, 0, 0), prefix)
}

/// Whether nothing may be sent to an address on the word of whoever answers for a host's name.
pub fn is_forbidden(address: IpAddr, allowed: &[IpNet]) -> bool {
    let is_allowed = |address: &IpAddr| allowed.iter().any(|network| network.contains(address));
    if is_allowed(&address) || held(address).is_some_and(|held| is_allowed(&held.into())) {
        return false;
    }
    match address.to_canonical() {
        IpAddr::V4(address) => SPECIAL_V4.iter().any(|block| block.contains(&address)),
        IpAddr::V6(address) => {
            !GLOBAL_V6.contains(&address) || SPECIAL_V6.iter().any(|block| block.contains(&address))
        }
    }
}

/// The IPv4 address that an IPv6 one holds, where the format says at which place. The NAT64 prefix for local
/// use (`64:ff9b:1::/48`) leaves the place to the network, so of that one nothing is read.
fn held(address: IpAddr) -> Option<Ipv4Addr> {
    let IpAddr::V6(address) = address else { return None };
    let [.., a, b, c, d] = address.octets();
    let last = Ipv4Addr::new(a, b, c, d);
    match address.segments() {
        // `::` and `::1` have the form of a compatible address and are none: allowing 0.0.0.0/8, or all of
        // IPv4, does not allow loopback.
        [0, 0, 0, 0, 0, 0, 0, 0 | 1] => None,
        [0, 0, 0, 0, 0, 0 | 0xffff, ..] | [0x64, 0xff9b, 0, 0, 0, 0, ..] => Some(last),
        [0x2001, 0, ..] => Some(!last),
        [0x2002, high, low, ..] => Some(Ipv4Addr::from(u32::from(high) << 16 | u32::from(low))),
        _ => None,
    }
}

pub mod examples;

#[cfg(test)]
mod tests;
