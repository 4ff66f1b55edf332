//! Small servers that do the same thing in different ways: answer every 22 bytes with 14 bytes, one thread, no
//! protocol. `happier-loadtest echo --raw` and `idle --raw` drive them; `run.sh` measures them interleaved.
//!
//! Usage: runtime-experiments MODE [none|coop|defer]
//!
//! The last argument names the flags of the ring: none, COOP_TASKRUN or DEFER_TASKRUN, the last two with
//! SINGLE_ISSUER.

mod bulk;
mod epoll;
mod fd;
mod ring;
mod task;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// What the load generator sends and expects (`PING_REQUEST_BYTES`, `PING_ANSWER_BYTES` there).
const REQUEST_BYTES: usize = 22;
const ANSWER_BYTES: usize = 14;
/// What a read may take at once.
const READ_BYTES: usize = 4096;

/// How far a connection is; all the state that answering needs.
#[derive(Default)]
struct Machine {
    unanswered_bytes: usize,
}

impl Machine {
    /// Takes so many bytes of input, returns how many bytes of answer they call for.
    fn take(&mut self, count: usize) -> usize {
        let bytes = self.unanswered_bytes + count;
        self.unanswered_bytes = bytes % REQUEST_BYTES;
        bytes / REQUEST_BYTES * ANSWER_BYTES
    }
}

/// Enough answer bytes for the largest read.
static ANSWERS: [u8; (READ_BYTES / REQUEST_BYTES + 1) * ANSWER_BYTES] =
    [b'.'; (READ_BYTES / REQUEST_BYTES + 1) * ANSWER_BYTES];

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let mode = arguments.first().map_or("", String::as_str);
    let flags = arguments.get(1).map_or("none", String::as_str);
    // Huge pages round memory up to 2 MiB wherever an arena grows, which hides what a connection takes.
    // SAFETY: only changes how memory of this process is mapped.
    unsafe { libc::prctl(libc::PR_SET_THP_DISABLE, 1, 0, 0, 0) };
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("bind");
    println!("listening on {}", listener.local_addr().expect("address"));
    match mode {
        "ring-parked" => ring::serve(listener, &ring_flags(flags), ring::Way::Parked),
        "ring-multishot" => ring::serve(listener, &ring_flags(flags), ring::Way::Multishot),
        "ring-ready-plain" => ring::serve(listener, &ring_flags(flags), ring::Way::ReadyPlain),
        "bulk" => bulk::serve(listener, &ring_flags(flags), bulk::Way::Both),
        "bulk-sends" => bulk::serve(listener, &ring_flags(flags), bulk::Way::Sends),
        "epoll-slab" => epoll::serve(listener),
        "task-parked" => task::serve(listener, ring_flags(flags), task::Way::Parked),
        "task-parked-plain" => task::serve(listener, ring_flags(flags), task::Way::ParkedPlain),
        "task-ready" => task::serve(listener, ring_flags(flags), task::Way::Ready),
        "task-ready-plain" => task::serve(listener, ring_flags(flags), task::Way::ReadyPlain),
        "task-switch" => task::serve(listener, ring_flags(flags), task::Way::Switch),
        "task-epoll" => task::serve_legacy(listener),
        _ => {
            eprintln!("usage: runtime-experiments MODE [none|coop|defer]");
            std::process::exit(2);
        }
    }
}

fn ring_flags(flags: &str) -> io_uring::Builder {
    let mut builder = io_uring::IoUring::builder();
    match flags {
        "coop" => drop(builder.setup_coop_taskrun().setup_single_issuer()),
        "defer" => drop(builder.setup_defer_taskrun().setup_single_issuer()),
        _ => {}
    }
    builder
}
