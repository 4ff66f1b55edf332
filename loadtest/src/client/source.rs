//! Where connections come from. One address has about 28,000 ephemeral ports towards one server port; loopback has
//! sixteen million addresses, so each worker spreads its connections over some of its own.

use std::cell::Cell;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use monoio::net::TcpStream;
use socket2::{Domain, Protocol, Socket, Type};

use crate::client::Failure;
use crate::options::Share;

pub(crate) struct Sources {
    servers: Vec<SocketAddr>,
    worker: usize,
    addresses: usize,
    next: Cell<usize>,
    next_server: Cell<usize>,
    made: Cell<u64>,
}

impl Sources {
    pub(crate) fn new(servers: Vec<SocketAddr>, addresses: usize, share: Share) -> Self {
        Self {
            servers,
            worker: share.index,
            addresses,
            next: Cell::default(),
            next_server: Cell::default(),
            made: Cell::default(),
        }
    }

    /// Connections made so far.
    pub(crate) fn made(&self) -> u64 {
        self.made.get()
    }

    /// Connects to the servers in turn.
    pub(crate) fn connect(&self) -> Result<TcpStream, Failure> {
        let turn = self.next_server.get();
        self.next_server.set(turn + 1);
        self.connect_to(turn)
    }

    /// Connects to server `number` (modulo their number) from the next source address.
    ///
    /// The thread waits meanwhile. On loopback the handshake is over when `connect` returns, unless the server's accept
    /// queue is full, and then waiting is all there is to do.
    pub(crate) fn connect_to(&self, number: usize) -> Result<TcpStream, Failure> {
        /// Above the first repetitions of a handshake packet that a full accept queue dropped.
        const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
        let Some(server) = self.servers.get(number % self.servers.len().max(1)).copied() else {
            return Err(Failure::new("no server"));
        };
        let socket = Socket::new(Domain::for_address(server), Type::STREAM, Some(Protocol::TCP))?;
        if let Some(source) = self.next_source(server) {
            socket.bind(&source.into()).map_err(|error| Failure::from(error).during("binding a source address"))?;
        }
        socket.set_tcp_nodelay(true)?;
        socket
            .connect_timeout(&server.into(), CONNECT_TIMEOUT)
            .map_err(|error| Failure::from(error).during("connecting"))?;
        self.made.set(self.made.get() + 1);
        Ok(TcpStream::from_std(socket.into())?)
    }

    fn next_source(&self, server: SocketAddr) -> Option<SocketAddr> {
        if self.addresses == 0 || !server.ip().is_loopback() || !server.is_ipv4() {
            return None;
        }
        let turn = self.next.get();
        self.next.set(turn + 1);
        Some(SocketAddr::new(IpAddr::V4(source_address(self.worker, turn % self.addresses)), 0))
    }
}

/// `127.W.A.B`, with B from 1 to 250; worker 0 uses `127.10.x.y` so that it stays clear of the usual `127.0.0.1`.
fn source_address(worker: usize, number: usize) -> Ipv4Addr {
    let byte = |value: usize| u8::try_from(value % 256).unwrap_or(0);
    Ipv4Addr::new(127, byte(10 + worker % 240), byte(number / 250), byte(1 + number % 250))
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::source_address;

    #[test]
    fn addresses_do_not_repeat() {
        let addresses: HashSet<_> =
            (0..8).flat_map(|worker| (0..1_000).map(move |number| source_address(worker, number))).collect();
        assert_eq!(addresses.len(), 8_000);
        assert!(addresses.iter().all(|address| address.is_loopback() && address.octets()[3] != 0));
    }
}
