//! The socket to PostgreSQL, on the core's own runtime, and name resolution off it.

use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use monoio::net::tcp::stream_poll::TcpStreamPoll;
use monoio::net::unix::stream_poll::UnixStreamPoll;
use monoio::net::{TcpStream, UnixStream};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::settings::Host;
use crate::runtime::post::CorePost;
use crate::runtime::reply::reply;

/// Seconds of silence after which the kernel asks whether the server is still there, and between its questions.
const KEEPALIVE_SECONDS: u32 = 30;

/// A connected socket in the poll style that tokio-postgres and rustls expect.
pub(super) enum Stream {
    Tcp(TcpStreamPoll),
    Unix(UnixStreamPoll),
}

/// Connects to the first address that answers.
pub(super) async fn connect(host: &Host, port: u16, post: &Arc<dyn CorePost>) -> io::Result<Stream> {
    match host {
        Host::Unix(directory) => {
            let stream = UnixStream::connect(directory.join(format!(".s.PGSQL.{port}"))).await?;
            stream.try_into_poll_io().map(Stream::Unix).map_err(|(error, _)| error)
        }
        Host::Tcp(name) => {
            let mut last = io::Error::new(io::ErrorKind::NotFound, format!("{name} has no address"));
            for address in resolve(name, port, post).await? {
                match TcpStream::connect_addr(address).await {
                    Ok(stream) => {
                        stream.set_nodelay(true)?;
                        let keepalive = std::time::Duration::from_secs(KEEPALIVE_SECONDS.into());
                        stream.set_tcp_keepalive(Some(keepalive), Some(keepalive), None)?;
                        return stream.try_into_poll_io().map(Stream::Tcp).map_err(|(error, _)| error);
                    }
                    Err(error) => last = error,
                }
            }
            Err(last)
        }
    }
}

/// Asks the system's resolver, which blocks, on a thread of its own. Connections are rare enough for that.
#[allow(clippy::disallowed_methods, reason = "the resolver blocks")]
async fn resolve(name: &str, port: u16, post: &Arc<dyn CorePost>) -> io::Result<Vec<SocketAddr>> {
    if let Ok(address) = name.parse::<IpAddr>() {
        return Ok(vec![SocketAddr::new(address, port)]);
    }
    let name = name.to_owned();
    let (sender, answer) = reply(post);
    std::thread::Builder::new()
        .name("resolver".into())
        .spawn(move || sender.send((name.as_str(), port).to_socket_addrs().map(Iterator::collect)))?;
    answer.await.unwrap_or_else(|_| Err(io::Error::other("the resolver gave no answer")))
}

/// The host as error messages name it.
pub(super) fn display(host: &Host, port: u16) -> String {
    match host {
        Host::Tcp(name) => format!("{name}:{port}"),
        Host::Unix(directory) => Path::join(directory, format!(".s.PGSQL.{port}")).display().to_string(),
    }
}

macro_rules! each {
    ($self:ident, $stream:ident => $call:expr) => {
        match $self.get_mut() {
            Stream::Tcp(stream) => {
                let $stream = Pin::new(stream);
                $call
            }
            Stream::Unix(stream) => {
                let $stream = Pin::new(stream);
                $call
            }
        }
    };
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        each!(self, stream => stream.poll_read(cx, buf))
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        each!(self, stream => stream.poll_write(cx, buf))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        each!(self, stream => stream.poll_flush(cx))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        each!(self, stream => stream.poll_shutdown(cx))
    }
}
