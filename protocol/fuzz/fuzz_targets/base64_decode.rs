//! Base64: the decoders take any text, and agree with the encoders.
#![no_main]

use libfuzzer_sys::fuzz_target;
use protocol::base64::{decode_lenient, decode_strict, decode_url, encode, encode_url};

fuzz_target!(|data: &[u8]| {
    assert_eq!(decode_strict(&encode(data)).as_deref(), Ok(data));
    assert_eq!(decode_url(&encode_url(data)).as_deref(), Ok(data));
    assert_eq!(decode_lenient(&encode(data)), data);
    assert_eq!(decode_lenient(&encode_url(data)), data);
    let Ok(text) = std::str::from_utf8(data) else { return };
    let lenient = decode_lenient(text);
    // Whatever a stricter decoder accepts, the lenient one reads alike.
    if let Ok(strict) = decode_strict(text) {
        assert_eq!(strict, lenient);
    }
    if let Ok(url) = decode_url(text) {
        assert_eq!(url, lenient);
    }
});
