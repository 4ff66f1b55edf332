//! Bodies: any cut gives the same bytes, the same end and the same verdict, and the limit holds.
#![no_main]

use libfuzzer_sys::fuzz_target;
use protocol::http::Framing;
use protocol::http::body::{BodyDecoder, Error};

fuzz_target!(|data: (Option<u8>, u16, u8, Vec<u8>)| {
    let (length, cut, bytes_max, bytes) = data;
    let framing = length.map_or(Framing::Chunked, |length| Framing::Length(u64::from(length)));
    let cut = usize::from(cut).min(bytes.len());
    let whole = decode(framing, u64::from(bytes_max), &[&bytes]);
    assert_eq!(whole, decode(framing, u64::from(bytes_max), &[&bytes[..cut], &bytes[cut..]]));
    if let Ok((body, consumed, _)) = whole {
        assert!(body.len() <= usize::from(bytes_max) && consumed <= bytes.len());
    }
});

fn decode(framing: Framing, bytes_max: u64, pieces: &[&[u8]]) -> Result<(Vec<u8>, usize, bool), Error> {
    let mut decoder = BodyDecoder::new(framing, bytes_max)?;
    let (mut body, mut consumed) = (Vec::new(), 0);
    for piece in pieces {
        let progress = decoder.decode(piece, &mut body)?;
        consumed += progress.consumed;
        assert!(progress.done || progress.consumed == piece.len());
    }
    Ok((body, consumed, decoder.is_done()))
}
