//! The command line: every option once, with its default and what it means.
//!
//! A worker process gets the same arguments as its coordinator plus `--worker INDEX`, so there is no second format.

use std::ffi::OsString;
use std::net::{SocketAddr, ToSocketAddrs};
use std::time::Duration;

use lexopt::prelude::{Long, Short, Value, ValueExt};

pub(crate) const HELP: &str = "\
happier-loadtest: puts a Happier Server under load and reports what it costs

Usage: happier-loadtest <scenario> --url http://127.0.0.1:3005 [options]
       happier-loadtest report FILE.json... --html FILE.html [--title TEXT] [--budgets FILE]
       happier-loadtest compare BEFORE.json AFTER.json [--threshold PERCENT]
       happier-loadtest flamegraph STACKS.folded --svg FILE.svg [--title TEXT]
       happier-loadtest floor [--port 0]

Scenarios
  idle       hold authenticated connections, answer pings; user-space memory of the server per connection
  echo       `ping` event with ack; server CPU per operation and latency
  connect    websocket, CONNECT with token, close, again; server CPU per connection
  messages   stored `message` with ack; checks that acknowledged seq numbers are 1..n without a gap
  fanout     stored messages pushed to the other devices of each account; server CPU per delivery
  rpc        calls from one device to another and back; server CPU per call
  presence   `session-alive` of each account's session, told to its receivers; server CPU per delivery
  http       GET requests over keep-alive connections
  mixed      a day in the life: most devices idle, an active minority writes, is alive, calls and asks over HTTP
  soak       mixed for long, while devices come and go; fails when memory or descriptors of the server keep growing
  floor      no load: serve the raw TCP echo that `echo --raw` drives, the price of the kernel alone

Load
  --url URL              server, http://HOST:PORT; several times for replicas, which connections take in turn
                         (fanout, presence: receivers never sit on their sender's replica) [http://127.0.0.1:3005]
  --connections N        sockets in all  [idle, mixed, soak 1000, echo 100, others 64; 20 with --hot]
  --accounts N           accounts they belong to  [idle a third of the connections, mixed and soak a quarter,
                         fanout and presence 300, else up to 64]
  --sessions N           sessions written to (messages)           [one for each socket, one with --hot]
  --receivers N          receiving sockets of each account (fanout, presence)                          [3]
  --active PERCENT       accounts that do something at all (mixed, soak)                              [10]
  --split                all senders on the first --url, all receivers on the others (fanout, presence)
  --door socket|http     how messages are sent (fanout)                                       [socket]
  --hot                  all writers on one session (messages)
  --rate R               open loop: operations per second in all; latency counts from the intended time
                         Without it a closed loop: each socket sends when its last operation was answered
                         (mixed, soak: two operations per second and active account)
  --bytes N              size of a message's ciphertext, of a call's parameters                  [256]
  --path PATH            target of GET requests (http)                                       [/health]
  --authenticated        with the bearer token of an account (http)
  --seconds S            length of the measured window        [5; idle 20, mixed 30, soak 600]
  --warmup S             load before the window opens         [1]
  --processes P          generator processes, each a thread and at most 20,000 files               [1]
  --source-addresses K   addresses in 127.0.0.0/8 that each process connects from; 0: do not bind [64]
  --raw                  plain TCP of the same sizes, for `floor` (echo, idle)
  --seed N               names the accounts; runs with the same seed share them                    [1]

Measured beside it
  --pid PID              the server's process, several times for replicas: CPU time, memory, descriptors of all
                         together, and CPU time of each in their order
  --redis HOST:PORT      Redis between replicas: bytes and CPU time per delivery (or redis://[:PASSWORD@]HOST:PORT)

Result
  --json FILE            the report for `report` and `compare`
  --html FILE            the report as one page with curves
  --budgets FILE         judge the figures, as perf/budgets.json says; exit code 1 when one is missed
  --quiet                no progress
  -h, --help
";

/// Which load.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Idle,
    Echo,
    Connect,
    Messages,
    Fanout,
    Rpc,
    Presence,
    Http,
    Mixed,
    Soak,
}

impl Kind {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Idle => "idle",
            Self::Echo => "echo",
            Self::Connect => "connect",
            Self::Messages => "messages",
            Self::Fanout => "fanout",
            Self::Rpc => "rpc",
            Self::Presence => "presence",
            Self::Http => "http",
            Self::Mixed => "mixed",
            Self::Soak => "soak",
        }
    }

    fn from_name(name: &str) -> Option<Self> {
        const ALL: [Kind; 10] = [
            Kind::Idle,
            Kind::Echo,
            Kind::Connect,
            Kind::Messages,
            Kind::Fanout,
            Kind::Rpc,
            Kind::Presence,
            Kind::Http,
            Kind::Mixed,
            Kind::Soak,
        ];
        ALL.into_iter().find(|kind| kind.name() == name)
    }
}

/// How a fanout message enters the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Door {
    Socket,
    Http,
}

/// Everything a run needs, defaults filled in. Numbers are for the run as a whole, not for one worker.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    pub(crate) kind: Kind,
    pub(crate) servers: Vec<SocketAddr>,
    pub(crate) connections: usize,
    pub(crate) accounts: usize,
    pub(crate) sessions: usize,
    pub(crate) receivers: usize,
    /// Percent of the accounts that do something (mixed, soak).
    pub(crate) active_percent: usize,
    pub(crate) door: Door,
    /// Senders on the first server, receivers on the others (fanout, presence).
    pub(crate) split: bool,
    /// Operations per second; `None` is a closed loop.
    pub(crate) rate: Option<f64>,
    pub(crate) message_bytes: usize,
    pub(crate) path: String,
    pub(crate) authenticated: bool,
    pub(crate) seconds: f64,
    pub(crate) warmup_seconds: f64,
    pub(crate) processes: usize,
    pub(crate) source_addresses: usize,
    pub(crate) server_pids: Vec<u32>,
    pub(crate) redis: Option<String>,
    pub(crate) raw: bool,
    pub(crate) json_file: Option<OsString>,
    pub(crate) html_file: Option<OsString>,
    pub(crate) budgets_file: Option<OsString>,
    pub(crate) quiet: bool,
    pub(crate) seed: u64,
}

/// Which part of the run this worker process does.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Share {
    pub(crate) index: usize,
    pub(crate) processes: usize,
}

impl Share {
    /// This worker's part of `total` things: sizes differ by at most one and add up.
    pub(crate) fn of(self, total: usize) -> usize {
        total / self.processes + usize::from(self.index < total % self.processes)
    }

    /// The number of the first of them.
    pub(crate) fn first_of(self, total: usize) -> usize {
        self.index * (total / self.processes) + self.index.min(total % self.processes)
    }
}

pub(crate) enum Command {
    Help,
    Coordinate(Options),
    Work(Options, Share),
    Floor {
        port: u16,
    },
    Compare {
        before: OsString,
        after: OsString,
        threshold_percent: f64,
    },
    /// A picture of call stacks.
    Flamegraph {
        stacks: OsString,
        svg: OsString,
        title: String,
    },
    /// One page of several reports.
    Page {
        reports: Vec<OsString>,
        html: OsString,
        title: Option<String>,
        budgets: Option<OsString>,
    },
}

/// What was given, before defaults that depend on the scenario.
#[derive(Default)]
struct Given {
    urls: Vec<String>,
    connections: Option<usize>,
    accounts: Option<usize>,
    sessions: Option<usize>,
    receivers: Option<usize>,
    active_percent: Option<usize>,
    door: Option<Door>,
    split: bool,
    hot: bool,
    rate: Option<f64>,
    message_bytes: Option<usize>,
    path: Option<String>,
    authenticated: bool,
    seconds: Option<f64>,
    warmup_seconds: Option<f64>,
    processes: Option<usize>,
    source_addresses: Option<usize>,
    server_pids: Vec<u32>,
    redis: Option<String>,
    raw: bool,
    json_file: Option<OsString>,
    html_file: Option<OsString>,
    svg_file: Option<OsString>,
    budgets_file: Option<OsString>,
    title: Option<String>,
    threshold_percent: Option<f64>,
    quiet: bool,
    seed: Option<u64>,
    worker: Option<usize>,
    port: u16,
}

pub(crate) fn parse() -> Result<Command, lexopt::Error> {
    parse_from(lexopt::Parser::from_env())
}

fn parse_from(mut parser: lexopt::Parser) -> Result<Command, lexopt::Error> {
    let mut scenario: Option<String> = None;
    let mut files = Vec::new();
    let mut given = Given::default();
    while let Some(argument) = parser.next()? {
        match argument {
            Short('h') | Long("help") => return Ok(Command::Help),
            Value(value) if scenario.is_none() => scenario = Some(value.string()?),
            Value(value) if matches!(scenario.as_deref(), Some("compare" | "report" | "flamegraph")) => {
                files.push(value);
            }
            Long("url") => given.urls.push(parser.value()?.string()?),
            Long("connections") => given.connections = Some(parser.value()?.parse()?),
            Long("accounts") => given.accounts = Some(parser.value()?.parse()?),
            Long("sessions") => given.sessions = Some(parser.value()?.parse()?),
            Long("receivers") => given.receivers = Some(parser.value()?.parse()?),
            Long("active") => given.active_percent = Some(parser.value()?.parse()?),
            Long("door") => {
                given.door = Some(parser.value()?.parse_with(|text| match text {
                    "socket" => Ok(Door::Socket),
                    "http" => Ok(Door::Http),
                    _ => Err("expected socket or http"),
                })?);
            }
            Long("split") => given.split = true,
            Long("hot") => given.hot = true,
            Long("rate") => given.rate = Some(parser.value()?.parse()?),
            Long("bytes") => given.message_bytes = Some(parser.value()?.parse()?),
            Long("path") => given.path = Some(parser.value()?.string()?),
            Long("authenticated") => given.authenticated = true,
            Long("seconds") => given.seconds = Some(parser.value()?.parse()?),
            Long("warmup") => given.warmup_seconds = Some(parser.value()?.parse()?),
            Long("processes") => given.processes = Some(parser.value()?.parse()?),
            Long("source-addresses") => given.source_addresses = Some(parser.value()?.parse()?),
            Long("pid") => given.server_pids.push(parser.value()?.parse()?),
            Long("redis") => given.redis = Some(parser.value()?.string()?),
            Long("raw") => given.raw = true,
            Long("json") => given.json_file = Some(parser.value()?),
            Long("html") => given.html_file = Some(parser.value()?),
            Long("svg") => given.svg_file = Some(parser.value()?),
            Long("budgets") => given.budgets_file = Some(parser.value()?),
            Long("title") => given.title = Some(parser.value()?.string()?),
            Long("threshold") => given.threshold_percent = Some(parser.value()?.parse()?),
            Long("quiet") => given.quiet = true,
            Long("seed") => given.seed = Some(parser.value()?.parse()?),
            Long("worker") => given.worker = Some(parser.value()?.parse()?),
            Long("port") => given.port = parser.value()?.parse()?,
            other => return Err(other.unexpected()),
        }
    }
    match scenario.as_deref() {
        None => Err("which scenario?".into()),
        Some("compare") => match <[OsString; 2]>::try_from(files) {
            Ok([before, after]) => {
                let threshold_percent = given.threshold_percent.unwrap_or(10.0);
                Ok(Command::Compare { before, after, threshold_percent })
            }
            Err(_) => Err("compare takes two reports".into()),
        },
        Some("flamegraph") => match (<[OsString; 1]>::try_from(files), given.svg_file) {
            (Ok([stacks]), Some(svg)) => {
                Ok(Command::Flamegraph { stacks, svg, title: given.title.unwrap_or_else(|| "Flame graph".to_owned()) })
            }
            _ => Err("flamegraph takes a file of folded stacks, and --svg".into()),
        },
        Some("report") => match given.html_file {
            Some(html) if !files.is_empty() => {
                Ok(Command::Page { reports: files, html, title: given.title, budgets: given.budgets_file })
            }
            _ => Err("report takes files that --json wrote, and --html".into()),
        },
        Some("floor") => Ok(Command::Floor { port: given.port }),
        Some(name) => {
            let kind = Kind::from_name(name).ok_or_else(|| format!("no such scenario: {name}"))?;
            let worker = given.worker;
            let options = resolve(kind, given)?;
            Ok(match worker {
                None => Command::Coordinate(options),
                Some(index) => {
                    let share = Share { index, processes: options.processes };
                    Command::Work(options, share)
                }
            })
        }
    }
}

fn resolve(kind: Kind, given: Given) -> Result<Options, lexopt::Error> {
    let processes = given.processes.unwrap_or(1);
    let accounts_of_fanout = given.accounts.unwrap_or(300);
    let receivers = given.receivers.unwrap_or(3);
    let connections = match kind {
        Kind::Fanout | Kind::Presence => accounts_of_fanout * (receivers + 1),
        Kind::Idle | Kind::Mixed | Kind::Soak => given.connections.unwrap_or(1_000),
        Kind::Echo => given.connections.unwrap_or(100),
        Kind::Messages => given.connections.unwrap_or(if given.hot { 20 } else { 64 }),
        Kind::Connect | Kind::Rpc | Kind::Http => given.connections.unwrap_or(64),
    };
    let sessions = if given.hot { 1 } else { given.sessions.unwrap_or(connections) };
    let accounts = match kind {
        Kind::Fanout | Kind::Presence => accounts_of_fanout,
        Kind::Idle => given.accounts.unwrap_or_else(|| connections.div_ceil(3)),
        Kind::Mixed | Kind::Soak => given.accounts.unwrap_or_else(|| connections.div_ceil(4)),
        Kind::Messages => given.accounts.unwrap_or(64).min(sessions),
        Kind::Echo | Kind::Connect | Kind::Rpc | Kind::Http => given.accounts.unwrap_or_else(|| connections.min(64)),
    };
    let mut urls = given.urls;
    if urls.is_empty() {
        urls.push("http://127.0.0.1:3005".to_owned());
    }
    let options = Options {
        kind,
        servers: urls.iter().map(|url| server_address(url)).collect::<Result<_, _>>()?,
        connections,
        accounts: accounts.max(processes),
        sessions,
        receivers,
        active_percent: given.active_percent.unwrap_or(10),
        door: given.door.unwrap_or(Door::Socket),
        split: given.split,
        rate: given.rate,
        message_bytes: given.message_bytes.unwrap_or(256),
        path: given.path.unwrap_or_else(|| "/health".to_owned()),
        authenticated: given.authenticated,
        seconds: given.seconds.unwrap_or(match kind {
            Kind::Idle => 20.0,
            Kind::Mixed => 30.0,
            Kind::Soak => 600.0,
            _ => 5.0,
        }),
        warmup_seconds: given.warmup_seconds.unwrap_or(1.0),
        processes,
        source_addresses: given.source_addresses.unwrap_or(64),
        server_pids: given.server_pids,
        redis: given.redis,
        raw: given.raw,
        json_file: given.json_file,
        html_file: given.html_file,
        budgets_file: given.budgets_file,
        quiet: given.quiet,
        seed: given.seed.unwrap_or(1),
    };
    check(&options)?;
    Ok(options)
}

/// Refuses what could not be measured, before anything is started.
fn check(options: &Options) -> Result<(), lexopt::Error> {
    /// Files a process may open on the machines this is made for, less what the process needs for itself.
    const CONNECTIONS_PER_PROCESS_MAX: usize = 19_900;
    let refuse = |text: &str| Err(text.into());
    if options.processes == 0 || options.connections < options.processes {
        return refuse("at least one connection for each process");
    }
    if options.connections.div_ceil(options.processes) > CONNECTIONS_PER_PROCESS_MAX {
        return refuse("more than 19,900 connections for one process: raise --processes");
    }
    if options.kind == Kind::Messages && options.sessions < options.processes {
        return refuse("a session belongs to one process: fewer --processes or more --sessions");
    }
    if options.sessions == 0 || options.receivers == 0 || options.accounts == 0 {
        return refuse("--accounts, --sessions and --receivers start at 1");
    }
    if !(options.seconds > 0.0 && options.seconds <= 86_400.0 && (0.0..=3_600.0).contains(&options.warmup_seconds)) {
        return refuse("--seconds within 0 to 86400, --warmup within 0 to 3600");
    }
    if options.rate.is_some_and(|rate| !(rate > 0.0 && rate <= 5e6)) {
        return refuse("--rate within 0 to 5000000");
    }
    if options.source_addresses > 60_000 {
        return refuse("at most 60000 source addresses");
    }
    if !(1..=100).contains(&options.active_percent) {
        return refuse("--active within 1 to 100");
    }
    let mixed = matches!(options.kind, Kind::Mixed | Kind::Soak);
    if mixed && options.connections / options.processes < 2 * options.accounts.div_ceil(options.processes) {
        return refuse("mixed and soak need two connections for each account");
    }
    if options.kind == Kind::Soak && options.server_pids.is_empty() {
        return refuse("soak judges the server's memory and descriptors: --pid");
    }
    let placed = matches!((options.kind, options.door), (Kind::Fanout, Door::Socket) | (Kind::Presence, _));
    if options.split && !(placed && options.servers.len() > 1) {
        return refuse(
            "--split belongs to presence, and to fanout with messages over sockets, with more than one --url",
        );
    }
    if options.raw && !matches!(options.kind, Kind::Echo | Kind::Idle) {
        return refuse("--raw belongs to echo and idle");
    }
    Ok(())
}

/// How often curves over time have a point, in the worker's ticks and in the coordinator's samples alike.
pub(crate) fn interval(options: &Options) -> Duration {
    Duration::from_secs_f64((options.seconds / 60.0).clamp(0.25, 10.0))
}

fn server_address(url: &str) -> Result<SocketAddr, lexopt::Error> {
    let authority = url.strip_prefix("http://").ok_or("--url must begin with http://")?.trim_end_matches('/');
    let with_port = if authority.contains(':') { authority.to_owned() } else { format!("{authority}:80") };
    let mut addresses = with_port.to_socket_addrs().map_err(|error| format!("{url}: {error}"))?;
    addresses.next().ok_or_else(|| format!("{url}: no address").into())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]
    use super::{Command, Door, Kind, Options, Share, parse_from};

    fn coordinate(line: &str) -> Result<Options, String> {
        let words = line.split_whitespace();
        match parse_from(lexopt::Parser::from_args(words)).map_err(|error| error.to_string())? {
            Command::Coordinate(options) => Ok(options),
            _ => Err("another command".to_owned()),
        }
    }

    #[test]
    fn defaults_depend_on_the_scenario() {
        let idle = coordinate("idle --connections 10000").unwrap();
        assert_eq!((idle.kind, idle.accounts, idle.seconds), (Kind::Idle, 3_334, 20.0));
        let hot = coordinate("messages --hot").unwrap();
        assert_eq!((hot.connections, hot.sessions, hot.accounts), (20, 1, 1));
        let fanout = coordinate("fanout --accounts 10 --receivers 4 --door http").unwrap();
        assert_eq!((fanout.connections, fanout.door), (50, Door::Http));
    }

    #[test]
    fn impossible_runs_are_refused() {
        for line in [
            "echo --connections 50000",
            "messages --hot --processes 2",
            "echo --rate 0",
            "http --raw",
            "soak",
            "fanout --split",
            "fanout --split --door http --url http://127.0.0.1:1 --url http://127.0.0.1:2",
            "mixed --active 0",
            "compare one.json",
            "report one.json",
            "echo --url https://127.0.0.1",
            "nonsense",
            "",
        ] {
            assert!(coordinate(line).is_err(), "{line}");
        }
    }

    #[test]
    fn shares_add_up() {
        for (total, processes) in [(10, 3), (1, 1), (7, 7), (2, 3), (19_999, 4)] {
            let shares: Vec<Share> = (0..processes).map(|index| Share { index, processes }).collect();
            assert_eq!(shares.iter().map(|share| share.of(total)).sum::<usize>(), total);
            for pair in shares.windows(2) {
                assert_eq!(pair[0].first_of(total) + pair[0].of(total), pair[1].first_of(total));
            }
        }
    }
}
