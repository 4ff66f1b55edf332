//! What other processes have to say to the connections of this core (docs/cluster.md).
//!
//! An update of another replica takes its place among our own in the home of its account; everything else goes out as
//! it comes. Events are passed on as they are written; nothing of them is parsed here.

use super::home::{Foreign, Member};
use super::hub::Hub;
use super::rpc::Peer;
use crate::cluster::rooms::{Room, concern};
use crate::cluster::{Ask, Broadcast, Command, Inbound, Target};
use crate::net::frame::Frame;

impl Hub {
    pub(super) fn inbound(&self, inbound: Inbound) {
        match inbound {
            Inbound::Broadcast(broadcast) => self.foreign(broadcast),
            Inbound::Ask(ask) => self.foreign_ask(ask),
            Inbound::Registered { ticket, done } => self.rpc_registered(ticket, done),
            Inbound::Found { ticket, found, waited } => self.rpc_found(ticket, found, waited),
            Inbound::Answered { ticket, answer } => self.rpc_answered(ticket, answer),
            Inbound::Resync => self.end_all(),
        }
    }

    fn foreign(&self, broadcast: Broadcast) {
        let Broadcast { target, mut rooms, mut except, seq, arguments, weight: _ } = broadcast;
        let frame = Frame::text(|out| {
            out.extend_from_slice(b"42");
            out.extend_from_slice(arguments.as_bytes());
        });
        if let Target::Home(account) = &target {
            rooms.retain(|room| concern(room, account));
            except.retain(|room| concern(room, account));
        }
        match (target, seq) {
            (Target::Home(account), Some(seq)) => {
                let (until, foreign) = (self.gap_ends(), Foreign { rooms, except, frame });
                self.with_home(&account, |home, due| home.offer_foreign(seq, foreign, until, due));
            }
            (Target::Home(account), None) => {
                if let Some(home) = self.homes.borrow().get(&account) {
                    self.deliver(home.recipients_in(&rooms, &except), &frame);
                }
            }
            (Target::All, _) => {
                for home in self.homes.borrow().values() {
                    self.deliver(home.recipients_in(&[], &except), &frame);
                }
            }
        }
    }

    /// Delivers an event that is to be acknowledged, and says to how many.
    fn foreign_ask(&self, ask: Ask) {
        let Ask { request, targets, rooms, except, arguments, weight: _weight } = ask;
        let mut holders: Vec<Peer> = Vec::new();
        for target in targets {
            match target {
                Target::Home(account) => {
                    let of_account = |rooms: &[Room]| -> Vec<Room> {
                        rooms.iter().filter(|room| concern(room, &account)).cloned().collect()
                    };
                    let (rooms, except) = (of_account(&rooms), of_account(&except));
                    if let Some(home) = self.homes.borrow().get(&account) {
                        holders.extend(home.recipients_in(&rooms, &except).map(peer_of));
                    }
                }
                Target::All => {
                    for home in self.homes.borrow().values() {
                        holders.extend(home.recipients_in(&[], &except).map(peer_of));
                    }
                }
            }
        }
        let mut count = 0;
        for holder in holders {
            count += u64::from(self.rpc_ask_for_replica(holder, &request, &arguments));
        }
        if let Some(cluster) = &self.cluster {
            cluster.send(Command::Counted { request, count });
        }
    }
}

fn peer_of(member: &Member) -> Peer {
    Peer { place: member.place, socket: member.socket }
}
