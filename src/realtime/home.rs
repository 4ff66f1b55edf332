//! The home of an account: its members, their methods, and the order of its updates. Pure: no clock, no sockets.
//!
//! Every account has one home core. All its connections are listed there, whatever core they are on, so a push to an
//! account looks at one short list. Rooms are not stored by name: a member carries its class, and an [`Audience`] is a
//! question asked of it. A client-chosen session id can therefore never name somebody else's room (closes R-3).

use std::collections::VecDeque;

use super::event::{Audience, Update};
use super::rpc::Peer;
use super::rpc::methods::Methods;
pub use crate::cluster::Place;
use crate::cluster::rooms::Room;
use crate::model::ids::{MachineId, SessionId, SocketId};
use crate::net::frame::Frame;
use crate::runtime::timer::Millis;

/// Why a connection is here (`spec/realtime.md` §2).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Class {
    User,
    Session(SessionId),
    Machine(MachineId),
    /// An unknown `clientType`: hears only what goes to everybody of the account.
    Other,
}

/// One connection of an account.
#[derive(Clone, Debug)]
pub struct Member {
    pub place: Place,
    pub socket: SocketId,
    pub class: Class,
}

impl Member {
    fn hears(&self, audience: &Audience) -> bool {
        match (audience, &self.class) {
            (Audience::All, _) => true,
            (Audience::UserScoped | Audience::Session(_) | Audience::Machine(_), Class::User) => true,
            (Audience::Session(wanted), Class::Session(bound)) => wanted == bound,
            (Audience::Machine(wanted), Class::Machine(bound)) => wanted == bound,
            _ => false,
        }
    }

    /// Whether other replicas mean this member with a room. The room is one of the member's account, or a connection.
    fn is_in(&self, room: &Room) -> bool {
        match (room, &self.class) {
            (Room::User(_), _) | (Room::UserScoped(_), Class::User) => true,
            (Room::Session(wanted, _), Class::Session(bound)) => wanted == bound,
            (Room::Machine(wanted, _), Class::Machine(bound)) => wanted == bound,
            (Room::Socket(socket), _) => *socket == self.socket,
            _ => false,
        }
    }
}

/// How long an update waits for the one before it. Its predecessor was committed earlier and is on its way from another
/// core, which may stand still for a moment where many share a processor.
pub const GAP_WAIT_MS: u64 = 500;

/// The same where there are other replicas: it may be one of theirs that no update tells of, so nobody waits for long.
pub const GAP_WAIT_AMONG_REPLICAS_MS: u64 = 50;

/// Lost sessions that a home remembers, the latest; a loss need only be remembered while updates from before it may
/// still come in, which is for a moment.
const WITHDRAWN_MAX: usize = 64;

/// Updates held back for one account. Beyond that the oldest goes out although its predecessor is missing.
pub const HELD_MAX: usize = 256;

/// An event of another replica, as it goes over the wire.
#[derive(Clone)]
pub struct Foreign {
    pub rooms: Vec<Room>,
    pub except: Vec<Room>,
    pub frame: Frame,
}

/// An update, in the form in which it came.
pub enum Notice {
    Own(Update),
    Foreign(Foreign),
}

struct Held {
    seq: i64,
    /// None for a cursor without an update.
    notice: Option<Notice>,
    /// Whoever joined later does not get it: delivery is to those who were there when it happened.
    epoch: u64,
    until: Millis,
}

/// An update that may go out, to members that joined at its epoch or before.
pub struct Released {
    pub seq: i64,
    pub notice: Notice,
    pub epoch: u64,
}

/// Members and order of one account.
#[derive(Default)]
pub struct Home {
    members: Vec<(u64, Member)>,
    /// Counts members that have joined.
    epoch: u64,
    /// Highest cursor that has gone out; 0 before the first.
    published: i64,
    held: VecDeque<Held>,
    /// Sessions that the account has lost, and the cursors of that.
    withdrawn: Vec<(SessionId, i64)>,
    /// What members have registered for calls.
    pub(super) methods: Methods,
}

impl Home {
    pub fn join(&mut self, member: Member) {
        debug_assert!(self.members.iter().all(|(_, other)| other.place != member.place));
        self.epoch += 1;
        if self.members.len() == self.members.capacity() {
            // Most accounts have a few connections for a long time, so room for many more would be most of their memory.
            self.members.reserve_exact(1 + self.members.len() / 4);
        }
        self.members.push((self.epoch, member));
    }

    pub fn leave(&mut self, place: Place) {
        self.members.retain(|(_, member)| member.place != place);
        self.methods.leave(place);
        debug_assert!(self.methods.holders().all(|holder| self.has(holder)), "only members hold methods");
    }

    /// Whether a connection is a member.
    pub fn has(&self, peer: Peer) -> bool {
        self.members().any(|member| member.place == peer.place && member.socket == peer.socket)
    }

    pub fn members(&self) -> impl Iterator<Item = &Member> {
        self.members.iter().map(|(_, member)| member)
    }

    /// Whether the next update is the first, which has no order to keep.
    #[cfg(test)]
    pub(super) fn is_fresh(&self) -> bool {
        self.published == 0
    }

    /// Whether nothing would be lost by forgetting this home.
    pub fn is_vacant(&self) -> bool {
        debug_assert!(!self.members.is_empty() || self.methods.is_empty());
        self.members.is_empty() && self.held.is_empty()
    }

    /// Who gets an event that happens now.
    pub fn recipients<'a>(&'a self, audience: &'a Audience) -> impl Iterator<Item = &'a Member> {
        self.members().filter(move |member| member.hears(audience))
    }

    /// Who gets an update.
    pub fn recipients_of<'a>(&'a self, released: &'a Released) -> impl Iterator<Item = &'a Member> {
        let there = self.members.iter().filter(move |(joined, _)| *joined <= released.epoch).map(|(_, member)| member);
        there.filter(move |member| match &released.notice {
            Notice::Own(update) => member.hears(&update.audience) && Some(member.socket) != update.skip,
            Notice::Foreign(foreign) => foreign.is_for(member),
        })
    }

    /// Who gets an event of another replica that has no place in the order of updates.
    pub fn recipients_in<'a>(&'a self, rooms: &'a [Room], except: &'a [Room]) -> impl Iterator<Item = &'a Member> {
        self.members().filter(move |member| is_meant(member, rooms, except))
    }

    /// Takes an update and appends what may go out now, in the order of cursors. It waits for its predecessors until the
    /// given time. Returns when to call [`Self::overdue`], if something is held back.
    pub fn offer(&mut self, update: Update, until: Millis, out: &mut Vec<Released>) -> Option<Millis> {
        self.take(update.seq, [Some(Notice::Own(update))], until, out)
    }

    /// Takes two updates with one cursor.
    pub fn offer_pair(&mut self, pair: [Update; 2], until: Millis, out: &mut Vec<Released>) -> Option<Millis> {
        debug_assert_eq!(pair[0].seq, pair[1].seq);
        self.take(pair[0].seq, pair.map(|update| Some(Notice::Own(update))), until, out)
    }

    /// Takes an update of another replica; it keeps its place among our own.
    pub fn offer_foreign(
        &mut self,
        seq: i64,
        foreign: Foreign,
        until: Millis,
        out: &mut Vec<Released>,
    ) -> Option<Millis> {
        self.take(seq, [Some(Notice::Foreign(foreign))], until, out)
    }

    /// Takes a cursor that no update tells of.
    pub fn pass(&mut self, seq: i64, until: Millis, out: &mut Vec<Released>) -> Option<Millis> {
        self.take(seq, [None], until, out)
    }

    /// Nobody hears any more of what happened in a session before the account has lost it. Only the order is kept.
    pub fn withdraw(&mut self, session: SessionId, seq: i64) {
        if let Some(known) = self.withdrawn.iter().position(|(lost, _)| *lost == session) {
            let (_, before) = self.withdrawn.remove(known);
            self.withdrawn.push((session, seq.max(before)));
        } else {
            if self.withdrawn.len() >= WITHDRAWN_MAX {
                self.withdrawn.remove(0);
            }
            self.withdrawn.push((session, seq));
        }
        let mut held = std::mem::take(&mut self.held);
        for held in &mut held {
            let seq = held.seq;
            held.notice = held.notice.take().filter(|notice| !self.is_withdrawn(notice, seq));
        }
        self.held = held;
    }

    fn is_withdrawn(&self, notice: &Notice, seq: i64) -> bool {
        let about = match notice {
            Notice::Own(update) => match &update.audience {
                Audience::Session(about) => Some(about),
                _ => None,
            },
            Notice::Foreign(foreign) => foreign.rooms.iter().find_map(|room| match room {
                Room::Session(about, _) => Some(about),
                _ => None,
            }),
        };
        about.is_some_and(|about| self.withdrawn.iter().any(|(lost, since)| lost == about && seq < *since))
    }

    fn take<const N: usize>(
        &mut self,
        seq: i64,
        notices: [Option<Notice>; N],
        until: Millis,
        out: &mut Vec<Released>,
    ) -> Option<Millis> {
        let goes_out = self.published == 0 || seq <= self.published + 1;
        for notice in notices {
            let notice = notice.filter(|notice| !self.is_withdrawn(notice, seq));
            let held = Held { seq, notice, epoch: self.epoch, until };
            if goes_out {
                self.publish(held, out);
            } else {
                let at = self.held.partition_point(|other| other.seq <= seq);
                self.held.insert(at, held);
            }
        }
        // Only now: what waits for this cursor comes behind all of its updates.
        if goes_out {
            self.release(out);
        } else if self.held.len() > HELD_MAX {
            self.give_up_first(out);
        }
        debug_assert!(self.held.front().is_none_or(|first| first.seq > self.published + 1));
        self.held.iter().map(|held| held.until).min()
    }

    /// Lets go of updates that have waited long enough.
    pub fn overdue(&mut self, now: Millis, out: &mut Vec<Released>) -> Option<Millis> {
        // Everything before an overdue update goes with it: order matters more than a later deadline.
        while self.held.iter().any(|held| held.until <= now) {
            self.give_up_first(out);
        }
        self.held.iter().map(|held| held.until).min()
    }

    fn publish(&mut self, held: Held, out: &mut Vec<Released>) {
        let Held { seq, notice, epoch, .. } = held;
        self.published = self.published.max(seq);
        out.extend(notice.map(|notice| Released { seq, notice, epoch }));
    }

    fn give_up_first(&mut self, out: &mut Vec<Released>) {
        if let Some(first) = self.held.pop_front() {
            self.publish(first, out);
            self.release(out);
        }
    }

    fn release(&mut self, out: &mut Vec<Released>) {
        while self.held.front().is_some_and(|first| first.seq <= self.published + 1) {
            if let Some(first) = self.held.pop_front() {
                self.publish(first, out);
            }
        }
    }
}

impl Foreign {
    fn is_for(&self, member: &Member) -> bool {
        is_meant(member, &self.rooms, &self.except)
    }
}

/// No rooms mean everybody.
fn is_meant(member: &Member, rooms: &[Room], except: &[Room]) -> bool {
    (rooms.is_empty() || rooms.iter().any(|room| member.is_in(room))) && !except.iter().any(|room| member.is_in(room))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::ids::AccountId;
    use crate::runtime::cores::CoreId;
    use crate::runtime::slab::Slab;

    fn update(seq: i64) -> Update {
        Update {
            account: AccountId::from("a".to_string()),
            seq,
            audience: Audience::All,
            body: String::new().into(),
            skip: None,
        }
    }

    fn seqs(out: &mut Vec<Released>) -> Vec<i64> {
        out.drain(..).map(|released| released.seq).collect()
    }

    #[test]
    fn classes_and_audiences() {
        let mut slab = Slab::default();
        let session = |s: &str| SessionId::from(s.to_string());
        let machine = |m: &str| MachineId::from(m.to_string());
        let mut home = Home::default();
        let mut sockets = Vec::new();
        for class in [
            Class::User,
            Class::Session(session("s")),
            Class::Session(session("s:a")),
            Class::Machine(machine("m")),
            Class::Other,
        ] {
            let socket = SocketId::random();
            sockets.push(socket);
            home.join(Member { place: Place { core: CoreId(0), key: slab.insert(()) }, socket, class });
        }
        let heard = |audience: Audience, skip: Option<SocketId>| -> Vec<usize> {
            let notice = Notice::Own(Update { audience, skip, ..update(1) });
            let released = Released { seq: 1, notice, epoch: u64::MAX };
            home.recipients_of(&released).map(|m| sockets.iter().position(|s| *s == m.socket).unwrap()).collect()
        };
        assert_eq!(heard(Audience::All, None), [0, 1, 2, 3, 4]);
        assert_eq!(heard(Audience::UserScoped, None), [0]);
        assert_eq!(heard(Audience::Session(session("s")), None), [0, 1]);
        assert_eq!(heard(Audience::Machine(machine("m")), None), [0, 3]);
        assert_eq!(heard(Audience::Session(session("s")), Some(sockets[0])), [1]);
    }

    #[test]
    fn updates_leave_in_the_order_of_their_cursors() {
        let mut home = Home::default();
        let mut out = Vec::new();
        assert_eq!(home.offer(update(7), 0, &mut out), None);
        assert_eq!(home.offer(update(10), 51, &mut out), Some(51));
        assert_eq!(home.offer(update(9), 52, &mut out), Some(51));
        assert_eq!(seqs(&mut out), [7]);
        assert_eq!(home.offer(update(8), 53, &mut out), None);
        assert_eq!(seqs(&mut out), [8, 9, 10]);
    }

    #[test]
    fn nobody_waits_for_ever() {
        let mut home = Home::default();
        let mut out = Vec::new();
        home.offer(update(1), 0, &mut out);
        home.offer(update(5), 50, &mut out);
        assert_eq!(home.offer(update(3), 70, &mut out), Some(50));
        assert_eq!(home.overdue(49, &mut out), Some(50));
        assert_eq!(seqs(&mut out), [1]);
        assert_eq!(home.overdue(50, &mut out), None);
        assert_eq!(seqs(&mut out), [3, 5]);
        home.offer(update(2), 110, &mut out);
        assert_eq!(seqs(&mut out), [2], "late, but not lost");
    }

    #[test]
    fn a_cursor_without_an_update_holds_nobody_up() {
        let mut home = Home::default();
        let mut out = Vec::new();
        home.offer(update(1), 0, &mut out);
        home.offer(update(3), 0, &mut out);
        assert_eq!(home.pass(2, 0, &mut out), None);
        assert_eq!(seqs(&mut out), [1, 3]);
    }

    #[test]
    fn whoever_comes_later_hears_nothing_of_what_was_held_back() {
        let mut slab = Slab::default();
        let mut home = Home::default();
        let mut join = |home: &mut Home| {
            let socket = SocketId::random();
            home.join(Member { place: Place { core: CoreId(0), key: slab.insert(()) }, socket, class: Class::User });
            socket
        };
        let first = join(&mut home);
        let mut out = Vec::new();
        home.offer(update(1), 0, &mut out);
        home.offer(update(3), 0, &mut out);
        let second = join(&mut home);
        home.offer(update(2), 0, &mut out);
        let heard = |seq: i64| -> Vec<SocketId> {
            let released = out.iter().find(|released| released.seq == seq).unwrap();
            home.recipients_of(released).map(|member| member.socket).collect()
        };
        assert_eq!((heard(2), heard(3)), (vec![first, second], vec![first]));
    }

    #[test]
    fn updates_of_other_replicas_take_their_place_among_our_own() {
        let account = AccountId::from("a");
        let foreign = || Foreign {
            rooms: vec![Room::UserScoped(account.clone())],
            except: Vec::new(),
            frame: Frame::text(|out| out.extend_from_slice(b"42[]")),
        };
        let mut home = Home::default();
        let mut out = Vec::new();
        home.offer(update(1), 0, &mut out);
        home.offer(update(3), 0, &mut out);
        assert_eq!(home.offer_foreign(4, foreign(), 1, &mut out), Some(0));
        home.offer_foreign(2, foreign(), 1, &mut out);
        home.offer(update(5), 2, &mut out);
        assert_eq!(seqs(&mut out), [1, 2, 3, 4, 5]);
    }

    #[test]
    fn rooms_of_other_replicas_mean_the_same_members_as_audiences() {
        let mut slab = Slab::default();
        let (account, session, machine) = (AccountId::from("a"), SessionId::from("s"), MachineId::from("m"));
        let mut home = Home::default();
        for class in [
            Class::User,
            Class::Session(session.clone()),
            Class::Session(SessionId::from("s:a")),
            Class::Machine(machine.clone()),
            Class::Other,
        ] {
            let place = Place { core: CoreId(0), key: slab.insert(()) };
            home.join(Member { place, socket: SocketId::random(), class });
        }
        let sockets = |members: Vec<&Member>| members.iter().map(|member| member.socket).collect::<Vec<_>>();
        for audience in [Audience::All, Audience::UserScoped, Audience::Session(session), Audience::Machine(machine)] {
            let rooms = audience.rooms(&account);
            let named: Vec<Room> = rooms.iter().map(|room| Room::parse(&room.to_string()).unwrap()).collect();
            assert_eq!(named, rooms);
            let by_rooms = sockets(home.recipients_in(&rooms, &[]).collect());
            assert_eq!(by_rooms, sockets(home.recipients(&audience).collect()), "{audience:?}");
            let one = Room::Socket(by_rooms[0]);
            assert_eq!(sockets(home.recipients_in(&rooms, std::slice::from_ref(&one)).collect()), by_rooms[1..]);
            assert_eq!(sockets(home.recipients_in(std::slice::from_ref(&one), &[]).collect()), by_rooms[..1]);
        }
    }

    #[test]
    fn a_second_event_with_the_same_cursor_follows_the_first() {
        let mut home = Home::default();
        let mut out = Vec::new();
        home.offer(update(4), 0, &mut out);
        home.offer(update(4), 0, &mut out);
        home.offer(update(6), 0, &mut out);
        home.offer(update(6), 0, &mut out);
        home.offer(update(5), 0, &mut out);
        assert_eq!(seqs(&mut out), [4, 4, 5, 6, 6]);
    }

    #[test]
    fn what_happened_in_a_session_before_it_was_lost_is_not_delivered_after() {
        let about =
            |session: &str, seq| Update { audience: Audience::Session(SessionId::from(session)), ..update(seq) };
        let mut home = Home::default();
        let mut out = Vec::new();
        home.offer(about("s", 1), 0, &mut out);
        home.offer(about("s", 4), 0, &mut out);
        home.offer(about("t", 5), 0, &mut out);
        home.withdraw(SessionId::from("s"), 6);
        home.offer(update(6), 0, &mut out);
        home.offer(about("s", 2), 1, &mut out);
        assert_eq!(home.offer(about("t", 3), 1, &mut out), None, "cursors of what is not delivered leave no gap");
        assert_eq!(seqs(&mut out), [1, 3, 5, 6]);
        home.withdraw(SessionId::from("s"), 2);
        home.offer(about("s", 4), 2, &mut out);
        home.offer(about("s", 7), 2, &mut out);
        assert_eq!(seqs(&mut out), [7], "shared again");
        for n in 0..1000 {
            home.withdraw(SessionId::from(format!("other {n}")), 8);
        }
        assert_eq!(home.withdrawn.len(), WITHDRAWN_MAX);
    }

    #[test]
    fn nothing_comes_between_two_updates_of_one_change() {
        let mut home = Home::default();
        let mut out = Vec::new();
        home.offer(update(1), 0, &mut out);
        home.offer(update(3), 0, &mut out);
        home.offer_pair([update(5), update(5)], 0, &mut out);
        home.offer_pair([update(2), update(2)], 0, &mut out);
        assert_eq!(seqs(&mut out), [1, 2, 2, 3]);
        home.offer(update(4), 0, &mut out);
        assert_eq!(seqs(&mut out), [4, 5, 5]);
    }

    #[test]
    fn held_updates_are_bounded() {
        let mut home = Home::default();
        let mut out = Vec::new();
        home.offer(update(1), 0, &mut out);
        for seq in 0..1000 {
            home.offer(update(3 + 2 * seq), 0, &mut out);
            assert!(home.held.len() <= HELD_MAX);
        }
        assert_eq!(out.len(), 1000 + 1 - HELD_MAX);
        assert!(out.is_sorted_by_key(|released| released.seq));
    }
}
