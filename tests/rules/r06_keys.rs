//! R6: when tones in the audio are keys. And keys between two who talk, where one has telephone events (RFC 4733) and the
//! other has none.

use strowger::sim::served::served_with_audio;

use super::*;

/// The DID forwards; we need the audio, and so offer the called side events whatever the caller has.
fn recorded() -> Setup {
    number(&format!("forward_to = \"{FORWARD}\"\nvoicemail = false\nrecord = true"))
        .made_by(served_with_audio(40))
}

fn without_events(invite: &mut Message) {
    invite.body = body(invite).replace("AVP 0 101", "AVP 0").into_bytes();
}

fn talking(caller: Manner) -> Call {
    let mut call = recorded().caller(caller).incoming(DID).ringing(["gateway1"]);
    call.answers("gateway1");
    call.settle();
    call
}

fn ports(call: &mut Call) -> [u16; 2] {
    ["caller", "gateway1"].map(|name| call.port_of(name).unwrap_or_default())
}

#[test]
fn r06_tones_are_keys_only_of_who_is_asked_to_press_one_and_only_then() {
    let keys = format!(
        "forward_to = \"{FORWARD}\"\nvoicemail = false\ncall_connect = true\nwhisper = \"Main Street\""
    );
    let mut call = number(&keys).made_by(served_with_audio(40)).incoming(DID).ringing(["gateway1"]);
    let port = call.port_of("gateway1").expect("a port");
    assert!(!call.world.awaits_keys(port), "it rings");
    call.answers("gateway1");
    call.settle();
    assert!(call.world.awaits_keys(port), "during the whisper too");
    call.after(seconds(3));
    assert!(call.world.awaits_keys(port));
    call.presses("gateway1", '1');
    let [caller, called] = ports(&mut call);
    assert_eq!([caller, called].map(|port| call.world.awaits_keys(port)), [false; 2]);
    call.hangs_up("caller").comes_to_rest();
    // Who is only whispered to need not press anything.
    let keys = format!("forward_to = \"{FORWARD}\"\nvoicemail = false\nwhisper = \"Main Street\"");
    let mut call = number(&keys).made_by(served_with_audio(40)).incoming(DID).ringing(["gateway1"]);
    call.answers("gateway1");
    call.settle();
    let port = call.port_of("gateway1").expect("a port");
    assert!(!call.world.awaits_keys(port));
    call.hangs_up("gateway1").comes_to_rest();
}

#[test]
fn r10_tones_are_keys_of_who_leaves_a_message() {
    let keys = "ring = [\"alice\"]\ntimeout = 10\nvoicemail = true";
    let mut call = number(keys).made_by(served_with_audio(40)).incoming(DID).ringing(["alice"]);
    call.after(seconds(14));
    let port = call.port_of("caller").expect("a port");
    assert!(call.world.awaits_keys(port));
    call.hangs_up("caller").comes_to_rest();
}

#[test]
fn r06_a_key_that_info_says_is_an_event_for_who_has_events() {
    let mut call = talking(invite(without_events));
    let [_, called] = ports(&mut call);
    let says = |info: Message| info.with_body("application/dtmf-relay", b"Signal=5\r\nDuration=160\r\n");
    call.asks("caller", "INFO", says);
    call.settle();
    assert_eq!(call.world.pressed(), [(called, '5')]);
    assert_eq!(count(&mut call, "us → gateway1", "INFO"), 0);
    assert_eq!(count(&mut call, "us → caller", "200 (INFO)"), 1, "it is answered all the same");
    // What is no key goes on.
    call.asks("caller", "INFO", |info| info.with_body("text/plain", b"5"));
    call.settle();
    assert_eq!((call.world.pressed().len(), count(&mut call, "us → gateway1", "INFO")), (1, 1));
    call.hangs_up("caller").comes_to_rest();
}

#[test]
fn r06_an_event_is_told_by_info_to_who_has_none() {
    let mut call = talking(invite(without_events));
    call.presses("gateway1", '7').presses("gateway1", '#');
    let told: Vec<String> = call.messages("us → caller", "INFO").iter().map(body).collect();
    assert_eq!(told, ["Signal=7\r\nDuration=160\r\n", "Signal=#\r\nDuration=160\r\n"]);
    assert_eq!(
        header(&mut call, "us → caller", "INFO", "Content-Type").as_deref(),
        Some("application/dtmf-relay")
    );
    assert!(call.world.pressed().is_empty());
    call.hangs_up("caller").comes_to_rest();
}

#[test]
fn r06_and_as_a_tone_where_it_takes_no_info() {
    // Its Allow does not have it.
    let dress: fn(&mut Message) = |invite| {
        without_events(invite);
        invite.set("Allow", "INVITE, ACK, BYE, CANCEL, OPTIONS");
    };
    let mut call = talking(invite(dress));
    let [caller, _] = ports(&mut call);
    call.presses("gateway1", '7');
    assert_eq!((call.world.pressed(), count(&mut call, "us → caller", "INFO")), (vec![(caller, '7')], 0));
    call.hangs_up("caller").comes_to_rest();
    // It refuses the first: that key is heard all the same, and the next ones are not told so.
    let mut call = talking(Manner { stalls: Some(415), ..invite(without_events) });
    call.presses("gateway1", '7').presses("gateway1", '8');
    let [caller, _] = ports(&mut call);
    assert_eq!(call.world.pressed(), [(caller, '7'), (caller, '8')]);
    assert_eq!(count(&mut call, "us → caller", "INFO"), 1);
    call.hangs_up("caller").comes_to_rest();
}

#[test]
fn r06_between_two_who_tell_keys_alike_nothing_is_translated() {
    let mut call = talking(Manner::default());
    call.presses("gateway1", '7').presses("caller", '8');
    call.asks("caller", "INFO", |info| info.with_body("application/dtmf", b"1"));
    call.settle();
    assert!(call.world.pressed().is_empty(), "events go on as they came");
    let told = [count(&mut call, "us → gateway1", "INFO"), count(&mut call, "us → caller", "INFO")];
    assert_eq!(told, [1, 0], "and INFO as it came");
    call.hangs_up("caller").comes_to_rest();
}
