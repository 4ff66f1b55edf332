//! What waits to be written to one socket.
//!
//! Limit: `bytes_max`. A peer that reads slower than it is written to is not buffered without end and never skipped
//! over: at the limit the connection is given up as a whole, and the client catches up after it has reconnected.

use std::collections::VecDeque;
use std::io::IoSlice;

use super::frame::Frame;

/// Pieces handed to one vectored write.
const PIECES_MAX: usize = 64;

/// Small while it is empty, since there is one for every socket, and without memory of its own for a single frame, which
/// is what most turns bring.
#[derive(Default)]
pub struct Outbox(Waiting);

#[derive(Default)]
enum Waiting {
    #[default]
    Nothing,
    One {
        frame: Frame,
        /// Bytes of it that are written already.
        written: u32,
    },
    Many(Box<Many>),
}

struct Many {
    frames: VecDeque<Frame>,
    /// Bytes of the first frame that are written already.
    written: usize,
    bytes: usize,
}

const _: () = assert!(size_of::<Outbox>() == 24);

/// The outbox is full: the peer is too slow.
#[derive(Debug, PartialEq, Eq)]
pub struct Overflow;

impl Outbox {
    pub fn is_empty(&self) -> bool {
        matches!(self.0, Waiting::Nothing)
    }

    /// Bytes that wait.
    pub fn bytes(&self) -> usize {
        match &self.0 {
            Waiting::Nothing => 0,
            Waiting::One { frame, written } => frame.bytes().len() - *written as usize,
            Waiting::Many(many) => many.bytes,
        }
    }

    pub fn push(&mut self, frame: Frame, bytes_max: usize) -> Result<(), Overflow> {
        let (length, waiting) = (frame.bytes().len(), self.bytes());
        // A single frame larger than the limit still goes to a peer that has read everything before it.
        if waiting > 0 && waiting + length > bytes_max {
            return Err(Overflow);
        }
        self.0 = match std::mem::take(&mut self.0) {
            Waiting::Nothing => Waiting::One { frame, written: 0 },
            Waiting::One { frame: first, written } => Waiting::Many(Box::new(Many {
                frames: VecDeque::from([first, frame]),
                written: written as usize,
                bytes: waiting + length,
            })),
            Waiting::Many(mut many) => {
                many.bytes += length;
                many.frames.push_back(frame);
                Waiting::Many(many)
            }
        };
        Ok(())
    }

    /// What waits, if it is in one piece.
    pub fn piece(&self) -> Option<&[u8]> {
        match &self.0 {
            Waiting::One { frame, written } => Some(&frame.bytes()[*written as usize..]),
            Waiting::Nothing | Waiting::Many(_) => None,
        }
    }

    /// So many bytes of [`Self::piece`] have been written.
    pub fn piece_taken(&mut self, taken: usize) {
        let Waiting::One { frame, written } = &mut self.0 else { return };
        // A frame is shorter than 4 GiB: its payload came in a request or a message, which are limited.
        *written = written.saturating_add(u32::try_from(taken).unwrap_or(u32::MAX));
        if *written as usize >= frame.bytes().len() {
            // An idle socket owns no buffer.
            self.0 = Waiting::Nothing;
        }
    }

    /// Hands everything to `send` in as few calls as possible, until it is empty or `send` takes less than it was given.
    pub fn drain<E>(&mut self, mut send: impl FnMut(&[IoSlice<'_>]) -> Result<usize, E>) -> Result<(), E> {
        if let Some(piece) = self.piece() {
            let taken = send(&[IoSlice::new(piece)])?;
            self.piece_taken(taken);
        } else if let Waiting::Many(many) = &mut self.0
            && many.drain(send)?
        {
            self.0 = Waiting::Nothing;
        }
        Ok(())
    }
}

impl Many {
    /// Whether everything was taken.
    fn drain<E>(&mut self, mut send: impl FnMut(&[IoSlice<'_>]) -> Result<usize, E>) -> Result<bool, E> {
        while !self.frames.is_empty() {
            let mut pieces = [IoSlice::new(&[]); PIECES_MAX];
            let mut offered = 0;
            let mut count = 0;
            for (piece, frame) in pieces.iter_mut().zip(&self.frames) {
                let bytes = if count == 0 { &frame.bytes()[self.written..] } else { frame.bytes() };
                *piece = IoSlice::new(bytes);
                offered += bytes.len();
                count += 1;
            }
            let taken = send(&pieces[..count])?;
            self.consume(taken);
            if taken < offered {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn consume(&mut self, mut taken: usize) {
        self.bytes -= taken;
        while let Some(first) = self.frames.front() {
            let left = first.bytes().len() - self.written;
            if taken < left {
                self.written += taken;
                return;
            }
            taken -= left;
            self.written = 0;
            self.frames.pop_front();
        }
        debug_assert_eq!(taken, 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(byte: u8, length: usize) -> Frame {
        Frame::from_bytes(&vec![byte; length])
    }

    #[test]
    fn partial_writes_lose_and_repeat_nothing() {
        let mut outbox = Outbox::default();
        let mut expected = Vec::new();
        for n in 0..200u8 {
            let frame = frame(n, 2 + usize::from(n) % 7);
            expected.extend_from_slice(frame.bytes());
            outbox.push(frame, 1 << 20).unwrap();
        }
        let mut got = Vec::new();
        let mut step = 1;
        while !outbox.is_empty() {
            step = step % 97 + 13;
            outbox
                .drain(|pieces| {
                    let all: Vec<u8> = pieces.iter().flat_map(|piece| piece.iter().copied()).collect();
                    let taken = all.len().min(step);
                    got.extend_from_slice(&all[..taken]);
                    Ok::<_, ()>(taken)
                })
                .unwrap();
            assert_eq!(outbox.bytes(), expected.len() - got.len());
        }
        assert_eq!(got, expected);
    }

    #[test]
    fn the_limit_refuses_and_keeps_what_was_there() {
        let mut outbox = Outbox::default();
        outbox.push(frame(1, 60), 100).unwrap();
        assert_eq!(outbox.push(frame(2, 41), 100), Err(Overflow));
        outbox.push(frame(3, 40), 100).unwrap();
        assert_eq!(outbox.bytes(), 100);
        let mut large = Outbox::default();
        large.push(frame(1, 500), 100).unwrap();
        assert_eq!(large.push(frame(1, 2), 100), Err(Overflow));
    }
}
