//! R10: voicemail. Whom it answers, what the caller hears, and what of it is kept.

use strowger::sim::booth::Word;
use strowger::sim::manner::{Acks, Offer};
use strowger::sim::served::served_with_audio;

use super::*;

/// The DID rings alice for 10 s, with voicemail; audio through us. The greeting lasts 2 s.
fn with_voicemail(keys: &str) -> Setup {
    number(&format!("ring = [\"alice\"]\ntimeout = 10\n{keys}")).made_by(served_with_audio(40))
}

const GREETED: &str = "voicemail = { greeting = \"Nobody is here\", max_seconds = 30 }";

/// Nobody answered, and the caller has heard the greeting and the tone.
fn speaking() -> Call {
    let mut call = with_voicemail(GREETED).incoming(DID).ringing(["alice"]);
    call.after(seconds(14));
    call
}

#[test]
fn r10_who_is_not_answered_hears_greeting_and_tone_and_leaves_a_message() {
    let mut call = speaking();
    assert_eq!(count(&mut call, "us → alice", "CANCEL"), 1);
    let answered = call.times("us → caller", "200").remove(0);
    let port = call.port_of("caller").expect("a port");
    let said = call.world.said_to(port);
    let lengths: Vec<u128> = said.iter().map(|(_, length)| length.as_millis()).collect();
    assert_eq!(lengths[0], 2_300, "300 ms of silence, and the greeting");
    assert_eq!(said[0].0.since(answered), seconds(0));
    assert!(said[1].0.since(answered) >= Duration::from_millis(2_300), "the tone after it");
    assert_eq!(call.world.written(), [(port, None)]);
    call.is_heard("caller", Word::SaysEnough).after(seconds(4)).hangs_up("caller");
    let cdr = call.cdr();
    assert_eq!(end(&mut call), "voicemail 200 caller");
    assert_eq!((cdr["voicemail"].clone(), cdr["talk_ms"].clone()), (cdr["id"].clone(), 0.into()));
    assert_eq!(cdr["legs"][0]["end"], "normal");
    call.comes_to_rest();
}

#[test]
fn r10_a_message_ends_with_hash_with_silence_and_when_it_is_long_enough() {
    for how in ["hash", "silence", "max_seconds"] {
        let mut call = speaking();
        call.is_heard("caller", Word::SaysEnough);
        match how {
            "hash" => {
                call.presses("caller", '1').presses("caller", '#');
            }
            "silence" => {
                call.is_heard("caller", Word::FallsSilent);
            }
            _ => {
                call.after(seconds(31));
            }
        }
        call.settle();
        assert_eq!(count(&mut call, "us → caller", "BYE"), 1, "{how}");
        assert_eq!(end(&mut call), "voicemail 200 us", "{how}");
        call.comes_to_rest();
    }
}

#[test]
fn r10_who_says_too_little_has_called_in_vain_and_nothing_is_kept() {
    let mut call = speaking();
    call.hangs_up("caller");
    assert_eq!(end(&mut call), "no_answer 200 caller");
    assert!(call.cdr()["voicemail"].is_null());
    call.comes_to_rest();
    let mut call = with_voicemail(GREETED).incoming(DID).ringing(["alice"]);
    call.after(seconds(11)).hangs_up("caller");
    assert_eq!(end(&mut call), "no_answer 200 caller", "during the greeting");
    assert!(call.world.written().is_empty());
    call.comes_to_rest();
}

#[test]
fn r10_busy_declined_and_unreachable_alike_and_each_with_its_reason() {
    for (how, code) in [("busy", 486), ("declined", 603), ("unreachable", 480)] {
        let mut call = with_voicemail("voicemail = true").incoming(DID);
        call.awaits("alice").refuses("alice", code);
        call.settle();
        assert_eq!(count(&mut call, "us → caller", "200"), 1, "{how}");
        call.hangs_up("caller").comes_to_rest();
    }
}

#[test]
fn r10_whom_we_cannot_hear_is_told_what_it_would_be_without_voicemail() {
    let opus: fn(&mut Message) = |invite| {
        invite.body =
            body(invite).replace("AVP 0 101", "AVP 111 101\r\na=rtpmap:111 opus/48000/2").into_bytes();
    };
    let mut call = with_voicemail("voicemail = true").caller(invite(opus)).incoming(DID).ringing(["alice"]);
    call.after(seconds(12));
    assert_eq!(call.caller_is_told(), Some(480));
    call.comes_to_rest();
}

#[test]
fn r10_with_a_delayed_offer_our_200_offers() {
    let manner = Manner { offer: Offer::Delayed, ..Manner::default() };
    let mut call = with_voicemail("voicemail = true").caller(manner).incoming(DID).ringing(["alice"]);
    call.after(seconds(11));
    let offer = call.messages("us → caller", "200").remove(0);
    assert!(body(&offer).contains("m=audio 20000 RTP/AVP 0 8 9 101"), "{}", body(&offer));
    call.hangs_up("caller").comes_to_rest();
}

#[test]
fn r10_who_holds_or_refreshes_while_it_leaves_a_message_is_answered_and_goes_on() {
    let mut call = speaking();
    call.does("caller", Act::Holds).does("caller", Act::Resumes).does("caller", Act::AsksForOffer);
    call.settle();
    assert_eq!(count(&mut call, "us → caller", "200"), 4);
    call.is_heard("caller", Word::SaysEnough).hangs_up("caller");
    assert_eq!(end(&mut call), "voicemail 200 caller");
    call.comes_to_rest();
}

/// Its caller puts us on hold, say.
#[test]
fn r10_a_greeting_that_comes_to_no_end_is_over_a_minute_after_the_longest_one() {
    let mut call = with_voicemail(GREETED).incoming(DID).ringing(["alice"]);
    call.is_heard("alice", Word::IsStuck).after(seconds(10));
    call.after(seconds(658));
    assert_eq!((count(&mut call, "us → caller", "200"), count(&mut call, "us → caller", "BYE")), (1, 0));
    call.after(seconds(3));
    assert_eq!(end(&mut call), "no_answer 200 us");
}

/// Nobody is answered, and billed, for a message that cannot be kept.
#[test]
fn r10_where_the_disk_has_no_room_a_call_ends_as_if_there_were_no_voicemail() {
    let mut call = with_voicemail(GREETED).incoming(DID).ringing(["alice"]);
    call.is_heard("alice", Word::FillsTheDisk).after(seconds(14));
    assert_eq!(call.caller_is_told(), Some(480));
    assert_eq!(end(&mut call), "no_answer 480 us");
    call.comes_to_rest();
}

#[test]
fn r10_a_message_that_the_disk_does_not_take_after_all_ends_and_is_none() {
    let mut call = with_voicemail(GREETED).incoming(DID).ringing(["alice"]);
    call.after(seconds(11)).is_heard("caller", Word::SlowsTheDisk).after(seconds(3));
    assert_eq!(count(&mut call, "us → caller", "BYE"), 1);
    assert_eq!(end(&mut call), "no_answer 200 us");
    assert!(call.cdr()["voicemail"].is_null());
    call.comes_to_rest();
}

/// Our 200 offered: nothing is said to whom we do not know, and who does not answer is not waited for.
#[test]
fn r10_with_a_delayed_offer_the_greeting_begins_with_the_answer_in_the_ack() {
    let manner = Manner { offer: Offer::Delayed, acks: Acks::Never, ..Manner::default() };
    let unanswered = || with_voicemail(GREETED).caller(manner.clone()).incoming(DID).ringing(["alice"]);
    let mut call = unanswered();
    call.after(seconds(12));
    let ok = call.messages("us → caller", "200").remove(0);
    let port = call.port_of("caller").expect("a port");
    assert!(call.world.said_to(port).is_empty());
    let answer = body(&ok).replace(&port.to_string(), "4000");
    call.world.sends(layout::CARRIER, &ack_of(&ok, &answer));
    call.after(seconds(4));
    assert_eq!(call.world.said_to(port).len(), 2, "greeting and tone");
    assert_eq!(call.world.written(), [(port, None)]);
    call.is_heard("caller", Word::SaysEnough).is_heard("caller", Word::FallsSilent);
    assert_eq!(end(&mut call), "voicemail 200 us");

    for answer in [String::new(), answer.replace("m=audio 4000", "m=audio 0")] {
        let mut call = unanswered();
        call.after(seconds(12));
        let ok = call.messages("us → caller", "200").remove(0);
        call.world.sends(layout::CARRIER, &ack_of(&ok, &answer));
        call.settle();
        assert_eq!(count(&mut call, "us → caller", "BYE"), 1, "{answer}");
        assert!(call.world.written().is_empty());
        assert_eq!(end(&mut call), "no_answer 200 us", "{answer}");
        call.comes_to_rest();
    }
}
