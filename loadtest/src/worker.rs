//! One worker process: one thread, one ring. It is told by its coordinator over standard input when to do the next step
//! and answers over standard output, one line each:
//!
//! ```text
//! ← prepare RUN        → prepared
//! ← connect            → open CONNECTIONS from time to time, then ready
//! ← go OPENS_US        → tick NUMBER FIELDS for each interval of the window, the lines of its tally, then done
//!                      → failed TEXT, at any point
//! ```

use std::fs::File;
use std::io::Write;
use std::os::fd::AsFd;

use crate::client::Failure;
use crate::options::{Options, Share};
use crate::scenario;
use crate::tally::Tally;
use crate::window::Window;

/// Runs the worker; `false` when it failed and has told the coordinator why.
pub(crate) fn run(options: Options, share: Share) -> Result<bool, Failure> {
    let mut runtime = monoio::RuntimeBuilder::<monoio::IoUringDriver>::new()
        .enable_timer()
        .with_entries(RING_ENTRIES)
        .uring_builder(ring())
        .build()
        .map_err(|error| Failure::from(error).during("io_uring"))?;
    runtime.block_on(async move {
        let mut conversation = Conversation::new()?;
        if let Err(failure) = scenario::play(&mut conversation, options, share).await {
            tell(&format!("failed {failure}\n"));
            return Ok(false);
        }
        Ok(true)
    })
}

/// Speaks to the coordinator. If it is gone nobody wants to know, and the next command will not come.
fn tell(lines: &str) {
    let mut output = std::io::stdout().lock();
    let _ = output.write_all(lines.as_bytes()).and_then(|()| output.flush());
}

const RING_ENTRIES: u32 = 4096;

/// Completions wait for the thread instead of interrupting it; the generator should be cheaper than what it measures.
/// (`DEFER_TASKRUN` would be cheaper still, but then completions are only seen when the runtime sleeps.)
fn ring() -> io_uring::Builder {
    let mut ring = io_uring::IoUring::builder();
    ring.setup_coop_taskrun().setup_single_issuer();
    ring
}

pub(crate) struct Conversation {
    input: monoio::fs::File,
    unread: Vec<u8>,
}

impl Conversation {
    fn new() -> Result<Self, Failure> {
        let input = std::io::stdin().as_fd().try_clone_to_owned()?;
        Ok(Self { input: monoio::fs::File::from_std(File::from(input))?, unread: Vec::new() })
    }

    pub(crate) async fn await_prepare(&mut self) -> Result<u64, Failure> {
        self.command("prepare ").await?.parse().map_err(|_| Failure::new("prepare without a run"))
    }

    pub(crate) async fn await_connect(&mut self) -> Result<(), Failure> {
        self.command("connect").await.map(|_| ())
    }

    pub(crate) async fn await_go(&mut self, seconds: f64) -> Result<Window, Failure> {
        let opens_us = self.command("go ").await?.parse().map_err(|_| Failure::new("go without a moment"))?;
        Ok(Window::from_unix_micros(opens_us, seconds))
    }

    pub(crate) fn report_prepared(&self) {
        tell("prepared\n");
    }

    pub(crate) fn report_ready(&self) {
        tell("ready\n");
    }

    pub(crate) fn report_tick(number: u64, fields: &str) {
        tell(&format!("tick {number} {fields}\n"));
    }

    pub(crate) fn report_open(connections: u64) {
        tell(&format!("open {connections}\n"));
    }

    pub(crate) fn report_tally(&self, tally: &Tally) {
        tell(&tally.to_lines());
    }

    /// The rest of the next line, which must begin with `word`.
    ///
    /// Read through the ring, so that sockets are served meanwhile.
    async fn command(&mut self, word: &str) -> Result<String, Failure> {
        const READ_BYTES: usize = 256;
        loop {
            if let Some(end) = self.unread.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.unread.drain(..=end).collect();
                let line = String::from_utf8_lossy(&line);
                return match line.trim_end().strip_prefix(word) {
                    Some(rest) => Ok(rest.to_owned()),
                    None => Err(Failure::new(format!("told {line:?} instead of {word:?}"))),
                };
            }
            let (read, buffer) = self.input.read_at(vec![0; READ_BYTES], 0).await;
            match read? {
                0 => return Err(Failure::new("the coordinator is gone")),
                count => self.unread.extend_from_slice(&buffer[..count]),
            }
        }
    }
}
