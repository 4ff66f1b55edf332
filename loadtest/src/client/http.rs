//! HTTP/1.1 exchanges over one keep-alive connection (spec http.md §1, socketio.md §2.1).

use std::fmt::Write as _;

use monoio::buf::IoBufMut;
use monoio::io::{AsyncReadRent, AsyncWriteRentExt};
use monoio::net::TcpStream;

use crate::client::{Failure, Sources};

/// Larger answers than any the load asks for are a failure, not a reason to grow.
const RESPONSE_BYTES_MAX: usize = 16 << 20;
const READ_BYTES: usize = 4 * 1024;

pub(crate) struct Http {
    stream: TcpStream,
    buffer: Vec<u8>,
}

pub(crate) struct Response {
    pub(crate) status: u16,
    pub(crate) body: Vec<u8>,
}

impl Response {
    pub(crate) fn text(&self) -> Result<&str, Failure> {
        std::str::from_utf8(&self.body).map_err(|_| Failure::new("response is not UTF-8"))
    }

    pub(crate) fn unexpected(&self, what: &str) -> Failure {
        const EXCERPT_BYTES: usize = 200;
        let excerpt = String::from_utf8_lossy(&self.body[..self.body.len().min(EXCERPT_BYTES)]).into_owned();
        Failure::new(format!("{what}: status {}: {excerpt}", self.status))
    }
}

impl Http {
    pub(crate) fn connect(sources: &Sources) -> Result<Self, Failure> {
        Ok(Self { stream: sources.connect()?, buffer: Vec::with_capacity(READ_BYTES) })
    }

    pub(crate) async fn get(&mut self, path: &str, token: Option<&str>) -> Result<Response, Failure> {
        self.exchange(request("GET", path, token, None)).await.map(|(response, _)| response)
    }

    pub(crate) async fn post(&mut self, path: &str, token: Option<&str>, body: &str) -> Result<Response, Failure> {
        self.exchange(request("POST", path, token, Some(body))).await.map(|(response, _)| response)
    }

    /// Sends a complete request and reads its response; gives the request's bytes back for the next time.
    pub(crate) async fn exchange(&mut self, request: Vec<u8>) -> Result<(Response, Vec<u8>), Failure> {
        let (written, request) = self.stream.write_all(request).await;
        written?;
        loop {
            if let Some((response, consumed)) = parse_response(&self.buffer)? {
                self.buffer.drain(..consumed);
                return Ok((response, request));
            }
            self.fill().await?;
        }
    }

    async fn fill(&mut self) -> Result<(), Failure> {
        if self.buffer.len() > RESPONSE_BYTES_MAX {
            return Err(Failure::new("response too large"));
        }
        let mut buffer = std::mem::take(&mut self.buffer);
        buffer.reserve(READ_BYTES);
        let filled = buffer.len();
        let (read, buffer) = self.stream.read(buffer.slice_mut(filled..)).await;
        self.buffer = buffer.into_inner();
        match read? {
            0 => Err(Failure::new("the server closed the connection")),
            _ => Ok(()),
        }
    }
}

/// The bytes of a request with what every client sends.
pub(crate) fn request(method: &str, path: &str, token: Option<&str>, body: Option<&str>) -> Vec<u8> {
    let mut text = format!("{method} {path} HTTP/1.1\r\nHost: loadtest\r\n");
    if let Some(token) = token {
        let _ = write!(text, "Authorization: Bearer {token}\r\n");
    }
    if let Some(body) = body {
        let _ = write!(text, "Content-Type: application/json\r\nContent-Length: {}\r\n", body.len());
    }
    text.push_str("\r\n");
    text.push_str(body.unwrap_or_default());
    text.into_bytes()
}

/// A whole response at the start of `input` and its length; `None` while it is incomplete.
fn parse_response(input: &[u8]) -> Result<Option<(Response, usize)>, Failure> {
    let Some(head_bytes) = head_end(input) else { return Ok(None) };
    let malformed = || Failure::new("malformed response");
    let head = std::str::from_utf8(&input[..head_bytes]).map_err(|_| malformed())?;
    let status = head.get(9..12).and_then(|digits| digits.parse::<u16>().ok()).ok_or_else(malformed)?;
    if !head.starts_with("HTTP/1.1 ") {
        return Err(malformed());
    }
    let rest = &input[head_bytes..];
    if let Some(length) = header(head, "content-length") {
        let length = length.parse::<usize>().map_err(|_| malformed())?;
        let complete = rest.get(..length);
        return Ok(complete.map(|body| (Response { status, body: body.to_vec() }, head_bytes + length)));
    }
    if header(head, "transfer-encoding").is_some_and(|coding| coding.eq_ignore_ascii_case("chunked")) {
        let complete = dechunk(rest).ok_or_else(malformed)?;
        return Ok(complete.map(|(body, consumed)| (Response { status, body }, head_bytes + consumed)));
    }
    match status {
        101 | 204 | 304 => Ok(Some((Response { status, body: Vec::new() }, head_bytes))),
        _ => Err(Failure::new("response without a length")),
    }
}

/// The length of the response head at the start of `input`, blank line included.
pub(crate) fn head_end(input: &[u8]) -> Option<usize> {
    input.windows(4).position(|window| window == b"\r\n\r\n").map(|position| position + 4)
}

/// The first value of a header, by its lower-case name.
pub(crate) fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    head.lines().skip(1).find_map(|line| {
        let (field, value) = line.split_once(':')?;
        field.eq_ignore_ascii_case(name).then(|| value.trim())
    })
}

/// `Some(Some(body, consumed))` once the last chunk is there; `None` if malformed.
#[allow(clippy::option_option, reason = "malformed, incomplete and complete are three outcomes")]
fn dechunk(mut input: &[u8]) -> Option<Option<(Vec<u8>, usize)>> {
    let whole = input.len();
    let mut body = Vec::new();
    loop {
        let Some(line_bytes) = input.windows(2).position(|window| window == b"\r\n") else { return Some(None) };
        let size = std::str::from_utf8(&input[..line_bytes]).ok()?;
        let size = usize::from_str_radix(size, 16).ok()?;
        let chunk = &input[line_bytes + 2..];
        let Some(data) = chunk.get(..size) else { return Some(None) };
        let Some(line_end) = chunk.get(size..size + 2) else { return Some(None) };
        if line_end != b"\r\n" {
            return None;
        }
        body.extend_from_slice(data);
        input = &chunk[size + 2..];
        if size == 0 {
            return Some(Some((body, whole - input.len())));
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::parse_response;

    #[test]
    fn responses_at_every_length() {
        let counted = b"HTTP/1.1 200 OK\r\nX: y\r\ncontent-length: 5\r\n\r\nhello".as_slice();
        let chunked = b"HTTP/1.1 404 Not Found\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nhel\r\n2\r\nlo\r\n0\r\n\r\n";
        for (whole, status) in [(counted, 200), (chunked.as_slice(), 404)] {
            for cut in 0..whole.len() {
                assert!(parse_response(&whole[..cut]).unwrap().is_none(), "{cut}");
            }
            let mut two = whole.to_vec();
            two.extend_from_slice(whole);
            let (response, consumed) = parse_response(&two).unwrap().unwrap();
            assert_eq!(
                (response.status, response.body.as_slice(), consumed),
                (status, b"hello".as_slice(), whole.len())
            );
        }
    }

    #[test]
    fn malformed_responses_are_failures() {
        for whole in [
            "HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n",
            "HTTP/1.1 2x0 OK\r\nContent-Length: 0\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n",
            "HTTP/1.1 200 OK\r\n\r\n",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        ] {
            assert!(parse_response(whole.as_bytes()).is_err(), "{whole}");
        }
    }
}
