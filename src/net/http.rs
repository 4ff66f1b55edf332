//! One HTTP connection: requests in, answers out, in order (`spec/http.md` §1, `spec/socketio.md` §2).
//!
//! A connection that waits for its next request holds no buffer. Requests are answered strictly one after the other;
//! answers to pipelined requests leave together, but none waits for a request that is not answered at once.
//! Limits: what is read ahead and what is kept back to be written are one read buffer and [`OUTPUT_BYTES_MAX`]; head bytes
//! and fields (431), bytes of one body (413) and of all bodies (503, see [`super::budget`]), 60 s for a head or without a
//! byte of a body (408) or of an answer, 72 s idle.

use std::borrow::Cow;
use std::cell::Cell;
use std::future::poll_fn;
use std::io;
use std::net::{Shutdown, SocketAddr};
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;

use futures_channel::oneshot;
use monoio::net::TcpStream;
use protocol::http::body::{BodyDecoder, Error as BodyError};
use protocol::http::encode::{self, ResponseHead};
use protocol::http::head::{HeadParser, RequestHead};
use protocol::http::{Error as HeadError, Expectation, Framing, Limits, Method};

use super::budget::{Budget, COUNTED_FROM_BYTES, Sender, Share};
use super::fd::{self, Received};
use super::service::{Admission, BodyRefusal, Incoming, Liveness, Outcome, Response, Rest, Service};
use super::turn::{Timer, Turn};
use crate::runtime::fair::Fair;
use crate::runtime::race::{Either, race};
use crate::runtime::timer::Millis;

/// Room for the head of an ordinary answer; more only costs a second allocation.
const RESPONSE_HEAD_BYTES: usize = 320;
const HEAD_TIMEOUT_MS: u64 = 60_000;
const IDLE_TIMEOUT_MS: u64 = 72_000;

/// A body or an answer of which no byte moves for so long is given up: whoever has vanished in the middle of it would
/// otherwise leave it in memory for ever.
const PROGRESS_TIMEOUT_MS: u64 = 60_000;

/// An answer of which no byte moves for so long does not hold up the end of the process any more.
const STALLED_MS: u64 = 1_000;

/// How far ahead the timer of a connection looks: no further than the shortest time-out.
const TIMER_AHEAD_MS: u64 = HEAD_TIMEOUT_MS;
const _: () = assert!(TIMER_AHEAD_MS <= PROGRESS_TIMEOUT_MS && TIMER_AHEAD_MS <= IDLE_TIMEOUT_MS);

/// Answers that are kept back because further requests are here already; more are written at once, and a body as long as
/// that is written from where it is.
const OUTPUT_BYTES_MAX: usize = 64 * 1024;

/// Requests that are answered one after the other without waiting for anything, before others get their turn. One whose
/// token has to be verified takes some 50 µs.
const REQUESTS_PER_TURN: u8 = 32;

/// Reads without waiting, each of a read buffer or a request, before others get their turn.
const WAITS_PER_TURN: u8 = 8;

/// What the connections of a core share.
pub struct Http<S> {
    pub service: Rc<S>,
    pub turn: Rc<Turn>,
    pub limits: Limits,
    /// Shared by all cores.
    bodies: Arc<Budget>,
    /// Set at shutdown: connections close after their current answer.
    pub closing: Cell<bool>,
    /// Complete requests being handled and answers being taken now; shutdown waits for them.
    pub active: Cell<usize>,
}

/// Why a connection ended before its next request.
enum Stop {
    Gone,
    Timeout,
    Head(HeadError),
}

impl From<io::Error> for Stop {
    fn from(_: io::Error) -> Self {
        Self::Gone
    }
}

impl<S: Service + 'static> Http<S> {
    pub fn new(service: Rc<S>, turn: Rc<Turn>, bodies: Arc<Budget>) -> Rc<Self> {
        let limits = Limits::default();
        Rc::new(Self { service, turn, limits, bodies, closing: Cell::new(false), active: Cell::new(0) })
    }

    /// Counts something under way until the result is dropped; the end of the process waits for it.
    fn at_work(self: &Rc<Self>) -> AtWork<S> {
        self.active.set(self.active.get() + 1);
        AtWork(Rc::clone(self))
    }

    /// Serves a connection to its end. `unread` is what another core has read already.
    pub async fn serve(self: Rc<Self>, stream: TcpStream, peer: SocketAddr, unread: Vec<u8>) {
        let _open = self.turn.connection();
        let mut connection = Connection {
            http: self,
            stream: Rc::new(stream),
            peer,
            input: unread,
            output: Vec::new(),
            timer: None,
            fair: Fair::after(WAITS_PER_TURN),
            in_a_row: 0,
            at_work: None,
        };
        // An error here means that the client is gone: there is nobody to tell.
        let _ = connection.run().await;
    }
}

/// A request, or its answer, on its way in [`Http::active`].
struct AtWork<S>(Rc<Http<S>>);

impl<S> Drop for AtWork<S> {
    fn drop(&mut self) {
        self.0.active.set(self.0.active.get() - 1);
    }
}

struct Connection<S> {
    http: Rc<Http<S>>,
    stream: Rc<TcpStream>,
    peer: SocketAddr,
    /// Received and not yet used. Empty and without capacity while idle.
    input: Vec<u8>,
    /// Answers not yet written. Empty and without capacity while anything is waited for.
    output: Vec<u8>,
    /// One for all requests, see [`Self::readable_until`].
    timer: Option<Timer>,
    fair: Fair,
    /// Requests answered since the last wait.
    in_a_row: u8,
    /// While the end of the process waits for this connection.
    at_work: Option<AtWork<S>>,
}

impl<S: Service + 'static> Connection<S> {
    async fn run(&mut self) -> io::Result<()> {
        loop {
            let (head, head_bytes) = match self.next_head().await {
                Ok(found) => found,
                Err(Stop::Gone) => return Ok(()),
                Err(Stop::Timeout) => return self.give_up(encode::REQUEST_TIMEOUT).await.map(|_| ()),
                Err(Stop::Head(error)) => return self.refuse_head(error).await,
            };
            let keep = head.keep_alive() && !self.http.closing.get();
            if self.http.closing.get() {
                let body = br#"{"error":"Service Unavailable","message":"Service Unavailable","statusCode":503}"#;
                let response = Response {
                    status: 503,
                    fields: vec![("Content-Type", Cow::Borrowed("application/json; charset=utf-8"))],
                    body: body.to_vec(),
                    rest: None,
                    close: true,
                };
                return self.respond(&head, response, false).await.map(|_| ());
            }
            let answered = self.request(head, head_bytes, keep).await;
            self.at_work = None;
            if !answered? {
                return Ok(());
            }
            self.in_a_row += 1;
            if self.in_a_row == REQUESTS_PER_TURN {
                self.in_a_row = 0;
                self.fair.step().await;
            }
        }
    }

    /// Reads one request and answers it. Returns whether the connection goes on.
    async fn request(&mut self, head: RequestHead, head_bytes: usize, keep: bool) -> io::Result<bool> {
        if head.expectation() == Expectation::Unsupported {
            let response = Response { status: 417, fields: Vec::new(), body: Vec::new(), rest: None, close: true };
            return self.respond(&head, response, false).await;
        }
        let (bytes_max, open_bytes_max, ticket, cancel) = match self.http.service.admit(&head) {
            Admission::Body { bytes_max, open_bytes_max, ticket, cancel } => {
                (bytes_max, open_bytes_max, ticket, cancel)
            }
            Admission::Respond(response) => {
                // The body, if there is one, was not read: the next request cannot be found behind it.
                let keep = keep && head.framing() == Framing::None;
                self.forget(head_bytes);
                return self.respond(&head, response, keep).await;
            }
            Admission::HandOff(core) => {
                let bytes = std::mem::take(&mut self.input);
                self.flush().await?;
                self.http.service.hand_off(core, fd::duplicate(&self.stream)?, bytes, self.peer);
                return Ok(false);
            }
        };
        self.forget(head_bytes);
        let body = {
            let body = pin!(self.body(&head, bytes_max, open_bytes_max));
            race(body, pin!(cancelled(cancel))).await
        };
        let body = match body {
            Either::First(body) => body,
            Either::Second(()) => {
                self.flush().await?;
                return Ok(false);
            }
        };
        let (body, share) = match body {
            Ok(body) => body,
            Err(Refused::Gone(error)) => return Err(error),
            Err(Refused::Unread(why)) => {
                let response = self.http.service.refuse_body(&head, ticket, why);
                return self.respond(&head, response, false).await;
            }
            // The ticket is dropped: the body will not come.
            Err(Refused::Malformed) => return self.give_up(encode::BAD_REQUEST).await,
            Err(Refused::Timeout) => return self.give_up(encode::REQUEST_TIMEOUT).await,
        };
        // From here on the end of the process waits for the answer, not before: a body may never come.
        self.at_work = Some(self.http.at_work());
        // The answer needs to know three things of the head, which the handler consumes.
        let shape = Shape { head_only: head.method() == Method::Head, keep };
        let incoming = Incoming { head, body, peer: self.peer, ticket };
        let liveness = Liveness { stream: Rc::clone(&self.stream) };
        let mut answer = Rc::clone(&self.http.service).handle(incoming, liveness);
        let outcome = match poll_fn(|cx| Poll::Ready(answer.as_mut().poll(cx))).await {
            Poll::Ready(outcome) => outcome,
            Poll::Pending => {
                self.flush().await?;
                self.in_a_row = 0;
                self.fair.waited();
                answer.await
            }
        };
        drop(share);
        match outcome {
            Outcome::Respond(response) => self.write(response, shape).await,
            Outcome::Raw(bytes) => self.give_up(&bytes).await,
            Outcome::Drop => {
                self.flush().await?;
                Ok(false)
            }
            Outcome::Upgrade { response, attach } => {
                self.send(&response).await?;
                attach(fd::duplicate(&self.stream)?, std::mem::take(&mut self.input));
                Ok(false)
            }
        }
    }

    /// Drops the bytes of the head, which stay until it is clear that the request is answered here.
    fn forget(&mut self, head_bytes: usize) {
        self.input.drain(..head_bytes);
        if self.input.is_empty() {
            self.input = Vec::new();
        }
    }

    /// The next head and how many bytes of the input it takes.
    async fn next_head(&mut self) -> Result<(RequestHead, usize), Stop> {
        let mut parser = HeadParser::default();
        let idle_until = self.http.turn.now() + IDLE_TIMEOUT_MS;
        let mut head_until = None;
        loop {
            if !self.input.is_empty()
                && let Some(found) = parser.parse(&self.input, &self.http.limits).map_err(Stop::Head)?
            {
                return Ok(found);
            }
            let until = match self.input.is_empty() {
                true => idle_until,
                false => *head_until.get_or_insert_with(|| self.http.turn.now() + HEAD_TIMEOUT_MS),
            };
            if !self.fill(until).await? {
                return Err(if self.input.is_empty() { Stop::Gone } else { Stop::Timeout });
            }
        }
    }

    /// Waits for bytes and appends them. `Ok(false)` is a time-out, an error the end of the connection.
    async fn fill(&mut self, until: Millis) -> io::Result<bool> {
        self.flush().await?;
        self.in_a_row = 0;
        loop {
            if !self.readable_until(until).await? {
                return Ok(false);
            }
            let mut buffer = self.http.turn.read_buffer.borrow_mut();
            match fd::receive(fd::borrow(&self.stream), &mut buffer)? {
                Received::Bytes(n) => {
                    self.input.extend_from_slice(&buffer[..n]);
                    return Ok(true);
                }
                Received::End => return Err(io::ErrorKind::UnexpectedEof.into()),
                Received::Empty => {}
            }
        }
    }

    /// Waits for bytes until a deadline; `false` if none came. Entries of the wheel live until they fire, so a timer for
    /// every request would let a busy client fill it. There is one for the connection: it never looks further ahead than
    /// [`TIMER_AHEAD_MS`], and is set anew when it finds that its deadline has moved.
    async fn readable_until(&mut self, until: Millis) -> io::Result<bool> {
        loop {
            let left_ms = until.saturating_sub(self.http.turn.now());
            if left_ms == 0 {
                return Ok(false);
            }
            let timer = self.timer.get_or_insert_with(|| self.http.turn.sleep(left_ms.min(TIMER_AHEAD_MS)));
            let ready = {
                let readable = pin!(self.stream.readable(false));
                self.fair.wait(pin!(race(readable, timer))).await
            };
            match ready {
                Either::First(ready) => return ready.map(|()| true),
                Either::Second(()) => self.timer = None,
            }
        }
    }

    /// Reads a body of at most `bytes_max`, or `open_bytes_max` of somebody unknown. A large one comes with its share of
    /// the memory for all bodies.
    async fn body(
        &mut self,
        head: &RequestHead,
        bytes_max: u64,
        open_bytes_max: u64,
    ) -> Result<(Vec<u8>, Option<Share>), Refused> {
        let mut decoder = BodyDecoder::new(head.framing(), bytes_max)?;
        // What is announced is refused before it is sent.
        let length_max = if let Framing::Length(length) = head.framing() { length } else { bytes_max };
        let length_max = usize::try_from(length_max).unwrap_or(usize::MAX);
        let mut sender = Sender::Open;
        if matches!(head.framing(), Framing::Length(length) if length > open_bytes_max) {
            sender = self.known(head)?;
        }
        let mut body = Vec::new();
        let mut share = None;
        if head.expect_continue() && self.input.is_empty() {
            self.send(encode::CONTINUE).await?;
        }
        loop {
            let bytes = length_max.min(body.len() + self.input.len());
            if bytes > COUNTED_FROM_BYTES && bytes > body.capacity() {
                let capacity = length_max.min(bytes.max(2 * body.capacity()));
                self.make_room(head, &mut sender, &mut share, capacity)?;
                body.reserve_exact(capacity.saturating_sub(body.len()));
            }
            let progress = decoder.decode(&self.input, &mut body)?;
            self.input.drain(..progress.consumed);
            if sender == Sender::Open && body.len() as u64 > open_bytes_max {
                sender = self.known(head)?;
            }
            if progress.done {
                if self.input.is_empty() {
                    self.input = Vec::new();
                }
                return Ok((body, share));
            }
            if !self.fill(self.http.turn.now() + PROGRESS_TIMEOUT_MS).await? {
                return Err(Refused::Timeout);
            }
        }
    }

    /// Whoever sends a body that not everybody may send.
    fn known(&self, head: &RequestHead) -> Result<Sender, Refused> {
        if self.http.service.knows(head) { Ok(Sender::Known) } else { Err(Refused::Unread(BodyRefusal::TooLarge)) }
    }

    /// Takes memory for `capacity` bytes of a body.
    fn make_room(
        &self,
        head: &RequestHead,
        sender: &mut Sender,
        share: &mut Option<Share>,
        capacity: usize,
    ) -> Result<(), Refused> {
        let share = share.get_or_insert_with(|| self.http.bodies.share());
        if share.grow(capacity, *sender) {
            return Ok(());
        }
        // It may have been small enough to come from anybody.
        if *sender == Sender::Open && self.http.service.knows(head) {
            *sender = Sender::Known;
            if share.grow(capacity, *sender) {
                return Ok(());
            }
        }
        Err(Refused::Unread(BodyRefusal::NoRoom))
    }

    async fn respond(&mut self, head: &RequestHead, response: Response, keep: bool) -> io::Result<bool> {
        let shape = Shape { head_only: head.method() == Method::Head, keep };
        self.write(response, shape).await
    }

    async fn write(&mut self, response: Response, shape: Shape) -> io::Result<bool> {
        let keep = shape.keep && !response.close && !self.http.closing.get();
        // A long body is not copied: many may be on their way to clients that read slowly.
        let is_long = response.body.len() >= OUTPUT_BYTES_MAX;
        self.output.reserve_exact(RESPONSE_HEAD_BYTES + if is_long { 0 } else { response.body.len() });
        let date = self.http.turn.date();
        let head = ResponseHead {
            status: response.status,
            date: Some(&date),
            content_length: Some(response.body.len() as u64 + response.rest.as_ref().map_or(0, |rest| rest.length())),
            connection: if keep { encode::Connection::KeepAlive } else { encode::Connection::Close },
        };
        encode::response_head(
            &mut self.output,
            &head,
            response.fields.iter().map(|(name, value)| (*name, value.as_ref())),
        );
        match is_long {
            _ if shape.head_only => {}
            true => {
                let before = std::mem::take(&mut self.output);
                self.deliver(&before, &response.body).await?;
            }
            false => self.output.extend_from_slice(&response.body),
        }
        // There is nothing to wait for before the next request is looked at, and its answer may go with this one.
        if keep && !self.input.is_empty() && response.rest.is_none() && self.output.len() < OUTPUT_BYTES_MAX {
            return Ok(true);
        }
        self.flush().await?;
        if let Some(rest) = response.rest.filter(|_| !shape.head_only)
            && !self.write_rest(rest.as_ref()).await?
        {
            return Ok(false);
        }
        if !keep {
            self.linger().await;
        }
        Ok(keep)
    }

    /// Writes the answers that were kept back.
    async fn flush(&mut self) -> io::Result<()> {
        if self.output.is_empty() {
            return Ok(());
        }
        let output = std::mem::take(&mut self.output);
        self.deliver(&output, &[]).await
    }

    /// Writes bytes that are no answer of a handler, after all answers.
    async fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.flush().await?;
        self.deliver(bytes, &[]).await
    }

    /// The same in place of an answer: the connection ends.
    async fn give_up(&mut self, bytes: &[u8]) -> io::Result<bool> {
        self.send(bytes).await?;
        self.linger().await;
        Ok(false)
    }

    /// Writes `first` and `second`, as one. The end of the process waits for it, also if it belongs to requests that
    /// count as done, as long as the peer takes something.
    async fn deliver(&mut self, mut first: &[u8], mut second: &[u8]) -> io::Result<()> {
        let is_rest = self.at_work.is_some();
        if !is_rest {
            self.at_work = Some(self.http.at_work());
        }
        while !first.is_empty() || !second.is_empty() {
            let stream = fd::borrow(&self.stream);
            let sent = match (first, second) {
                (one, []) | ([], one) => fd::send(stream, one)?,
                _ => fd::send_vectored(stream, &[io::IoSlice::new(first), io::IoSlice::new(second)])?,
            };
            if sent == 0 {
                // Seldom, and large.
                Box::pin(self.writable()).await?;
            }
            let of_first = sent.min(first.len());
            first = &first[of_first..];
            second = &second[sent - of_first..];
        }
        if !is_rest {
            self.at_work = None;
        }
        Ok(())
    }

    /// Waits until the peer takes more, which it must do within [`PROGRESS_TIMEOUT_MS`].
    async fn writable(&mut self) -> io::Result<()> {
        let stalled = self.http.turn.sleep(STALLED_MS);
        if let Either::First(ready) = self.fair.wait(pin!(race(self.stream.writable(false), stalled))).await {
            return ready;
        }
        self.at_work = None;
        let given_up = self.http.turn.sleep(PROGRESS_TIMEOUT_MS - STALLED_MS);
        let ready = race(self.stream.writable(false), given_up).await;
        self.at_work = Some(self.http.at_work());
        match ready {
            Either::First(ready) => ready,
            Either::Second(()) => Err(io::ErrorKind::TimedOut.into()),
        }
    }

    /// Sends the rest of a long body. Returns whether all of it could be had.
    async fn write_rest(&mut self, rest: &dyn Rest) -> io::Result<bool> {
        let mut left = rest.length();
        while left > 0 {
            let Some(piece) = rest.next().await.filter(|piece| !piece.is_empty()) else { return Ok(false) };
            // A file that has grown meanwhile is sent as long as it was announced.
            let length = usize::try_from(left).map_or(piece.len(), |left| left.min(piece.len()));
            self.deliver(&piece[..length], &[]).await?;
            left -= length as u64;
        }
        Ok(true)
    }

    async fn refuse_head(&mut self, error: HeadError) -> io::Result<()> {
        log::debug!("a request without a usable head was refused: {error}");
        self.give_up(encode::refusal(error)).await.map(|_| ())
    }

    /// Closes in a way that lets the client read the answer: closing with unread input would reset the connection and
    /// take the answer with it. Bounded, because the rest of a refused upload may be long.
    async fn linger(&mut self) {
        const LINGER_MS: u64 = 1_000;
        const LINGER_BYTES_MAX: usize = 1 << 20;
        fd::shutdown(fd::borrow(&self.stream), Shutdown::Write);
        let deadline = self.http.turn.sleep(LINGER_MS);
        let drain = async {
            let mut discarded = 0;
            while discarded < LINGER_BYTES_MAX && self.stream.readable(false).await.is_ok() {
                let mut buffer = self.http.turn.read_buffer.borrow_mut();
                match fd::receive(fd::borrow(&self.stream), &mut buffer) {
                    Ok(Received::Bytes(n)) => discarded += n,
                    Ok(Received::Empty) => {}
                    Ok(Received::End) | Err(_) => return,
                }
            }
        };
        race(pin!(drain), deadline).await;
    }
}

/// Finishes when the receiver fires; a sender that is gone does not count.
async fn cancelled(cancel: Option<oneshot::Receiver<()>>) {
    let fired = match cancel {
        Some(cancel) => cancel.await.is_ok(),
        None => false,
    };
    if !fired {
        std::future::pending().await
    }
}

#[derive(Clone, Copy)]
struct Shape {
    head_only: bool,
    keep: bool,
}

enum Refused {
    Gone(io::Error),
    /// No byte has come for too long.
    Timeout,
    Unread(BodyRefusal),
    /// Bad chunk framing.
    Malformed,
}

impl From<io::Error> for Refused {
    fn from(error: io::Error) -> Self {
        Self::Gone(error)
    }
}

impl From<BodyError> for Refused {
    fn from(error: BodyError) -> Self {
        match error {
            BodyError::TooLarge => Self::Unread(BodyRefusal::TooLarge),
            _ => Self::Malformed,
        }
    }
}

#[cfg(test)]
mod tests;
