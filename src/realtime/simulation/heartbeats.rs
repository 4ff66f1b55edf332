//! Two hours of heartbeats: nobody who answers is given up, whoever does not is missed, and no timer is left over.

use std::rc::Rc;

use protocol::engineio::session::{Session as Engine, Transport};
use protocol::engineio::sid::Sid;

use super::super::endpoint::Target;
use super::client::{Client, Link, Polling};
use super::random::Random;
use super::wire::{Arrived, Wire};
use super::world::World;

/// Connections over each transport.
const WEBSOCKETS: usize = 1_000;
const POLLERS: usize = 1_000;
const TWO_HOURS_MS: u64 = 2 * 60 * 60 * 1_000;
/// Time between two looks of a client at its transport.
const STEP_MS: u64 = 2_500;
/// Time between two ticks of the cores.
const TICK_MS: u64 = 500;
/// One in so many stops answering at some time.
const FALLS_SILENT: usize = 50;

/// From the last answered ping to the end: an interval to the next ping, its time-out, and what steps and ticks add.
const MISSED_AFTER_MS: std::ops::RangeInclusive<u64> = 59_000..=60_000 + 3 * STEP_MS;

fn connect(world: &World, core: usize, is_websocket: bool) -> Link {
    let hub = &world.hubs[core];
    if is_websocket {
        let (wire, descriptor) = Wire::pair();
        hub.attach(Target::New, descriptor, Vec::new());
        return Link::WebSocket(wire);
    }
    let sid = Sid::new(hub.core.0, crate::crypto::random::bytes());
    let engine = Engine::open(Transport::Polling, hub.turn.now(), &hub.settings.engine);
    hub.insert(sid, engine, None, false);
    Link::Polling(Polling { sid, poll: None, unsent: Vec::new(), candidate: None })
}

/// Every core does what it has to do, and hears of what the others have done.
fn turns(world: &mut World) {
    for _ in 0..2 {
        for core in 0..world.hubs.len() {
            world.deliver(core, usize::MAX);
            world.websockets(core);
            world.end_turn(core);
        }
    }
}

/// What the test knows of a client.
struct Pulse {
    client: Client,
    /// When it stops answering.
    silent_from: u64,
    pings: u64,
    answered_at: u64,
    ended_at: Option<u64>,
}

#[test]
fn two_hours_of_heartbeats() {
    let cores = 3;
    let mut world = World::new(7, cores, 0);
    let hubs: Vec<_> = world.hubs.iter().map(Rc::clone).collect();
    let mut random = Random::new(7);
    let mut pulses: Vec<Pulse> = Vec::new();
    for n in 0..WEBSOCKETS + POLLERS {
        let mut client = Client::new(connect(&world, n % cores, n < WEBSOCKETS));
        client.say(format!(r#"40{{"token":"account {}","class":"user"}}"#, n % 97));
        let silent_from = match n % FALLS_SILENT {
            0 => 60_000 + random.below(6_900_000) as u64,
            _ => u64::MAX,
        };
        client.exchange(&hubs, &mut random, true);
        pulses.push(Pulse { client, silent_from, pings: 0, answered_at: 0, ended_at: None });
        // They come over some seconds, as after a restart of the server.
        turns(&mut world);
        world.pass(5);
    }
    let started = world.now();
    let mut most_timers = 0;
    while world.now() < started + TWO_HOURS_MS {
        let now = world.now();
        for pulse in &mut pulses {
            for packet in pulse.client.exchange(&hubs, &mut random, true) {
                match packet {
                    Arrived::Text(text) if text == "2" => {
                        pulse.pings += 1;
                        if now < pulse.silent_from {
                            pulse.client.say("3".to_string());
                            pulse.answered_at = now;
                        }
                    }
                    Arrived::Text(text) if text != "1" => {}
                    _ => {
                        pulse.ended_at.get_or_insert(now);
                        pulse.client.cut();
                    }
                }
            }
        }
        for _ in 0..STEP_MS / TICK_MS {
            world.pass(TICK_MS);
            turns(&mut world);
        }
        let timers: usize = hubs.iter().map(|hub| hub.turn.wheel.borrow().len()).sum();
        most_timers = most_timers.max(timers);
    }
    let alive = pulses.iter().filter(|pulse| pulse.ended_at.is_none()).count();
    assert_eq!(hubs.iter().map(|hub| hub.sessions_len()).sum::<usize>(), alive);
    for (n, Pulse { silent_from, pings, answered_at, ended_at, .. }) in pulses.iter().enumerate() {
        match ended_at {
            None => {
                assert_eq!(*silent_from, u64::MAX, "client {n} has fallen silent and is not missed");
                // One every interval, each up to a step late on either side.
                assert!(
                    (TWO_HOURS_MS / 20_000..=TWO_HOURS_MS / 15_000 + 1).contains(pings),
                    "client {n}: {pings} pings"
                );
            }
            Some(at) => {
                assert_ne!(*silent_from, u64::MAX, "client {n} has answered every ping and was given up at {at} ms");
                let after = at - answered_at;
                assert!(MISSED_AFTER_MS.contains(&after), "client {n} was given up {after} ms after its last answer");
            }
        }
    }
    assert_eq!(alive, WEBSOCKETS + POLLERS - (WEBSOCKETS + POLLERS).div_ceil(FALLS_SILENT));
    // Each session has one entry, and for a moment another one that a nearer deadline has replaced; a channel that is
    // closed without an answer has one, too.
    assert!(most_timers <= 2 * (WEBSOCKETS + POLLERS) + POLLERS / FALLS_SILENT, "{most_timers} timers");
    let timers: usize = hubs.iter().map(|hub| hub.turn.wheel.borrow().len()).sum();
    assert!(timers <= alive + alive / 10, "{timers} timers for {alive} sessions");
    drop(pulses);
    for _ in 0..200 {
        turns(&mut world);
        world.pass(STEP_MS);
    }
    for hub in &hubs {
        assert!(hub.is_at_rest());
        assert_eq!(hub.turn.wheel.borrow().len(), 0);
    }
}
