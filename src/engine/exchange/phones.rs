//! The ways to phones: OPTIONS to those behind a NAT, so that it does not forget the way to them between two REGISTERs;
//! and, within a call, the connection that has taken the place of another.

use std::sync::Arc;
use std::time::Duration;

use super::ask::Question;
use super::binding::{Binding, Phone, Way};
use super::errand::{AskKey, Errand, Pace, Walk};
use super::perform::write_reason;
use super::slot::{Stage, Wake};
use super::{Effects, Exchange, SlotKey};
use crate::call::event::LegId;
use crate::sip::header::Method;
use crate::time::{Instant, Now};

/// How long a round among all agents takes at most: NATs forget a UDP way after 30 s and more (RFC 4787 REQ-5 wants
/// two minutes, and many do not keep to it).
const ROUND: Duration = Duration::from_secs(28);
/// The least that a step of it takes, in thousandths of what it takes at most: phones come apart, and each is asked
/// after 25 to 28 s.
const LEAST: u64 = 900;
/// A round has one step for each agent, and no more than these: they are 100 ms apart then, and at 100,000 agents each
/// looks at 358.
const STEPS: usize = 280;
/// A step that is later than this is not made up for: the machine was busy, or asleep.
const LATEST: Duration = Duration::from_secs(1);
/// How long a phone may take to answer. By then five have been sent, and the next round has not begun.
const PATIENCE: Duration = Duration::from_secs(8);
/// How often we look whether a phone that has not acknowledged our answer, or our CANCEL, has come to another connection,
/// for 64·T1 at most: whoever has just answered waits no longer than that for a first word.
const LOOK: Duration = Duration::from_secs(1);

/// The first round of a node asks for so long at each agent: its phones may have been bound before a restart, by a NAT that
/// is about to forget them. 2,000 a second, or as many as a usual round asks where that is more.
const HURRY: Duration = Duration::from_micros(500);

impl Exchange {
    pub(super) fn begin_round(&mut self, now: Instant) {
        let key = self.asks.open(Errand::Round(Walk { next: 0, due: now, pace: Pace::Hurried }));
        self.asks.arm(key, now);
    }

    /// The next step of a round. Each phone is asked by the shard that its REGISTERs come to. While nobody is registered it
    /// goes round all the same, so that who is has been asked within a round, whoever is the first.
    pub(super) fn round_due(&mut self, now: Now, key: AskKey, walk: Walk, out: &mut Effects) {
        let table = Arc::clone(&self.table);
        let agents = table.agents();
        let size = agents.len().div_ceil(STEPS).max(1);
        let steps = agents.len().div_ceil(size).max(1);
        let from = walk.next.min(agents.len());
        let to = (from + size).min(agents.len());
        let (next, pace) = if to == agents.len() { (0, Pace::Steady) } else { (to, walk.pace) };
        let usual = ROUND / u32::try_from(steps).unwrap_or(1);
        let nobody = self.desk.directory().is_empty();
        let pause = match walk.pace {
            Pace::Hurried => usual.min(HURRY * u32::try_from(size).unwrap_or(u32::MAX)),
            Pace::Steady if nobody => usual,
            Pace::Steady => self.part_of(usual, LEAST),
        };
        // A timer is a little late, and a round has hundreds of steps: each is counted from when the last one was due.
        let late = now.mono.since(walk.due);
        let due = if late < LATEST { walk.due + pause } else { now.mono + pause };
        if let Some(ask) = self.asks.get_mut(key) {
            ask.errand = Errand::Round(Walk { next, due, pace });
        }
        self.asks.arm(key, due);
        if nobody {
            return;
        }
        for agent in &agents[from..to] {
            for binding in self.desk.directory().bindings(&agent.name, now.mono) {
                if self.settings.router.owner(&binding.call_id) == self.settings.shard {
                    self.keep_open(now, &binding, out);
                }
            }
        }
    }

    fn keep_open(&mut self, now: Now, binding: &Binding, out: &mut Effects) {
        let Some(to) = binding.to_keep_open() else { return };
        let key = self.asks.open(Errand::Phone(binding.silence.clone()));
        let question =
            Question { method: Method::Options, uri: binding.contact.uri.as_bytes(), to, account: None };
        if self.ask(now, key, &question, |_| {}, out) {
            self.asks.arm(key, now.mono + PATIENCE);
        } else {
            self.asks.close(key);
        }
    }

    /// It did not answer. Its binding stays: it is rung as long as it is bound, for what was lost may have been the
    /// OPTIONS alone.
    pub(super) fn phone_is_silent(&mut self, key: AskKey) {
        if let Some(Errand::Phone(silence)) = self.asks.get_mut(key).map(|ask| &ask.errand) {
            silence.lasts();
        }
        self.give_up_asking(key);
    }

    /// Before what we send a phone within a call: where its connection has ended, or is registered no more, it is reached
    /// by what the same phone has registered by since, the newest first (RFC 5626 §5.3, §7). A connection may be dead for
    /// long before anybody notices; that another has taken its place is known at once. What it has asked by the old one
    /// is answered by the new one too (RFC 3261 §18.2.2 knows only its address, which a NAT does not let us reach), and while
    /// it rings it is told there that it need not.
    ///
    /// Looks the agent's bindings up where the phone is reached by a connection, and costs nothing elsewhere.
    pub(super) fn follow_phone(&mut self, now: Now, key: SlotKey, leg: LegId, out: &mut Effects) {
        let Some(slot) = self.slots.get_mut(key) else { return };
        let Some(Phone { agent, binding: known }) = slot.phone(leg).cloned() else { return };
        let bindings = self.desk.directory().bindings(&agent, now.mono);
        let Some(was) = slot.dialog_of(leg).map(|dialog| dialog.peer()).or(known.direct()) else { return };
        let leads_there = |binding: &Binding| binding.direct().map(Way::of) == Some(Way::of(was));
        let next = match bindings.iter().find(|binding| leads_there(binding)) {
            Some(here) => Some(here),
            None if leads_there(&known) => {
                let same = bindings.iter().filter(|one| one.direct().is_some() && one.is_same_phone(&known));
                same.max_by_key(|one| (!one.silence.is_long(), one.registered))
            }
            // It has come by another way of its own accord since, and that is where it is.
            None => None,
        };
        let Some((next, peer)) = next.and_then(|next| Some((next, next.direct()?))) else { return };
        for (id, from) in slot.open_of(leg) {
            let Some(by) = self.transactions.peer(id) else { continue };
            // What it sent by yet another connection is answered by that, as long as that stands.
            let is_cut_off = by.transport.is_reliable() && by.flow.is_none();
            if Way::of(by) != Way::of(peer) && (is_cut_off || Way::of(by) == Way::of(was)) {
                *from = peer;
                self.transactions.reply_by(now.mono, id, peer, &mut out.out);
            }
        }
        if let Some(called) = slot.called(leg)
            && let Some(invite) = called.transaction
            && self.transactions.peer(invite).is_some_and(|by| Way::of(by) != Way::of(peer))
        {
            let mut reason = Vec::new();
            if let Stage::Abandoned(why) = &called.side.stage {
                write_reason(&mut reason, why);
            }
            self.transactions.reach_by(now.mono, invite, peer, &reason, &mut out.out);
        }
        slot.moves_to(leg, peer);
        if let Some(phone) = slot.phone(leg) {
            phone.binding = Arc::clone(next);
        }
    }

    /// A side has our final answer to its INVITE, or our CANCEL: where that is a phone, it is followed until it has said
    /// that it heard so.
    pub(super) fn follow_last_word(&mut self, now: Now, key: SlotKey, leg: LegId) {
        if self.slots.get_mut(key).is_some_and(|slot| slot.phone(leg).is_some()) {
            self.arm(key, Wake::Follow(leg), now.mono + LOOK);
        }
    }

    pub(super) fn follow_due(&mut self, now: Now, key: SlotKey, leg: LegId, out: &mut Effects) {
        self.follow_phone(now, key, leg, out);
        let Some(slot) = self.slots.get_mut(key) else { return };
        let given_up = slot.called(leg).filter(|called| matches!(called.side.stage, Stage::Abandoned(_)));
        let rings = given_up.and_then(|called| called.transaction);
        if rings.is_some_and(|invite| self.transactions.is_pending(invite))
            || slot.open_of(leg).any(|(id, _)| self.transactions.awaits_ack(id))
        {
            self.follow_last_word(now, key, leg);
        }
    }
}
