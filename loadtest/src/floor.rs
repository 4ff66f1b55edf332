//! The floor: a TCP server without any protocol that answers what `echo --raw` sends with as many bytes as a real
//! server would. What it costs is the price of the kernel and of the runtime; nothing that speaks a protocol over them
//! can be cheaper.
//!
//! It runs on one thread and is set up as the real server's cores are.

use std::net::{Ipv4Addr, SocketAddrV4};

use monoio::io::{AsyncReadRent, AsyncWriteRentExt};
use monoio::net::{TcpListener, TcpStream};

use crate::client::Failure;
use crate::client::socket::{PING_ANSWER_BYTES, PING_REQUEST_BYTES};

const RING_ENTRIES: u32 = 4096;
/// More requests in one read than any connection of the generator has under way are answered by several writes.
const READ_BYTES: usize = 64 * PING_REQUEST_BYTES;

/// Serves until the process is ended. Prints the address it listens on.
pub(crate) fn serve(port: u16) -> Result<(), Failure> {
    let mut ring = io_uring::IoUring::builder();
    ring.setup_defer_taskrun().setup_single_issuer();
    let mut runtime = monoio::RuntimeBuilder::<monoio::IoUringDriver>::new()
        .with_entries(RING_ENTRIES)
        .uring_builder(ring)
        .build()
        .map_err(|error| Failure::from(error).during("io_uring"))?;
    runtime.block_on(async move {
        let listener = TcpListener::bind(SocketAddrV4::new(Ipv4Addr::LOCALHOST, port))?;
        println!("listening on {}", listener.local_addr()?);
        loop {
            let (stream, _) = listener.accept().await?;
            stream.set_nodelay(true)?;
            monoio::spawn(answer(stream));
        }
    })
}

async fn answer(mut stream: TcpStream) {
    let mut input = Vec::with_capacity(READ_BYTES);
    let mut output = Vec::new();
    let mut unanswered_bytes = 0;
    loop {
        let (read, buffer) = stream.read(input).await;
        input = buffer;
        match read {
            Ok(0) | Err(_) => return,
            Ok(count) => unanswered_bytes += count,
        }
        let requests = unanswered_bytes / PING_REQUEST_BYTES;
        unanswered_bytes %= PING_REQUEST_BYTES;
        output.resize(requests * PING_ANSWER_BYTES, b'.');
        let (written, buffer) = stream.write_all(output).await;
        output = buffer;
        if written.is_err() {
            return;
        }
    }
}
