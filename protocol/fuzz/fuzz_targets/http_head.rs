//! Request and response heads: any cut gives the same verdict, and every accessor takes what was accepted.
#![no_main]

use libfuzzer_sys::fuzz_target;
use protocol::http::head::{Error, HeadParser, Limits, RequestHead};
use protocol::http::response::ResponseParser;
use protocol::http::{Method, uri};
use protocol::websocket::handshake;

fuzz_target!(|data: (u16, u16, Vec<u8>)| {
    let (first_cut, second_cut, bytes) = data;
    let limits = Limits { head_bytes_max: 4096, fields_max: 16 };
    let mut cuts = [usize::from(first_cut).min(bytes.len()), usize::from(second_cut).min(bytes.len())];
    cuts.sort_unstable();

    let whole = HeadParser::new().parse(&bytes, &limits);
    let mut parser = HeadParser::new();
    let mut pieces = Ok(None);
    for end in [cuts[0], cuts[1], bytes.len()] {
        pieces = parser.parse(&bytes[..end], &limits);
        if !matches!(pieces, Ok(None)) {
            break;
        }
    }
    assert_eq!(summary(&whole), summary(&pieces));

    if let Ok(Some((head, consumed))) = &whole {
        assert!(*consumed <= bytes.len() && *consumed <= usize::from(limits.head_bytes_max));
        let target = uri::split(head.target());
        let _ = target.path.split('/').map(uri::decode_segment).filter(Result::is_ok).count();
        let _ = uri::query(target.query).count();
        if let Ok(accepted) = handshake::check(head) {
            accepted.append_response(&mut Vec::new());
        }
        assert_eq!(head.headers().count(), head.headers().filter(|(name, _)| head.header(name).is_some()).count());
    }

    if let Ok(Some((head, consumed))) = ResponseParser::new().parse(&bytes, &limits) {
        assert!(consumed <= bytes.len() && head.status() >= 100);
        let _ = (head.framing(Method::Get), head.keep_alive(), head.headers().count());
    }
});

type Summary<'h> = (Method, &'h str, Vec<(&'h str, &'h str)>, protocol::http::Framing, bool, Option<&'h str>, usize);

fn summary(result: &Result<Option<(RequestHead, usize)>, Error>) -> Result<Option<Summary<'_>>, Error> {
    match result {
        Ok(Some((head, consumed))) => Ok(Some((
            head.method(),
            head.target(),
            head.headers().collect(),
            head.framing(),
            head.keep_alive(),
            head.upgrade(),
            *consumed,
        ))),
        Ok(None) => Ok(None),
        Err(error) => Err(*error),
    }
}
