//! R11: `Replaces` joins two calls of ours, in a REFER (attended transfer) and in an agent's INVITE, within a shard and
//! across shards.

use super::*;

const OTHER: &str = "+12015550102";

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
