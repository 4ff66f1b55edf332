//! Accepting connections: one listener per core on the same port.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::time::Duration;

use monoio::net::{TcpListener, TcpStream};
use socket2::{Domain, Protocol, Socket, TcpKeepalive, Type};

use crate::runtime::fair::Fair;

/// Connections that the kernel completes before the core gets to them. Bounded by `net.core.somaxconn` as well.
const BACKLOG: i32 = 4096;

/// A peer that has vanished without a word is noticed after four minutes, also where nothing else looks after it.
const KEEPALIVE: TcpKeepalive =
    TcpKeepalive::new().with_time(Duration::from_secs(120)).with_interval(Duration::from_secs(30)).with_retries(4);

/// Opens a listening socket. With `SO_REUSEPORT` the kernel spreads connections over the cores' listeners.
pub fn bind(address: SocketAddr) -> io::Result<std::net::TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(true)?;
    // Accepted sockets inherit both, which saves calls for each of them.
    socket.set_tcp_nodelay(true)?;
    socket.set_tcp_keepalive(&KEEPALIVE)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// The same for a port that one core serves alone.
pub fn bind_alone(address: SocketAddr) -> io::Result<std::net::TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(128)?;
    Ok(socket.into())
}

/// Fails if somebody else listens on the address already. `SO_REUSEPORT` alone would let a second server of the same
/// user share the port in silence.
pub fn ensure_free(address: SocketAddr) -> io::Result<()> {
    if address.port() == 0 {
        return Ok(());
    }
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    socket.listen(1)
}

/// Accepts until the future is dropped. Running out of descriptors or memory pauses instead of spinning; a connection
/// that its client gave up before it was accepted holds nobody up.
pub async fn accept_loop<F: Future<Output = ()> + 'static>(
    listener: TcpListener,
    mut serve: impl FnMut(TcpStream, SocketAddr) -> F,
) {
    let mut failing = false;
    let mut fair = Fair::after(8);
    loop {
        match fair.wait(pin!(listener.accept())).await {
            Ok((stream, peer)) => {
                failing = false;
                monoio::spawn(serve(stream, peer));
            }
            Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
            Err(error) => {
                if !std::mem::replace(&mut failing, true) {
                    log::warn!("cannot accept connections: {error}");
                }
                monoio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accepted_sockets_inherit_what_the_listener_was_given() {
        let listener = bind(([127, 0, 0, 1], 0).into()).unwrap();
        let _peer = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        listener.set_nonblocking(false).unwrap();
        let accepted = Socket::from(listener.accept().unwrap().0);
        assert!(accepted.keepalive().unwrap() && accepted.tcp_nodelay().unwrap());
        let (idle, interval) = (accepted.tcp_keepalive_time().unwrap(), accepted.tcp_keepalive_interval().unwrap());
        assert_eq!((idle.as_secs(), interval.as_secs()), (120, 30));
        assert_eq!(accepted.tcp_keepalive_retries().unwrap(), 4);
    }
}
