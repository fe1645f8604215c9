//! What a shard's calls have to tell: to the store, and one line each to the log.

use crate::call::cdr::{Cdr, JournalEntry};
use crate::engine::brief::{Place, Short};
use crate::engine::clock::Clock;
use crate::engine::exchange::{CallEvent, Notice};
use crate::engine::rate::{Line, Rate};
use crate::engine::shard::Notices;
use crate::store::Recorder;

/// One shard's end of what is told.
pub(super) struct Teller {
    recorder: Recorder,
    clock: Clock,
    rejected: Rate,
    loops: Rate,
    streamless: Rate,
    passwords: Rate,
}

impl Teller {
    pub fn new(recorder: Recorder, clock: Clock) -> Teller {
        let (rejected, loops, streamless, passwords) = Default::default();
        Teller { recorder, clock, rejected, loops, streamless, passwords }
    }

    fn said(&mut self, event: CallEvent) {
        match event {
            CallEvent::Started { call, trunk, agent, dialled } => {
                let (trunk, agent) = (trunk.as_deref(), agent.as_deref());
                tracing::info!(call = &*call, trunk, agent, dialled = %Short(&dialled), "call started");
            }
            CallEvent::Emergency { call, agent, shows, dialled } => {
                tracing::warn!(call = &*call, agent = &*agent, ?shows, %dialled, "an agent calls for help");
            }
            CallEvent::Ringing { call } => tracing::debug!(call = &*call, "call rings"),
            CallEvent::Rejected { reason, from } => {
                if let Line::Log { more } = self.rejected.occur(self.clock.read().now.mono) {
                    tracing::warn!(reason, from = %Place(from), more, "a request was refused");
                }
            }
            CallEvent::NoStream { call, to } => {
                if let Line::Log { more } = self.streamless.occur(self.clock.read().now.mono) {
                    tracing::warn!(
                        %call,
                        to = %Place(to),
                        more,
                        "a long INVITE went by UDP: no TCP there; transport = \"udp\" would not try it"
                    );
                }
            }
            CallEvent::Registered { agent, from } => {
                tracing::info!(agent = &*agent, from = %Place(from), "agent registered");
            }
            CallEvent::Unregistered { agent } => {
                tracing::info!(agent = &*agent, "agent is gone");
            }
            // The address whole, before what the stranger wrote, and always in this form: this is the line that an
            // intrusion filter looks for.
            CallEvent::WrongPassword { agent, from: intruder } => {
                if let Line::Log { more } = self.passwords.occur(self.clock.read().now.mono) {
                    tracing::warn!(from = %intruder, agent = &*agent, more, "wrong password");
                }
            }
            CallEvent::TrunkUp { trunk, gateway } => {
                tracing::info!(trunk = &*trunk, gateway, "a gateway answers again");
            }
            CallEvent::TrunkDown { trunk, gateway, why } => {
                tracing::warn!(trunk = &*trunk, gateway, %why, "a gateway is down, and tried last");
            }
            CallEvent::Enrolled { trunk } => {
                tracing::info!(trunk = &*trunk, "registered at the carrier");
            }
            CallEvent::NotEnrolled { trunk, why } => {
                tracing::warn!(trunk = &*trunk, %why, "not registered at the carrier; it is tried on");
            }
            CallEvent::LikelyLoop { caller, did } => {
                if let Line::Log { more } = self.loops.occur(self.clock.read().now.mono) {
                    tracing::warn!(
                        ?caller,
                        ?did,
                        more,
                        "ten calls of one caller ring one forwarded number: a loop?"
                    );
                }
            }
        }
    }
}

impl Notices<Notice> for Teller {
    fn take(&mut self, notice: Notice) {
        match notice {
            Notice::Answered(entry) => {
                bridged(&entry);
                self.recorder.started(entry);
            }
            Notice::Ended(cdr) => {
                ended(&cdr);
                self.recorder.ended(cdr);
            }
            Notice::Said(event) => self.said(event),
            Notice::SetUp { .. } => {}
        }
    }
}

fn bridged(entry: &JournalEntry) {
    let waited = entry.answered.0.saturating_sub(entry.started.0);
    tracing::info!(call = &*entry.id, answer_ms = waited, "call bridged");
}

fn ended(cdr: &Cdr) {
    tracing::info!(
        call = &*cdr.id,
        outcome = cdr.outcome.label(),
        sip_code = cdr.sip_code,
        ring_ms = cdr.ring_ms,
        talk_ms = cdr.talk_ms,
        legs = cdr.legs.len(),
        cause = cdr.cause.as_deref(),
        "call ended"
    );
}
