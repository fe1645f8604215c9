//! R10: a message is taken of a caller whom nobody answered. R7: what two say is written down.

use std::time::Duration;

use super::event::{Action, Fork, LegId, Spoken, Timer, Why};
use super::record::Ending;
use super::{State, Turn};
use crate::media::event::Digit;
use crate::media::session::Listen;
use crate::media::wav::LONGEST;
use crate::sip::body::Body;
use crate::sip::header::Method;
use crate::sip::sdp::audio::{Audio, PLAIN_OFFER};

/// Silence of this length ends a message.
const QUIET: Duration = Duration::from_secs(5);

/// So long it takes at most until it begins: the longest greeting, and a minute for whoever puts us on hold meanwhile.
const LONGEST_GREETING: Duration = LONGEST.saturating_add(Duration::from_secs(60));

/// A message that is taken.
#[derive(Debug)]
pub(super) struct Message {
    stage: Stage,
    /// It holds as much sound as a message has to.
    is_one: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// The caller hears the greeting.
    Greets,
    /// The tone.
    Beeps,
    /// It speaks.
    Takes,
}

impl Message {
    pub(super) fn name(&self) -> &'static str {
        match self.stage {
            Stage::Greets => "hears the greeting",
            Stage::Beeps => "hears the tone",
            Stage::Takes => "leaves a message",
        }
    }
}

impl Turn<'_> {
    /// The caller is answered by voicemail. None: the number has none, the caller cannot be heard, or the disk has no room
    /// for what it would say.
    pub(super) fn takes_a_message(&mut self) -> Option<State> {
        self.call.plan.voicemail.as_ref()?;
        let offer = self.call.arrival.offer.take().filter(|_| self.call.arrival.is_anchored)?;
        let speaks = offer.sdp().and_then(|sdp| Audio::of(sdp).ok()).is_some_and(|audio| audio.speaks());
        if !speaks || !self.lines.keeps_messages() {
            self.call.arrival.offer = Some(offer);
            return None;
        }
        self.call.answered = Some(self.now.mono);
        self.out.push(Action::Accept { leg: LegId::CALLER, fork: Fork(0), body: Some(plain()) });
        for timer in [Timer::Expires, Timer::RingTimeout, Timer::HeadStart, Timer::RepeatRinging] {
            self.stop(timer);
        }
        self.start(Timer::MaxCall, self.call.plan.limits.max_call);
        self.start(Timer::Message, LONGEST_GREETING);
        self.out.push(Action::Journal);
        self.out.push(Action::Say { leg: LegId::CALLER, what: Spoken::Greeting, again: None });
        Some(State::Messaging(Message { stage: Stage::Greets, is_one: false }))
    }

    /// What we said is said.
    pub(super) fn greeted(&mut self, message: Message) -> State {
        let stage = match (message.stage, self.call.plan.voicemail.clone()) {
            (Stage::Greets, _) => {
                self.out.push(Action::Say { leg: LegId::CALLER, what: Spoken::Tone, again: None });
                Stage::Beeps
            }
            (Stage::Beeps, Some(voicemail)) => {
                let listen = Listen { enough: voicemail.min_message, quiet: QUIET };
                self.out.push(Action::TakeMessage(listen));
                self.start(Timer::Message, voicemail.max_message);
                Stage::Takes
            }
            (stage @ (Stage::Beeps | Stage::Takes), _) => stage,
        };
        State::Messaging(Message { stage, ..message })
    }

    pub(super) fn said_enough(&mut self, message: Message) -> State {
        State::Messaging(Message { is_one: true, ..message })
    }

    /// `#` ends a message.
    pub(super) fn pressed_meanwhile(&mut self, message: Message, digit: Digit) -> State {
        match (message.stage, digit) {
            (Stage::Takes, Digit::HASH) => self.message_is_over(&message),
            (_, _) => State::Messaging(message),
        }
    }

    /// We end it.
    pub(super) fn message_is_over(&mut self, message: &Message) -> State {
        self.out.push(Action::Bye { leg: LegId::CALLER, why: Why::Normal(super::outcome::NORMAL) });
        self.message_ends(message, false)
    }

    /// The caller has hung up, or is lost.
    pub(super) fn message_ends(&mut self, message: &Message, by_caller: bool) -> State {
        self.stop(Timer::Message);
        self.stop(Timer::MaxCall);
        if !message.is_one && message.stage == Stage::Takes {
            self.out.push(Action::DiscardMessage);
        }
        self.close(Ending::Message { is_one: message.is_one, by_caller })
    }

    /// A request within the dialog of who leaves a message.
    pub(super) fn asked_meanwhile_leaving_a_message(
        &mut self,
        leg: LegId,
        method: Method,
        body: Option<&Body>,
    ) {
        let needs_sdp = method == Method::Invite || method == Method::Update && body.is_some();
        let body = needs_sdp.then(plain);
        self.out.push(Action::Reply { leg, method, code: 200, body });
    }

    /// What the caller and who answered say is written down, after both have heard the notice (R7).
    pub(super) fn records(&mut self, id: LegId) {
        if !self.call.plan.record || !self.call.arrival.is_anchored {
            return;
        }
        self.out.push(Action::Record(id));
        self.call.is_recorded = true;
        if self.call.plan.record_notice.is_some() {
            for leg in [LegId::CALLER, id] {
                self.out.push(Action::Say { leg, what: Spoken::Notice, again: None });
            }
        }
    }
}

fn plain() -> Body {
    Body::new("application/sdp", PLAIN_OFFER)
}
