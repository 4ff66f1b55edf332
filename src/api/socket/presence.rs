//! The events `session-alive`, `session-end` and `machine-alive` (`spec/realtime.md` §7.4–7.5, §8.1). None of them is
//! ever acknowledged; what is wrong with one is ignored.

use super::Door;
use super::data::{Data, text, truthy};
use crate::domain::presence::{self, Activity};
use crate::model::ids::{AccountId, MachineId, SessionId};
use crate::model::time::now_ms;
use crate::observe::metrics::Counter;
use crate::realtime::application::{Caller, Incoming};
use crate::realtime::presence::{Recorded, SILENCE_MS};

impl Door {
    pub(super) fn session_alive(&self, caller: &Caller<'_>, incoming: &Incoming<'_>) {
        self.ctx.metrics.inc(Counter::WebsocketEvent("session-alive"));
        self.ctx.metrics.inc(Counter::SessionAlive);
        let data = Data::new(incoming.data);
        let now = now_ms();
        let Some((session, at)) = report(&data, "sid", now) else { return };
        let session = SessionId::from(session);
        // Clients reject anything but a boolean (closes R-10).
        let activity = Activity { active: true, at, thinking: data.member("thinking").is_some_and(truthy) };
        if self.presence.sessions.borrow().is_valid(&session, caller.account, now) {
            self.ctx.metrics.inc(Counter::SessionCache("session_validation", "hit"));
            return self.session_seen(caller.account, &session, activity);
        }
        self.ctx.metrics.inc(Counter::SessionCache("session_validation", "miss"));
        let Some(slot) = self.enter(caller, incoming) else { return };
        let (door, account) = (self.me(), caller.account.clone());
        self.spawn(slot, async move {
            match presence::session(&door.ctx, &account, &session).await {
                Ok(Some(standing)) => {
                    door.presence.sessions.borrow_mut().admit(&session, &account, standing, now);
                    door.session_seen(&account, &session, activity);
                }
                Ok(None) => {}
                Err(error) => log::warn!("a sign of life is ignored: {error}"),
            }
        });
    }

    fn session_seen(&self, account: &AccountId, session: &SessionId, activity: Activity) {
        let recorded = self.presence.sessions.borrow_mut().record(session, account, activity.at);
        self.note(recorded, "session");
        presence::announce_session(&self.ctx, account, session, activity);
    }

    pub(super) fn session_end(&self, caller: &Caller<'_>, incoming: &Incoming<'_>) {
        let Some((session, at)) = report(&Data::new(incoming.data), "sid", now_ms()) else { return };
        let Some(slot) = self.enter(caller, incoming) else { return };
        let (door, account, session) = (self.me(), caller.account.clone(), SessionId::from(session));
        self.spawn(slot, async move {
            match presence::end_session(&door.ctx, &account, &session, at).await {
                // A sign of life from before the end must not be written after it.
                Ok(true) => door.presence.sessions.borrow_mut().end(&session),
                Ok(false) => {}
                Err(error) => log::warn!("the end of a session is ignored: {error}"),
            }
        });
    }

    pub(super) fn machine_alive(&self, caller: &Caller<'_>, incoming: &Incoming<'_>) {
        self.ctx.metrics.inc(Counter::WebsocketEvent("machine-alive"));
        self.ctx.metrics.inc(Counter::MachineAlive);
        let now = now_ms();
        let Some((machine, at)) = report(&Data::new(incoming.data), "machineId", now) else { return };
        let machine = MachineId::from(machine);
        if self.presence.machines.borrow().is_valid(&machine, caller.account, now) {
            self.ctx.metrics.inc(Counter::SessionCache("machine_validation", "hit"));
            return self.machine_seen(caller.account, &machine, at);
        }
        self.ctx.metrics.inc(Counter::SessionCache("machine_validation", "miss"));
        let Some(slot) = self.enter(caller, incoming) else { return };
        let (door, account) = (self.me(), caller.account.clone());
        self.spawn(slot, async move {
            match presence::machine(&door.ctx, &account, &machine).await {
                Ok(Some(standing)) => {
                    door.presence.machines.borrow_mut().admit(&machine, &account, standing, now);
                    door.machine_seen(&account, &machine, at);
                }
                Ok(None) => {}
                Err(error) => log::warn!("a sign of life is ignored: {error}"),
            }
        });
    }

    fn machine_seen(&self, account: &AccountId, machine: &MachineId, at: i64) {
        let recorded = self.presence.machines.borrow_mut().record(machine, account, at);
        self.note(recorded, "machine");
        presence::announce_machine(&self.ctx, account, machine, true, at);
    }

    fn note(&self, recorded: Recorded, kind: &'static str) {
        match recorded {
            Recorded::Pending => {}
            Recorded::Skipped => self.ctx.metrics.inc(Counter::DatabaseUpdateSkipped(kind)),
            Recorded::Unknown => log::warn!("too many of kind {kind} are active on one core: presence is not written"),
        }
    }
}

/// Who reports, and the time of the report: never in the future, and not from too long ago.
fn report(data: &Data<'_>, id: &str, now: i64) -> Option<(String, i64)> {
    let time = data.number("time")?;
    // An identifier of another type fails in the database of the reference server, which ignores the event as well.
    let id = data.member(id).filter(|raw| truthy(raw)).and_then(text)?;
    #[allow(clippy::cast_precision_loss, reason = "times are far below 2^53")]
    let (now_exact, oldest) = (now as f64, (now - SILENCE_MS) as f64);
    if time < oldest {
        return None;
    }
    #[allow(clippy::cast_possible_truncation, reason = "not in the future, and at most ten minutes ago")]
    let at = time.min(now_exact).floor() as i64;
    Some((id, at))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_of_a_report() {
        let now = 1_800_000_000_000;
        let of = |raw: &str| report(&Data::new(Some(raw)), "sid", now);
        let at = |time: i64| of(&format!(r#"{{"sid":"s","time":{time}}}"#)).map(|(_, at)| at);
        assert_eq!(at(now - 5), Some(now - 5));
        assert_eq!(at(now + 1), Some(now));
        assert_eq!(at(now - SILENCE_MS), Some(now - SILENCE_MS));
        assert_eq!(at(now - SILENCE_MS - 1), None);
        assert_eq!(at(-1), None);
        assert_eq!(of(r#"{"sid":"s","time":1e300}"#), Some(("s".to_string(), now)));
        assert_eq!(of(r#"{"sid":"s","time":-1e300}"#), None);
        for bad in [
            "{}",
            r#"{"sid":"s"}"#,
            r#"{"sid":"s","time":"1"}"#,
            r#"{"sid":"","time":1e300}"#,
            r#"{"sid":7,"time":1e300}"#,
        ] {
            assert_eq!(of(bad), None, "{bad}");
        }
        assert_eq!(report(&Data::new(None), "sid", now), None);
    }
}
