//! The application as a connection sees it.

use std::any::Any;
use std::borrow::Cow;
use std::future::Future;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::pin::Pin;
use std::rc::Rc;

use futures_channel::oneshot;
use monoio::net::TcpStream;
use protocol::http::head::RequestHead;

use crate::runtime::cores::CoreId;

/// An answer. `Date`, `Content-Length` and the connection fields are added when it is written, and the body is left
/// out when the request was `HEAD`.
pub struct Response {
    pub status: u16,
    pub fields: Vec<(&'static str, Cow<'static, str>)>,
    pub body: Vec<u8>,
    /// What follows `body`, if the whole is too long to be held in memory.
    pub rest: Option<Rc<dyn Rest>>,
    /// Close the connection after this answer.
    pub close: bool,
}

/// The rest of a long body, fetched piece by piece while it is sent.
pub trait Rest {
    /// How many bytes there are in all.
    fn length(&self) -> u64;

    /// The next bytes. Nothing, or `None`, before `length` bytes have come is a failure: the connection is dropped, so
    /// that the client sees that its answer is incomplete.
    fn next(&self) -> Pin<Box<dyn Future<Output = Option<Vec<u8>>> + '_>>;
}

/// What to do with a request of which only the head is known.
pub enum Admission {
    /// Read the body, up to so many bytes, then call [`Service::handle`] with the ticket. A ticket that is dropped
    /// without that tells the application that the body will not come.
    Body {
        bytes_max: u64,
        /// Beyond so many the body is read on only if [`Service::knows`] who sends it.
        open_bytes_max: u64,
        ticket: Option<Box<dyn Any>>,
        /// When it fires, the connection is dropped in the middle of the body.
        cancel: Option<oneshot::Receiver<()>>,
    },
    /// Answer without looking at the body.
    Respond(Response),
    /// The request concerns a session of another core: hand over the connection with everything read so far.
    HandOff(CoreId),
}

/// Why a body is not read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyRefusal {
    /// It is larger than [`Admission::Body`] allows.
    TooLarge,
    /// There are too many bodies in memory already.
    NoRoom,
}

/// A complete request.
pub struct Incoming {
    pub head: RequestHead,
    pub body: Vec<u8>,
    pub peer: SocketAddr,
    pub ticket: Option<Box<dyn Any>>,
}

/// Takes a connection that stops being HTTP, with the bytes that followed the request.
pub type Attach = Box<dyn FnOnce(OwnedFd, Vec<u8>)>;

/// What became of a request.
pub enum Outcome {
    Respond(Response),
    /// Write these bytes, then give the connection away.
    Upgrade {
        response: Vec<u8>,
        attach: Attach,
    },
    /// Write these bytes as they are and close.
    Raw(Vec<u8>),
    /// Close without an answer.
    Drop,
}

/// Lets a held request learn that its client has gone.
pub struct Liveness {
    pub(super) stream: Rc<TcpStream>,
}

impl Liveness {
    /// Finishes when the client has closed the connection (or its sending side). Pipelined bytes do not count.
    pub async fn gone(&self) {
        loop {
            if self.stream.readable(false).await.is_err() || super::fd::ended(&self.stream) {
                return;
            }
            // More requests are waiting behind this one: readiness says nothing any more, so look now and then.
            monoio::time::sleep(std::time::Duration::from_secs(1)).await;
        }
    }
}

pub type Answer = Pin<Box<dyn Future<Output = Outcome>>>;

/// Called by every HTTP connection of a core.
pub trait Service {
    fn admit(&self, head: &RequestHead) -> Admission;

    /// Whether a request comes from somebody who may send a large body; asked for such bodies only.
    fn knows(&self, head: &RequestHead) -> bool;

    /// The answer to a request whose body is not read. The connection is closed afterwards.
    fn refuse_body(&self, head: &RequestHead, ticket: Option<Box<dyn Any>>, why: BodyRefusal) -> Response;

    fn handle(self: Rc<Self>, incoming: Incoming, liveness: Liveness) -> Answer;

    /// Gives a connection to another core: its descriptor and the bytes read but not used.
    fn hand_off(&self, to: CoreId, descriptor: OwnedFd, bytes: Vec<u8>, peer: SocketAddr);
}
