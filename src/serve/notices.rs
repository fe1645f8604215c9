//! What a shard's calls have to tell: to the store, and one line each to the log.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

use crate::call::cdr::{Cdr, JournalEntry};
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
}

impl Teller {
    pub fn new(recorder: Recorder, clock: Clock) -> Teller {
        let (rejected, loops, streamless) = Default::default();
        Teller { recorder, clock, rejected, loops, streamless }
    }

    fn said(&mut self, event: CallEvent) {
        match event {
            CallEvent::Started { call, trunk, dialled } => {
                tracing::info!(call = &*call, trunk = &*trunk, dialled = %Short(&dialled), "call started");
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

/// A number as the log shows it: its beginning and its end.
struct Short<'a>(&'a str);

impl fmt::Display for Short<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const SHOWN: (usize, usize) = (5, 2);
        let begin = self.0.char_indices().nth(SHOWN.0);
        let end = self.0.char_indices().nth_back(SHOWN.1 - 1);
        match (begin, end) {
            (Some((begin, _)), Some((end, _))) if begin < end => {
                f.write_str(&self.0[..begin])?;
                f.write_str("…")?;
                f.write_str(&self.0[end..])
            }
            (Some(_) | None, _) => f.write_str("…"),
        }
    }
}

/// An address as the log shows it: its net.
struct Place(SocketAddr);

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.ip() {
            IpAddr::V4(ip) => {
                let [a, b, c, _] = ip.octets();
                write!(f, "{a}.{b}.{c}.…")
            }
            IpAddr::V6(ip) => {
                let [a, b, c, ..] = ip.segments();
                write!(f, "[{a:x}:{b:x}:{c:x}:…]")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_log_shows_neither_a_whole_number_nor_a_whole_address() {
        assert_eq!(Short("+12015550101").to_string(), "+1201…01");
        assert_eq!(Short("anonym").to_string(), "…");
        assert_eq!(Short("1234567").to_string(), "…");
        assert_eq!(Short("ä234567é").to_string(), "ä2345…7é");
        assert_eq!(Place(SocketAddr::from(([192, 0, 2, 7], 5060))).to_string(), "192.0.2.…");
        assert_eq!(Place("[2001:db8:1:2::3]:5060".parse().unwrap()).to_string(), "[2001:db8:1:…]");
    }
}
