//! R12: what belongs to a phone's request or response goes where that came from, though it was elsewhere before.

use super::*;

#[test]
fn r12_a_re_invite_that_is_answered_by_the_next_connection_is_acknowledged_there() {
    for ends in [true, false] {
        let mut bench = Bench::new();
        let (old, new) = (connection(1), connection(2));
        bench.registers(old, &flow(old, "a"));
        let (mut caller, _) = bench.talks(|_| ());
        let sent = caller.asks(&mut bench, "INVITE", Some(HELD));
        let (to, invite) = request(&sent, "INVITE").expect("the hold").clone();
        assert_eq!(to, old);
        bench.hears(old, &Message::response(&invite, 180, "Ringing"));
        if ends {
            bench.ends(old);
        }
        bench.registers(new, &flow(new, "a"));
        let sent = bench.answers(&new, &invite, |_| ());
        assert_eq!(told(&sent, caller.at).map(Message::status), Some(200), "{ends}");
        assert_eq!(request(&sent, "ACK").map(|(to, _)| *to), Some(new), "{ends}");
        caller.acknowledges(&mut bench);
        // That ACK was lost, and the phone has moved on once more.
        let third = connection(3);
        bench.registers(third, &flow(third, "a"));
        let sent = bench.answers(&third, &invite, |_| ());
        assert_eq!(request(&sent, "ACK").and_then(|(to, _)| to.flow), third.flow, "{ends}");
        caller.asks(&mut bench, "BYE", None);
        bench.comes_to_rest();
    }
}

#[test]
fn r12_a_refresh_of_ours_that_is_answered_by_the_next_connection_is_acknowledged_there() {
    let mut bench = Bench::new();
    let (old, new) = (connection(1), connection(2));
    bench.registers(old, &flow(old, "a"));
    let (mut caller, _) = bench.talks(|ok| {
        ok.set("Session-Expires", "90;refresher=uac");
        ok.set("Allow", "INVITE, ACK, BYE, CANCEL");
    });
    let sent = bench.passes(seconds(46));
    let (to, invite) = request(&sent, "INVITE").expect("our refresh").clone();
    assert_eq!(to, old);
    bench.registers(new, &flow(new, "a"));
    for _ in 0..2 {
        let sent = bench.answers(&new, &invite, |ok| ok.set("Session-Expires", "90;refresher=uac"));
        assert_eq!(request(&sent, "ACK").map(|(to, _)| *to), Some(new));
    }
    caller.asks(&mut bench, "BYE", None);
    bench.comes_to_rest();
}

#[test]
fn r12_a_phone_that_rings_by_its_next_connection_has_its_prack_there() {
    let mut bench = Bench::new();
    let (old, new) = (connection(1), connection(2));
    bench.registers(old, &flow(old, "a"));
    let (mut caller, phone, invite) = bench.calls_alice();
    let rings = |rseq: &str| {
        let response = Far::says(&invite, 180, "Ringing").with("Require", "100rel").with("RSeq", rseq);
        response.with("Contact", "<sip:alice@10.0.0.7;transport=tcp>")
    };
    let sent = bench.hears(phone, &rings("1"));
    assert_eq!(request(&sent, "PRACK").map(|(to, _)| *to), Some(old));
    bench.registers(new, &flow(new, "a"));
    let sent = bench.hears(new, &rings("2"));
    assert_eq!(request(&sent, "PRACK").map(|(to, _)| *to), Some(new));
    let sent = bench.answers(&new, &invite, |ok| {
        ok.set(
            "To",
            format!(
                "{};tag=alice",
                ok.get("To").unwrap_or_default().split(";tag").next().unwrap_or_default()
            ),
        )
    });
    let ok = told(&sent, caller.at).expect("our 200");
    caller.to = ok.get("To").unwrap_or_default().to_owned();
    caller.us = ok.contact().unwrap_or_default().to_owned();
    caller.acknowledges(&mut bench);
    caller.asks(&mut bench, "BYE", None);
    bench.comes_to_rest();
}

/// Nothing had come back when it was given up: its CANCEL waits for a first response (RFC 3261 §9.1).
#[test]
fn r12_a_phone_that_rings_after_all_by_its_next_connection_is_told_there_that_it_need_not() {
    for returns_first in [true, false] {
        let mut bench = Bench::new();
        let (old, new) = (connection(1), connection(2));
        bench.registers(old, &flow(old, "a"));
        let (caller, _, invite) = bench.calls_alice();
        let mut cancel = caller.request("CANCEL");
        cancel.set("Via", caller.request("INVITE").get("Via").unwrap_or_default());
        if returns_first {
            bench.registers(new, &flow(new, "a"));
        }
        bench.hears(caller.at, &cancel);
        if !returns_first {
            bench.registers(new, &flow(new, "a"));
        }
        caller.takes_no(&mut bench);
        let mut sent = bench.hears(new, &Far::says(&invite, 180, "Ringing"));
        sent.extend(bench.passes(seconds(2)));
        let cancelled = sent.iter().any(|(to, message)| *to == new && message.method() == "CANCEL");
        assert!(cancelled, "{returns_first}");
        bench.hears(new, &Far::says(&invite, 487, "Request Terminated"));
        bench.comes_to_rest();
    }
}

/// The timer of a shard has a grid of 50 ms: with as many steps as a round may have that would be half as long again.
#[test]
fn a_round_among_many_agents_is_no_longer_for_a_timer_that_is_late() {
    let others: String =
        (0..279).map(|at| format!("[[agent]]\nname = \"a{at}\"\npassword = \"x\"\n\n")).collect();
    let mut bench = Bench::beside(&others);
    let natted = udp(([192, 0, 2, 1], 40_001).into());
    bench.registers(natted, "<sip:alice@192.168.1.7:5060>");
    let (mut asked, until) = (Vec::new(), bench.at + seconds(200));
    while bench.at < until {
        let due = bench.core.next_deadline().expect("a round goes on");
        bench.at = bench.at.max(due + millis(48));
        let sent = bench.takes(Input::Due);
        if sent.iter().any(|(to, message)| *to == natted && message.method() == "OPTIONS") {
            asked.push(bench.at);
        }
    }
    let apart: Vec<Duration> = asked.windows(2).map(|pair| pair[1].since(pair[0])).collect();
    assert!(apart.len() >= 5 && apart.iter().all(|pause| *pause < millis(28_200)), "{apart:?}");
}
