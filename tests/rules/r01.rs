//! R1: who sent it.

use std::net::SocketAddr;

use strowger::sim::manner::Oddity;

use super::*;

const ELSEWHERE: SocketAddr =
    SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::new(127, 0, 8, 8)), 7_777);

/// What we sent to that address.
fn told(call: &Call, addr: SocketAddr) -> Vec<u16> {
    let sent = call.world.trace.crossings.iter().filter(|crossing| crossing.peer == addr);
    sent.map(|crossing| crossing.message.status()).filter(|status| *status != 0).collect()
}

/// The last request that an end sent, as it would come once more on another branch.
fn once_more(call: &mut Call, way: &str, method: &str, branch: &str) -> Message {
    let mut message = call.messages(way, method).remove(0);
    message.set("Via", format!("SIP/2.0/UDP 10.9.8.7:5099;branch={branch};rport"));
    message
}

#[test]
fn r01_a_requests_of_a_dialog_are_taken_from_whatever_address() {
    let mut call = forward()
        .caller(Manner { oddity: Oddity::OtherPort, ..Manner::default() })
        .incoming(DID)
        .ringing(["gateway1"]);
    call.answers("gateway1").after(seconds(1));
    assert_eq!(count(&mut call, "us → caller", "200"), 1, "the ACK from another port is the ACK");
    call.hangs_up("caller");
    call.settle();
    assert_eq!(count(&mut call, "us → caller", "200 (BYE)"), 1);
    assert_eq!(count(&mut call, "us → gateway1", "BYE"), 1);
    call.comes_to_rest();
}

#[test]
fn r01_a_bye_from_an_address_that_nobody_knows_ends_its_dialog() {
    let mut call = bridged();
    let ack = call.messages("caller → us", "ACK").remove(0);
    let mut bye = ack.clone();
    bye.start = bye.start.replace("ACK", "BYE");
    bye.set("CSeq", "2 BYE");
    bye.set("Via", "SIP/2.0/UDP 127.0.8.8:7777;branch=z9hG4bK-far;rport");
    call.world.sends(ELSEWHERE, &bye);
    call.settle();
    assert_eq!(told(&call, ELSEWHERE), [200]);
    assert_eq!(count(&mut call, "us → gateway1", "BYE"), 1);
    call.after(seconds(1));
    assert_eq!(end(&mut call), "answered 200 caller");
    call.world.leaves_unchecked("dialogs_legal");
}

#[test]
fn r01_a_cancel_matches_by_branch_and_call_id_whatever_its_sent_by() {
    let mut call = forward().incoming(DID).ringing(["gateway1"]);
    let invite = call.messages("caller → us", "INVITE").remove(0);
    let branch = invite.branch().to_owned();
    let mut cancel = once_more(&mut call, "caller → us", "INVITE", &branch);
    cancel.start = cancel.start.replace("INVITE", "CANCEL");
    cancel.set("CSeq", "1 CANCEL");
    cancel.body.clear();
    cancel.remove("Content-Type");
    // The two CANCELs share a branch.
    call.world.leaves_unchecked("answers_legal");
    let mut other_call = cancel.clone();
    other_call.set("Call-ID", "another");
    call.world.sends(layout::CARRIER, &other_call);
    call.settle();
    assert_eq!(count(&mut call, "us → gateway1", "CANCEL"), 0, "another Call-ID is another call");
    call.world.sends(ELSEWHERE, &cancel);
    call.settle();
    assert_eq!(told(&call, ELSEWHERE), [200]);
    assert_eq!(count(&mut call, "us → gateway1", "CANCEL"), 1);
    assert_eq!(call.caller_is_told(), Some(487));
    call.comes_to_rest();
}

#[test]
fn r01_d_the_trunk_with_the_longest_from_is_the_sender() {
    let rest = "[[trunk]]\nname = \"wide\"\nfrom = [\"127.0.0.0/8\"]\noptions_interval = 0\n\n\
                [[trunk]]\nname = \"exact\"\nfrom = [\"127.0.1.1/32:5060\"]\noptions_interval = 0\n\n"
        .to_owned()
        + &did("ring = [\"alice\"]");
    let mut call = node("", "", "", &rest).incoming(DID);
    call.settle();
    call.caller_cancels().comes_to_rest();
    assert_eq!(call.cdr()["trunk"], "exact");
}

#[test]
fn r01_e_a_strangers_invite_is_403_and_leaves_no_record() {
    let mut call = forward().caller(Manner { oddity: Oddity::Stranger, ..Manner::default() }).incoming(DID);
    call.after(seconds(1));
    assert_eq!(count(&mut call, "us → stranger", "403"), 1);
    assert_eq!(count(&mut call, "us → stranger", "100"), 0);
    call.comes_to_rest();
    assert!(call.world.records.is_empty());
}

#[test]
fn r01_e_a_strangers_invite_meets_silence_where_strangers_are_dropped() {
    let drop = node("", "", "", &format!("[node]\nstrangers = \"drop\"\n\n{}", did_forward()));
    let stranger = Manner { oddity: Oddity::Stranger, ..Manner::default() };
    let mut call = drop.clone().caller(stranger).incoming(DID);
    call.after(seconds(40));
    assert!(count(&mut call, "stranger → us", "INVITE") > 1, "it is repeated until timer B");
    assert_eq!(told(&call, layout::STRANGER), [0u16; 0]);
    call.comes_to_rest();
    assert!(call.world.records.is_empty());
    let mut call = drop.incoming(DID).ringing(["gateway1"]);
    assert_eq!(count(&mut call, "us → caller", "100"), 1, "a trunk's call is taken all the same");
    call.answers("gateway1").comes_to_rest();
}

#[test]
fn r01_e_a_strangers_other_requests_meet_silence() {
    let mut call = bridged();
    for method in ["OPTIONS", "SUBSCRIBE", "MESSAGE", "BYE", "CANCEL", "INFO"] {
        call.world.sends(layout::STRANGER, &outside(method, ""));
        // A tag that names no dialog of ours makes nobody known.
        call.world.sends(layout::STRANGER, &outside(method, ";tag=guessed"));
    }
    call.settle();
    assert_eq!(told(&call, layout::STRANGER), [0u16; 0]);
    call.hangs_up("caller").comes_to_rest();
}

/// A request outside any dialog of ours.
fn outside(method: &str, tag: &str) -> Message {
    Message::request(method, "sip:anything@127.0.0.1:5060")
        .with("Via", format!("SIP/2.0/UDP 127.0.1.1:5060;branch=z9hG4bK-{method}{};rport", tag.len()))
        .with("Max-Forwards", "70")
        .with("From", "<sip:sbc@127.0.1.1>;tag=f")
        .with("To", format!("<sip:us@127.0.0.1>{tag}"))
        .with("Call-ID", format!("outside-{method}{}", tag.len()))
        .with("CSeq", format!("1 {method}"))
}

#[test]
fn r01_an_invite_of_a_known_sender_gets_100_at_once() {
    let mut call = forward().incoming(DID);
    call.awaits("gateway1");
    let (came, tried) = (call.times("caller → us", "INVITE")[0], call.times("us → caller", "100")[0]);
    assert_eq!(came, tried);
    assert_eq!(call.messages("us → caller", "100")[0].to_tag(), None);
    call.comes_to_rest();
}

#[test]
fn r01_options_from_a_trunk_is_200_whatever_its_user_and_503_while_draining() {
    let mut call = bridged();
    call.world.sends(layout::CARRIER, &outside("OPTIONS", ""));
    call.settle();
    let answer = last_told(&call);
    assert_eq!(answer.status(), 200);
    for name in ["Allow", "Accept", "Supported"] {
        assert!(answer.get(name).is_some(), "{name}");
    }
    call.world.drain();
    let mut again = outside("OPTIONS", "");
    again.set("Via", "SIP/2.0/UDP 127.0.1.1:5060;branch=z9hG4bK-again;rport");
    call.world.sends(layout::CARRIER, &again);
    call.settle();
    let answer = last_told(&call);
    assert_eq!(answer.status(), 503);
    assert!(answer.get("Retry-After").is_some());
    call.hangs_up("caller").comes_to_rest();
}

/// RFC 3261 §12.1: without them neither side could ever end the call.
#[test]
fn r01_an_invite_that_can_make_no_dialog_is_400() {
    let endless = format!("<sip:{};lr>", "r".repeat(17_000));
    let contact = "<sip:sbc@127.0.1.1:5060>";
    for (at, (contact, routes)) in
        [(None, "<sip:r;lr>"), (Some("<tel:+12025550123>"), "<sip:r;lr>"), (Some(contact), &*endless)]
            .into_iter()
            .enumerate()
    {
        let mut call = bridged();
        let mut invite = outside("INVITE", "").with("Record-Route", routes);
        invite.set("Call-ID", format!("none-{at}"));
        if let Some(contact) = contact {
            invite.set("Contact", contact);
        }
        call.world.sends(layout::CARRIER, &invite);
        call.settle();
        assert_eq!(last_told(&call).status(), 400, "{contact:?}");
        assert_eq!(call.world.live_calls().len(), 1, "{contact:?}");
        call.hangs_up("caller").comes_to_rest();
    }
}

fn last_told(call: &Call) -> Message {
    let told = call
        .world
        .trace
        .crossings
        .iter()
        .rev()
        .find(|crossing| crossing.peer == layout::CARRIER && crossing.message.status() >= 200);
    told.map_or_else(|| Message::request("NOTHING", "sip:x"), |crossing| crossing.message.clone())
}

#[test]
fn r01_other_methods_outside_a_dialog_are_405_with_allow() {
    let mut call = bridged();
    for method in ["SUBSCRIBE", "PUBLISH", "MESSAGE", "NOTIFY", "REFER", "WHATEVER"] {
        call.world.sends(layout::CARRIER, &outside(method, ""));
        call.settle();
        let answer = last_told(&call);
        assert_eq!(answer.status(), 405, "{method}");
        assert!(answer.lists("Allow", "INVITE"), "{method}");
    }
    call.hangs_up("caller").comes_to_rest();
}

#[test]
fn r01_no_early_100_goes_to_other_methods() {
    let mut call = bridged();
    call.does("caller", Act::Informs).does("caller", Act::UpdatesMedia).after(seconds(1));
    assert_eq!(
        count(&mut call, "us → caller", "100 (INFO)") + count(&mut call, "us → caller", "100 (UPDATE)"),
        0
    );
    call.hangs_up("caller").comes_to_rest();
}
