//! How an end behaves: what it does of its own accord and when. Habits have names; a manner is what a habit
//! comes to in one call, once its times are drawn.

use std::time::Duration;

use super::dice::Dice;
use super::message::Message;

/// What an end does of its own accord. What it must do (ACK, answer a BYE …) it does by itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Act {
    /// 100, and nothing more.
    Tries,
    /// 180.
    Rings,
    /// 183 with SDP.
    RingsWithMedia,
    /// 183 with SDP, repeated until its PRACK (RFC 3262); plain where the INVITE does not support it.
    RingsReliably,
    /// 200.
    Answers,
    /// The far side forked: a second 180 and 200 under another To tag.
    AnswersTwice,
    /// A final failure of this code.
    Refuses(u16),
    /// 302 to this URI.
    Redirects(String),
    /// CANCEL, once a provisional response is there.
    Cancels,
    /// BYE; before the answer a caller's CANCEL, a called end's 480.
    HangsUp,
    /// The caller's BYE in an early dialog (RFC 3261 §15), where there is one.
    HangsUpEarly,
    Holds,
    Resumes,
    /// re-INVITE without SDP.
    AsksForOffer,
    /// re-INVITE with the last SDP unchanged.
    Refreshes,
    /// UPDATE without SDP.
    Updates,
    /// UPDATE with a new offer.
    UpdatesMedia,
    Informs,
    /// REFER to this URI.
    Refers(String),
    /// REFER to its other end of another call that it has (RFC 3891).
    RefersToOther,
    /// Is never heard of again and hears nothing.
    Dies,
}

/// From which moment a time counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Since {
    Invited,
    Answered,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnCancel {
    #[default]
    Obeys,
    /// The answer was on its way when the CANCEL came.
    Crosses,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Reliably {
    #[default]
    No,
    Supported,
    Required,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Offer {
    #[default]
    InInvite,
    /// The INVITE carries no SDP; the answer goes in the ACK.
    Delayed,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Acks {
    #[default]
    Always,
    Never,
    /// Those of its re-INVITEs hold no answer to the offer that came.
    WithoutAnswer,
}

/// What is wrong with a caller's INVITE, and what is special about the caller.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Oddity {
    #[default]
    None,
    /// Asks that the number be withheld (RFC 3323).
    Withheld,
    /// The same INVITE arrives once more on another branch (RFC 3261 §8.2.2.2).
    Merged,
    /// Max-Forwards 0.
    NoHops,
    /// A number that is nobody's.
    WrongNumber,
    /// The dialled number is named as a diverting party.
    Looped,
    /// `Require` of something unheard of.
    Demanding,
    /// No To header.
    Malformed,
    /// From an address that no trunk names.
    Stranger,
    /// Everything after the INVITE comes from another source port.
    OtherPort,
    /// A body of an unknown type only.
    StrangeBody,
}

/// What one end does in one call.
#[derive(Clone, Debug, Default)]
pub struct Manner {
    pub agenda: Vec<(Since, Duration, Act)>,
    pub on_cancel: OnCancel,
    pub reliably: Reliably,
    pub offer: Offer,
    pub acks: Acks,
    pub oddity: Oddity,
    /// What a re-INVITE, an UPDATE or an INFO is answered with in place of a 200; 100: and with nothing more. It keeps no
    /// session's time of its own either.
    pub stalls: Option<u16>,
    /// The challenge by which it asks for a password in whatever comes within a dialog without the nonce that this
    /// names (RFC 3261 §22.3).
    pub challenges: Option<&'static str>,
    /// Session-Expires in seconds (RFC 4028); `None`: no session timer.
    pub session: Option<u32>,
    /// What a story changes in a caller's INVITE, or in a called end's responses to it, before they leave.
    pub dress: Option<fn(&mut Message)>,
    /// Headers that these messages have beside, or in another's place.
    pub headers: Vec<(&'static str, String)>,
}

impl Manner {
    pub fn then(mut self, since: Since, after: Duration, act: Act) -> Manner {
        self.agenda.push((since, after, act));
        self
    }

    pub fn dressed(mut self, dress: fn(&mut Message)) -> Manner {
        self.dress = Some(dress);
        self
    }

    pub fn with(mut self, name: &'static str, value: impl Into<String>) -> Manner {
        self.headers.push((name, value.into()));
        self
    }

    pub(super) fn dress(&self, mut message: Message) -> Message {
        for (name, value) in &self.headers {
            message.set(name, value.as_str());
        }
        if let Some(dress) = self.dress {
            dress(&mut message);
        }
        message
    }
}

/// How a called end behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Habit {
    Answers,
    AnswersAtOnce,
    Declines,
    Busy,
    /// Rings for ever.
    Ignores,
    /// No response at all.
    Silent,
    /// The port is closed: every datagram comes back.
    Unreachable,
    DiesMidCall,
    CrossesCancelWith200,
    EarlyMedia,
    ReliableEarlyMedia,
    Redirects,
    Forks,
    Fails,
    HangsUp,
    Holds,
    KeepsTime,
    Transfers,
    /// Hangs up as soon as the transfer is accepted.
    TransfersAndLeaves,
    /// Joins two calls that it has.
    JoinsTwo,
}

impl Habit {
    pub const ALL: [Habit; 20] = [
        Habit::Answers,
        Habit::AnswersAtOnce,
        Habit::Declines,
        Habit::Busy,
        Habit::Ignores,
        Habit::Silent,
        Habit::Unreachable,
        Habit::DiesMidCall,
        Habit::CrossesCancelWith200,
        Habit::EarlyMedia,
        Habit::ReliableEarlyMedia,
        Habit::Redirects,
        Habit::Forks,
        Habit::Fails,
        Habit::HangsUp,
        Habit::Holds,
        Habit::KeepsTime,
        Habit::Transfers,
        Habit::TransfersAndLeaves,
        Habit::JoinsTwo,
    ];

    /// What it comes to in one call. `elsewhere`: where a redirect may point.
    pub fn manner(self, dice: &mut Dice, elsewhere: &[String]) -> Manner {
        use Since::{Answered, Invited};
        let ring = dice.millis(0..400);
        let answer = ring + dice.millis(200..25_000);
        let quick = ring + dice.millis(0..3_000);
        let rings = Manner::default().then(Invited, ring, Act::Rings);
        match self {
            Habit::Answers => rings.then(Invited, answer, Act::Answers),
            Habit::AnswersAtOnce => Manner::default().then(Invited, ring, Act::Answers),
            Habit::Declines => rings.then(Invited, answer, Act::Refuses(603)),
            Habit::Busy => Manner::default().then(Invited, quick, Act::Refuses(486)),
            Habit::Ignores | Habit::Unreachable => rings,
            Habit::Silent => Manner::default(),
            Habit::DiesMidCall => {
                rings.then(Invited, answer, Act::Answers).then(Answered, dice.millis(0..40_000), Act::Dies)
            }
            Habit::CrossesCancelWith200 => Manner { on_cancel: OnCancel::Crosses, ..rings },
            Habit::EarlyMedia => Manner::default()
                .then(Invited, ring, Act::RingsWithMedia)
                .then(Invited, quick, Act::Rings)
                .then(Invited, answer.max(quick), Act::Answers),
            Habit::ReliableEarlyMedia => {
                Manner::default().then(Invited, ring, Act::RingsReliably).then(Invited, answer, Act::Answers)
            }
            Habit::Redirects => match elsewhere {
                [] => rings.then(Invited, quick, Act::Refuses(404)),
                _ => {
                    let target = dice.pick(elsewhere).clone();
                    Manner::default().then(Invited, quick, Act::Redirects(target))
                }
            },
            Habit::Forks => rings.then(Invited, answer, Act::AnswersTwice),
            Habit::Fails => {
                let code =
                    *dice.pick(&[400, 403, 404, 408, 410, 480, 488, 500, 502, 503, 504, 600, 604, 606]);
                Manner::default().then(Invited, quick, Act::Refuses(code))
            }
            Habit::HangsUp => {
                rings.then(Invited, answer, Act::Answers).then(Answered, dice.millis(0..60_000), Act::HangsUp)
            }
            Habit::Holds => in_call(dice, rings.then(Invited, answer, Act::Answers)),
            Habit::KeepsTime => Manner { session: Some(90), ..rings.then(Invited, answer, Act::Answers) },
            Habit::JoinsTwo => {
                let quick = ring + dice.millis(0..4_000);
                let mut manner = Manner::default().then(Invited, ring, Act::Rings);
                manner = manner.then(Invited, quick, Act::Answers);
                for _ in 0..dice.within(1..6) {
                    manner = manner.then(Answered, dice.millis(0..60_000), Act::RefersToOther);
                }
                if dice.chance(300) { in_call(dice, manner) } else { manner }
            }
            Habit::Transfers => {
                let manner = transfers(dice, rings.then(Invited, answer, Act::Answers), elsewhere);
                in_call(dice, manner)
            }
            Habit::TransfersAndLeaves => {
                let manner = transfers(dice, rings.then(Invited, answer, Act::Answers), elsewhere);
                let last = manner.agenda.last().map_or(Duration::ZERO, |(_, after, _)| *after);
                manner.then(Answered, last + dice.millis(0..4_000), Act::HangsUp)
            }
        }
    }
}

/// A blind transfer, from hold or not.
fn transfers(dice: &mut Dice, mut manner: Manner, elsewhere: &[String]) -> Manner {
    let after = dice.millis(0..20_000);
    let to = match elsewhere {
        [] => "sip:nobody@192.0.2.1".to_owned(),
        _ => dice.pick(elsewhere).clone(),
    };
    if dice.chance(500) {
        manner = manner.then(Since::Answered, after / 2, Act::Holds);
    }
    manner.then(Since::Answered, after, Act::Refers(to))
}

/// A few things that happen in the middle of a call.
fn in_call(dice: &mut Dice, mut manner: Manner) -> Manner {
    let middle = [
        Act::Holds,
        Act::Resumes,
        Act::AsksForOffer,
        Act::Refreshes,
        Act::Updates,
        Act::UpdatesMedia,
        Act::Informs,
    ];
    for _ in 0..dice.within(1..6) {
        let act = dice.pick(&middle).clone();
        manner = manner.then(Since::Answered, dice.millis(0..40_000), act);
    }
    manner
}

/// How a caller behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CallerHabit {
    Patient,
    Impatient,
    NeverAcks,
    DelayedOffer,
    RequiresReliable,
    SupportsReliable,
    KeepsTime,
    Vanishes,
    Holds,
    HangsUpEarly,
    Withheld,
    Merged,
    NoHops,
    WrongNumber,
    Looped,
    Demanding,
    Malformed,
    Stranger,
    OtherPort,
    StrangeBody,
}

impl CallerHabit {
    /// The first eight and some more are what most callers do; each other stands once.
    pub const ALL: [CallerHabit; 28] = [
        CallerHabit::Patient,
        CallerHabit::Impatient,
        CallerHabit::DelayedOffer,
        CallerHabit::SupportsReliable,
        CallerHabit::Holds,
        CallerHabit::KeepsTime,
        CallerHabit::Withheld,
        CallerHabit::OtherPort,
        CallerHabit::Patient,
        CallerHabit::Impatient,
        CallerHabit::DelayedOffer,
        CallerHabit::Holds,
        CallerHabit::Patient,
        CallerHabit::Impatient,
        CallerHabit::Patient,
        CallerHabit::Impatient,
        CallerHabit::RequiresReliable,
        CallerHabit::Vanishes,
        CallerHabit::HangsUpEarly,
        CallerHabit::NeverAcks,
        CallerHabit::Merged,
        CallerHabit::NoHops,
        CallerHabit::WrongNumber,
        CallerHabit::Looped,
        CallerHabit::Demanding,
        CallerHabit::Malformed,
        CallerHabit::Stranger,
        CallerHabit::StrangeBody,
    ];

    pub fn manner(self, dice: &mut Dice) -> Manner {
        use Since::{Answered, Invited};
        // Nobody waits for ever or talks for ever: a world must come to rest.
        let patient = Manner::default().then(Invited, dice.millis(90_000..150_000), Act::Cancels).then(
            Answered,
            dice.millis(500..90_000),
            Act::HangsUp,
        );
        let odd = |oddity| Manner { oddity, ..patient.clone() };
        match self {
            CallerHabit::Patient => patient,
            CallerHabit::Impatient => Manner::default()
                .then(Invited, dice.millis(0..25_000), Act::Cancels)
                .then(Answered, dice.millis(0..60_000), Act::HangsUp),
            CallerHabit::NeverAcks => Manner { acks: Acks::Never, ..patient },
            CallerHabit::DelayedOffer => Manner { offer: Offer::Delayed, ..patient },
            CallerHabit::RequiresReliable => Manner { reliably: Reliably::Required, ..patient },
            CallerHabit::SupportsReliable => Manner { reliably: Reliably::Supported, ..patient },
            CallerHabit::KeepsTime => Manner { session: Some(*dice.pick(&[30, 90, 120, 1800])), ..patient },
            CallerHabit::Vanishes => {
                let since = *dice.pick(&[Invited, Answered]);
                Manner::default().then(since, dice.millis(0..40_000), Act::Dies)
            }
            CallerHabit::Holds => in_call(dice, patient),
            CallerHabit::HangsUpEarly => Manner::default()
                .then(Invited, dice.millis(0..25_000), Act::HangsUpEarly)
                .then(Answered, dice.millis(0..60_000), Act::HangsUp),
            CallerHabit::Withheld => odd(Oddity::Withheld),
            CallerHabit::Merged => odd(Oddity::Merged),
            CallerHabit::NoHops => odd(Oddity::NoHops),
            CallerHabit::WrongNumber => odd(Oddity::WrongNumber),
            CallerHabit::Looped => odd(Oddity::Looped),
            CallerHabit::Demanding => odd(Oddity::Demanding),
            CallerHabit::Malformed => odd(Oddity::Malformed),
            CallerHabit::Stranger => odd(Oddity::Stranger),
            CallerHabit::OtherPort => odd(Oddity::OtherPort),
            CallerHabit::StrangeBody => odd(Oddity::StrangeBody),
        }
    }
}
