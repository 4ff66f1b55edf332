//! `happier-loadtest`: puts a server under load over the real protocols and reports what that costs.
//!
//! Reading order: `options` (the command line), `coordinator` (starts one worker process per `--processes`, opens the
//! measured window, reads the server's CPU time and memory, merges and prints), `worker` (one process, one thread, one
//! ring), `scenario` (what the load is), `client` (the protocols), `report`, `floor` (the raw server to compare with).
//!
//! The generator never judges by itself whether a figure is good; `perf/BUDGETS.md` does. It does fail when the server
//! lost, repeated or refused something it should not have.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a command-line tool talks to its terminal")]

mod client;
mod compare;
mod coordinator;
mod floor;
mod options;
mod pace;
mod report;
mod scenario;
mod signal;
mod tally;
mod target;
mod window;
mod worker;

use std::process::ExitCode;

use options::Command;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let outcome = match options::parse() {
        Ok(Command::Help) => {
            print!("{}", options::HELP);
            Ok(true)
        }
        Ok(Command::Coordinate(options)) => coordinator::run(&options),
        Ok(Command::Work(options, share)) => worker::run(options, share),
        Ok(Command::Compare { before, after }) => compare::run(&before, &after),
        Ok(Command::Floor { port }) => floor::serve(port).map(|()| true),
        Err(error) => {
            eprintln!("happier-loadtest: {error}\nTry: happier-loadtest --help");
            return ExitCode::from(2);
        }
    };
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(failure) => {
            eprintln!("happier-loadtest: {failure}");
            ExitCode::FAILURE
        }
    }
}
