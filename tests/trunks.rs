//! A node in a process of its own that registers at a carrier.

#![expect(clippy::unwrap_used, reason = "in a test a panic is the report")]

use std::net::SocketAddr;

use common::wait_until;
use nix::sys::signal::Signal;
use process::{Line, Place, answer};
use serde_json::Value;
use strowger::sip::digest::Credentials;

#[expect(dead_code, reason = "shared with tests that ask for more")]
mod common;
#[expect(dead_code, reason = "shared with tests that ask for more")]
#[path = "common/node.rs"]
mod process;

/// The trunk registers there; alice is rung.
fn registers_at(registrar: &Line) -> Place {
    let place = Place::new();
    place.changes("config/routing/all.toml", |text| {
        format!(
            "{text}[[trunk]]\nname = \"itsp\"\ngateways = [{{ uri = \"sip:{}\" }}]\nregister = true\ndid_from = \"to\"\n\
             options_interval = 0\nauth = {{ username = \"house\", password = \"sesame\" }}\n",
            registrar.addr()
        )
        .replace("from = [\"127.0.0.1/32\"]", "from = [\"127.0.0.9/32\"]")
    });
    place
}

fn header<'t>(text: &'t str, name: &str) -> &'t str {
    let line = text.lines().find(|line| line.starts_with(name));
    line.map(|line| line[name.len()..].trim_start_matches(':').trim()).unwrap_or_default()
}

/// The next REGISTER that has this Expires and, where `proven`, credentials that are right.
fn registered(registrar: &Line, expires: &str, proven: bool) -> (String, SocketAddr) {
    loop {
        let (text, from) = registrar.receive();
        let given = Credentials::parse(header(&text, "Authorization").as_bytes());
        let is_right = given.is_some_and(|given| {
            let ha1 = given.algorithm.ha1(b"house", b"itsp", b"sesame");
            given.prove("REGISTER", ha1.as_bytes()).is_some()
        });
        if text.starts_with("REGISTER ") && header(&text, "Expires") == expires && is_right == proven {
            return (text, from);
        }
    }
}

/// Challenges, and grants what is asked for to who proves it; the REGISTER that it was.
fn registrar_grants(registrar: &Line, expires: &str) -> (String, SocketAddr) {
    let (asked, from) = registered(registrar, expires, false);
    let challenge = "401 Unauthorized\r\nWWW-Authenticate: Digest realm=\"itsp\", nonce=\"n\", qop=\"auth\"";
    registrar.send(from, &answer(&asked, challenge, registrar));
    let (proven, from) = registered(registrar, expires, true);
    let contact = header(&proven, "Contact");
    let granted = answer(&proven, "200 OK", registrar);
    let own = format!("Contact: <sip:{}>", registrar.addr());
    registrar.send(from, &granted.replace(&own, &format!("Contact: {contact};expires={expires}")));
    (proven, from)
}

fn state(place: &Place) -> String {
    let (code, out, err) = place.strowger(&["trunks", "--json"]);
    assert_eq!(code, 0, "{err}");
    let list: Value = serde_json::from_str(&out).unwrap();
    let itsp = list["items"].as_array().unwrap().iter().find(|trunk| trunk["name"] == "itsp").unwrap();
    itsp["registration"]["state"].as_str().unwrap().to_owned()
}

#[test]
fn r01_c_a_node_registers_takes_calls_by_its_token_and_leaves_when_it_stops() {
    let registrar = Line::new();
    let place = registers_at(&registrar);
    let mut node = place.serve();
    assert_eq!(state(&place), "trying");
    let (register, sip) = registrar_grants(&registrar, "600");
    wait_until(|| state(&place) == "registered");
    wait_until(|| place.log().contains("registered at the carrier"));
    let (_, shown, _) = place.strowger(&["trunks"]);
    assert!(shown.contains("for 5"), "{shown}");

    // A call to our Contact, from an address that no trunk names.
    let contact = header(&register, "Contact").trim_matches(['<', '>']);
    let sbc = Line::new();
    let invite = process::invite(&sbc, "+12015550101", "in")
        .replace("INVITE sip:+12015550101@127.0.0.1 ", &format!("INVITE {contact} "));
    sbc.send(sip, &invite);
    let (offered, from) = place.phone.offered();
    place.phone.send(from, &answer(&offered, "486 Busy Here", &place.phone));
    assert!(sbc.receive_final().starts_with("SIP/2.0 486 "));
    wait_until(|| !place.records().is_empty());
    assert_eq!(place.records()[0].trunk.as_deref(), Some("itsp"));

    node.signal(Signal::SIGTERM);
    let (ending, _) = registrar_grants(&registrar, "0");
    assert_eq!(header(&ending, "Contact"), header(&register, "Contact"));
    assert_eq!(node.ended(), Some(0));

    // After a restart by the same token, though on another port.
    let _node = place.serve();
    let (again, _) = registrar_grants(&registrar, "600");
    let token = |text: &str| header(text, "Contact").split_once("line=").unwrap().1.to_owned();
    assert_eq!(token(&again), token(&register));
}
