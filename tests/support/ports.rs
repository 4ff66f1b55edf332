//! Ports for servers that are started, and started again, by a test.

use std::net::TcpStream;
use std::sync::atomic::{AtomicU32, Ordering};

/// Below the ports that Linux lends to whoever asks for any: one of those could be taken before the server listens.
const FIRST: u32 = 8_000;
const COUNT: u32 = 12_000;
/// Test programs that run at the same time begin at different ones.
const STEP: u32 = 100;

/// A port that nobody listens on, and that no other test of this program is given.
pub fn free_port() -> u16 {
    static GIVEN: AtomicU32 = AtomicU32::new(0);
    loop {
        let n = std::process::id().wrapping_mul(STEP) % COUNT + GIVEN.fetch_add(1, Ordering::Relaxed);
        let port = u16::try_from(FIRST + n % COUNT).unwrap();
        // Asked by connecting. Whoever listened to find out would lend the port to every process that another thread
        // is just starting: until that one's exec it holds the listener too, accepts for a server that is not there
        // yet, and keeps it from listening itself.
        if TcpStream::connect(("127.0.0.1", port)).is_err() {
            return port;
        }
    }
}
