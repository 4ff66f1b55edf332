//! The sending half of a connection: frames queue up while a write is under way and leave together in the next one.
//!
//! Invariant: at most one write of a connection is in flight; whoever flushes while one is leaves its bytes to it.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use monoio::io::AsyncWriteRentExt;
use monoio::net::tcp::TcpOwnedWriteHalf;

use crate::client::Failure;
use crate::client::websocket::{self, Opcode};

/// Acks have six digits, so that every request of a kind has the same length.
pub(crate) const FIRST_ACK: u64 = 100_000;
const LAST_ACK: u64 = 999_999;

pub(crate) const fn ack_after(ack: u64) -> u64 {
    if ack == LAST_ACK { FIRST_ACK } else { ack + 1 }
}

pub(crate) struct Sender {
    /// Away while a write is in flight.
    half: Cell<Option<TcpOwnedWriteHalf>>,
    queue: RefCell<Vec<u8>>,
    mask_key: [u8; 4],
    next_ack: Cell<u64>,
}

impl Sender {
    pub(crate) fn new(half: TcpOwnedWriteHalf) -> Self {
        Self {
            half: Cell::new(Some(half)),
            queue: RefCell::default(),
            mask_key: [0x5A, 0xC3, 0x17, 0xE9],
            next_ack: Cell::new(FIRST_ACK),
        }
    }

    pub(crate) fn queue_bytes(&self, bytes: &[u8]) {
        self.queue.borrow_mut().extend_from_slice(bytes);
    }

    pub(crate) fn queue_text(&self, text: &str) {
        self.queue_frame(Opcode::Text, text.as_bytes());
    }

    pub(crate) fn queue_frame(&self, opcode: Opcode, payload: &[u8]) {
        websocket::encode(opcode, payload, self.mask_key, &mut self.queue.borrow_mut());
    }

    /// Queues an event that asks for an ack and returns the ack's id; `data` is the JSON of its arguments, if any.
    pub(crate) fn queue_event(&self, name: &str, data: Option<&str>) -> u64 {
        let ack = self.next_ack.get();
        self.next_ack.set(ack_after(ack));
        match data {
            None => self.queue_text(&format!("42{ack}[\"{name}\"]")),
            Some(data) => self.queue_text(&format!("42{ack}[\"{name}\",{data}]")),
        }
        ack
    }

    pub(crate) async fn flush(&self) -> Result<(), Failure> {
        let Some(mut half) = self.half.take() else { return Ok(()) };
        let outcome = loop {
            let batch = self.queue.take();
            if batch.is_empty() {
                break Ok(());
            }
            let (written, mut batch) = half.write_all(batch).await;
            if let Err(error) = written {
                break Err(Failure::from(error).during("writing"));
            }
            // Keeps the allocation for the next time, unless something has queued meanwhile.
            if self.queue.borrow().is_empty() {
                batch.clear();
                self.queue.replace(batch);
            }
        };
        self.half.set(Some(half));
        outcome
    }

    /// Flushes without waiting for it. A failed write shows as a closed connection at the reader.
    pub(crate) fn flush_soon(self: &Rc<Self>) {
        let sender = Rc::clone(self);
        monoio::spawn(async move { sender.flush().await });
    }
}
