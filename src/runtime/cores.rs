//! Starting the threads: which io driver, how many cores, one runtime on each.

use std::future::Future;
use std::io;
use std::thread::{Builder, JoinHandle};

use monoio::time::TimeDriver;
use monoio::{FusionRuntime, IoUringDriver, LegacyDriver, RuntimeBuilder};

/// Number of a core thread, from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CoreId(pub u16);

impl CoreId {
    pub fn index(self) -> usize {
        usize::from(self.0)
    }
}

/// What the operator asked for (`HAPPIER_IO_DRIVER`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DriverChoice {
    Auto,
    Uring,
    Epoll,
}

/// What the threads run on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Driver {
    /// io_uring; `deferred` says that completions are only delivered when the core asks for them
    /// (`IORING_SETUP_DEFER_TASKRUN`, Linux 6.1), which spares it interruptions.
    Uring {
        deferred: bool,
    },
    Epoll,
}

impl Driver {
    pub fn name(self) -> &'static str {
        match self {
            Self::Uring { .. } => "io_uring",
            Self::Epoll => "epoll",
        }
    }

    /// How to set up another ring for a core, if it may have one.
    pub fn ring(self) -> Option<io_uring::Builder> {
        match self {
            Self::Uring { deferred } => Some(ring_flags(deferred)),
            Self::Epoll => None,
        }
    }
}

type Runtime = FusionRuntime<TimeDriver<IoUringDriver>, TimeDriver<LegacyDriver>>;

/// Submission queue entries per core. A turn that starts more operations submits in between.
const RING_ENTRIES: u32 = 1024;

fn ring_flags(deferred: bool) -> io_uring::Builder {
    let mut builder = io_uring::IoUring::builder();
    if deferred {
        builder.setup_single_issuer().setup_defer_taskrun();
    }
    builder
}

fn build(driver: Driver) -> io::Result<Runtime> {
    match driver {
        Driver::Uring { deferred } => RuntimeBuilder::<IoUringDriver>::new()
            .with_entries(RING_ENTRIES)
            .uring_builder(ring_flags(deferred))
            .enable_timer()
            .build()
            .map(Runtime::from),
        Driver::Epoll => RuntimeBuilder::<LegacyDriver>::new().enable_timer().build().map(Runtime::from),
    }
}

/// Finds out what the kernel allows. Containers refuse io_uring by default (seccomp), and some hosts switch it off, so
/// `auto` falls back; the returned text says why. `uring` insists and fails.
pub fn choose(choice: DriverChoice) -> io::Result<(Driver, Option<String>)> {
    if choice == DriverChoice::Epoll {
        return Ok((Driver::Epoll, None));
    }
    let refused = match ring_flags(true).build(8) {
        Ok(_) if monoio::utils::detect_uring() => return Ok((Driver::Uring { deferred: true }, None)),
        Ok(_) => io::Error::other("the kernel lacks an operation that is needed"),
        Err(_) => match ring_flags(false).build(8) {
            Ok(_) if monoio::utils::detect_uring() => return Ok((Driver::Uring { deferred: false }, None)),
            Ok(_) => io::Error::other("the kernel lacks an operation that is needed"),
            Err(error) => error,
        },
    };
    match choice {
        DriverChoice::Uring => Err(refused),
        _ => Ok((Driver::Epoll, Some(refused.to_string()))),
    }
}

/// The drivers on which a test can run here.
#[cfg(test)]
#[allow(clippy::print_stderr, reason = "a test that does less than it could says so")]
pub fn drivers() -> Vec<Driver> {
    match choose(DriverChoice::Uring) {
        Ok((driver, _)) => vec![Driver::Epoll, driver],
        Err(error) => {
            eprintln!("not tested on io_uring: {error}");
            vec![Driver::Epoll]
        }
    }
}

/// Starts a thread that runs `main` to its end. `main` is built on the thread, so what it makes may be core-local.
#[allow(
    clippy::disallowed_methods,
    reason = "the place that starts threads; a core that cannot start ends the process"
)]
pub fn spawn<M, F>(core: CoreId, driver: Driver, main: M) -> io::Result<JoinHandle<()>>
where
    M: FnOnce() -> F + Send + 'static,
    F: Future<Output = ()>,
{
    Builder::new().name(format!("core-{}", core.0)).spawn(move || {
        let mut runtime = match build(driver) {
            Ok(runtime) => runtime,
            Err(error) => {
                // Every core is needed: accounts live on all of them.
                log::error!("core {} cannot start its {} driver: {error}", core.0, driver.name());
                std::process::exit(1);
            }
        };
        runtime.block_on(async move { main().await });
    })
}

/// Runs something that blocks on a thread of its own.
#[allow(clippy::disallowed_methods, reason = "the place that starts threads")]
pub fn background<T: Send + 'static>(
    name: &str,
    work: impl FnOnce() -> T + Send + 'static,
) -> io::Result<JoinHandle<T>> {
    Builder::new().name(name.to_string()).spawn(work)
}
