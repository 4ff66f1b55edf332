//! Starts the workers, leads them through the steps together, reads the server's CPU time, memory and descriptors while
//! the window is open, and reports.
//!
//! It sleeps between its readings and so costs the measurement next to nothing.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use crate::budgets::Budgets;
use crate::client::Failure;
use crate::options::{Options, interval};
use crate::page;
use crate::progress::Progress;
use crate::redis;
use crate::report::{Generator, Measured, Report};
use crate::series::{Sample, Series};
use crate::tally::{Interval, Tally};
use crate::target;
use crate::window::{Window, unix_micros};

/// Time between the word and the start of the warm-up, for the word to arrive.
const LEAD: Duration = Duration::from_millis(50);
/// Allocators give memory back and servers finish handshakes a moment later.
const SETTLE: Duration = Duration::from_millis(500);

/// Returns whether nothing failed and no budget was missed.
pub(crate) fn run(options: &Options) -> Result<bool, Failure> {
    let servers = options.server_pids.as_slice();
    let memory = || target::memory_of_all(servers);
    if !servers.is_empty() && target::sum_of_all(servers, target::cpu_ns).is_none() {
        return Err(Failure::new("--pid names no process whose figures can be read"));
    }
    let budgets = options.budgets_file.as_ref().map(Budgets::load).transpose()?;
    let mut measured = Measured::default();
    let run = unix_micros();
    let mut crew = Crew::start(options)?;
    crew.tell(&format!("prepare {run}"))?;
    crew.hear("prepared")?;
    thread::sleep(SETTLE);
    measured.memory_before = memory();

    let connecting = Instant::now();
    crew.tell("connect")?;
    crew.hear("ready")?;
    measured.connecting = connecting.elapsed();
    thread::sleep(SETTLE);
    measured.memory_connected = memory();

    let opens = Instant::now() + LEAD + Duration::from_secs_f64(options.warmup_seconds);
    let opens_us = unix_micros() + micros(opens - Instant::now());
    crew.tell(&format!("go {opens_us}"))?;
    let window = Window::from_unix_micros(opens_us, options.seconds);
    let samples = watch(options, &mut crew, window, &mut measured)?;
    measured.memory_after = memory();

    let tally = crew.collect()?;
    measured.series = Series::new(&crew.ticks, interval(options).as_secs_f64(), &samples);
    drop(crew);
    let mut report = Report::new(options, measured, &tally);
    if let Some(budgets) = budgets {
        report.verdicts = budgets.judge(&report);
    }
    print!("{}", report.to_text());
    if let Some(file) = &options.json_file {
        std::fs::write(file, report.to_json()?).map_err(|error| Failure::from(error).during("writing the report"))?;
    }
    let good = report.is_good();
    if let Some(file) = &options.html_file {
        let title = format!("Happier Server under load: {}", report.title);
        page::write(file, &title, &[report])?;
    }
    Ok(good)
}

/// Takes a sample when the window opens, at each interval and when it closes. The first and the last one, taken at the
/// two ends, are the measurement; those between are for the curves.
#[allow(clippy::cast_precision_loss, reason = "shares for people")]
fn watch(options: &Options, crew: &mut Crew, window: Window, measured: &mut Measured) -> Result<Vec<Sample>, Failure> {
    let counters = || options.redis.as_deref().map(redis::counters).transpose();
    let workers: Vec<u32> = crew.workers.iter().map(|worker| worker.process.id()).collect();
    let each = |reading: fn(u32) -> Option<u64>| -> Vec<u64> {
        workers.iter().map(|pid| reading(*pid).unwrap_or_default()).collect()
    };
    crew.listen_until(window.opens)?;
    let opened = Instant::now();
    let mut samples = vec![Sample::take(0.0, &options.server_pids, &workers)];
    let servers_cpu_ns =
        || -> Vec<u64> { options.server_pids.iter().map(|pid| target::cpu_ns(*pid).unwrap_or_default()).collect() };
    let each_before = servers_cpu_ns();
    let (busy, waited, redis_before) = (each(target::cpu_ns), each(target::waited_ns), counters()?);
    for number in 1_u32.. {
        let due = window.opens + interval(options) * number;
        if due >= window.closes {
            break;
        }
        crew.listen_until(due)?;
        samples.push(Sample::take(opened.elapsed().as_secs_f64(), &options.server_pids, &workers));
    }
    crew.listen_until(window.closes)?;
    let closed = Instant::now();
    let last = Sample::take((closed - opened).as_secs_f64(), &options.server_pids, &workers);
    samples.push(last);
    measured.window = closed - opened;
    measured.redis = redis_before.zip(counters()?);
    measured.cpu_ns_of_each =
        servers_cpu_ns().iter().zip(&each_before).map(|(after, before)| after.saturating_sub(*before)).collect();
    let first = &samples[0];
    measured.cpu_ns = last.server_cpu_ns.zip(first.server_cpu_ns).map(|(after, before)| after.saturating_sub(before));
    let percent = |nanoseconds: u64| nanoseconds as f64 / measured.window.as_nanos() as f64 * 100.0;
    let most = |before: &[u64], after: &[u64]| {
        before.iter().zip(after).map(|(before, after)| after.saturating_sub(*before)).max().unwrap_or_default()
    };
    measured.generator = Generator {
        cpu_percent: percent(last.generator_cpu_ns.saturating_sub(first.generator_cpu_ns)),
        busiest_percent: percent(most(&busy, &each(target::cpu_ns))),
        waited_percent: percent(most(&waited, &each(target::waited_ns))),
    };
    Ok(samples)
}

/// The workers, what they say, and what they have said about the window so far.
struct Crew {
    workers: Vec<Worker>,
    heard: Receiver<(usize, Said)>,
    ticks: BTreeMap<u64, Interval>,
    /// Steps that were reported and not yet waited for, and lines of the tallies.
    unread: Vec<(usize, String)>,
    open: Vec<u64>,
    progress: Progress,
}

enum Said {
    Line(String),
    Ended,
}

struct Worker {
    process: Child,
    input: ChildStdin,
}

impl Crew {
    fn start(options: &Options) -> Result<Self, Failure> {
        let (sender, heard) = channel();
        let workers =
            (0..options.processes).map(|index| Worker::start(index, sender.clone())).collect::<Result<Vec<_>, _>>()?;
        let open = vec![0; workers.len()];
        Ok(Self { workers, heard, ticks: BTreeMap::new(), unread: Vec::new(), open, progress: Progress::new(options) })
    }

    fn tell(&mut self, line: &str) -> Result<(), Failure> {
        for worker in &mut self.workers {
            writeln!(worker.input, "{line}").map_err(|error| Failure::from(error).during("speaking to a worker"))?;
        }
        self.progress.step(line);
        Ok(())
    }

    /// Waits until every worker has said the word.
    fn hear(&mut self, expected: &str) -> Result<(), Failure> {
        let mut missing = self.workers.len();
        while missing > 0 {
            let said = self.heard.recv().map_err(|_| Failure::new("the workers are gone"))?;
            self.take(said)?;
            for (_, line) in self.unread.drain(..) {
                if line != expected {
                    return Err(Failure::new(format!("a worker said {line:?} instead of {expected:?}")));
                }
                missing -= 1;
            }
        }
        Ok(())
    }

    /// Takes what the workers say, until a moment.
    fn listen_until(&mut self, moment: Instant) -> Result<(), Failure> {
        loop {
            let rest = moment.saturating_duration_since(Instant::now());
            match self.heard.recv_timeout(rest) {
                Ok(said) => self.take(said)?,
                Err(RecvTimeoutError::Timeout) => return Ok(()),
                // All of them were done a moment earlier; one that ends without being done says so before it falls silent.
                Err(RecvTimeoutError::Disconnected) => {
                    thread::sleep(rest);
                    return Ok(());
                }
            }
        }
    }

    /// The tallies of all workers together.
    fn collect(&mut self) -> Result<Tally, Failure> {
        let mut tally = Tally::default();
        let mut missing = self.workers.len();
        loop {
            for (_, line) in std::mem::take(&mut self.unread) {
                if line == "done" {
                    missing -= 1;
                } else {
                    let mut part = Tally::default();
                    part.take_line(&line).ok_or_else(|| Failure::new(format!("a worker said {line:?}")))?;
                    tally.merge(part);
                }
            }
            if missing == 0 {
                self.progress.finish();
                return Ok(tally);
            }
            let said = self.heard.recv().map_err(|_| Failure::new("the workers are gone"))?;
            self.take(said)?;
        }
    }

    fn take(&mut self, (worker, said): (usize, Said)) -> Result<(), Failure> {
        let line = match said {
            Said::Line(line) => line,
            Said::Ended => return Err(Failure::new("a worker ended early")),
        };
        let (word, rest) = line.split_once(' ').unwrap_or((&line, ""));
        match word {
            "failed" => return Err(Failure::new(rest)),
            "open" => {
                self.open[worker] = rest.parse().unwrap_or_default();
                self.progress.open(self.open.iter().sum());
            }
            "tick" => {
                let tick = rest.split_once(' ').and_then(|(number, fields)| Some((number.parse().ok()?, fields)));
                let (number, fields) = tick.ok_or_else(|| Failure::new(format!("a worker said {line:?}")))?;
                let interval = self.ticks.entry(number).or_default();
                interval.add_text(fields).ok_or_else(|| Failure::new(format!("a worker said {line:?}")))?;
                self.progress.tick(number, interval);
            }
            _ => self.unread.push((worker, line)),
        }
        Ok(())
    }
}

impl Worker {
    /// The same program with the same arguments, and its number. A thread hands on what it says.
    fn start(index: usize, sender: Sender<(usize, Said)>) -> Result<Self, Failure> {
        let program = std::env::current_exe()?;
        let mut process = Command::new(program)
            .args(std::env::args_os().skip(1))
            .arg("--worker")
            .arg(index.to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|error| Failure::from(error).during("starting a worker"))?;
        let (input, output) =
            process.stdin.take().zip(process.stdout.take()).ok_or_else(|| Failure::new("no pipes"))?;
        thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                let last = line == "done";
                // Nobody listens any more when the run has failed.
                if sender.send((index, Said::Line(line))).is_err() || last {
                    return;
                }
            }
            let _ = sender.send((index, Said::Ended));
        });
        Ok(Self { process, input })
    }
}

impl Drop for Worker {
    /// A worker has nothing left to do when its tally is in, and nothing to stay for when the run has failed.
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}
