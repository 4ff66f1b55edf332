//! The command line: a flavor, or a question about the program.

use std::ffi::OsString;
use std::fmt;

use super::keys;
use super::role::Flavor;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command {
    /// Serve; without a flavor the settings decide.
    Run(Option<Flavor>),
    Help,
    Version,
}

/// What is wrong with the command line.
#[derive(Debug, PartialEq, Eq)]
pub struct Error(String);

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}; see happier-server --help", self.0)
    }
}

impl std::error::Error for Error {}

/// Reads the arguments after the program's name.
pub fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<Command, Error> {
    let mut parser = lexopt::Parser::from_args(arguments);
    let mut flavor = None;
    while let Some(argument) = parser.next().map_err(|error| Error(error.to_string()))? {
        match argument {
            lexopt::Arg::Short('h') | lexopt::Arg::Long("help") => return Ok(Command::Help),
            lexopt::Arg::Short('V') | lexopt::Arg::Long("version") => return Ok(Command::Version),
            lexopt::Arg::Value(text) if flavor.is_none() => match text.to_str() {
                Some("help") => return Ok(Command::Help),
                Some(name) if Flavor::parse(name).is_some() => flavor = Flavor::parse(name),
                _ => return Err(Error(format!("{text:?} is neither light nor full"))),
            },
            lexopt::Arg::Value(text) => return Err(Error(format!("{text:?} is one argument too many"))),
            other => return Err(Error(other.unexpected().to_string())),
        }
    }
    Ok(Command::Run(flavor))
}

pub fn version() -> &'static str {
    concat!("happier-server ", env!("CARGO_PKG_VERSION"))
}

pub fn help() -> String {
    format!("{HELP_HEAD}{}", keys::help())
}

const HELP_HEAD: &str = "\
Happier Server: the hub between coding agents and the devices that follow them.

Usage:
  happier-server light     serve from a data directory; needs nothing else
  happier-server full      serve from Postgres (DATABASE_URL)
  happier-server           as HAPPY_SERVER_FLAVOR says; without it full if
                           DATABASE_URL is set, else light

Options:
  -h, --help       show this text
  -V, --version    show the version

Settings are environment variables. A file .env in the working directory may
hold more of them; variables of the process win. Every HAPPY_ setting may also
be written HAPPIER_.
";

#[cfg(test)]
mod tests {
    use super::*;

    fn parse_all(arguments: &[&str]) -> Result<Command, String> {
        parse(arguments.iter().map(OsString::from)).map_err(|error| error.to_string())
    }

    #[test]
    fn commands() {
        let table: [(&[&str], Command); 8] = [
            (&[], Command::Run(None)),
            (&["light"], Command::Run(Some(Flavor::Light))),
            (&["full"], Command::Run(Some(Flavor::Full))),
            (&["--help"], Command::Help),
            (&["light", "-h"], Command::Help),
            (&["help"], Command::Help),
            (&["-V"], Command::Version),
            (&["--version", "--nonsense"], Command::Version),
        ];
        for (arguments, command) in table {
            assert_eq!(parse_all(arguments), Ok(command), "{arguments:?}");
        }
    }

    #[test]
    fn mistakes_are_named() {
        let table: [(&[&str], &str); 4] = [
            (&["heavy"], "\"heavy\" is neither light nor full"),
            (&["light", "full"], "\"full\" is one argument too many"),
            (&["--port"], "--port"),
            (&["-x"], "-x"),
        ];
        for (arguments, text) in table {
            let error = parse_all(arguments).expect_err("a mistake");
            assert!(error.contains(text) && error.ends_with("see happier-server --help"), "{error}");
        }
    }

    #[test]
    fn help_explains_usage_and_settings() {
        let help = help();
        for text in ["Usage:", "happier-server light", "HAPPIER_CORES", "DATABASE_URL"] {
            assert!(help.contains(text), "{text}");
        }
        assert!(version().starts_with("happier-server 0."));
    }
}
