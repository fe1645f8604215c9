//! R11: `Replaces` joins two calls of ours, in a REFER (attended transfer) and in an agent's INVITE, within a shard and
//! across shards.

use super::register::{DESK, Phone, home};
use super::*;

const OTHER: &str = "+12015550102";
/// Where bob's phone is.
const BOBS: std::net::SocketAddr =
    std::net::SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::new(127, 0, 2, 2)), 5060);

/// Both DIDs ring alice, who may have two calls.
fn desk() -> Setup {
    let other = format!("[[number]]\ndid = \"{OTHER}\"\nring = [\"alice\"]\n");
    node("", "", "max_calls = 2", &format!("{}{other}", did("ring = [\"alice\"]")))
}

/// Alice has two calls; the story stands in the second.
fn two_calls(setup: Setup) -> (Call, String) {
    let mut call = setup.incoming(DID).ringing(["alice"]);
    call.answers("alice").after(millis(50)).does("alice", Act::Holds).after(millis(50));
    let first = call.call_id.clone();
    let mut call = call.dials(OTHER, Manner::default()).ringing(["alice"]);
    call.answers("alice").after(millis(50));
    (call, first)
}

#[test]
fn r11_an_attended_transfer_joins_the_two_whom_the_agent_talks_with() {
    for shards in [1, 3] {
        let (mut call, first) = two_calls(desk().shards(shards));
        call.does("alice", Act::RefersToOther).after(millis(100));
        let second = call.call_id.clone();
        let notified = call.messages("us → alice", "NOTIFY");
        let last = notified.last().map(body).unwrap_or_default();
        assert!(last.starts_with("SIP/2.0 200 OK"), "{shards}: {last}\n{}", call.ladder());
        assert_eq!(count(&mut call, "us → alice", "BYE"), 1, "{shards}");
        call.call_id = first.clone();
        assert_eq!(count(&mut call, "us → alice", "BYE"), 1, "{shards}");
        // Each has the other's SDP, and what one says the other hears.
        let offered =
            call.messages("us → caller", "INVITE").pop().map(|invite| body(&invite)).unwrap_or_default();
        assert!(offered.contains("a=sendrecv"), "{offered}");
        call.does("caller", Act::Holds).after(millis(100));
        call.call_id = second;
        let heard =
            call.messages("us → caller", "INVITE").pop().map(|invite| body(&invite)).unwrap_or_default();
        assert!(heard.contains("a=sendonly"), "{heard}");
        call.does("caller", Act::Informs).after(millis(50));
        call.hangs_up("caller").after(millis(50));
        call.comes_to_rest();
        assert_eq!(end(&mut call), "answered 200 caller");
        assert_eq!(legs(&mut call)[..2], ["caller normal 200", "alice won 200"]);
        assert_eq!(call.cdr()["legs"][2]["role"], "transfer");
        call.call_id = first;
        assert_eq!(end(&mut call), "answered 200 callee");
        assert_eq!(call.cdr()["legs"][2]["role"], "transfer");
    }
}

/// The Replaces value that names alice's dialog of this call, as we know it.
fn alices_dialog(call: &mut Call) -> String {
    let answer = call.messages("alice → us", "200").remove(0);
    let (ours, theirs) = (answer.from_tag().unwrap_or_default(), answer.to_tag().unwrap_or_default());
    format!("{};to-tag={ours};from-tag={theirs}", answer.call_id())
}

/// Alice, registered, talks with the caller; bob's phone is at hand.
fn pickup(setup: Setup) -> (Call, Phone) {
    let mut call = setup.before_any_call();
    assert_eq!(Phone::alice(DESK).registers(&mut call, |message| message), 200);
    let mut call = call.dials(DID, Manner::default()).ringing(["alice"]);
    call.answers("alice").after(millis(50));
    // Bob's call begins no call of the carrier's.
    call.world.leaves_unchecked("one_cdr");
    (call, Phone { call_id: "take-1", ..Phone::new("bob", "builder", BOBS) })
}

fn takes(call: &mut Call, bob: &mut Phone, dress: impl Fn(Message) -> Message) -> Vec<Message> {
    let uri = "sip:alice@127.0.0.1";
    bob.invites(call, uri, &dress);
    bob.invites(call, uri, &dress)
}

#[test]
fn r11_an_agents_invite_takes_over_another_agents_call() {
    for shards in [1, 3] {
        let (mut call, mut bob) = pickup(home("", "").shards(shards));
        let replaces = alices_dialog(&mut call);
        let answers = takes(&mut call, &mut bob, |message| message.with("Replaces", &*replaces));
        call.after(millis(100));
        let [answer] = &answers[..] else { panic!("{answers:?}") };
        assert_eq!(answer.status(), 200, "{shards}");
        let invites = call.messages("us → caller", "INVITE");
        assert!(body(&invites[0]).contains("m=audio 9 "), "bob's SDP: {}", body(&invites[0]));
        assert_eq!(answer.body, call.messages("caller → us", "200").remove(0).body, "the caller's SDP");
        assert_eq!(header(&mut call, "us → alice", "BYE", "Reason").as_deref(), Some("Q.850;cause=16"));
        call.hangs_up("caller").after(seconds(70));
        assert_eq!(end(&mut call), "answered 200 caller");
        assert_eq!(legs(&mut call), ["caller normal 200", "alice won 200", "bob won 200"]);
        let bobs = call.world.records.iter().find(|record| record["legs"][0]["sip_call_id"] == "take-1");
        let bobs = bobs.cloned().unwrap_or_default();
        assert_eq!(
            (&bobs["outcome"], &bobs["direction"], &bobs["ended_by"], &bobs["legs"][1]["role"]),
            (&"answered".into(), &"internal".into(), &"callee".into(), &"transfer".into()),
            "{bobs:#}"
        );
        assert!(call.world.verdict().is_ok(), "{}", call.ladder());
    }
}

#[test]
fn r11_replaces_of_what_is_no_agents_dialog_of_ours_is_481() {
    for (change, code) in [
        (["to-tag=", "to-tag=x"], 481),
        (["from-tag=", "from-tag=x"], 481),
        ([";to-tag=", "x;to-tag="], 481),
        ([";from-tag=", ";early-only;from-tag="], 486),
        ([";to-tag=", ";other="], 400),
        ([";to-tag=", ";from-tag=1;to-tag="], 400),
    ] {
        let (mut call, mut bob) = pickup(home("", ""));
        let replaces = alices_dialog(&mut call).replace(change[0], change[1]);
        let answers = takes(&mut call, &mut bob, |message| message.with("Replaces", &*replaces));
        assert_eq!(answers.iter().map(Message::status).collect::<Vec<_>>(), [code], "{replaces}");
        assert_eq!(count(&mut call, "us → alice", "BYE") + count(&mut call, "us → caller", "INVITE"), 0);
        call.hangs_up("caller").after(seconds(70));
        assert_eq!(end(&mut call), "answered 200 caller", "the call goes on");
    }
    // The carrier's own dialog.
    let (mut call, mut bob) = pickup(home("", ""));
    let answer = call.messages("us → caller", "200").remove(0);
    let (ours, theirs) = (answer.to_tag().unwrap_or_default(), answer.from_tag().unwrap_or_default());
    let replaces = format!("{};to-tag={ours};from-tag={theirs}", answer.call_id());
    let answers = takes(&mut call, &mut bob, |message| message.with("Replaces", &*replaces));
    assert_eq!(answers.iter().map(Message::status).collect::<Vec<_>>(), [481]);
}

#[test]
fn r11_two_replaces_or_one_with_join_is_400() {
    for (name, value) in [("Replaces", "1;to-tag=2;from-tag=3"), ("Join", "1;to-tag=2;from-tag=3")] {
        let (mut call, mut bob) = pickup(home("", ""));
        let replaces = alices_dialog(&mut call);
        let answers =
            takes(&mut call, &mut bob, |message| message.with("Replaces", &*replaces).with(name, value));
        assert_eq!(answers.iter().map(Message::status).collect::<Vec<_>>(), [400], "{name}");
    }
}

#[test]
fn r11_a_call_that_only_rings_is_taken_over_by_nobody() {
    let mut call = home("", "").before_any_call();
    assert_eq!(Phone::alice(DESK).registers(&mut call, |message| message), 200);
    let mut call = call.dials(DID, Manner::default()).ringing(["alice"]);
    call.world.leaves_unchecked("one_cdr");
    let ringing = call.messages("alice → us", "180").remove(0);
    let (ours, theirs) = (ringing.from_tag().unwrap_or_default(), ringing.to_tag().unwrap_or_default());
    let replaces = format!("{};to-tag={ours};from-tag={theirs}", ringing.call_id());
    let mut bob = Phone { call_id: "take-1", ..Phone::new("bob", "builder", BOBS) };
    let answers = takes(&mut call, &mut bob, |message| message.with("Replaces", &*replaces));
    assert_eq!(answers.iter().map(Message::status).collect::<Vec<_>>(), [481]);
    call.answers("alice").after(millis(50));
    assert_eq!(call.caller_is_told(), Some(200));
}

#[test]
fn r11_an_attended_transfer_to_a_dialog_that_is_gone_leaves_the_agent_with_the_caller() {
    let mut call = desk().incoming(DID).ringing(["alice"]);
    call.answers("alice").after(millis(50));
    let gone = "sip:bob@127.0.0.1?Replaces=abc%3Bto-tag%3D1%3Bfrom-tag%3D2";
    call.does("alice", Act::Refers(gone.to_owned())).after(millis(100));
    let last = call.messages("us → alice", "NOTIFY").pop().map(|notify| body(&notify)).unwrap_or_default();
    assert!(last.starts_with("SIP/2.0 481 "), "{last}");
    call.does("alice", Act::Refers(gone.replace("to-tag", "tag"))).settle();
    assert_eq!(count(&mut call, "us → alice", "400 (REFER)"), 1);
    call.hangs_up("alice").comes_to_rest();
    assert_eq!(end(&mut call), "answered 200 callee");
}

#[test]
fn r11_whoever_leaves_in_whatever_order_an_attended_transfer_ends_cleanly() {
    #[derive(Clone, Copy, Debug)]
    enum Step {
        Refers,
        FirstCaller(bool),
        SecondCaller(bool),
        Agent,
    }
    use Step::*;
    let sets = [
        [Refers, FirstCaller(true), SecondCaller(true), Agent],
        [Refers, FirstCaller(false), SecondCaller(false), Agent],
        [Refers, FirstCaller(true), SecondCaller(false), Refers],
        [Refers, Refers, SecondCaller(true), Agent],
    ];
    let cases = [1, 3].into_iter().flat_map(|shards| [0, 4, 7, 12].map(|pause| (shards, pause)));
    for (steps, (shards, pause)) in
        sets.into_iter().flat_map(|steps| cases.clone().map(move |case| (steps, case)))
    {
        strowger::sim::story::every_order_of(steps, |steps| {
            let (mut call, first) = two_calls(desk().shards(shards));
            let second = call.call_id.clone();
            call.while_in_flight(|call| {
                for step in steps {
                    let (of, name, act) = match step {
                        Refers => (&second, "alice", Act::RefersToOther),
                        FirstCaller(true) => (&first, "caller", Act::HangsUp),
                        FirstCaller(false) => (&first, "caller", Act::Holds),
                        SecondCaller(true) => (&second, "caller", Act::HangsUp),
                        SecondCaller(false) => (&second, "caller", Act::AsksForOffer),
                        Agent => (&second, "alice", Act::HangsUp),
                    };
                    call.call_id = of.clone();
                    call.does(name, act);
                    call.world.run(millis(pause));
                }
            });
            call.after(seconds(10));
            assert!(call.world.verdict().is_ok(), "{steps:?} {pause}\n{}", call.ladder());
            for of in [first, second] {
                call.call_id = of;
                call.hangs_up("caller").hangs_up("alice");
            }
            call.comes_to_rest();
        });
    }
}
