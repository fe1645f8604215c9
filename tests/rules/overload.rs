//! True overload (R12, R14): what keeps a new call out, that nothing is left of it, and that no other call is hurt.

use strowger::engine::exchange::{Bounds, CallEvent, Effects, Input, Notice};
use strowger::sim::core::Core;
use strowger::sim::served::bounded;
use strowger::sip::peer::{ListenerId, Peer, Transport};
use strowger::time::{Instant, Now, Wall};

use super::*;

/// Room for all that a story needs, and a bound of each kind to be lowered.
const ROOMY: Bounds = Bounds { calls: 100, dialogs: 100, transactions: 100 };

/// One shard, and the hours of its wall.
struct Shard {
    core: Box<dyn Core>,
    at: Duration,
    effects: Effects,
    calls: u32,
}

impl Shard {
    fn new(bounds: Bounds) -> Shard {
        let routing = format!(
            "[[trunk]]\nname = \"carrier\"\nfrom = [\"{}/32\"]\noptions_interval = 0\n\n\
             [[trunk]]\nname = \"mobile\"\ngateways = [{{ uri = \"sip:{}\" }}]\noutbound = true\n\
             options_interval = 0\n\n[[number]]\ndid = \"{DID}\"\nforward_to = \"{FORWARD}\"\n",
            layout::CARRIER.ip(),
            layout::gateway_addr(0)
        );
        let core = bounded(bounds).cores(1, 7, &routing).remove(0);
        Shard { core, at: millis(1), effects: Effects::default(), calls: 0 }
    }

    fn now(&self) -> Now {
        let micros = u64::try_from(self.at.as_micros()).unwrap_or(u64::MAX);
        Now { mono: Instant::from_micros(micros), wall: Wall(micros / 1_000) }
    }

    fn feed(&mut self, input: Input<'_>) {
        self.core.handle(self.now(), input, &mut self.effects);
    }

    /// Messages lie so long, for half a second.
    fn lags(&mut self, age: Duration) {
        for _ in 0..50 {
            self.at += millis(10);
            self.feed(Input::Backlog { age, lost: 0 });
        }
    }

    fn hears(&mut self, message: &Message) -> Vec<Message> {
        let peer = Peer::at(layout::CARRIER, Transport::Udp, ListenerId(0));
        self.feed(Input::Received { from: peer, bytes: &message.bytes(), age: Duration::ZERO });
        let sent = self.effects.out.messages().filter_map(|(_, bytes)| Message::parse(bytes).ok()).collect();
        self.effects.out.wire.clear();
        self.effects.out.sends.clear();
        sent
    }

    /// A new call; what its caller is told of it last.
    fn is_called(&mut self) -> Message {
        self.calls += 1;
        let mut invite = Message::request("INVITE", &format!("sip:{DID}@{}", layout::SERVER));
        let name = format!("call{}", self.calls);
        for (header, value) in [
            ("Via", format!("SIP/2.0/UDP {};branch=z9hG4bK{name}", layout::CARRIER)),
            ("From", format!("<sip:{CALLER}@{}>;tag={name}", layout::CARRIER.ip())),
            ("To", format!("<sip:{DID}@{}>", layout::SERVER.ip())),
            ("Call-ID", name),
            ("CSeq", "1 INVITE".to_owned()),
            ("Contact", format!("<sip:{CALLER}@{}>", layout::CARRIER)),
        ] {
            invite.set(header, &value);
        }
        let sent = self.hears(&invite);
        sent.into_iter().rfind(|sent| sent.status() > 0).unwrap_or(invite)
    }

    /// A 503 with Retry-After, no record, and nothing that lives on.
    fn refuses(&mut self) {
        let before = self.core.census();
        let told = self.is_called();
        assert_eq!(told.status(), 503);
        let wait: u32 = told.get("Retry-After").and_then(|wait| wait.parse().ok()).unwrap_or(0);
        assert!((1..=5).contains(&wait), "{wait}");
        assert_eq!(self.core.census(), before, "a refused call leaves nothing behind");
        assert!(self.core.records(&mut self.effects).is_empty());
    }

    fn takes(&mut self) {
        assert_eq!(self.is_called().status(), 100);
    }
}

#[test]
fn r14_messages_that_lie_long_in_our_queues_keep_new_calls_out_until_they_do_no_more() {
    let mut shard = Shard::new(ROOMY);
    shard.takes();
    shard.lags(millis(300));
    (0..5).for_each(|_| shard.refuses());
    // Whatever is no new call is served: here an OPTIONS, which asks whether we live.
    let mut options = Message::request("OPTIONS", &format!("sip:{}", layout::SERVER));
    for (header, value) in [
        ("Via", "SIP/2.0/UDP 127.0.1.1:5060;branch=z9hG4bKo"),
        ("From", "<sip:a@127.0.1.1>;tag=o"),
        ("To", "<sip:127.0.0.1>"),
        ("Call-ID", "o"),
        ("CSeq", "1 OPTIONS"),
    ] {
        options.set(header, value);
    }
    assert_eq!(shard.hears(&options).first().map(Message::status), Some(200));
    shard.lags(Duration::ZERO);
    shard.at += seconds(3);
    (0..5).for_each(|_| shard.takes());
}

#[test]
fn r14_far_too_many_new_calls_are_not_even_read_until_messages_lie_long_no_more() {
    let mut shard = Shard::new(ROOMY);
    let shed = |shard: &mut Shard| shard.core.shed(shard.now().mono);
    shard.takes();
    assert_eq!(shed(&mut shard), 0);
    shard.lags(millis(300));
    let most = shed(&mut shard);
    assert!(most > 200, "{most} of 256");
    assert!(shard.core.next_deadline().is_some_and(|at| at <= shard.now().mono + millis(100)));
    shard.lags(Duration::ZERO);
    let less = shed(&mut shard);
    assert!((1..most).contains(&less), "{less} of 256, after {most}");
    shard.at += seconds(3);
    assert_eq!(shed(&mut shard), 0);
}

#[test]
fn r12_no_room_for_a_calls_state_is_503_and_writes_no_record() {
    for bounds in [
        Bounds { calls: 2, ..ROOMY },
        Bounds { dialogs: 2, ..ROOMY },
        // A quarter is left to what calls in progress need: 3 of 4.
        Bounds { transactions: 2, ..ROOMY },
    ] {
        let mut shard = Shard::new(bounds);
        shard.takes();
        shard.takes();
        shard.refuses();
    }
}

#[test]
fn r14_a_repeated_invite_of_a_call_that_was_taken_is_no_new_call() {
    let mut shard = Shard::new(ROOMY);
    shard.takes();
    shard.lags(millis(300));
    shard.calls = 0;
    assert_eq!(shard.is_called().status(), 100, "its 100 is said again");
}

#[test]
fn r14_calls_that_have_ended_make_room_for_new_ones() {
    // Two a second for a minute: twice as many as may linger for 64·T1.
    for bounds in [Bounds { dialogs: 40, ..ROOMY }, Bounds { transactions: 100, dialogs: 1_000, ..ROOMY }] {
        let mut call = Setup::new(bounded(bounds), &did_forward()).incoming(DID);
        for _ in 0..120 {
            call.awaits("gateway1").answers("gateway1").hangs_up("caller").after(millis(500));
            assert_eq!(call.caller_is_told(), Some(200));
            call.call_id = call.world.dials(DID, Manner::default());
        }
        call.awaits("gateway1").sends_busy("gateway1").comes_to_rest();
    }
}

#[test]
fn r11_ten_ringing_calls_of_one_caller_to_one_forwarded_number_are_told_of_once() {
    let mut shard = Shard::new(ROOMY);
    let told = |shard: &Shard| {
        let loops = |notice: &&Notice| matches!(notice, Notice::Said(CallEvent::LikelyLoop { .. }));
        shard.effects.notices.iter().filter(loops).count()
    };
    (0..9).for_each(|_| shard.takes());
    assert_eq!(told(&shard), 0);
    shard.takes();
    assert_eq!(told(&shard), 1);
    (0..5).for_each(|_| shard.takes());
    assert_eq!(told(&shard), 1, "the tenth says it");
}
