//! Accepting connections: one listener per core on the same port.

use std::future::Future;
use std::io;
use std::net::SocketAddr;

use monoio::net::{TcpListener, TcpStream};
use socket2::{Domain, Protocol, Socket, Type};

use crate::runtime::fair::Fair;

/// Connections that the kernel completes before the core gets to them. Bounded by `net.core.somaxconn` as well.
const BACKLOG: i32 = 4096;

/// Opens a listening socket. With `SO_REUSEPORT` the kernel spreads connections over the cores' listeners.
pub fn bind(address: SocketAddr) -> io::Result<std::net::TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(true)?;
    // Accepted sockets inherit it, which saves a call for each of them.
    socket.set_tcp_nodelay(true)?;
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
    let mut fair = Fair::default();
    loop {
        match fair.wait(listener.accept()).await {
            Ok((stream, peer)) => {
                failing = false;
                monoio::spawn(serve(stream, peer));
            }
            Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
            Err(error) => {
                if !std::mem::replace(&mut failing, true) {
                    log::warn!("cannot accept connections: {error}");
                }
                monoio::time::sleep(std::time::Duration::from_millis(50)).await;
            }
        }
    }
}
