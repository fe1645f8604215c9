//! R4 where audio comes through us: whose descriptions each side sees, and whose ports are left.

use strowger::engine::exchange::Anchoring;
use strowger::sim::manner::Offer;
use strowger::sim::served::{served_with_audio, served_with_audio_so};

use super::*;

/// More pairs than any story needs.
pub const PAIRS: u16 = 40;

/// The DID with these keys, audio through us.
pub fn anchored(keys: &str) -> Setup {
    number(&format!("{keys}\nvoicemail = false")).made_by(served_with_audio(PAIRS))
}

pub fn anchored_forward() -> Setup {
    anchored(&format!("forward_to = \"{FORWARD}\""))
}

/// The `o=`, `c=` and `m=` lines of a description.
pub fn place(message: &Message) -> Vec<String> {
    let is_place = |line: &&str| ["o=", "c=", "m="].iter().any(|start| line.starts_with(start));
    body(message).lines().filter(is_place).map(str::to_owned).collect()
}

/// Whether it is ours, at that place among the pairs.
pub fn is_ours(message: &Message, pair: u16) -> bool {
    let lines = place(message);
    let port = format!("m=audio {} ", 20_000 + 2 * pair);
    lines.len() == 3
        && lines[0].starts_with("o=- ")
        && lines[1] == "c=IN IP4 127.0.0.9"
        && lines[2].starts_with(&port)
}

#[test]
fn r04_anchored_each_side_is_shown_a_description_of_ours_with_a_port_of_its_own() {
    let mut call = anchored_forward().incoming(DID);
    call.awaits("gateway1").does("gateway1", Act::RingsWithMedia).rings("gateway1").answers("gateway1");
    call.settle();
    let told = |call: &mut Call, way, label| call.messages(way, label).remove(0);
    assert!(is_ours(&told(&mut call, "us → gateway1", "INVITE"), 1));
    let (early, answer) = (told(&mut call, "us → caller", "183"), told(&mut call, "us → caller", "200"));
    assert!(is_ours(&early, 0) && is_ours(&answer, 0));
    assert_eq!((&early.body, early.get("To")), (&answer.body, answer.get("To")), "one dialog, one answer");
    call.hangs_up("caller").comes_to_rest();
}

/// Exchanges ask for keys before they answer.
#[test]
fn r04_anchored_who_rings_with_media_and_the_caller_hear_each_other() {
    let mut call = anchored_forward().incoming(DID);
    call.awaits("gateway1").rings("gateway1");
    call.settle();
    assert_eq!([20_000, 20_002].map(|port| call.world.heard_at(port)), [None, None]);
    call.does("gateway1", Act::RingsWithMedia);
    call.settle();
    assert_eq!([20_000, 20_002].map(|port| call.world.heard_at(port)), [Some(20_002), Some(20_000)]);
    call.hangs_up("caller").comes_to_rest();
}

/// RFC 3311 §5.2: the second is refused, and the first is answered as if there had been none.
#[test]
fn r04_anchored_an_offer_that_is_refused_leaves_the_one_that_was_open_before_it() {
    let offers: fn(Message) -> Message = |update| {
        update.with_sdp(Some(
            b"v=0\r\no=- 1 2 IN IP4 127.0.1.1\r\ns=-\r\nc=IN IP4 127.0.1.1\r\nt=0 0\r\nm=audio 6000 RTP/AVP 0\r\n",
        ))
    };
    let answered = |second: bool| {
        let mut call = anchored_forward().incoming(DID).ringing(["gateway1"]);
        if second {
            call.asks("caller", "UPDATE", offers);
            call.settle();
            assert_eq!(call.messages("us → caller", "500 (UPDATE)").len(), 1);
        }
        call.answers("gateway1");
        call.settle();
        let ok = call.messages("us → caller", "200").remove(0);
        let description: Vec<String> =
            body(&ok).lines().filter(|line| !line.starts_with("o=")).map(str::to_owned).collect();
        call.hangs_up("caller").comes_to_rest();
        description
    };
    assert_eq!(answered(true), answered(false));
}

#[test]
fn r04_anchored_every_leg_has_ports_of_its_own_and_the_losers_give_them_back() {
    let mut call = anchored("ring = [\"alice\", \"bob\"]").incoming(DID).ringing(["alice", "bob"]);
    let pairs = ["us → alice", "us → bob"].map(|way| {
        let invite = call.messages(way, "INVITE").remove(0);
        (0..3).find(|pair| is_ours(&invite, *pair))
    });
    assert_eq!(pairs, [Some(1), Some(2)]);
    call.answers("bob");
    call.settle();
    assert!(call.world.held().contains(&"2 pairs of ports".to_owned()), "{:?}", call.world.held());
    call.hangs_up("bob").comes_to_rest();
}

#[test]
fn r04_anchored_without_an_offer_we_make_one_to_either_side_and_acknowledge_at_once() {
    let manner = Manner { offer: Offer::Delayed, ..Manner::default() };
    let mut call = anchored_forward().caller(manner).incoming(DID).ringing(["gateway1"]);
    let offer = call.messages("us → gateway1", "INVITE").remove(0);
    assert!(is_ours(&offer, 1) && body(&offer).contains("RTP/AVP 0 8 9 101"), "{}", body(&offer));
    call.answers("gateway1");
    call.settle();
    let ours = call.messages("us → caller", "200").remove(0);
    assert!(is_ours(&ours, 0));
    assert!(call.messages("us → gateway1", "ACK")[0].body.is_empty());
    call.hangs_up("gateway1").comes_to_rest();
}

#[test]
fn r04_anchored_with_all_ports_in_use_a_call_gets_503_before_it_rings_and_a_leg_is_not_called() {
    // One pair is the caller's, and leaves none for who is rung.
    for pairs in [0, 1] {
        let mut call = anchored_forward().made_by(served_with_audio(pairs)).incoming(DID);
        assert_eq!(call.caller_is_told(), Some(503), "{pairs}");
        assert_eq!(end(&mut call), "failed 503 us", "{pairs}");
        call.comes_to_rest();
    }
    let mut call = hunt().made_by(served_with_audio(2)).incoming(DID).ringing(["alice"]);
    assert_eq!(count(&mut call, "us → bob", "INVITE"), 0);
    call.answers("alice").hangs_up("caller").comes_to_rest();
}

#[test]
fn r11_anchored_a_hold_travels_as_ours_and_the_version_rises_with_it() {
    let mut call = anchored_forward().incoming(DID).ringing(["gateway1"]);
    call.answers("gateway1");
    call.settle();
    call.does("caller", Act::Holds);
    call.settle();
    let held = call.messages("us → gateway1", "INVITE").remove(1);
    assert!(is_ours(&held, 1) && body(&held).contains("a=sendonly"), "{}", body(&held));
    let versions: Vec<String> = call
        .messages("us → gateway1", "INVITE")
        .iter()
        .map(|invite| place(invite)[0].split(' ').nth(2).unwrap_or_default().to_owned())
        .collect();
    assert_eq!(versions, ["0", "1"]);
    let answer = call.messages("us → caller", "200").remove(1);
    assert!(is_ours(&answer, 0) && body(&answer).contains("a=recvonly"), "{}", body(&answer));
    call.hangs_up("caller").comes_to_rest();
}

#[test]
fn r04_when_needed_audio_passes_us_by_unless_the_number_needs_it_of_us() {
    let anchoring = Anchoring { when_needed: true };
    let needed = |keys: &str| {
        let keys = format!("forward_to = \"{FORWARD}\"\n{keys}");
        let maker = served_with_audio_so(PAIRS, anchoring);
        let mut call = number(&keys).made_by(maker).incoming(DID).ringing(["gateway1"]);
        let is_ours = is_ours(&call.messages("us → gateway1", "INVITE").remove(0), 1);
        call.hangs_up("caller").comes_to_rest();
        is_ours
    };
    assert!(!needed("voicemail = false"));
    for key in ["record = true", "whisper = \"hello\"", "call_connect = true"] {
        assert!(needed(&format!("voicemail = false\n{key}")), "{key}");
    }
    assert!(needed("voicemail = true"));
}

/// R4: no SDP reaches it before our 200, be it ours.
#[test]
fn r04_anchored_a_caller_with_a_delayed_offer_is_shown_nothing_before_our_200() {
    use strowger::sim::manner::Offer;
    for reliable in [false, true] {
        let manner = Manner { offer: Offer::Delayed, ..Manner::default() };
        let manner = match reliable {
            true => manner.dressed(|invite| invite.set("Supported", "100rel")),
            false => manner,
        };
        let mut call = anchored_forward().caller(manner).incoming(DID);
        call.awaits("gateway1").does("gateway1", Act::RingsWithMedia).answers("gateway1");
        call.settle();
        let early =
            call.messages("us → caller", "180").into_iter().chain(call.messages("us → caller", "183"));
        let early: Vec<Message> = early.collect();
        assert!(!early.is_empty() && early.iter().all(|rings| rings.body.is_empty()), "{early:?}");
        let ok = call.messages("us → caller", "200").remove(0);
        assert!(is_ours(&ok, 0), "{}", body(&ok));
        assert_eq!([20_000, 20_002].map(|port| call.world.heard_at(port)), [Some(20_002), Some(20_000)]);
        call.hangs_up("caller").comes_to_rest();
        assert_eq!(end(&mut call), "answered 200 caller");
    }
}
