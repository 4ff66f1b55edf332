//! `happier-loadtest`: puts a server under load over the real protocols and reports what that costs.
//!
//! Reading order: `options` (the command line), `coordinator` (starts one worker process per `--processes`, opens the
//! measured window, reads the server's CPU time and memory, merges and prints), `worker` (one process, one thread, one
//! ring), `scenario` (what the load is), `client` (the protocols), `report`, `page` (the report to look at), `floor` (the
//! raw server to compare with).
//!
//! The generator fails when the server lost, repeated or refused something it should not have. Whether a figure is good
//! is for `perf/budgets.json` to say (`--budgets`).
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a command-line tool talks to its terminal")]

mod budgets;
mod chart;
mod circumstances;
mod client;
mod compare;
mod coordinator;
mod flamegraph;
mod floor;
mod options;
mod ordered;
mod pace;
mod page;
mod progress;
mod redis;
mod report;
mod scenario;
mod series;
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
        Ok(Command::Compare { before, after, threshold_percent }) => compare::run(&before, &after, threshold_percent),
        Ok(Command::Page { reports, html, title, budgets }) => {
            page::run(&reports, &html, title.as_deref(), budgets.as_ref())
        }
        Ok(Command::Flamegraph { stacks, svg, title }) => flamegraph::run(&stacks, &svg, &title).map(|()| true),
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
