//! Frames (RFC 6455 §5.2). The server's are never masked and use the shortest length.

/// What a frame is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Opcode {
    Continuation,
    Text,
    Binary,
    Close,
    Ping,
    Pong,
}

impl Opcode {
    /// The four bits on the wire.
    pub fn bits(self) -> u8 {
        match self {
            Self::Continuation => 0,
            Self::Text => 1,
            Self::Binary => 2,
            Self::Close => 8,
            Self::Ping => 9,
            Self::Pong => 10,
        }
    }

    fn from_bits(bits: u8) -> Option<Self> {
        Some(match bits {
            0 => Self::Continuation,
            1 => Self::Text,
            2 => Self::Binary,
            8 => Self::Close,
            9 => Self::Ping,
            10 => Self::Pong,
            _ => return None,
        })
    }

    /// Control frames are short and never fragmented.
    pub fn is_control(self) -> bool {
        matches!(self, Self::Close | Self::Ping | Self::Pong)
    }
}

/// The head of a received frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Whether the message ends with this frame.
    pub is_final: bool,
    /// What it is.
    pub opcode: Opcode,
    /// The mask, if there is one.
    pub mask: Option<[u8; 4]>,
    /// Bytes of payload.
    pub length: u64,
}

/// The head breaks the protocol, whatever follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed;

/// Longest head of a frame.
pub const HEADER_BYTES_MAX: usize = 14;

/// Reads a head and tells how many bytes it takes; `None` if some are missing.
pub fn decode_header(input: &[u8]) -> Result<Option<(Header, usize)>, Malformed> {
    let Some((&[first, second], rest)) = input.split_first_chunk::<2>() else {
        // One byte is enough to see reserved bits.
        return if input.first().is_some_and(|first| first & 0x70 != 0) { Err(Malformed) } else { Ok(None) };
    };
    if first & 0x70 != 0 {
        return Err(Malformed);
    }
    let opcode = Opcode::from_bits(first & 0x0f).ok_or(Malformed)?;
    let is_final = first & 0x80 != 0;
    let short = second & 0x7f;
    if opcode.is_control() && (!is_final || short > 125) {
        return Err(Malformed);
    }
    let (length, rest, extended) = match short {
        126 => match rest.split_first_chunk::<2>() {
            Some((bytes, rest)) => (u64::from(u16::from_be_bytes(*bytes)), rest, 2),
            None => return Ok(None),
        },
        127 => match rest.split_first_chunk::<8>() {
            Some((bytes, rest)) => (u64::from_be_bytes(*bytes), rest, 8),
            None => return Ok(None),
        },
        short => (u64::from(short), rest, 0),
    };
    let mut mask = None;
    let mut used: usize = 2;
    used = used.saturating_add(extended);
    if second & 0x80 != 0 {
        let Some((key, _)) = rest.split_first_chunk::<4>() else { return Ok(None) };
        mask = Some(*key);
        used = used.saturating_add(4);
    }
    Ok(Some((Header { is_final, opcode, mask, length }, used)))
}

/// Writes the head of a final, unmasked frame and returns its length.
pub fn encode_header(opcode: Opcode, length: u64, out: &mut [u8; 10]) -> usize {
    let [first, second, rest @ ..] = out;
    *first = 0x80 | opcode.bits();
    if let Ok(short) = u8::try_from(length)
        && short < 126
    {
        *second = short;
        return 2;
    }
    if let Ok(short) = u16::try_from(length) {
        *second = 126;
        let [a, b, ..] = rest;
        [*a, *b] = short.to_be_bytes();
        return 4;
    }
    *second = 127;
    *rest = length.to_be_bytes();
    10
}

fn encode(opcode: Opcode, payload: &[u8]) -> Vec<u8> {
    let mut header = [0; 10];
    let length = encode_header(opcode, payload.len() as u64, &mut header);
    let mut out = header.get(..length).unwrap_or_default().to_vec();
    out.extend_from_slice(payload);
    out
}

/// A whole text frame.
pub fn encode_text(payload: &[u8]) -> Vec<u8> {
    encode(Opcode::Text, payload)
}

/// The answer to a ping.
pub fn encode_pong(payload: &[u8]) -> Vec<u8> {
    encode(Opcode::Pong, payload)
}

/// A close frame, empty without a code.
pub fn encode_close(code: Option<u16>, reason: &str) -> Vec<u8> {
    let mut payload = Vec::new();
    if let Some(code) = code {
        payload.extend_from_slice(&code.to_be_bytes());
        payload.extend_from_slice(reason.as_bytes());
    }
    encode(Opcode::Close, &payload)
}

/// A whole frame as a client sends it.
pub fn encode_masked(is_final: bool, opcode: Opcode, payload: &[u8], key: [u8; 4]) -> Vec<u8> {
    let mut header = [0; 10];
    let length = encode_header(opcode, payload.len() as u64, &mut header);
    let mut out = header.get(..length).unwrap_or_default().to_vec();
    if let [first, second, ..] = out.as_mut_slice() {
        if !is_final {
            *first &= 0x7f;
        }
        *second |= 0x80;
    }
    out.extend_from_slice(&key);
    let start = out.len();
    out.extend_from_slice(payload);
    if let Some(payload) = out.get_mut(start..) {
        super::mask::apply(payload, key, 0);
    }
    out
}
