//! Random bytes from the operating system.
//!
//! Owns: one small buffer per thread, so that an id costs a copy instead of a system call.
//! Invariant: a byte is handed out once and erased from the buffer when it is.

use std::cell::RefCell;

/// Refilled in one system call, which the kernel does not interrupt up to this size.
const BUFFER_BYTES: usize = 256;

struct Buffer {
    bytes: [u8; BUFFER_BYTES],
    /// Bytes before this index are spent.
    next: usize,
}

thread_local! {
    static BUFFER: RefCell<Buffer> = const { RefCell::new(Buffer { bytes: [0; BUFFER_BYTES], next: BUFFER_BYTES }) };
}

/// `N` fresh random bytes.
pub fn bytes<const N: usize>() -> [u8; N] {
    let mut out = [0; N];
    fill(&mut out);
    out
}

/// Overwrites `out` with fresh random bytes.
pub fn fill(out: &mut [u8]) {
    if out.len() > BUFFER_BYTES / 2 {
        return draw(out);
    }
    BUFFER.with_borrow_mut(|buffer| {
        if BUFFER_BYTES - buffer.next < out.len() {
            draw(&mut buffer.bytes);
            buffer.next = 0;
        }
        let end = buffer.next + out.len();
        let fresh = &mut buffer.bytes[buffer.next..end];
        out.copy_from_slice(fresh);
        fresh.fill(0);
        buffer.next = end;
    });
}

/// The kernel's generator is always there on what we run on; without it nothing can be done safely.
fn draw(out: &mut [u8]) {
    getrandom::fill(out).expect("the operating system has no random numbers");
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    #[test]
    fn bytes_are_fresh_across_refills_and_sizes() {
        let drawn: HashSet<[u8; 16]> = (0..1000).map(|_| super::bytes()).collect();
        assert_eq!(drawn.len(), 1000);
        let large: [u8; 4096] = super::bytes();
        assert!(large.iter().collect::<HashSet<_>>().len() > 200);
        assert!(super::bytes::<0>().is_empty());
    }

    #[test]
    fn threads_do_not_share_bytes() {
        let here: [u8; 32] = super::bytes();
        let there: [u8; 32] = std::thread::scope(|scope| scope.spawn(super::bytes).join().unwrap());
        assert_ne!(here, there);
    }
}
