//! R9: as whom a leg rings.

use strowger::sip::header::Name;

use super::*;

fn trunks(carrier: &str, mobile: &str) -> Setup {
    node(carrier, mobile, "", &did_forward())
}

/// The INVITE that this setup's gateway gets from this caller.
fn forwarded(setup: Setup, manner: Manner) -> Message {
    let mut call = setup.caller(manner).incoming(DID).ringing(["gateway1"]);
    let invite = call.messages("us → gateway1", "INVITE").remove(0);
    call.comes_to_rest();
    invite
}

/// The INVITE that the gateway gets where the caller's has this header.
fn forwarded_with(name: &'static str, value: &str) -> Message {
    forwarded(trunks(TRUSTED, ""), Manner::default().with(name, value))
}

fn all(message: &Message, name: &str) -> Vec<String> {
    message.all(name).map(str::to_owned).collect()
}

const TRUSTED: &str = "trusted_identity = true";
const DIVERSION: &str = "<sip:+12015550101@127.0.0.1:5060>;reason=unconditional;privacy=off;counter=1";

#[test]
fn r09_a_forwarded_leg_shows_the_caller_and_names_the_did_as_diverting() {
    let invite = forwarded(trunks(TRUSTED, ""), Manner::default());
    let from = invite.get("From").unwrap_or_default();
    assert!(from.starts_with("\"Caller\" <sip:+14155550001@127.0.0.1:5060>;tag="), "{from}");
    assert_eq!(invite.get("P-Asserted-Identity"), Some("<sip:+14155550001@127.0.0.1:5060>"));
    assert_eq!(all(&invite, "Diversion"), [DIVERSION]);
    assert_eq!(
        all(&invite, "History-Info"),
        [
            "<sip:+12015550101@127.0.0.1:5060>;index=1,<sip:+13125550199@127.0.3.1:5060;cause=302>;index=1.1;mp=1"
        ]
    );
    assert_eq!(invite.get("Privacy"), None);
}

#[test]
fn r09_the_callers_earlier_diversions_are_kept_and_normalised() {
    let manner = invite(|invite| {
        invite.set("Diversion", "\"Desk\" <sip:415-555-0177@10.0.0.1>;reason=user-busy;counter=2;limit=9, <tel:+1-415-555-0178>;reason=\"no-answer\", <sip:+14155550179@10.0.0.1>;reason=odd");
    });
    let found = forwarded(trunks(TRUSTED, ""), manner);
    assert_eq!(
        all(&found, "Diversion"),
        [
            DIVERSION,
            "<sip:+14155550177@127.0.0.1:5060>;reason=user-busy;privacy=off;counter=2",
            "<sip:+14155550178@127.0.0.1:5060>;reason=no-answer;privacy=off;counter=1",
            "<sip:+14155550179@127.0.0.1:5060>;reason=unknown;privacy=off;counter=1",
        ]
    );
}

#[test]
fn r09_an_earlier_diversion_keeps_its_wish_for_privacy_and_its_counter() {
    for (asked, kept, history) in [
        (";privacy=full;counter=2", ";privacy=full;counter=2", "?Privacy=history"),
        (";privacy=\"URI\"", ";privacy=uri;counter=1", "?Privacy=history"),
        (";counter=3;privacy=name", ";privacy=name;counter=3", "?Privacy=history"),
        (";privacy=strict;counter=x", ";privacy=full;counter=1", "?Privacy=history"),
        (";privacy;counter=0", ";privacy=full;counter=1", "?Privacy=history"),
        (";privacy=off;counter=-1", ";privacy=off;counter=1", ""),
        ("", ";privacy=off;counter=1", ""),
    ] {
        let found = forwarded_with("Diversion", &format!("<sip:+14155550177@x>;reason=no-answer{asked}"));
        let earlier = format!("<sip:+14155550177@127.0.0.1:5060>;reason=no-answer{kept}");
        assert_eq!(all(&found, "Diversion"), [DIVERSION.to_owned(), earlier], "{asked}");
        let first = format!("<sip:+14155550177@127.0.0.1:5060{history}>;index=1");
        assert_eq!(all(&found, "History-Info")[0], first, "{asked}");
    }
}

#[test]
fn r09_wishes_for_privacy_stand_behind_the_cause_in_the_history() {
    let diverted =
        "<sip:+14155550177@x>;reason=user-busy;privacy=full, <sip:+14155550178@x>;reason=away;privacy=full";
    let found = forwarded_with("Diversion", diverted);
    let history = all(&found, "History-Info");
    assert_eq!(
        history[..2],
        [
            "<sip:+14155550178@127.0.0.1:5060?Privacy=history>;index=1",
            "<sip:+14155550177@127.0.0.1:5060;cause=404?Privacy=history>;index=1.1;mp=1",
        ]
    );
    assert!(history[2].starts_with("<sip:+12015550101@127.0.0.1:5060;cause=486>;index=1.1.1;mp=1.1,"));
}

#[test]
fn r09_a_diverting_party_that_is_no_number_is_kept_as_it_came() {
    let mut call = trunks(TRUSTED, "")
        .caller(Manner::default().with(
            "Diversion",
            "<sip:front%20desk@10.0.0.1>;reason=away, <tel:4711;phone-context=x>, <sip:x>",
        ))
        .incoming(DID)
        .ringing(["gateway1"]);
    let found = call.messages("us → gateway1", "INVITE").remove(0);
    assert_eq!(
        all(&found, "Diversion"),
        [
            DIVERSION,
            "<sip:front%20desk@127.0.0.1:5060>;reason=away;privacy=off;counter=1",
            "<sip:4711@127.0.0.1:5060>;reason=unknown;privacy=off;counter=1",
        ]
    );
    call.comes_to_rest();
    assert_eq!(call.cdr()["diversions"], serde_json::json!(["front desk", "4711"]));
}

#[test]
fn r09_a_reason_in_the_history_is_no_wish_for_privacy() {
    let history =
        "<sip:+14155550177@x?Reason=SIP%3Bcause%3D486>;index=1, <sip:+12015550101@x;cause=486>;index=1.1";
    let found = forwarded_with("History-Info", history);
    let earlier = "<sip:+14155550177@127.0.0.1:5060>;reason=user-busy;privacy=off;counter=1";
    assert_eq!(all(&found, "Diversion"), [DIVERSION, earlier]);
}

#[test]
fn r09_the_callers_history_is_kept_and_goes_on_where_it_stopped() {
    let manner = invite(|invite| {
        invite.set(
            "History-Info",
            "<sip:+14155550177@10.0.0.1>;index=1, <sip:+12015550101@10.0.0.1;cause=486>;index=1.1",
        );
    });
    let found = forwarded(trunks(TRUSTED, ""), manner);
    assert_eq!(
        all(&found, "History-Info"),
        [
            "<sip:+14155550177@10.0.0.1>;index=1",
            "<sip:+12015550101@10.0.0.1;cause=486>;index=1.1",
            "<sip:+13125550199@127.0.3.1:5060;cause=302>;index=1.1.1;mp=1.1",
        ]
    );
}

#[test]
fn r09_a_history_that_stops_before_the_did_goes_on_with_it() {
    for (last, index) in [("<sip:+14155550177@x>;index=1", "1.1"), ("<sip:+12015550101@x>", "1")] {
        let found = forwarded_with("History-Info", last);
        let did = format!(
            "<sip:+12015550101@127.0.0.1:5060>;index={index},\
             <sip:+13125550199@127.0.3.1:5060;cause=302>;index={index}.1;mp={index}"
        );
        assert_eq!(all(&found, "History-Info"), [last.to_owned(), did]);
    }
}

#[test]
fn r09_the_did_is_known_in_the_history_as_its_trunk_writes_it() {
    for did in ["<sip:(201)555-0101;npdi@x;user=phone>", "<tel:+1-201-555-0101>", "Desk <sip:+12015550101@x>"]
    {
        let found = forwarded_with("History-Info", &format!("{did};index=1"));
        let forward = "<sip:+13125550199@127.0.3.1:5060;cause=302>;index=1.1;mp=1";
        assert_eq!(all(&found, "History-Info")[1..], [forward], "{did}");
    }
}

/// Five diversions are allowed (R11), and the entry behind the fifth says why it happened.
#[test]
fn r09_a_history_of_five_diversions_is_kept_whole() {
    let entry = |at: usize| {
        let index = ["1"; 6][..=at].join(".");
        let number = if at == 5 { "+12015550101".to_owned() } else { format!("+1415555018{at}") };
        let cause = if at == 0 { "" } else { ";cause=486" };
        format!("<sip:{number}@10.0.0.1{cause}>;index={index}")
    };
    let came: Vec<String> = (0..6).map(entry).collect();
    let found = forwarded_with("History-Info", &came.join(", "));
    let mut kept = all(&found, "History-Info");
    let forward = kept.pop().unwrap_or_default();
    assert_eq!(kept, came);
    assert_eq!(forward, "<sip:+13125550199@127.0.3.1:5060;cause=302>;index=1.1.1.1.1.1.1;mp=1.1.1.1.1.1");
    assert_eq!(all(&found, "Diversion").len(), 6);
}

#[test]
fn r09_an_earlier_diversion_is_told_as_history_too() {
    // The latest first; RFC 7544 §7 for their reasons.
    let manner = invite(|invite| {
        invite.set("Diversion", "<sip:+14155550177@10.0.0.1>;reason=user-busy, <sip:+14155550178@10.0.0.1>;reason=no-answer, <sip:+14155550179@10.0.0.1>;reason=away");
    });
    let found = forwarded(trunks(TRUSTED, ""), manner);
    assert_eq!(all(&found, "Diversion").len(), 4);
    assert_eq!(
        all(&found, "History-Info"),
        [
            "<sip:+14155550179@127.0.0.1:5060>;index=1",
            "<sip:+14155550178@127.0.0.1:5060;cause=404>;index=1.1;mp=1",
            "<sip:+14155550177@127.0.0.1:5060;cause=408>;index=1.1.1;mp=1.1",
            "<sip:+12015550101@127.0.0.1:5060;cause=486>;index=1.1.1.1;mp=1.1.1,\
             <sip:+13125550199@127.0.3.1:5060;cause=302>;index=1.1.1.1.1;mp=1.1.1.1",
        ]
    );
}

#[test]
fn r09_an_earlier_history_is_told_as_diversions_too() {
    for (cause, reason) in [
        ("302", "unconditional"),
        ("486", "user-busy"),
        ("408", "no-answer"),
        ("480", "deflection"),
        ("487", "deflection"),
        ("503", "unavailable"),
        ("404", "unknown"),
        ("999", "unknown"),
    ] {
        let mut call = trunks(TRUSTED, "").caller(of_cause(cause)).incoming(DID).ringing(["gateway1"]);
        let found = call.messages("us → gateway1", "INVITE").remove(0);
        // The first retarget names no cause: nobody diverted there. The last but one asks for privacy.
        let earlier = format!("<sip:+14155550178@127.0.0.1:5060>;reason={reason};privacy=off;counter=1");
        assert_eq!(all(&found, "Diversion"), [DIVERSION.to_owned(), earlier], "{cause}");
        call.comes_to_rest();
        assert_eq!(call.cdr()["diversions"], serde_json::json!(["+14155550178"]));
    }
}

/// Retargeted, diverted for this cause, diverted by one who asks for privacy.
fn of_cause(cause: &str) -> Manner {
    let dress: fn(&mut Message) = match cause {
        "302" => |invite| history(invite, "302"),
        "486" => |invite| history(invite, "486"),
        "408" => |invite| history(invite, "408"),
        "480" => |invite| history(invite, "480"),
        "487" => |invite| history(invite, "487"),
        "503" => |invite| history(invite, "503"),
        "404" => |invite| history(invite, "404"),
        _ => |invite| history(invite, "999"),
    };
    invite(dress)
}

fn history(invite: &mut Message, cause: &str) {
    let entries = format!(
        "<sip:+14155550177@10.0.0.1>;index=1, <sip:+14155550178@10.0.0.1>;index=1.1;rc=1, \
         <sip:+14155550179@10.0.0.1;cause={cause}?Privacy=history>;index=1.1.1;mp=1.1, \
         <sip:+12015550101@10.0.0.1;cause=302>;index=1.1.1.1;mp=1.1.1"
    );
    invite.set("History-Info", entries);
}

#[test]
fn r09_pass_called_number_shows_the_did_and_still_sends_the_diversion() {
    let keys = format!("forward_to = \"{FORWARD}\"\npass_called_number = true");
    let found = forwarded(node(TRUSTED, "", "", &did(&keys)), Manner::default());
    let from = found.get("From").unwrap_or_default();
    assert!(from.starts_with("<sip:+12015550101@127.0.0.1:5060>;tag="), "{from}");
    assert_eq!(found.get("P-Asserted-Identity"), Some("<sip:+12015550101@127.0.0.1:5060>"));
    assert_eq!(all(&found, "Diversion"), [DIVERSION]);
    let text = String::from_utf8_lossy(&found.bytes()).into_owned();
    assert!(!text.contains("4155550001"), "{text}");
}

#[test]
fn r09_foreign_caller_id_replace_shows_the_did() {
    let found = forwarded(trunks(TRUSTED, "foreign_caller_id = \"replace\""), Manner::default());
    assert!(found.get("From").unwrap_or_default().contains("<sip:+12015550101@"));
    assert_eq!(found.get("P-Asserted-Identity"), Some("<sip:+12015550101@127.0.0.1:5060>"));
}

#[test]
fn r09_foreign_caller_id_replace_holds_for_a_redirect_too() {
    let setup = node(TRUSTED, "foreign_caller_id = \"replace\"", "", &did("ring = [\"alice\"]"));
    let mut call = setup.incoming(DID);
    call.awaits("alice").redirects("alice", "sip:+13125550123@192.0.2.7");
    let mut call = call.ringing(["gateway1"]);
    let from = header(&mut call, "us → gateway1", "INVITE", "From").unwrap_or_default();
    assert!(from.contains("<sip:+12015550101@"), "{from}");
    call.comes_to_rest();
}

#[test]
fn r09_foreign_caller_id_retry_calls_once_more_with_the_did() {
    for code in [403, 603, 606, 608] {
        let mut call = trunks(TRUSTED, "foreign_caller_id = \"retry\"").incoming(DID);
        call.awaits("gateway1").refuses("gateway1", code);
        call.settle();
        let shown: Vec<bool> = call
            .messages("us → gateway1", "INVITE")
            .iter()
            .map(|invite| invite.get("From").unwrap_or_default().contains(CALLER))
            .collect();
        assert_eq!(shown, [true, false], "{code}");
        call.refuses("gateway1", code);
        call.settle();
        assert_eq!(count(&mut call, "us → gateway1", "INVITE"), 2, "once more, not for ever");
        assert_eq!(call.caller_is_told(), Some(if code == 603 { 603 } else { 480 }));
        call.comes_to_rest();
        assert_eq!(call.cdr()["legs"][1]["presented"], CALLER);
        assert_eq!(call.cdr()["legs"][2]["presented"], DID);
    }
}

#[test]
fn r09_foreign_caller_id_retry_is_over_with_the_first_18x() {
    let mut call = trunks(TRUSTED, "foreign_caller_id = \"retry\"").incoming(DID).ringing(["gateway1"]);
    call.refuses("gateway1", 603);
    assert_eq!(call.caller_is_told(), Some(603));
    assert_eq!(count(&mut call, "us → gateway1", "INVITE"), 1);
    call.comes_to_rest();
}

#[test]
fn r09_pai_is_the_caller_the_did_or_none() {
    for (pai, shown) in [
        ("caller", Some("<sip:+14155550001@127.0.0.1:5060>")),
        ("did", Some("<sip:+12015550101@127.0.0.1:5060>")),
        ("none", None),
    ] {
        let found = forwarded(trunks(TRUSTED, &format!("pai = \"{pai}\"")), Manner::default());
        assert_eq!(found.get("P-Asserted-Identity"), shown, "{pai}");
    }
}

#[test]
fn r09_diversion_and_history_can_be_left_out() {
    let found = forwarded(trunks(TRUSTED, "diversion = false\nhistory_info = false"), Manner::default());
    assert_eq!((found.get("Diversion"), found.get("History-Info")), (None, None));
}

#[test]
fn r09_numbers_are_written_as_the_trunk_wants_them() {
    let found = forwarded(trunks(TRUSTED, "numbers = \"digits\""), Manner::default());
    assert_eq!(found.uri(), "sip:13125550199@127.0.3.1:5060");
    assert!(found.get("From").unwrap_or_default().contains("<sip:14155550001@"));
    let found = forwarded(trunks(TRUSTED, "numbers = \"national\""), Manner::default());
    assert_eq!(found.uri(), "sip:3125550199@127.0.3.1:5060");
}

#[test]
fn r09_the_trunks_carry_list_travels_and_unknown_headers_do_not() {
    let manner = invite(|invite| {
        invite.set("X-Twilio-CallToken", "t".repeat(1_100));
        invite.set("X-Other", "stays");
        invite.set("P-Charging-Vector", "stays");
        invite.set("User-to-User", "00aa;encoding=hex");
        invite.set("Subject", "travels");
    });
    let found = forwarded(trunks(TRUSTED, "carry = [\"X-Twilio-CallToken\"]"), manner);
    assert_eq!(found.get("X-Twilio-CallToken").map(str::len), Some(1_100));
    assert_eq!(found.get("User-to-User"), Some("00aa;encoding=hex"));
    assert_eq!(found.get("Subject"), Some("travels"));
    assert_eq!((found.get("X-Other"), found.get("P-Charging-Vector")), (None, None));
}

#[test]
fn r09_identity_headers_are_believed_only_from_trusted_trunks() {
    let spoof = || invite(|invite| invite.set("P-Asserted-Identity", "<sip:+14155559999@10.0.0.1>"));
    let trusting = forwarded(trunks(TRUSTED, ""), spoof());
    assert!(trusting.get("From").unwrap_or_default().contains("+14155559999"));
    let doubting = forwarded(trunks("", ""), spoof());
    assert!(doubting.get("From").unwrap_or_default().contains(CALLER));
    assert_eq!(doubting.get("P-Asserted-Identity"), Some("<sip:+14155550001@127.0.0.1:5060>"));
}

mod withheld {
    use super::*;

    /// Asks for privacy in every way, and leaves its number in every place where it could slip through.
    fn shy() -> Manner {
        invite(|invite| {
            let tag = invite.from_tag().unwrap_or_default().to_owned();
            invite.set("From", format!("\"Secret 4155550001\" <sip:anonymous@anonymous.invalid>;tag={tag}"));
            invite.set("Privacy", "id");
            invite.set("P-Asserted-Identity", "\"Secret\" <sip:+14155550001@10.0.0.1>");
            invite.set("P-Preferred-Identity", "<sip:+14155550001@10.0.0.1>");
            invite.set("Remote-Party-ID", "\"Secret\" <sip:+14155550001@10.0.0.1>;privacy=full");
            invite.set("Contact", "<sip:+14155550001@127.0.1.1:5060>");
            invite.set("Diversion", "<sip:+14155550001@10.0.0.1>;reason=unconditional");
        })
    }

    fn assert_silent(found: &Message) {
        let text = String::from_utf8_lossy(&found.bytes()).into_owned();
        assert!(!text.contains("4155550001") && !text.contains("Secret"), "{text}");
        let from = found.get("From").unwrap_or_default();
        assert!(from.contains("<sip:anonymous@anonymous.invalid>;tag="), "{from}");
        assert_eq!(found.get("Privacy"), Some("id"));
    }

    #[test]
    fn r09_a_withheld_number_stays_with_us_on_an_untrusted_trunk() {
        let found = forwarded(trunks(TRUSTED, ""), shy());
        assert_silent(&found);
        assert_eq!(found.get("P-Asserted-Identity"), None);
        assert_eq!(all(&found, "Diversion"), [DIVERSION]);
    }

    #[test]
    fn r09_a_trusted_trunk_gets_the_withheld_number_in_pai_alone() {
        let mut found = forwarded(trunks(TRUSTED, TRUSTED).unchecked("stays_withheld"), shy());
        assert_eq!(found.get("P-Asserted-Identity"), Some("<sip:+14155550001@127.0.0.1:5060>"));
        found.remove("P-Asserted-Identity");
        assert_silent(&found);
    }

    #[test]
    fn r09_an_agent_never_gets_the_withheld_number() {
        let setup = node(TRUSTED, "", "", &did("ring = [\"alice\"]"));
        let mut call = setup.caller(shy()).incoming(DID).ringing(["alice"]);
        let found = call.messages("us → alice", "INVITE").remove(0);
        assert_silent(&found);
        assert_eq!((found.get("P-Asserted-Identity"), found.get("Diversion")), (None, None));
        call.comes_to_rest();
    }

    /// What a caller says of itself in headers that go along as they came.
    fn tells(message: &mut Message) {
        message.set("Call-Info", "<sip:+14155550001@10.0.0.1>;purpose=info");
        message.set("Subject", "4155550001 calls");
        message.set("Geolocation", "<pres:+14155550001@10.0.0.1>");
        message.set("User-to-User", "00aa;encoding=hex");
    }

    #[test]
    fn r09_what_a_withheld_caller_says_of_itself_goes_to_those_alone_who_may_know_the_number() {
        let shows = |dress: fn(&mut Message), mobile: &str| {
            let mut call =
                trunks(TRUSTED, mobile).unchecked("stays_withheld").caller(invite(dress)).incoming(DID);
            call.awaits("gateway1").answers("gateway1").settle();
            call.asks("caller", "INFO", |mut info| {
                tells(&mut info);
                info
            });
            call.hangs_up("caller").comes_to_rest();
            let kinds = ["INVITE", "INFO"].map(|kind| call.messages("us → gateway1", kind).remove(0));
            kinds.map(|found| {
                assert!(found.get("User-to-User").is_some());
                ["Call-Info", "Subject", "Geolocation"]
                    .iter()
                    .filter(|name| found.get(name).is_some())
                    .count()
            })
        };
        let shy: fn(&mut Message) = |invite| {
            tells(invite);
            invite.set("Privacy", "id");
        };
        assert_eq!([shows(shy, ""), shows(shy, TRUSTED), shows(tells, "")], [[0, 0], [3, 3], [3, 3]]);
    }

    #[test]
    fn r09_every_way_of_asking_for_privacy_is_heard() {
        let ways: [fn(&mut Message); 4] = [
            |invite| invite.set("Privacy", "id;critical"),
            |invite| invite.set("Privacy", "header; user"),
            |invite| invite.set("Remote-Party-ID", "<sip:+14155550001@10.0.0.1>;party=calling;privacy=full"),
            |invite| {
                let tag = invite.from_tag().unwrap_or_default().to_owned();
                invite.set("From", format!("<sip:anonymous@10.0.0.1>;tag={tag}"));
            },
        ];
        for way in ways {
            assert_silent(&forwarded(trunks(TRUSTED, "").unchecked("stays_withheld"), invite(way)));
        }
    }

    #[test]
    fn r09_the_record_keeps_a_withheld_number_only_from_a_trusted_sender() {
        for (carrier, caller) in [(TRUSTED, serde_json::json!(CALLER)), ("", serde_json::Value::Null)] {
            let mut call = trunks(carrier, "").caller(shy()).incoming(DID).ringing(["gateway1"]);
            call.answers("gateway1").comes_to_rest();
            let cdr = call.cdr();
            assert_eq!((&cdr["caller"], &cdr["withheld"]), (&caller, &true.into()));
            assert_eq!(cdr["presented"], serde_json::Value::Null);
        }
    }

    #[test]
    fn r09_with_pass_called_number_a_withheld_caller_stays_withheld() {
        let keys = format!("forward_to = \"{FORWARD}\"\npass_called_number = true");
        let found = forwarded(node(TRUSTED, "", "", &did(&keys)), shy());
        let text = String::from_utf8_lossy(&found.bytes()).into_owned();
        assert!(!text.contains("4155550001") && !text.contains("Secret"), "{text}");
    }
}

#[test]
fn r09_a_caller_that_is_no_number_is_carried_as_it_came_escapes_included() {
    for (dress, shown) in [
        ((|invite| from_user(invite, "50%25off")) as fn(&mut Message), "50%25off"),
        (|invite| from_user(invite, "bob%20smith"), "bob%20smith"),
        (|invite| from_user(invite, "%22x%22%3Ey"), "%22x%22%3Ey"),
        (|invite| from_user(invite, "bob;day=1"), "bob;day=1"),
    ] {
        let mut call = forward().caller(invite(dress)).incoming(DID).ringing(["gateway1"]);
        let sent = call.messages("us → gateway1", "INVITE").remove(0);
        for name in ["From", "P-Asserted-Identity"] {
            let value = sent.get(name).unwrap_or_default();
            assert!(value.contains(&format!("<sip:{shown}@127.0.0.1:5060>")), "{name}: {value}");
        }
        call.answers("gateway1").comes_to_rest();
    }
}

fn from_user(invite: &mut Message, user: &str) {
    let tag =
        invite.get("From").and_then(|from| from.split_once(";tag=")).map_or("x", |(_, tag)| tag).to_owned();
    invite.set("From", format!("<sip:{user}@10.0.0.1>;tag={tag}"));
    invite.remove("P-Asserted-Identity");
}

/// What we write, the far side reads: whatever a caller is called, its call is answered.
#[test]
fn r09_no_caller_makes_an_invite_that_cannot_be_read() {
    use std::sync::atomic::{AtomicU8, Ordering};
    static EIGHT: AtomicU8 = AtomicU8::new(0);
    fn dress(message: &mut Message) {
        let user: String =
            (0..8).map(|at| format!("%{:02x}", EIGHT.load(Ordering::Relaxed) * 8 + at)).collect();
        from_user(message, &user);
    }
    for eight in 0..32 {
        EIGHT.store(eight, Ordering::Relaxed);
        let mut call = forward().caller(invite(dress)).incoming(DID).ringing(["gateway1"]);
        call.answers("gateway1");
        assert_eq!(count(&mut call, "us → caller", "200"), 1, "from {}", eight * 8);
        call.comes_to_rest();
    }
}

#[test]
fn r09_a_carried_header_stands_once_and_none_is_carried_that_stands_there_anyhow() {
    let names = || Name::ALL.iter().map(|name| name.token()).chain(["X-Twilio-CallToken", "Content-ID"]);
    let carry = |name: &str| format!("carry = [\"{name}\"]");
    let may_be_carried = |name: &str| {
        let text = format!("[[trunk]]\nname = \"mobile\"\n{}", carry(name));
        strowger::config::parse(&text, &|_| None).is_ok()
    };
    for name in names().filter(|name| may_be_carried(name)) {
        let setup = node(TRUSTED, &carry(name), "", &did_forward());
        let found = forwarded(setup, Manner::default().with(name, "1"));
        assert_eq!(all(&found, name), ["1"], "{name}");
    }
    let busy = Manner::default()
        .with("Max-Breadth", "60")
        .with("Subject", "x")
        .with("Priority", "urgent")
        .with("Reason", "Q.850;cause=16")
        .with("Accept", "application/sdp")
        .with("Content-Disposition", "session")
        .with("Content-ID", "<a@b>")
        .with("MIME-Version", "1.0")
        .with("Privacy", "id");
    let found = forwarded(trunks(TRUSTED, ""), busy);
    assert!(found.fields.len() > 20, "{found:?}");
    for (name, _) in &found.fields {
        assert!(!may_be_carried(name), "{name} would stand there twice");
    }
}
