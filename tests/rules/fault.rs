//! R12: a bug in one call ends that call, from its dialogs and with its record, and no other.

use strowger::sim::served::{faulty, faulty_at_arrival, faulty_with_audio};

use super::*;

/// One number that forwards, and one that rings two.
fn routing() -> String {
    format!("{}[[number]]\ndid = \"{OTHER}\"\nring = [\"alice\", \"bob\"]\n", did_forward())
}

const OTHER: &str = "+12015550102";

/// How a call ends by a bug before our 200 has left, and after.
const FAILED: &str = "failed 500 us a fault in this call";
const ANSWERED: &str = "answered 200 us a fault in this call";

/// What all do in a call of some sort, whether it still is there or not.
type Story = fn(&mut Call);

/// The call that is told with a bug at each place in turn at which a message of ours is written: how each ended.
fn with_a_fault_anywhere(dialled: &str, caller: Manner, story: Story) -> Vec<String> {
    let mut ends = Vec::new();
    loop {
        let at = u32::try_from(ends.len()).unwrap_or(u32::MAX) + 1;
        let mut call = Setup::new(faulty(at), &routing()).caller(caller.clone()).incoming(dialled);
        story(&mut call);
        call.after(seconds(60));
        let cdr = call.cdr();
        let is_faulty = cdr["cause"] == "a fault in this call";
        ends.push(format!("{} {}", end(&mut call), cdr["cause"].as_str().unwrap_or_default()));
        call.comes_to_rest();
        assert_eq!(call.world.records.len(), 1, "{at}");
        if !is_faulty {
            return ends;
        }
        // Nobody and nothing is taken: the next call rings the same phones.
        let again = call.world.dials(dialled, Manner::default());
        call.world.run(seconds(1));
        let rung = call.world.trace.family(&again).len();
        assert!(rung > 1, "{at}: the next call rings nobody");
    }
}

#[test]
fn r12_a_bug_at_any_message_of_a_forwarded_call_ends_it_alone() {
    let ends = with_a_fault_anywhere(DID, Manner::default(), |call| {
        call.settle();
        call.rings("gateway1").answers("gateway1").after(seconds(1)).hangs_up("caller");
    });
    assert_eq!(ends, [FAILED, FAILED, FAILED, FAILED, ANSWERED, "answered 200 caller hang-up"]);
}

#[test]
fn r12_a_bug_at_any_message_of_a_hunt_group_ends_it_alone() {
    let ends = with_a_fault_anywhere(OTHER, Manner::default(), |call| {
        call.settle();
        call.rings("alice").rings("bob").while_in_flight(|call| {
            call.answers("alice").answers("bob");
        });
        call.after(seconds(1)).hangs_up("alice");
    });
    let ended = [&[FAILED; 5][..], &[ANSWERED; 3], &["answered 200 callee hang-up"]].concat();
    assert_eq!(ends, ended);
}

#[test]
fn r12_a_bug_at_any_message_of_a_call_that_is_cancelled_ends_it_alone() {
    let ends = with_a_fault_anywhere(OTHER, Manner::default(), |call| {
        call.settle();
        call.rings("alice").rings("bob").caller_cancels();
    });
    assert_eq!(ends, [FAILED, FAILED, FAILED, "cancelled 487 caller cancelled"]);
}

#[test]
fn r12_a_bug_at_any_message_of_a_call_that_goes_on_at_the_next_gateway_ends_it_alone() {
    let ends = with_a_fault_anywhere(DID, Manner::default(), |call| {
        call.settle();
        call.refuses("gateway1", 503).rings("gateway2").answers("gateway2").after(seconds(1));
        call.hangs_up("gateway2");
    });
    assert_eq!(ends, [FAILED, FAILED, FAILED, FAILED, FAILED, ANSWERED, "answered 200 callee hang-up"]);
}

#[test]
fn r12_a_bug_before_the_call_exists_leaves_its_trunk_as_many_calls_as_before() {
    for at in AT_ARRIVAL {
        let text = node_text("max_calls = 2", "", "", &did_forward());
        let mut call = Setup::new(faulty_at_arrival(at), &text).incoming(DID);
        call.settle();
        assert_eq!(call.world.live_calls(), Vec::<String>::new(), "the fault was there");
        let others = [0; 3].map(|_| {
            let call_id = call.world.dials(DID, Manner::default());
            call.after(seconds(1));
            call_id
        });
        let told = others.map(|call_id| call.world.hosts[0].outcome(&call_id));
        assert_eq!(told, [None, None, Some(503)], "{at}: two places in all");
        call.world.heal();
        call.world.run_until_quiet(strowger::sim::world::minutes(30));
        call.world.must_be_empty();
        assert_eq!(call.world.records.len(), 4);
    }
}

/// The places at which a call that arrives may fail before it is one.
const AT_ARRIVAL: [u32; 3] = [1, 2, 3];

#[test]
fn r12_a_bug_before_the_call_exists_is_500_with_a_record() {
    for at in AT_ARRIVAL {
        let mut call = Setup::new(faulty_at_arrival(at), &routing()).incoming(DID);
        // Said until it is acknowledged, and again for each repetition of the INVITE.
        call.while_in_flight(|call| {
            call.loses_next_of("us → caller", "500");
        });
        call.after(seconds(2));
        let invite = call.messages("caller → us", "INVITE")[0].clone();
        assert!(count(&mut call, "us → caller", "500") > 1, "{at}: it was lost");
        assert_eq!(call.caller_is_told(), Some(500), "{at}");
        call.world.sends(layout::CARRIER, &invite);
        call.comes_to_rest();
        assert_eq!(call.world.records.len(), 1, "{at}: one record");
        let cdr = call.cdr();
        assert_eq!(
            format!("{} {}", end(&mut call), cdr["cause"].as_str().unwrap_or_default()),
            FAILED,
            "{at}"
        );
        assert_eq!(
            (&cdr["trunk"], &cdr["q850"], &cdr["started"]),
            (&"carrier".into(), &41.into(), &cdr["ended"])
        );
        assert_eq!(legs(&mut call), ["caller failed 500"]);
        // Where nothing had been read yet, the Request-URI stands in it as it came.
        let known = [&cdr["dialled"], &cdr["did"], &cdr["caller"]]
            .map(|value| value.as_str().unwrap_or("-").to_owned());
        match at {
            1 => assert_eq!(known, ["sip:+12015550101@127.0.0.1:5060", "-", "-"]),
            _ => assert_eq!(known, [DID, DID, CALLER]),
        }
    }
}

#[test]
fn r12_a_bug_in_a_call_whose_audio_comes_through_us_leaves_no_port_behind() {
    for at in 1..=9 {
        let maker = faulty_with_audio(at, 40);
        let mut call = Setup::new(maker, &did_forward()).incoming(DID);
        call.settle();
        call.rings("gateway1").answers("gateway1").after(seconds(1));
        if at < 5 {
            assert_eq!(call.cdr()["cause"], "a fault in this call", "{at}");
        }
        call.hangs_up("caller").after(seconds(60));
        let held = call.world.held();
        assert!(!held.iter().any(|held| held.contains("ports")), "{at}: {held:?}");
    }
}
