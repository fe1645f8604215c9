//! R1b: a Contact with another's address is refused, and one that only looks so is not.

use std::net::SocketAddr;

use strowger::sim::served::{served_everywhere, served_with_names};

use super::register::{AWAY, DESK, POCKET, Phone, contact, home};
use super::*;

const fn behind_desk(port: u16) -> SocketAddr {
    SocketAddr::new(DESK.ip(), port)
}

#[test]
fn a_contact_where_another_agents_phone_has_registered_is_refused() {
    let mut call = home("", "").before_any_call();
    let at = SocketAddr::new(DESK.ip(), 7_002);
    assert_eq!(
        Phone { call_id: "reg-2", ..Phone::new("bob", "builder", at) }.registers(&mut call, |m| m),
        200
    );
    let mut phone = Phone::alice(DESK);
    assert_eq!(phone.registers(&mut call, contact("<sip:alice@127.0.2.1:7002>")), 403);
    assert_eq!(phone.registers(&mut call, contact("<sip:alice@127.0.2.1:7003>")), 200);
}

/// Bob, who registers from one port and is reached at another, and mallory on the same host.
#[test]
fn a_contact_that_another_agents_phone_is_sent_to_is_refused() {
    let mut call = home("", "").before_any_call();
    let bobs = contact("<sip:bob@127.0.2.1:5096>");
    let mut bob = Phone { call_id: "reg-2", ..Phone::new("bob", "builder", behind_desk(40_000)) };
    assert_eq!(bob.registers(&mut call, &bobs), 200);
    let mut phone = Phone::alice(DESK);
    assert_eq!(phone.registers(&mut call, contact("<sip:alice@127.0.2.1:5096>")), 403);
    assert_eq!(phone.registers(&mut call, contact("<sip:alice@127.0.2.1:5097>")), 200);
    // One more line of bob's own phone, and bob again from where his NAT puts him next.
    let mut line = Phone { call_id: "reg-3", ..Phone::alice(behind_desk(40_000)) };
    assert_eq!(line.registers(&mut call, contact("<sip:alice@127.0.2.1:5096>")), 200);
    let mut moved = Phone { call_id: "reg-4", ..Phone::new("bob", "builder", behind_desk(40_001)) };
    assert_eq!(moved.registers(&mut call, &bobs), 200);
}

const NAMES: &[(&str, SocketAddr)] =
    &[("desk.example.com", behind_desk(5096)), ("other.example.com", behind_desk(5097))];

#[test]
fn a_contact_that_is_another_agents_fixed_phone_is_refused_by_address_and_by_name() {
    let fixed = |uri: &str| format!("[[agent]]\nname = \"frank\"\npassword = \"x\"\ncontact = \"{uri}\"\n");
    for uri in ["sip:frank@127.0.2.1:5096", "sip:frank@desk.example.com:5096"] {
        let maker = served_with_names(NAMES);
        let mut call = home("", &fixed(uri)).made_by(maker).before_any_call();
        let mut phone = Phone::alice(DESK);
        assert_eq!(phone.registers(&mut call, contact("<sip:alice@127.0.2.1:5096>")), 403, "{uri}");
        assert_eq!(phone.registers(&mut call, contact("<sip:alice@127.0.2.1:5097>")), 200, "{uri}");
        let mut frank = Phone { call_id: "reg-2", ..Phone::new("frank", "x", behind_desk(40_000)) };
        assert_eq!(frank.registers(&mut call, contact("<sip:frank@127.0.2.1:5096>")), 200, "{uri}");
        // Who sends from there is there: another line of that phone.
        let mut line = Phone { call_id: "reg-3", ..Phone::alice(behind_desk(5096)) };
        assert_eq!(line.registers(&mut call, contact("<sip:alice@127.0.2.1:5096>")), 200, "{uri}");
    }
}

#[test]
fn a_contact_that_would_make_us_call_ourselves_is_refused_where_we_listen_everywhere() {
    let ourselves = format!("<sip:alice@{}>", layout::SERVER);
    let beside = SocketAddr::new(layout::SERVER.ip(), 40_000);
    let public = SocketAddr::from(([203, 0, 113, 7], 5060));
    for advertise in [None, Some(public)] {
        let maker = served_everywhere(advertise);
        let mut call = home("", "").made_by(maker).before_any_call();
        let mut phone = Phone::alice(beside);
        assert_eq!(phone.registers(&mut call, contact(&ourselves)), 403, "{advertise:?}");
        let port = format!("<sip:alice@{}:5070>", layout::SERVER.ip());
        assert_eq!(phone.registers(&mut call, contact(&port)), 200, "{advertise:?}");
        // Behind a NAT anybody may have that address, and is not reached by it.
        let mut away = Phone { call_id: "reg-2", ..Phone::alice(AWAY) };
        assert_eq!(away.registers(&mut call, contact(&ourselves)), 200, "{advertise:?}");
        let told = if advertise.is_some() { 403 } else { 200 };
        let mut inside = Phone { call_id: "reg-3", ..Phone::alice(SocketAddr::new(public.ip(), 40_000)) };
        assert_eq!(inside.registers(&mut call, contact(&format!("<sip:alice@{public}>"))), told);
    }
}

#[test]
fn phones_behind_two_nats_may_have_the_same_address_of_their_own() {
    let mut call = home("", "").before_any_call();
    let mut bob = Phone { call_id: "reg-2", ..Phone::new("bob", "builder", POCKET) };
    assert_eq!(bob.registers(&mut call, contact("<sip:bob@192.168.1.5:5060>")), 200);
    assert_eq!(Phone::alice(DESK).registers(&mut call, contact("<sip:alice@192.168.1.5:5060>")), 200);
    // One NAT, two ports of it.
    let mut beside = Phone { call_id: "reg-3", ..Phone::alice(SocketAddr::new(POCKET.ip(), 40_000)) };
    assert_eq!(beside.registers(&mut call, contact("<sip:alice@192.168.1.5:5060>")), 200);
}
