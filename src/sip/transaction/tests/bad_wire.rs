//! Two shards over a wire that loses, repeats and reorders: every request is met once, every answer is heard
//! once, and both sides end.

use std::collections::{BTreeMap, VecDeque};

use proptest::prelude::*;

use super::*;

/// What becomes of one message.
#[derive(Clone, Copy, Debug)]
enum Fate {
    Lost,
    After(u64),
    Twice(u64, u64),
}

fn fate() -> impl Strategy<Value = Fate> {
    let delay = 1..1_500_u64;
    prop_oneof![
        2 => Just(Fate::Lost),
        4 => delay.clone().prop_map(Fate::After),
        2 => (delay.clone(), delay).prop_map(|(first, second)| Fate::Twice(first, second)),
    ]
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum To {
    Caller,
    Callee,
}

/// What the callee does with the INVITE, and the caller with the call.
#[derive(Clone, Copy, Debug)]
struct Plan {
    rings: bool,
    answers_after: u64,
    with: u16,
    caller_gives_up_after: Option<u64>,
}

fn plan() -> impl Strategy<Value = Plan> {
    let with = prop_oneof![Just(200), Just(302), Just(486), Just(603)];
    let gives_up = prop::option::of(0..4_000_u64);
    (any::<bool>(), 0..4_000_u64, with, gives_up).prop_map(
        |(rings, answers_after, with, caller_gives_up_after)| Plan {
            rings,
            answers_after,
            with,
            caller_gives_up_after,
        },
    )
}

struct World {
    plan: Plan,
    now: Instant,
    caller: Transactions<u8>,
    callee: Transactions<u8>,
    out: Outbox,
    fates: VecDeque<Fate>,
    /// Messages under way by the moment they arrive.
    wire: BTreeMap<(Instant, usize), (To, Vec<u8>)>,
    number: usize,
    invite: Option<Sent>,
    served: Option<Id>,
    answered: bool,
    saw: Saw,
}

/// What the owners saw.
#[derive(Debug, Default)]
struct Saw {
    new_invites: usize,
    new_byes: usize,
    new_cancels: usize,
    first_successes: usize,
    failures: usize,
    timeouts: usize,
    bye_finals: usize,
    acks_missing: usize,
}

impl World {
    fn new(plan: Plan, fates: Vec<Fate>) -> World {
        World {
            plan,
            now: Instant::ZERO,
            caller: Transactions::new([1; 16]),
            callee: Transactions::new([2; 16]),
            out: Outbox::default(),
            fates: fates.into(),
            wire: BTreeMap::new(),
            number: 0,
            invite: None,
            served: None,
            answered: false,
            saw: Saw::default(),
        }
    }

    fn post(&mut self, to: To) {
        let messages: Vec<Vec<u8>> = self.out.messages().map(|(_, bytes)| bytes.to_vec()).collect();
        self.out.clear();
        for bytes in messages {
            let times = match self.fates.pop_front().unwrap_or(Fate::After(10)) {
                Fate::Lost => vec![],
                Fate::After(time) => vec![time],
                Fate::Twice(first, second) => vec![first, second],
            };
            for time in times {
                self.number += 1;
                self.wire.insert((self.now + millis(time), self.number), (to, bytes.clone()));
            }
        }
    }

    fn caller_sends(&mut self, method: Method, to_tag: &str) -> Sent {
        let (id, branch) = self.caller.reserve(1).expect("room");
        let bytes = request(method.token(), branch.as_str(), Transport::Udp, to_tag);
        self.caller.send(self.now, id, method, &bytes, peer(Transport::Udp), &mut self.out);
        self.post(To::Callee);
        Sent { id, bytes }
    }

    fn callee_gets(&mut self, bytes: &[u8]) {
        let request = Message::parse(bytes).expect("a request");
        match self.callee.meet(&request) {
            Meeting::New(key) => {
                let from = peer(Transport::Udp);
                let id = self.callee.accept(self.now, key, &request, from, 1).expect("room");
                if request.method() == Method::Invite {
                    self.saw.new_invites += 1;
                    self.served = Some(id);
                    self.callee_answers(id, bytes, 100);
                    if self.plan.rings {
                        self.callee_answers(id, bytes, 180);
                    }
                } else {
                    self.saw.new_byes += 1;
                    self.callee_answers(id, bytes, 200);
                }
            }
            Meeting::Cancel { invite, key } => {
                self.saw.new_cancels += 1;
                let from = peer(Transport::Udp);
                let id = self.callee.accept(self.now, key, &request, from, 1).expect("room");
                self.callee_answers(id, bytes, if invite.is_some() { 200 } else { 481 });
                if invite.is_some() && !self.answered {
                    self.callee_finally(487);
                }
            }
            Meeting::Again(id) => self.callee.repeat(self.now, id, &mut self.out),
            Meeting::Ack(id) | Meeting::AckOfAccepted(id) => self.callee.acked(self.now, id),
            Meeting::AckOfDialog => {
                if let Some(id) = self.served {
                    self.callee.acked(self.now, id);
                }
            }
            Meeting::Merged(_) => panic!("nothing forks here"),
        }
        self.post(To::Caller);
    }

    fn callee_answers(&mut self, id: Id, request: &[u8], code: u16) {
        self.callee.respond(self.now, id, code, &response(request, code, "callee"), &mut self.out);
        self.post(To::Caller);
    }

    fn callee_finally(&mut self, code: u16) {
        let (Some(id), Some(invite)) = (self.served, &self.invite) else { return };
        self.answered = true;
        let bytes = invite.bytes.clone();
        self.callee_answers(id, &bytes, code);
    }

    fn caller_gets(&mut self, bytes: &[u8]) {
        let message = Message::parse(bytes).expect("a response");
        let handed_up = self.caller.response(self.now, &message, &mut self.out);
        self.post(To::Callee);
        let Some((_, _, response)) = handed_up else { return };
        match (message.method(), response) {
            (_, Response::Provisional) => {}
            (Method::Invite, Response::Success { first }) => {
                self.saw.first_successes += usize::from(first);
                let ack = request("ACK", "z9hG4bKthe-ack-of-a-2xx", Transport::Udp, ";tag=callee");
                self.out.send(peer(Transport::Udp), &ack);
                self.post(To::Callee);
                if first {
                    self.caller_sends(Method::Bye, ";tag=callee");
                }
            }
            (Method::Invite, Response::Failure) => self.saw.failures += 1,
            (_, Response::Success { .. } | Response::Failure) => self.saw.bye_finals += 1,
        }
    }

    fn run(mut self) -> Saw {
        self.invite = Some(self.caller_sends(Method::Invite, ""));
        let ids = self.invite.as_ref().map(|invite| invite.id);
        let mut gives_up = self.plan.caller_gives_up_after.map(|after| Instant::ZERO + millis(after));
        let mut answers = None;
        loop {
            if answers.is_none() && self.served.is_some() {
                answers = Some(self.now + millis(self.plan.answers_after));
            }
            let will_answer = answers.filter(|_| !self.answered);
            let arrival = self.wire.first_key_value().map(|((at, _), _)| *at);
            let fires = self.caller.next_deadline().into_iter().chain(self.callee.next_deadline()).min();
            let Some(next) = [gives_up, will_answer, arrival, fires].into_iter().flatten().min() else {
                break;
            };
            self.now = next;
            if arrival == Some(next) {
                let (_, (to, bytes)) = self.wire.pop_first().expect("an arrival");
                match to {
                    To::Caller => self.caller_gets(&bytes),
                    To::Callee => self.callee_gets(&bytes),
                }
            } else if gives_up.take_if(|at| *at == next).is_some() {
                let id = ids.expect("sent");
                self.caller.cancel(next, id, None, &mut self.out);
                self.post(To::Callee);
            } else if will_answer == Some(next) {
                self.callee_finally(self.plan.with);
            } else {
                self.caller.expire(next, &mut self.out);
                self.post(To::Callee);
                self.callee.expire(next, &mut self.out);
                self.post(To::Caller);
            }
            self.hear();
            assert!(next < Instant::from_micros(300_000_000), "it never ends: {:?}", self.saw);
        }
        self.judge(ids);
        self.saw
    }

    fn hear(&mut self) {
        while let Some(event) = self.caller.next_event() {
            self.saw.timeouts +=
                usize::from(matches!(event, Event::TimedOut(id, _) if Some(id) == self.invite_id()));
        }
        while let Some(event) = self.callee.next_event() {
            self.saw.acks_missing += usize::from(matches!(event, Event::AckMissing(..)));
        }
    }

    fn invite_id(&self) -> Option<Id> {
        self.invite.as_ref().map(|invite| invite.id)
    }

    fn judge(&self, invite: Option<Id>) {
        let saw = &self.saw;
        assert_eq!((self.caller.live(), self.callee.live()), ((0, 0), (0, 0)));
        assert_eq!(invite.and_then(|id| self.caller.owner(id)), None);
        assert!(saw.new_invites <= 1 && saw.new_byes <= 1 && saw.new_cancels <= 1, "{saw:?}");
        assert_eq!(saw.first_successes + saw.failures + saw.timeouts, 1, "one outcome: {saw:?}");
        assert!(saw.bye_finals <= saw.first_successes, "{saw:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn every_request_is_met_once_and_every_answer_heard_once(
        plan in plan(),
        fates in prop::collection::vec(fate(), 0..40),
    ) {
        World::new(plan, fates).run();
    }
}

/// Each message of a call lost in turn, and each one repeated late: one outcome all the same.
#[test]
fn any_one_message_may_be_lost_or_come_again() {
    for with in [200, 486] {
        for caller_gives_up_after in [None, Some(300)] {
            let plan = Plan { rings: true, answers_after: 1_000, with, caller_gives_up_after };
            for place in 0..16 {
                for fate in [Fate::Lost, Fate::Twice(10, 1_400), Fate::After(1_450)] {
                    let mut fates = vec![Fate::After(10); place];
                    fates.push(fate);
                    let saw = World::new(plan, fates).run();
                    assert_eq!((saw.timeouts, saw.acks_missing), (0, 0), "{plan:?}, {fate:?} at {place}");
                }
            }
        }
    }
}
