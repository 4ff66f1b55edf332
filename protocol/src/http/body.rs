//! Message bodies: counted by `Content-Length` or sent in chunks.
//!
//! Owns: where a body ends, and its size limit.
//! Never: interprets what is in it. Chunk extensions and trailers are checked for form, then forgotten.
//! Invariants: never more than the limit is appended; a body is decoded alike however its bytes were cut.
//! Implements `spec/socketio.md` §2.1 and §2.3 (chunks), `spec/http.md` §4 (size limit).

use std::fmt;

use super::fields::{Framing, is_token_byte};

/// Bytes of chunk extensions and trailers in one body. They mean nothing to us, so they may not keep us busy either.
const IGNORED_BYTES_MAX: u16 = 16_384;

/// What the peer broke in a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Error {
    /// More than the limit: declared, or counted in chunks.
    TooLarge,
    /// A chunk size that is not a hexadecimal number, or does not fit.
    ChunkSize,
    /// A line of the chunked coding that does not end in CRLF, or chunk data that is longer than announced.
    LineEnd,
    /// A malformed chunk extension.
    Extension,
    /// A malformed trailer.
    Trailer,
    /// Extensions and trailers longer than we are willing to skip.
    Overhead,
}

impl Error {
    /// The status of the answer. After any of them the connection cannot be used any further.
    #[must_use]
    pub const fn status(self) -> u16 {
        match self {
            Self::TooLarge => 413,
            Self::ChunkSize | Self::LineEnd | Self::Extension | Self::Trailer | Self::Overhead => 400,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::TooLarge => "body too large",
            Self::ChunkSize => "invalid chunk size",
            Self::LineEnd => "chunk not ended by CRLF",
            Self::Extension => "invalid chunk extension",
            Self::Trailer => "invalid trailer",
            Self::Overhead => "chunk extensions or trailers too long",
        })
    }
}

impl std::error::Error for Error {}

/// What a call to [`BodyDecoder::decode`] did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Bytes of the input that belong to the body. What follows them is the next message.
    pub consumed: usize,
    /// Whether the body is complete.
    pub done: bool,
}

/// Decodes one body.
///
/// Call [`decode`](Self::decode) with what arrives until it reports `done`; also once with nothing, for a message may
/// have no body.
#[derive(Clone, Debug)]
pub struct BodyDecoder {
    state: State,
    /// What may still be appended.
    allowance: u64,
    ignored: u16,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Counted { remaining: u64 },
    ChunkSize { value: u64, digits: u8 },
    Extension { size: u64 },
    SizeLineFeed { size: u64 },
    ChunkData { remaining: u64 },
    DataReturn,
    DataLineFeed,
    TrailerStart,
    TrailerName,
    TrailerValue,
    TrailerLineFeed,
    LastLineFeed,
    Done,
}

impl BodyDecoder {
    /// A decoder for a body of at most `bytes_max` decoded bytes.
    ///
    /// # Errors
    /// [`Error::TooLarge`] if the declared length says so: nothing needs to be read.
    pub fn new(framing: Framing, bytes_max: u64) -> Result<Self, Error> {
        let state = match framing {
            Framing::None | Framing::Length(0) => State::Done,
            Framing::Length(length) if length > bytes_max => return Err(Error::TooLarge),
            Framing::Length(length) => State::Counted { remaining: length },
            Framing::Chunked => State::ChunkSize { value: 0, digits: 0 },
        };
        Ok(Self { state, allowance: bytes_max, ignored: 0 })
    }

    /// Whether the body is complete.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.state == State::Done
    }

    /// Appends to `out` what `input` holds of the body.
    ///
    /// # Errors
    /// What [`Error`] lists; the decoder is of no more use then.
    pub fn decode(&mut self, input: &[u8], out: &mut Vec<u8>) -> Result<Progress, Error> {
        let mut rest = input;
        while self.state != State::Done {
            // Data is taken in one piece, everything else byte by byte.
            if let State::Counted { remaining } | State::ChunkData { remaining } = self.state {
                if rest.is_empty() {
                    break;
                }
                rest = self.take_data(remaining, rest, out);
                continue;
            }
            let Some((&byte, tail)) = rest.split_first() else { break };
            self.state = self.step(byte)?;
            rest = tail;
        }
        Ok(Progress { consumed: input.len().saturating_sub(rest.len()), done: self.is_done() })
    }

    fn take_data<'i>(&mut self, remaining: u64, input: &'i [u8], out: &mut Vec<u8>) -> &'i [u8] {
        let take = usize::try_from(remaining).unwrap_or(usize::MAX).min(input.len());
        let (data, rest) = input.split_at_checked(take).unwrap_or((input, &[]));
        out.extend_from_slice(data);
        let taken = u64::try_from(take).unwrap_or(u64::MAX);
        self.allowance = self.allowance.saturating_sub(taken);
        let remaining = remaining.saturating_sub(taken);
        self.state = match self.state {
            State::Counted { .. } if remaining == 0 => State::Done,
            State::Counted { .. } => State::Counted { remaining },
            _ if remaining == 0 => State::DataReturn,
            _ => State::ChunkData { remaining },
        };
        rest
    }

    fn step(&mut self, byte: u8) -> Result<State, Error> {
        match (self.state, byte) {
            (State::ChunkSize { digits: 1.., value }, b'\r') => {
                self.admit(value).map(|()| State::SizeLineFeed { size: value })
            }
            (State::ChunkSize { digits: 1.., value }, b';') => {
                self.admit(value).map(|()| State::Extension { size: value })
            }
            (State::ChunkSize { value, digits }, _) => {
                let digit = char::from(byte).to_digit(16).ok_or(Error::ChunkSize)?;
                // Sixteen digits fill the 64 bits exactly; a seventeenth is refused even if the first were zeros.
                if digits >= 16 {
                    return Err(Error::ChunkSize);
                }
                Ok(State::ChunkSize { value: value << 4 | u64::from(digit), digits: digits.saturating_add(1) })
            }
            (State::Extension { size }, b'\r') => Ok(State::SizeLineFeed { size }),
            (State::Extension { size }, _) => {
                self.ignore(byte, Error::Extension)?;
                Ok(State::Extension { size })
            }
            (State::SizeLineFeed { size: 0 }, b'\n') => Ok(State::TrailerStart),
            (State::SizeLineFeed { size }, b'\n') => Ok(State::ChunkData { remaining: size }),
            (State::DataReturn, b'\r') => Ok(State::DataLineFeed),
            (State::DataLineFeed, b'\n') => Ok(State::ChunkSize { value: 0, digits: 0 }),
            (State::TrailerStart, b'\r') => Ok(State::LastLineFeed),
            (State::TrailerName, b':') => Ok(State::TrailerValue),
            (State::TrailerStart | State::TrailerName, _) if is_token_byte(byte) => {
                self.ignore(byte, Error::Trailer)?;
                Ok(State::TrailerName)
            }
            (State::TrailerValue, b'\r') => Ok(State::TrailerLineFeed),
            (State::TrailerValue, _) => {
                self.ignore(byte, Error::Trailer)?;
                Ok(State::TrailerValue)
            }
            (State::TrailerLineFeed, b'\n') => Ok(State::TrailerStart),
            (State::LastLineFeed, b'\n') => Ok(State::Done),
            (State::TrailerStart | State::TrailerName, _) => Err(Error::Trailer),
            (
                State::SizeLineFeed { .. }
                | State::DataReturn
                | State::DataLineFeed
                | State::TrailerLineFeed
                | State::LastLineFeed,
                _,
            ) => Err(Error::LineEnd),
            // `decode` never comes here in these states.
            (State::Counted { .. } | State::ChunkData { .. } | State::Done, _) => Ok(self.state),
        }
    }

    fn admit(&self, size: u64) -> Result<(), Error> {
        if size > self.allowance { Err(Error::TooLarge) } else { Ok(()) }
    }

    fn ignore(&mut self, byte: u8, error: Error) -> Result<(), Error> {
        if byte != b'\t' && byte.is_ascii_control() {
            return Err(error);
        }
        self.ignored = self.ignored.saturating_add(1);
        if self.ignored > IGNORED_BYTES_MAX { Err(Error::Overhead) } else { Ok(()) }
    }
}
