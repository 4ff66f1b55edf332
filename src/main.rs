//! Settings in, exit code out.

use std::io::{self, Write};
use std::process::ExitCode;

use happier_server::config::cli::{self, Command};
use happier_server::{boot, config, observe};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// The conventional exit code of a command line that cannot be understood.
const USAGE: u8 = 2;

fn main() -> ExitCode {
    let flavor = match cli::parse(std::env::args_os().skip(1)) {
        Ok(Command::Run(flavor)) => flavor,
        Ok(Command::Help) => return print(&cli::help()),
        Ok(Command::Version) => return print(&format!("{}\n", cli::version())),
        Err(error) => return fail(&error, USAGE),
    };
    let resolved = match config::load(flavor) {
        Ok(resolved) => resolved,
        Err(error) => return fail(&error, 1),
    };
    observe::log::start(resolved.config.log);
    for warning in &resolved.warnings {
        log::warn!("{warning}");
    }
    match boot::run(resolved.config) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            log::error!("{error}");
            log::logger().flush();
            ExitCode::FAILURE
        }
    }
}

fn print(text: &str) -> ExitCode {
    // Whoever closed the pipe has seen enough.
    let _ = io::stdout().write_all(text.as_bytes());
    ExitCode::SUCCESS
}

/// Before the log is set up, mistakes go straight to standard error.
fn fail(error: &dyn std::error::Error, code: u8) -> ExitCode {
    let _ = writeln!(io::stderr(), "happier-server: {error}");
    ExitCode::from(code)
}
