//! How the kernel gives memory to the process: in small pages.
//!
//! Huge pages round every piece that the allocator touches up to 2 MiB. A server with many small, long-lived allocations
//! pays for that (an idle process: 26 MB resident instead of 12) and gains nothing that could be measured.

/// Asks the kernel for small pages only, from now on. An old kernel that knows no such wish is no reason not to start.
pub fn keep_small() {
    if let Err(error) = rustix::thread::disable_transparent_huge_pages(true) {
        log::debug!("huge pages stay on: {error}");
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn huge_pages_are_off_for_the_process() {
        super::keep_small();
        assert!(rustix::thread::transparent_huge_pages_are_disabled().unwrap());
    }
}
