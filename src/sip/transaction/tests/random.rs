//! Whatever comes in whatever order: nothing panics, repeats are answered alike, and everything ends.

use std::collections::HashMap;

use proptest::prelude::*;

use super::*;

/// What the world does next. Numbers pick among what is there.
#[derive(Clone, Debug)]
enum Step {
    Comes { method: usize, branch: u8, tagged: bool },
    Answer { which: usize, code: usize },
    Acked { which: usize },
    Send { method: usize },
    Response { which: usize, code: usize, tag: u8 },
    Cancel { which: usize },
    CancelAnswer { which: usize, code: usize },
    Undeliverable,
    Abandon { which: usize },
    Pass { millis: u64 },
}

const METHODS: [&str; 6] = ["INVITE", "ACK", "CANCEL", "BYE", "OPTIONS", "XYZZY"];
const SENDS: [Method; 4] = [Method::Invite, Method::Bye, Method::Options, Method::Prack];
const CODES: [u16; 10] = [100, 180, 183, 200, 202, 302, 408, 486, 487, 603];

fn step() -> impl Strategy<Value = Step> {
    let which = 0..64_usize;
    let code = 0..CODES.len();
    prop_oneof![
        6 => (0..METHODS.len(), 0..4_u8, any::<bool>())
            .prop_map(|(method, branch, tagged)| Step::Comes { method, branch, tagged }),
        4 => (which.clone(), code.clone()).prop_map(|(which, code)| Step::Answer { which, code }),
        1 => which.clone().prop_map(|which| Step::Acked { which }),
        4 => (0..SENDS.len()).prop_map(|method| Step::Send { method }),
        6 => (which.clone(), code.clone(), 0..2_u8)
            .prop_map(|(which, code, tag)| Step::Response { which, code, tag }),
        2 => which.clone().prop_map(|which| Step::Cancel { which }),
        2 => (which.clone(), code).prop_map(|(which, code)| Step::CancelAnswer { which, code }),
        1 => Just(Step::Undeliverable),
        1 => which.prop_map(|which| Step::Abandon { which }),
        4 => prop_oneof![0..100_u64, 0..1_000_u64, 0..40_000_u64].prop_map(|millis| Step::Pass { millis }),
    ]
}

/// What must hold at every moment.
struct World {
    bench: Bench,
    served: Vec<Id>,
    sent: Vec<Sent>,
    cancels: Vec<Sent>,
    /// The last response that went out for each server transaction.
    said: HashMap<Id, Vec<u8>>,
    events: Vec<Event<u8>>,
}

impl World {
    fn new(transport: Transport) -> World {
        World {
            bench: Bench::over(transport),
            served: Vec::new(),
            sent: Vec::new(),
            cancels: Vec::new(),
            said: HashMap::new(),
            events: Vec::new(),
        }
    }

    fn take_sent(&mut self) -> Vec<Vec<u8>> {
        while let Some(event) = self.bench.tx.next_event() {
            self.events.push(event);
        }
        let sent = self.bench.out.messages().map(|(_, bytes)| bytes.to_vec()).collect();
        self.bench.out.clear();
        sent
    }

    fn keep_cancels(&mut self, id: Id) {
        for bytes in self.take_sent() {
            if bytes.starts_with(b"CANCEL") {
                self.cancels.push(Sent { id, bytes });
            }
        }
    }

    fn comes(&mut self, bytes: &[u8]) {
        let message = Message::parse(bytes).expect("a request");
        let Bench { tx, now, out, transport, .. } = &mut self.bench;
        match tx.meet(&message) {
            Meeting::New(key) | Meeting::Merged(key) | Meeting::Cancel { key, .. } => {
                let id = tx.accept(*now, key, &message, peer(*transport), 1).expect("room");
                assert_eq!(tx.meet(&message), Meeting::Again(id));
                self.served.push(id);
            }
            Meeting::Again(id) => {
                let before = tx.live();
                tx.repeat(*now, id, out);
                assert_eq!(tx.live(), before, "a repeat changes nothing");
                let said = self.said.get(&id).cloned();
                let repeated = self.take_sent();
                assert!(repeated.len() <= 1);
                for bytes in repeated {
                    assert_eq!(Some(bytes), said, "answered as before");
                }
            }
            Meeting::Ack(id) | Meeting::AckOfAccepted(id) => tx.acked(*now, id),
            Meeting::AckOfDialog => {}
        }
    }

    fn answer(&mut self, id: Id, code: u16) {
        let bytes = format!("SIP/2.0 {code} {}\r\n\r\n", self.said.len());
        let Bench { tx, now, out, .. } = &mut self.bench;
        tx.respond(*now, id, code, bytes.as_bytes(), out);
        if let Some(sent) = self.take_sent().pop() {
            self.said.insert(id, sent);
        }
    }

    fn response(&mut self, id: Id, bytes: &[u8]) {
        let message = Message::parse(bytes).expect("a response");
        let Bench { tx, now, out, .. } = &mut self.bench;
        let up = tx.response(*now, &message, out);
        assert!(up.is_none_or(|(handed, ..)| handed == id));
        self.keep_cancels(id);
    }

    fn step(&mut self, step: Step) {
        let transport = self.bench.transport;
        match step {
            Step::Comes { method, branch, tagged } => {
                let branch = format!("z9hG4bK{branch}");
                let tag = if tagged { ";tag=us" } else { "" };
                self.comes(&request(METHODS[method], &branch, transport, tag));
            }
            Step::Answer { which, code } => {
                if let Some(&id) = self.served.get(which % self.served.len().max(1)) {
                    self.answer(id, CODES[code]);
                }
            }
            Step::Acked { which } => {
                if let Some(&id) = self.served.get(which % self.served.len().max(1)) {
                    self.bench.tx.acked(self.bench.now, id);
                }
            }
            Step::Send { method } => {
                let sent = self.bench.sends(SENDS[method]);
                self.sent.push(sent);
            }
            Step::Response { which, code, tag } => {
                if let Some(sent) = self.sent.get(which % self.sent.len().max(1)) {
                    let (id, bytes) = (sent.id, response(&sent.bytes, CODES[code], &format!("tag{tag}")));
                    self.response(id, &bytes);
                }
            }
            Step::Cancel { which } => {
                if let Some(id) = self.sent.get(which % self.sent.len().max(1)).map(|sent| sent.id) {
                    self.bench.tx.cancel(self.bench.now, id, None, &mut self.bench.out);
                    self.keep_cancels(id);
                }
            }
            Step::CancelAnswer { which, code } => {
                if let Some(sent) = self.cancels.get(which % self.cancels.len().max(1)) {
                    let message = response(&sent.bytes, CODES[code], "t");
                    let message = Message::parse(&message).expect("a response");
                    let Bench { tx, now, out, .. } = &mut self.bench;
                    assert_eq!(tx.response(*now, &message, out), None, "a CANCEL's answer is nobody's");
                }
            }
            Step::Undeliverable => {
                let Bench { tx, now, out, .. } = &mut self.bench;
                tx.undeliverable(*now, peer(transport), Undelivered::Unreachable, out);
            }
            Step::Abandon { which } => {
                if let Some(&id) = self.served.get(which % self.served.len().max(1)) {
                    self.bench.tx.abandon(id);
                }
            }
            Step::Pass { millis } => self.pass(millis),
        }
        self.take_sent();
    }

    fn pass(&mut self, by: u64) {
        let end = self.bench.now + millis(by);
        while let Some(due) = self.bench.tx.next_deadline().filter(|due| *due <= end) {
            assert!(due >= self.bench.now, "time runs forward");
            self.bench.now = due;
            self.bench.tx.expire(due, &mut self.bench.out);
            self.take_sent();
        }
        self.bench.now = end;
    }

    /// The owners do what they must: answer, and give up what rings for ever. Then silence.
    fn ends(mut self) {
        for id in self.served.clone() {
            self.answer(id, 486);
        }
        for id in self.sent.iter().map(|sent| sent.id).collect::<Vec<_>>() {
            self.bench.tx.cancel(self.bench.now, id, None, &mut self.bench.out);
        }
        self.pass(64_000 + 5_000);
        assert_eq!(self.bench.tx.live(), (0, 0));
        assert_eq!(self.bench.tx.by_request.len(), 0);
        assert_eq!(self.bench.tx.by_merge.len(), 0);
        assert_eq!(self.bench.tx.unanswered.len(), 0);
        assert_eq!(self.bench.tx.carried.len(), 0);
        let mut ended: HashMap<Id, usize> = HashMap::new();
        for event in &self.events {
            match event {
                Event::Gone(id, _) => *ended.entry(*id).or_default() += 1,
                Event::TimedOut(id, _)
                | Event::AckMissing(id, _)
                | Event::OutOfReach(id, _)
                | Event::Undeliverable(id, ..) => {
                    assert!(!ended.contains_key(id), "Gone is the last of each");
                }
            }
        }
        let begun: Vec<Id> =
            self.served.iter().copied().chain(self.sent.iter().map(|sent| sent.id)).collect();
        assert_eq!(ended.len(), begun.len());
        for id in begun {
            assert_eq!(ended.get(&id), Some(&1), "each ends once");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn everything_ends_and_repeats_are_answered_alike(
        steps in prop::collection::vec(step(), 0..80),
        over_udp in any::<bool>(),
    ) {
        let mut world = World::new(if over_udp { Transport::Udp } else { Transport::Tcp });
        for step in steps {
            world.step(step);
        }
        world.ends();
    }
}
