//! What the registrar makes of Contacts that are too many, or not where their phones are (RFC 3261 §10.3, RFC 5626 §6).

use std::net::SocketAddr;

use super::register::{AWAY, DESK, POCKET, Phone, codes, contact, home};
use super::*;

/// A port of the NAT that phones are behind.
fn nat(port: u16) -> SocketAddr {
    SocketAddr::new(AWAY.ip(), 40_000 + port)
}

/// What is bound, without what is left of it.
fn bound(call: &mut Call) -> Vec<String> {
    let mut asks = Phone { call_id: "asks", ..Phone::alice(POCKET) };
    assert_eq!(asks.registers(call, contact("")), 200);
    let answers = asks.sends(call, contact(""));
    let uri = |text: &str| text.split(['<', '>']).nth(1).unwrap_or_default().to_owned();
    answers[0].all("Contact").map(uri).collect()
}

/// Ten phones of alice's, each with what its Contact says besides.
fn ten(more: &str, at: impl Fn(u16) -> SocketAddr, dress: impl Fn(Message) -> Message) -> Call {
    let mut call = home("", "").before_any_call();
    for place in 0..10 {
        let mut phone = Phone { call_id: "ten", cseq: 10 * u32::from(place), ..Phone::alice(at(place)) };
        let value = format!("<sip:alice@192.168.1.{place}>{more}");
        let code = phone.registers(&mut call, |message| dress(contact(&value)(message)));
        assert_eq!(code, 200, "{place}");
        call.after(seconds(1));
    }
    call
}

#[test]
fn a_phone_that_draws_another_contact_at_each_start_finds_room_however_often_it_starts() {
    let mut call = home("", "").before_any_call();
    let mut phone = Phone::alice(DESK);
    for start in 0..13 {
        let value = format!("<sip:alice-{start}@{DESK}>");
        assert_eq!(phone.registers(&mut call, contact(&value)), 200, "{start}");
        call.after(seconds(1));
    }
    let newest: Vec<String> = (3..13).map(|start| format!("sip:alice-{start}@{DESK}")).collect();
    assert_eq!(bound(&mut call), newest);
}

#[test]
fn phones_that_are_known_to_be_unreachable_make_room_and_no_others_do() {
    let mut call = ten("", nat, |message| message);
    let eleventh = "<sip:alice@127.0.2.1>";
    let mut phone = Phone::alice(DESK);
    assert_eq!(phone.registers(&mut call, contact(eleventh)), 403, "each may ring");
    // Nobody answers there.
    call.after(seconds(120));
    assert_eq!(phone.registers(&mut call, contact(eleventh)), 200);
    let all = bound(&mut call);
    assert_eq!(
        (all.len(), all[0].as_str(), all[9].as_str()),
        (10, "sip:alice@192.168.1.1", "sip:alice@127.0.2.1")
    );
}

#[test]
fn a_phone_that_changes_networks_takes_the_place_of_its_own_oldest_binding() {
    for (more, code) in [("", 403), (";+sip.instance=\"<urn:y>\"", 403), (";+sip.instance=\"<urn:x>\"", 200)]
    {
        let mut call = ten(";+sip.instance=\"<urn:x>\"", nat, |message| message);
        let value = format!("<sip:alice@127.0.2.1>{more}");
        assert_eq!(Phone::alice(DESK).registers(&mut call, contact(&value)), code, "{more}");
        let first = if code == 200 { "sip:alice@192.168.1.1" } else { "sip:alice@192.168.1.0" };
        assert_eq!(bound(&mut call)[0], first);
    }
}

#[test]
fn phones_behind_one_proxy_are_not_taken_for_one_phone() {
    let dress = |message: Message| message.with("Supported", "path").with("Path", "<sip:edge@127.0.2.1;lr>");
    let mut call = ten("", |_| DESK, dress);
    let eleventh = |message: Message| dress(contact("<sip:alice@192.168.1.10>")(message));
    assert_eq!(Phone::alice(DESK).registers(&mut call, eleventh), 403);
}

/// An address of ours, a gateway's, and each with another port of its host.
fn nobodys() -> [(SocketAddr, SocketAddr); 2] {
    [layout::SERVER, layout::gateway_addr(0)].map(|addr| (addr, SocketAddr::new(addr.ip(), 40_000)))
}

#[test]
fn a_contact_that_is_ours_or_a_gateways_is_refused_where_something_would_be_sent_there() {
    for (addr, beside) in nobodys() {
        let value = format!("<sip:alice@{addr}>");
        let mut call = home("", "").before_any_call();
        let mut same_host = Phone { call_id: "reg-2", ..Phone::alice(beside) };
        assert_eq!(same_host.registers(&mut call, contact(&value)), 403, "{addr}");
        // A proxy goes by the Request-URI.
        let behind = |message: Message| {
            contact(&value)(message).with("Supported", "path").with("Path", "<sip:edge@127.0.2.1;lr>")
        };
        assert_eq!(Phone::alice(DESK).registers(&mut call, behind), 403, "{addr}");
        assert_eq!(bound(&mut call), Vec::<String>::new());
    }
}

#[test]
fn a_phone_behind_a_nat_may_have_the_address_that_is_ours_or_a_gateways_elsewhere() {
    for (addr, _) in nobodys() {
        let mut call = home("", "").before_any_call();
        let value = format!("<sip:alice@{addr}>");
        assert_eq!(Phone::alice(DESK).registers(&mut call, contact(&value)), 200, "{addr}");
        let mut call = call.dials(DID, Manner::default()).ringing(["alice"]);
        let invite = call.messages("us → alice", "INVITE").remove(0);
        assert_eq!(invite.start, format!("INVITE sip:alice@{addr} SIP/2.0"));
        call.answers("alice").hangs_up("caller").comes_to_rest();
    }
}

#[test]
fn who_asks_for_answers_at_its_source_port_is_rung_there_and_its_nat_kept_open() {
    for (rport, asked) in [("", false), (";rport", true)] {
        let mut call = home("", "").before_any_call();
        let dress = |message: Message| {
            let mut message = contact("<sip:alice@127.0.2.1:5096>")(message);
            let via = format!("{}{rport}", message.get("Via").expect("a Via"));
            message.set("Via", via);
            message
        };
        assert_eq!(Phone::alice(DESK).registers(&mut call, dress), 200);
        call.after(seconds(30));
        let crossings = &call.world.trace.crossings;
        let options = crossings.iter().any(|one| one.message.method() == "OPTIONS" && one.peer == DESK);
        assert_eq!(options, asked, "{rport}");
        let mut call = call.dials(DID, Manner::default());
        call.after(seconds(1));
        let crossings = &call.world.trace.crossings;
        let rung =
            crossings.iter().find(|one| one.message.method() == "INVITE" && one.peer.ip() == DESK.ip());
        assert_eq!(rung.map(|one| one.peer == DESK), Some(asked), "{rport}");
        call.hangs_up("caller").comes_to_rest();
    }
}

/// RFC 5626 §6: only flows that the first proxy keeps are flows.
#[test]
fn a_flow_behind_a_proxy_that_keeps_none_is_bound_by_its_uri() {
    let edges: [&[(&str, &str)]; 4] = [
        &[("Path", "<sip:edge@127.0.2.1;lr;ob>")],
        &[("Path", "<sip:inner@127.0.2.1;lr>, <sip:edge@10.0.0.1;lr;ob>")],
        &[("Path", "<sip:inner@127.0.2.1;lr;ob>, <sip:edge@10.0.0.1;lr>")],
        &[("Via", "SIP/2.0/UDP 10.0.0.9;branch=z9hG4bK-phone")],
    ];
    for (headers, is_flow) in edges.into_iter().zip([true, true, false, false]) {
        let mut call = home("", "").before_any_call();
        let mut phone = Phone::alice(DESK);
        let mut register = |port: u16| {
            phone.sends(&mut call, |message| {
                let value = format!("<sip:alice@192.168.1.7:{port}>;reg-id=1;+sip.instance=\"<urn:x>\"");
                let message = contact(&value)(message).with("Supported", "path, outbound");
                headers.iter().fold(message, |message, (name, value)| message.with(name, *value))
            })
        };
        assert_eq!(codes(&register(5060)), [401]);
        assert_eq!(codes(&register(5060)), [200], "{headers:?}");
        let answers = register(5070);
        assert_eq!(codes(&answers), [200], "{headers:?}");
        assert_eq!(answers[0].get("Require"), is_flow.then_some("outbound"), "{headers:?}");
        assert_eq!(answers[0].all("Contact").count(), if is_flow { 1 } else { 2 }, "{headers:?}");
    }
}
