//! R2: the dialled number, as it comes over the wire.

use strowger::sim::manner::Oddity;

use super::*;

/// The caller's INVITE addressed to this URI.
macro_rules! to_uri {
    ($uri:literal) => {
        (|invite: &mut Message| invite.start = concat!("INVITE ", $uri, " SIP/2.0").to_owned())
            as fn(&mut Message)
    };
}

#[track_caller]
fn reaches(setup: &Setup, dress: fn(&mut Message)) {
    let mut call = setup.clone().caller(invite(dress)).incoming(DID).ringing(["gateway1"]);
    call.caller_cancels().comes_to_rest();
    assert_eq!(call.cdr()["did"], DID);
}

#[test]
fn r02_every_way_of_writing_the_number_reaches_it() {
    for uri in [
        to_uri!("sip:+12015550101@127.0.0.1"),
        to_uri!("sips:+12015550101@127.0.0.1"),
        to_uri!("sip:+12015550101@other.example:5070;user=phone"),
        to_uri!("tel:+12015550101"),
        to_uri!("tel:+1-201-555-0101"),
        to_uri!("tel:+1(201)555.0101"),
        to_uri!("sip:2015550101@127.0.0.1"),
        to_uri!("sip:12015550101@127.0.0.1"),
        to_uri!("sip:01112015550101@127.0.0.1"),
        to_uri!("sip:+12015550101;npdi@127.0.0.1"),
        to_uri!("sip:+12015550101;npdi;rn=+12015550000@127.0.0.1"),
        to_uri!("tel:2015550101;phone-context=+1"),
        to_uri!("tel:+12015550101;ext=7"),
        to_uri!("sip:%2B12015550101@127.0.0.1"),
        to_uri!("sip:+1-201-555-0101@127.0.0.1"),
    ] {
        reaches(&forward(), uri);
    }
}

#[test]
fn r02_to_does_not_route_unless_the_trunk_says_so() {
    let to = |invite: &mut Message| {
        invite.start = "INVITE sip:pool@127.0.0.1 SIP/2.0".to_owned();
        invite.set("To", "<sip:+1-201-555-0101@carrier.example>");
    };
    let mut call = forward().caller(invite(to)).incoming(DID);
    assert_eq!(call.caller_is_told(), Some(404));
    call.comes_to_rest();
    assert_eq!(call.cdr()["dialled"], "pool");
    reaches(&node("did_from = \"to\"", "", "", &did_forward()), to);
}

#[test]
fn r02_p_called_party_id_routes_where_the_trunk_says_so() {
    let setup = node("did_from = \"p-called-party-id\"", "", "", &did_forward());
    reaches(&setup, |invite| {
        invite.start = "INVITE sip:pool@127.0.0.1 SIP/2.0".to_owned();
        invite.set("P-Called-Party-ID", "<sip:+12015550101@carrier.example>");
    });
}

#[test]
fn r02_the_trunks_strip_and_prefix_come_after_separators_and_parameters() {
    let setup = node("strip = 3\nprefix = \"+1\"", "", "", &did_forward());
    reaches(&setup, to_uri!("sip:9-99-201-555-0101;npdi@127.0.0.1"));
}

#[test]
fn r02_an_unknown_number_is_404_with_a_record() {
    let mut call =
        forward().caller(Manner { oddity: Oddity::WrongNumber, ..Manner::default() }).incoming(DID);
    assert_eq!(call.caller_is_told(), Some(404));
    call.comes_to_rest();
    let cdr = call.cdr();
    assert_eq!((&cdr["dialled"], &cdr["did"]), (&"+12019990000".into(), &serde_json::Value::Null));
    assert_eq!(end(&mut call), "failed 404 us");
}

#[test]
fn r02_a_disabled_number_is_404_with_a_record() {
    let mut call = number(&format!("forward_to = \"{FORWARD}\"\nenabled = false")).incoming(DID);
    assert_eq!(call.caller_is_told(), Some(404));
    call.comes_to_rest();
    assert_eq!(end(&mut call), "failed 404 us");
    assert_eq!(call.cdr()["did"], DID, "it is ours nevertheless");
}

#[test]
fn r02_what_is_no_number_is_404() {
    for uri in [
        to_uri!("sip:127.0.0.1"),
        to_uri!("sip:alice@127.0.0.1"),
        to_uri!("sip:+1201555010@127.0.0.1"),
        to_uri!("sip:+120155501011@127.0.0.1"),
        to_uri!("tel:911"),
    ] {
        let mut call = forward().caller(invite(uri)).incoming(DID);
        assert_eq!(call.caller_is_told(), Some(404));
        call.comes_to_rest();
    }
}

#[test]
fn r02_another_scheme_is_416() {
    let mut call = forward().caller(invite(to_uri!("urn:service:help"))).incoming(DID);
    assert_eq!(call.caller_is_told(), Some(416));
    call.comes_to_rest();
    assert_eq!(call.cdr()["dialled"], "urn:service:help");
}

#[test]
fn r02_the_record_names_the_dialled_number_in_e164_and_what_is_none_as_it_came() {
    for (uri, dialled) in [
        (to_uri!("sip:2015550101;npdi;rn=+12015550000@127.0.0.1"), DID),
        (to_uri!("tel:+1-201-555-0101"), DID),
        (to_uri!("tel:+1-201-555-9999"), "+12015559999"),
        (to_uri!("sip:alice@127.0.0.1"), "alice"),
        (to_uri!("sip:127.0.0.1"), "sip:127.0.0.1"),
        (
            to_uri!("sip:0123456789abcdefghijklmnopqrstuvwxyz0123456789abcdefghijklmnopqrstuvwxyz@127.0.0.1"),
            "0123456789abcdefghijklmnopqrstuvwxyz0123456789abcdefghijklmnopqr",
        ),
    ] {
        let mut call = forward().caller(invite(uri)).incoming(DID);
        call.after(seconds(40)).comes_to_rest();
        assert_eq!(call.cdr()["dialled"], dialled);
    }
    let mut call = node("strip = 3\nprefix = \"+1\"", "", "", &did_forward())
        .caller(invite(to_uri!("sip:9992015550101@127.0.0.1")))
        .incoming(DID)
        .ringing(["gateway1"]);
    call.caller_cancels().comes_to_rest();
    assert_eq!((&call.cdr()["dialled"], &call.cdr()["did"]), (&DID.into(), &DID.into()));
}

/// RFC 3261 §8.2.3.
#[test]
fn r02_a_body_that_we_do_not_understand_is_415_unless_it_is_optional() {
    fn unknown(invite: &mut Message) {
        invite.set("Content-Type", "application/unknownformat");
        invite.body = b"<audio/>".to_vec();
    }
    fn optional(invite: &mut Message) {
        unknown(invite);
        invite.set("Content-Disposition", "session;handling=optional");
    }
    let mut call = forward().caller(invite(unknown)).incoming(DID);
    assert_eq!(call.caller_is_told(), Some(415));
    assert_eq!(
        header(&mut call, "us → caller", "415", "Accept").as_deref(),
        Some("application/sdp, multipart/mixed")
    );
    call.comes_to_rest();
    assert_eq!(end(&mut call), "failed 415 us");
    let mut call = forward().caller(invite(optional)).incoming(DID).ringing(["gateway1"]);
    call.caller_cancels().comes_to_rest();
}

#[test]
fn r02_a_block_serves_its_numbers() {
    let block = "[[number]]\ndid = \"+1201555*\"\nring = [\"alice\"]\n\n".to_owned() + &did_forward();
    let mut call = node("", "", "", &block).incoming("+12015550177").ringing(["alice"]);
    call.caller_cancels().comes_to_rest();
    assert_eq!(call.cdr()["did"], "+12015550177");
    let mut call = node("", "", "", &block).incoming(DID).ringing(["gateway1"]);
    call.caller_cancels().comes_to_rest();
}

#[test]
fn r02_the_callers_number_is_read_in_the_same_way() {
    let froms: [fn(&mut Message); 4] = [
        |invite| from(invite, "sip:4155550001@10.0.0.1"),
        |invite| from(invite, "sip:01114155550001@10.0.0.1"),
        |invite| from(invite, "tel:+1-415-555-0001"),
        |invite| from(invite, "sip:+14155550001;npdi@10.0.0.1;user=phone"),
    ];
    for dress in froms {
        let mut call = forward().caller(invite(dress)).incoming(DID).ringing(["gateway1"]);
        let shown = header(&mut call, "us → gateway1", "INVITE", "From").unwrap_or_default();
        assert!(shown.contains("<sip:+14155550001@127.0.0.1:5060>"), "{shown}");
        call.comes_to_rest();
        assert_eq!(call.cdr()["caller"], CALLER);
    }
}

#[test]
fn r02_a_caller_that_is_no_number_is_carried_as_it_came() {
    let mut call = forward()
        .caller(invite(|invite| from(invite, "sip:front.desk@pbx.example")))
        .incoming(DID)
        .ringing(["gateway1"]);
    let shown = header(&mut call, "us → gateway1", "INVITE", "From").unwrap_or_default();
    assert!(shown.contains("<sip:front.desk@127.0.0.1:5060>"), "{shown}");
    call.comes_to_rest();
    assert_eq!(call.cdr()["caller"], "front.desk");
}

fn from(invite: &mut Message, uri: &str) {
    let tag = invite.from_tag().unwrap_or_default().to_owned();
    invite.set("From", format!("<{uri}>;tag={tag}"));
    invite.remove("P-Asserted-Identity");
}
