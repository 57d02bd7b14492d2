//! Ports of a test's own. A port is held, bound but not listening, until its owner is dropped: other tests
//! cannot draw it, while the program it is meant for can bind it over the holder.

use socket2::{Domain, Protocol, Socket, Type};
use std::net::{Ipv4Addr, SocketAddr};

/// A loopback address that no other test will get.
#[derive(Debug)]
pub struct HeldPort {
    address: SocketAddr,
    _holder: Socket,
}

impl HeldPort {
    /// Draws a free one.
    pub fn draw() -> Self {
        let holder = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP)).expect("a socket");
        // Both, because some listeners of the relay share their port and others do not.
        holder.set_reuse_address(true).expect("SO_REUSEADDR");
        holder.set_reuse_port(true).expect("SO_REUSEPORT");
        holder.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into()).expect("a free port");
        let address = holder.local_addr().ok().and_then(|address| address.as_socket()).expect("an address");
        Self { address, _holder: holder }
    }

    /// The address.
    pub const fn address(&self) -> SocketAddr {
        self.address
    }
}
