//! What Redis says about itself: `INFO`, read before and after the window, to tell what a delivery costs there.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use crate::client::Failure;

/// Counters of a Redis server so far.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Counters {
    pub(crate) input_bytes: f64,
    pub(crate) output_bytes: f64,
    pub(crate) commands: f64,
    pub(crate) cpu_seconds: f64,
}

/// Asks the server at `HOST:PORT` or `redis://[USER]:PASSWORD@HOST:PORT`.
pub(crate) fn counters(address: &str) -> Result<Counters, Failure> {
    const PATIENCE: Duration = Duration::from_secs(5);
    let during = |failure: std::io::Error| Failure::from(failure).during("asking Redis");
    let authority = address.strip_prefix("redis://").unwrap_or(address);
    let authority = authority.split('/').next().unwrap_or(authority);
    let (credentials, host) = authority.rsplit_once('@').map_or((None, authority), |(left, host)| (Some(left), host));
    let mut stream = TcpStream::connect(host).map_err(during)?;
    stream.set_read_timeout(Some(PATIENCE)).map_err(during)?;
    let mut input = BufReader::new(stream.try_clone().map_err(during)?);
    if let Some((user, password)) = credentials.and_then(|credentials| credentials.split_once(':')) {
        let words: Vec<&str> = ["AUTH", user, password].into_iter().filter(|word| !word.is_empty()).collect();
        stream.write_all(command(&words).as_bytes()).map_err(during)?;
        let answer = line(&mut input)?;
        if answer != "+OK" {
            return Err(Failure::new(format!("Redis refuses the password: {answer}")));
        }
    }
    stream.write_all(command(&["INFO"]).as_bytes()).map_err(during)?;
    let head = line(&mut input)?;
    let length = head.strip_prefix('$').and_then(|length| length.parse::<usize>().ok());
    let mut text = vec![0; length.ok_or_else(|| Failure::new(format!("Redis answers INFO with {head}")))?];
    input.read_exact(&mut text).map_err(during)?;
    parse(&String::from_utf8_lossy(&text)).ok_or_else(|| Failure::new("Redis counts no bytes"))
}

fn command(words: &[&str]) -> String {
    let arguments: String = words.iter().map(|word| format!("${}\r\n{word}\r\n", word.len())).collect();
    format!("*{}\r\n{arguments}", words.len())
}

fn line(input: &mut impl BufRead) -> Result<String, Failure> {
    let mut line = String::new();
    input.read_line(&mut line).map_err(|failure| Failure::from(failure).during("asking Redis"))?;
    Ok(line.trim_end().to_owned())
}

fn parse(info: &str) -> Option<Counters> {
    let number = |name: &str| {
        info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')?.trim().parse::<f64>().ok())
    };
    Some(Counters {
        input_bytes: number("total_net_input_bytes")?,
        output_bytes: number("total_net_output_bytes")?,
        commands: number("total_commands_processed")?,
        cpu_seconds: number("used_cpu_user")? + number("used_cpu_sys")?,
    })
}

#[cfg(test)]
mod tests {
    use super::{Counters, parse};

    #[test]
    fn reads_info() {
        let info = "# Stats\r\ntotal_commands_processed:7\r\ntotal_net_input_bytes:100\r\ntotal_net_output_bytes:250\r\n\
                    # CPU\r\nused_cpu_sys:0.5\r\nused_cpu_user:1.25\r\n";
        let expected = Counters { input_bytes: 100.0, output_bytes: 250.0, commands: 7.0, cpu_seconds: 1.75 };
        assert_eq!(parse(info), Some(expected));
        assert_eq!(parse("used_cpu_sys:1\r\n"), None);
    }
}
