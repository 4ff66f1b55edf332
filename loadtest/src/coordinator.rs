//! Starts the workers, leads them through the steps together, reads the server's CPU time at both ends of the window
//! and its memory between the steps, and reports.
//!
//! It sleeps while the load runs and so costs the measurement nothing.

use std::io::{BufRead, BufReader, Lines, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use crate::client::Failure;
use crate::options::{Kind, Options};
use crate::report::{Measured, Report};
use crate::tally::Tally;
use crate::target;
use crate::window::{Window, unix_micros};

/// Time between the word and the start of the warm-up, for the word to arrive.
const LEAD: Duration = Duration::from_millis(50);
/// Allocators give memory back and servers finish handshakes a moment later.
const SETTLE: Duration = Duration::from_millis(500);

/// Returns whether nothing failed.
pub(crate) fn run(options: &Options) -> Result<bool, Failure> {
    let cpu = || options.server_pid.and_then(target::cpu_ns);
    let memory = || options.server_pid.and_then(target::memory);
    if options.server_pid.is_some() && cpu().is_none() {
        return Err(Failure::new("--pid names no process whose figures can be read"));
    }
    let mut measured = Measured::default();
    let run = unix_micros();
    let mut workers = (0..options.processes).map(Worker::start).collect::<Result<Vec<_>, _>>()?;
    tell(&mut workers, &format!("prepare {run}"))?;
    hear(&mut workers, "prepared")?;
    thread::sleep(SETTLE);
    measured.memory_before = memory();

    let connecting = Instant::now();
    tell(&mut workers, "connect")?;
    hear(&mut workers, "ready")?;
    measured.connecting = connecting.elapsed();
    thread::sleep(SETTLE);
    measured.memory_connected = memory();

    let opens = Instant::now() + LEAD + Duration::from_secs_f64(options.warmup_seconds);
    let opens_us = unix_micros() + micros(opens - Instant::now());
    tell(&mut workers, &format!("go {opens_us}"))?;
    let window = Window::from_unix_micros(opens_us, options.seconds);
    sleep_until(window.opens);
    let (cpu_before, opened) = (cpu(), Instant::now());
    sleep_until(window.closes);
    let (cpu_after, closed) = (cpu(), Instant::now());
    measured.cpu_ns = cpu_after.zip(cpu_before).map(|(after, before)| after.saturating_sub(before));
    measured.window = closed - opened;
    if options.kind == Kind::Idle {
        measured.memory_after = memory();
    }

    let mut tally = Tally::default();
    for worker in &mut workers {
        worker.collect(&mut tally)?;
    }
    drop(workers);
    let report = Report::new(options, &measured, &tally);
    print!("{}", report.to_text());
    if let Some(file) = &options.json_file {
        std::fs::write(file, report.to_json()?).map_err(|error| Failure::from(error).during("writing the report"))?;
    }
    Ok(tally.failures.is_empty())
}

struct Worker {
    process: Child,
    input: ChildStdin,
    output: Lines<BufReader<ChildStdout>>,
}

impl Worker {
    /// The same program with the same arguments, and its number.
    fn start(index: usize) -> Result<Self, Failure> {
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
        Ok(Self { process, input, output: BufReader::new(output).lines() })
    }

    fn line(&mut self) -> Result<String, Failure> {
        let line = self.output.next().ok_or_else(|| Failure::new("a worker ended early"))??;
        match line.strip_prefix("failed ") {
            Some(text) => Err(Failure::new(text)),
            None => Ok(line),
        }
    }

    fn collect(&mut self, tally: &mut Tally) -> Result<(), Failure> {
        let mut own = Tally::default();
        loop {
            let line = self.line()?;
            if line == "done" {
                tally.merge(own);
                return Ok(());
            }
            own.take_line(&line).ok_or_else(|| Failure::new(format!("a worker said {line:?}")))?;
        }
    }
}

impl Drop for Worker {
    /// A worker has nothing left to do when its tally is in, and nothing to stay for when the run has failed.
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn tell(workers: &mut [Worker], line: &str) -> Result<(), Failure> {
    for worker in workers {
        writeln!(worker.input, "{line}").map_err(|error| Failure::from(error).during("speaking to a worker"))?;
    }
    Ok(())
}

fn hear(workers: &mut [Worker], expected: &str) -> Result<(), Failure> {
    for worker in workers {
        let line = worker.line()?;
        if line != expected {
            return Err(Failure::new(format!("a worker said {line:?} instead of {expected:?}")));
        }
    }
    Ok(())
}

fn sleep_until(moment: Instant) {
    thread::sleep(moment.saturating_duration_since(Instant::now()));
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}
