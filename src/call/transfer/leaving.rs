//! Somebody leaves while a transfer is under way: who stays, who sent it on, or the target (R11).

use super::{Failure, Join, Sender, Stage, To, Transfer};
use crate::call::cdr::LegEnd;
use crate::call::event::{Action, Gone, LegId, Timer, Why};
use crate::call::record::Ending;
use crate::call::talk::Phase;
use crate::call::{State, Turn, outcome};

impl Turn<'_> {
    pub(super) fn somebody_left(&mut self, transfer: Transfer, stage: Stage, leg: LegId, why: Gone) -> State {
        let (stays, by) = (transfer.stays(), transfer.by);
        if leg == stays {
            let ending = match why {
                Gone::Bye { .. } => Ending::hung_up(leg),
                Gone::Lost => Ending::Lost,
            };
            return self.stays_left(transfer, &stage, ending, why);
        }
        if leg == by && transfer.sender == Sender::Here {
            return self.sender_left(transfer, stage, why);
        }
        if stage.target() == Some(leg) {
            return self.target_left(transfer, stage, leg, why);
        }
        match stage {
            Stage::Calls(hunt) => {
                let course = self.leg_hung_up(hunt, leg);
                self.goes_on(transfer, course)
            }
            Stage::Waits(_) | Stage::Pauses(_) | Stage::Offered(_) | Stage::Recalls { .. } => {
                State::Transferring(transfer, stage)
            }
        }
    }

    /// There is nobody left to be sent on: the target is not called any more, and the sender's call is over.
    fn stays_left(&mut self, transfer: Transfer, stage: &Stage, ending: Ending, why: Gone) -> State {
        let q850 = match why {
            Gone::Bye { q850 } => q850.unwrap_or(outcome::NORMAL),
            Gone::Lost => outcome::TIMER,
        };
        let said = match why {
            Gone::Bye { .. } => Why::Normal(q850),
            Gone::Lost => {
                self.out.push(Action::Bye { leg: transfer.stays(), why: Why::Ours(q850) });
                Why::Ours(q850)
            }
        };
        self.ends(&transfer, stage, &said, q850);
        self.close(ending)
    }

    /// We end it, and say so to everybody.
    pub(super) fn end_all(&mut self, transfer: Transfer, stage: &Stage, ending: Ending) -> State {
        let cause = ending.cause_told();
        self.out.push(Action::Bye { leg: transfer.stays(), why: Why::Ours(cause) });
        self.ends(&transfer, stage, &Why::Ours(cause), cause);
        self.close(ending)
    }

    /// Everybody but who stays hears of the end.
    fn ends(&mut self, transfer: &Transfer, stage: &Stage, why: &Why, q850: u8) {
        self.refuse_the_open_offer(&transfer.talk);
        self.end_ringing(LegEnd::Cancelled, Why::NoAnswer);
        if let Some(guest) = stage.guest() {
            self.turn_away(To::Guest(guest), guest, 481);
            self.leaves(guest, LegEnd::Cancelled, q850);
        } else if let Some(target) = stage.target() {
            self.out.push(Action::Bye { leg: target, why: why.clone() });
            self.leaves(target, LegEnd::Cancelled, q850);
        }
        self.out.push(Action::Report { code: 487, q850: Some(q850), why: None });
        self.leaves(transfer.stays(), LegEnd::Won, q850);
        if transfer.sender == Sender::Here {
            self.out.push(Action::Bye { leg: transfer.by, why: why.clone() });
            self.leaves(transfer.by, LegEnd::Won, q850);
        }
        self.stop(Timer::Rejoin);
        self.stop(Timer::MaxCall);
    }

    /// The sender hung up: the transfer goes on, and who stays waits for it.
    fn sender_left(&mut self, mut transfer: Transfer, stage: Stage, why: Gone) -> State {
        let (by, stays) = (transfer.by, transfer.stays());
        let q850 = match why {
            Gone::Bye { q850 } => q850.unwrap_or(outcome::NORMAL),
            Gone::Lost => {
                self.out.push(Action::Bye { leg: by, why: Why::Ours(outcome::TIMER) });
                outcome::TIMER
            }
        };
        transfer.sender = Sender::Gone;
        self.sender_leaves(by, q850);
        transfer.talk.forgets_the_untold();
        match &transfer.talk.phase {
            // It will never hear an answer: it may ask again, of another.
            Phase::Asked { by: asker, .. } | Phase::GivenUp { by: asker, .. } if *asker == stays => {
                self.stop(Timer::Asking);
                transfer.talk.phase = Phase::Stable;
            }
            Phase::AwaitsAck { .. } if by == LegId::CALLER => transfer.talk.phase = Phase::Stable,
            Phase::Tells { to, .. } if *to == by => transfer.talk.phase = Phase::Stable,
            Phase::Asked { .. } | Phase::GivenUp { .. } => {}
            Phase::AwaitsAck { .. } | Phase::AwaitsAnswer { .. } => {}
            Phase::Tells { .. } | Phase::Stable => {}
        }
        self.refuse_what_the_sender_left(&mut transfer);
        match stage {
            Stage::Recalls { code }
            | Stage::Waits(Join { to: To::Sender { code }, .. })
            | Stage::Pauses(Join { to: To::Sender { code }, .. })
            | Stage::Offered(Join { to: To::Sender { code }, .. }) => {
                self.comes_to_nothing(transfer, &Failure::of(code))
            }
            Stage::Calls(_) | Stage::Waits(_) | Stage::Pauses(_) | Stage::Offered(_) => {
                self.resumes(transfer, stage)
            }
        }
    }

    /// An offer that the sender alone could have answered.
    pub(super) fn refuse_what_the_sender_left(&mut self, transfer: &mut Transfer) {
        if let Phase::AwaitsAnswer { by } = transfer.talk.phase
            && transfer.has_lost(by)
        {
            self.refuse_the_open_offer(&transfer.talk);
            transfer.talk.phase = Phase::Stable;
        }
    }

    pub(super) fn sender_leaves(&mut self, by: LegId, q850: u8) {
        self.out.push(Action::Leaves(by));
        if by == LegId::CALLER {
            self.call.caller_left = Some(self.now.mono);
        } else {
            self.leaves(by, LegEnd::Won, q850);
        }
    }

    /// The target hung up before it was joined.
    fn target_left(&mut self, transfer: Transfer, stage: Stage, target: LegId, why: Gone) -> State {
        let q850 = match why {
            Gone::Bye { q850 } => q850.unwrap_or(outcome::NORMAL),
            Gone::Lost => {
                self.out.push(Action::Bye { leg: target, why: Why::Ours(outcome::TIMER) });
                outcome::TIMER
            }
        };
        if stage.guest() == Some(target) {
            self.turn_away(To::Guest(target), target, 487);
        }
        self.leaves(target, LegEnd::Failed, q850);
        match (stage, transfer.sender) {
            (Stage::Offered(_), Sender::Here) => State::Transferring(transfer, Stage::Recalls { code: 480 }),
            (Stage::Offered(_) | Stage::Waits(_) | Stage::Pauses(_), _) => {
                self.comes_to_nothing(transfer, &Failure { code: 480, q850: Some(q850), why: None })
            }
            (stage @ (Stage::Calls(_) | Stage::Recalls { .. }), _) => State::Transferring(transfer, stage),
        }
    }
}
