//! What an INVITE asks for that we do not do, or not for ever.

use super::*;

#[test]
fn r11_an_invite_that_replaces_a_dialog_is_481_and_writes_its_record() {
    for (require, told) in [(None, 481), (Some("replaces"), 420)] {
        let mut manner = Manner::default().with("Replaces", "425928@x;to-tag=7743;from-tag=6472");
        if let Some(tag) = require {
            manner = manner.with("Require", tag);
        }
        let mut call = forward().caller(manner).incoming(DID);
        assert_eq!(call.caller_is_told(), Some(told));
        call.comes_to_rest();
        assert_eq!(end(&mut call), format!("failed {told} us"));
        assert_eq!(legs(&mut call), [format!("caller failed {told}")]);
    }
}

#[test]
fn r08_when_the_callers_expires_passes_it_is_487_and_the_legs_are_cancelled() {
    let mut call =
        hunt().caller(Manner::default().with("Expires", "12")).incoming(DID).ringing(["alice", "bob"]);
    call.after(seconds(13));
    assert_eq!(call.caller_is_told(), Some(487));
    let invited = call.times("caller → us", "INVITE")[0];
    assert_eq!(call.times("us → caller", "487")[0].since(invited).as_secs(), 12);
    for way in ["us → alice", "us → bob"] {
        assert_eq!(header(&mut call, way, "CANCEL", "Reason").as_deref(), Some("Q.850;cause=19"));
    }
    call.comes_to_rest();
    assert_eq!(
        (end(&mut call).as_str(), &call.cdr()["cause"]),
        ("cancelled 487 us", &"the caller's Expires passed".into())
    );
    assert_eq!(legs(&mut call)[0], "caller cancelled 487");
}

#[test]
fn r08_an_expires_that_passes_after_the_answer_ends_nothing() {
    let mut call =
        forward().caller(Manner::default().with("Expires", "12")).incoming(DID).ringing(["gateway1"]);
    call.answers("gateway1").after(seconds(30));
    assert_eq!(count(&mut call, "us → caller", "BYE"), 0);
    call.hangs_up("caller").comes_to_rest();
    assert_eq!(end(&mut call), "answered 200 caller");
}

#[test]
fn r01_an_invite_with_two_contacts_is_400_and_writes_no_record() {
    let manner = Manner::default().with("Contact", "<sip:a@127.0.1.1:5060>, <sip:b@127.0.1.1:5060>");
    let mut call = forward().caller(manner).incoming(DID);
    assert_eq!(call.caller_is_told(), Some(400));
    call.comes_to_rest();
    assert_eq!(call.world.records.len(), 0);
}

#[test]
fn r08_a_420_names_what_we_lack_in_one_line_that_fits_into_a_datagram() {
    let tags: Vec<String> = (0..4_200).map(|at| format!("x{at}")).collect();
    let mut call = forward().caller(Manner::default().with("Require", tags.join(","))).incoming(DID);
    assert_eq!(call.caller_is_told(), Some(420));
    let told = call.messages("us → caller", "420").remove(0);
    let named: Vec<&str> = told.all("Unsupported").collect();
    assert_eq!(named.len(), 1);
    assert!(named[0].starts_with("x0, x1, x2, ") && (400..=512).contains(&named[0].len()), "{}", named[0]);
    call.comes_to_rest();
}

/// RFC 3261 §19.1.1: headers are not allowed in a Request-URI.
#[test]
fn the_headers_of_a_contact_are_no_part_of_what_it_is_asked_by() {
    let setup = forward().caller(invite(|invite| {
        let contact = format!("<sip:{CALLER}@{}?Subject=x&y=z>", layout::CARRIER);
        invite.set("Contact", &contact);
    }));
    let mut call = setup.incoming(DID).ringing(["gateway1"]);
    call.behaves(
        "gateway1",
        invite(|response| {
            let contact = response.get("Contact").map(|contact| contact.replace('>', "?>"));
            if let Some(contact) = contact {
                response.set("Contact", &contact);
            }
        }),
    );
    call.answers("gateway1").after(millis(50));
    call.does("gateway1", Act::Holds).after(millis(50));
    call.does("caller", Act::Holds).after(millis(50));
    for way in ["us → caller", "us → gateway1"] {
        let asked = call.messages(way, "INVITE").pop().map(|invite| invite.start);
        assert!(asked.as_deref().is_some_and(|start| !start.contains('?')), "{way}: {asked:?}");
    }
    call.hangs_up("caller").comes_to_rest();
}
