//! R4 where audio comes through us: what ends say of their audio that nobody ought to say, and what is seldom said. Each
//! is a call like another, or is refused in words.

use strowger::sim::message::sdp;

use super::r04_anchored::{anchored_forward, is_ours, place};
use super::*;

/// As many lines of nothing as just go into a datagram with the rest.
const LINES: usize = 2_500;

/// The caller's INVITE, with its description changed.
fn described(change: fn(&str) -> String, invite: &mut Message) {
    invite.body = change(&body(invite)).into_bytes();
}

/// A forwarded call whose two talk.
fn talking() -> Call {
    let mut call = anchored_forward().incoming(DID).ringing(["gateway1"]);
    call.answers("gateway1");
    call.settle();
    call
}

/// The last message of that kind on that way.
fn last(call: &mut Call, way: &str, label: &str) -> Message {
    let mut all = call.messages(way, label);
    all.swap_remove(all.len().saturating_sub(1))
}

#[test]
fn r04_a_description_of_60_kb_makes_a_call_like_another_and_goes_no_further() {
    let long: [fn(&mut Message); 2] = [
        |invite| described(|text| text.to_owned() + &"a=x-nothing:0123456789\r\n".repeat(LINES), invite),
        |invite| {
            described(
                |text| {
                    let long = "x".repeat(24 * LINES);
                    text.replace("AVP 0 101", "AVP 0 101 97") + &format!("a=rtpmap:97 {long}/8000\r\n")
                },
                invite,
            );
        },
    ];
    for long in long {
        let mut call = anchored_forward().caller(invite(long)).incoming(DID).ringing(["gateway1"]);
        call.answers("gateway1");
        call.settle();
        for (way, label) in [("us → gateway1", "INVITE"), ("us → caller", "200")] {
            let length = last(&mut call, way, label).body.len();
            assert!(length < 400, "{way}: {length}");
        }
        call.hangs_up("caller").comes_to_rest();
    }
}

#[test]
fn r04_a_description_of_nothing_that_can_be_carried_is_refused_with_488() {
    let unfit: [fn(&mut Message); 9] = [
        |invite| described(|text| text.to_owned() + &"m=audio 4000 RTP/AVP 0\r\n".repeat(500), invite),
        |invite| described(|text| text.replace("c=IN IP4 127.0.0.1\r\n", ""), invite),
        |invite| described(|text| text.replace("IP4 127.0.0.1\r\nt", "IP4 phone.example.com\r\nt"), invite),
        |invite| described(|text| text.replace("IP4 127.0.0.1\r\nt", "IP6 2001:db8::1\r\nt"), invite),
        |invite| described(|text| text.replace("IP4 127.0.0.1\r\nt", "IP4 224.2.1.1/127\r\nt"), invite),
        |invite| described(|text| text.replace("RTP/AVP", "RTP/SAVP"), invite),
        |invite| described(|text| text.replace("m=audio", "m=video"), invite),
        |invite| described(|text| text.replace("AVP 0 101", "AVP 101"), invite),
        |invite| described(|_| "v=0\r\n".to_owned(), invite),
    ];
    for unfit in unfit {
        let mut call = anchored_forward().caller(invite(unfit)).incoming(DID);
        assert_eq!(call.caller_is_told(), Some(488));
        assert_eq!(count(&mut call, "us → gateway1", "INVITE"), 0);
        assert_eq!(end(&mut call), "failed 488 us");
        call.comes_to_rest();
    }
}

#[test]
fn r04_who_answers_with_nothing_that_can_be_carried_joins_nobody() {
    let unfit: [fn(&mut Message); 4] = [
        |answer| described(|text| text.replace("c=IN IP4 127.0.0.1\r\n", ""), answer),
        |answer| described(|text| text.replace("IP4 127.0.0.1\r\nt", "IP6 2001:db8::1\r\nt"), answer),
        |answer| described(|text| text.replace("RTP/AVP", "RTP/SAVP"), answer),
        |answer| described(|text| text.replace("AVP 0 101", "AVP 18"), answer),
    ];
    for unfit in unfit {
        let mut call = anchored_forward().incoming(DID).ringing(["gateway1"]);
        call.behaves("gateway1", Manner::default().dressed(unfit)).answers("gateway1");
        call.settle();
        assert_eq!(count(&mut call, "us → gateway1", "BYE"), 1);
        assert_eq!(count(&mut call, "us → caller", "200"), 0);
        assert_eq!(call.caller_is_told(), Some(480));
        call.comes_to_rest();
    }
}

#[test]
fn r04_who_names_no_address_just_now_is_called_back_and_heard_later() {
    let nowhere: fn(&mut Message) =
        |invite| described(|text| text.replace("IP4 127.0.0.1\r\nt", "IP4 0.0.0.0\r\nt"), invite);
    let mut call = anchored_forward().caller(invite(nowhere)).incoming(DID).ringing(["gateway1"]);
    let offer = last(&mut call, "us → gateway1", "INVITE");
    assert!(is_ours(&offer, 1) && body(&offer).contains("a=sendonly"), "{}", body(&offer));
    call.answers("gateway1");
    call.settle();
    call.asks("caller", "INVITE", |again| again.with_sdp(Some(&sdp("caller", 2, 4_012, "sendrecv"))));
    call.settle();
    let offer = last(&mut call, "us → gateway1", "INVITE");
    assert!(body(&offer).contains("a=sendrecv"), "{}", body(&offer));
    call.hangs_up("caller").comes_to_rest();
}

#[test]
fn r04_other_streams_are_refused_where_they_stand_and_offered_to_nobody() {
    let more: fn(&mut Message) = |invite| {
        described(
            |text| {
                let audio = text.replace("m=audio", "m=image 4004 udptl t38\r\nm=audio");
                audio + "m=video 4002 RTP/AVP 31 34\r\na=rtpmap:31 H261/90000\r\n"
            },
            invite,
        );
    };
    let mut call = anchored_forward().caller(invite(more)).incoming(DID).ringing(["gateway1"]);
    call.answers("gateway1");
    call.settle();
    let streams = |message: &Message| -> Vec<String> {
        body(message).lines().filter(|line| line.starts_with("m=")).map(str::to_owned).collect()
    };
    let offered = streams(&last(&mut call, "us → gateway1", "INVITE"));
    assert!(offered.len() == 1 && offered[0].starts_with("m=audio 20002 RTP/AVP 0 101"), "{offered:?}");
    assert_eq!(
        streams(&last(&mut call, "us → caller", "200")),
        ["m=image 0 udptl t38", "m=audio 20000 RTP/AVP 0 101", "m=video 0 RTP/AVP 31"]
    );
    call.hangs_up("caller").comes_to_rest();
}

#[test]
fn r04_each_side_has_the_payload_types_that_it_said() {
    let mut call = anchored_forward().incoming(DID).ringing(["gateway1"]);
    let others: fn(&mut Message) = |answer| {
        described(|text| text.replace("AVP 0 101", "AVP 0 96").replace("rtpmap:101", "rtpmap:96"), answer);
    };
    call.behaves("gateway1", Manner::default().dressed(others)).answers("gateway1");
    call.settle();
    let answer = last(&mut call, "us → caller", "200");
    assert!(body(&answer).contains("RTP/AVP 0 101\r\n"), "{}", body(&answer));
    assert!(body(&answer).contains("a=rtpmap:101 telephone-event/8000\r\n"), "{}", body(&answer));
    call.hangs_up("caller").comes_to_rest();
}

/// A caller's re-INVITE, and which way its audio flows then: as the other side is told, and as the caller is answered.
type Change = (fn(Message) -> Message, &'static str, &'static str);

#[test]
fn r11_anchored_each_way_to_hold_travels_and_ends_again() {
    let holds: [Change; 3] = [
        (|again| again.with_sdp(Some(&sdp("caller", 2, 4_012, "sendonly"))), "a=sendonly", "a=recvonly"),
        (|again| again.with_sdp(Some(&sdp("caller", 2, 4_012, "inactive"))), "a=inactive", "a=inactive"),
        (
            |again| {
                let sdp = String::from_utf8_lossy(&sdp("caller", 2, 4_012, "sendrecv")).into_owned();
                again.with_sdp(Some(sdp.replace("c=IN IP4 127.0.0.1", "c=IN IP4 0.0.0.0").as_bytes()))
            },
            "a=sendonly",
            "a=recvonly",
        ),
    ];
    for (hold, told, answered) in holds {
        let mut call = talking();
        for (change, told, answered) in [
            (hold, told, answered),
            (|again| again.with_sdp(Some(&sdp("caller", 3, 4_012, "sendrecv"))), "a=sendrecv", "a=sendrecv"),
        ] {
            call.asks("caller", "INVITE", change);
            call.settle();
            let offer = last(&mut call, "us → gateway1", "INVITE");
            assert!(is_ours(&offer, 1) && body(&offer).contains(told), "{told}: {}", body(&offer));
            let answer = last(&mut call, "us → caller", "200");
            assert!(is_ours(&answer, 0) && body(&answer).contains(answered), "{told}: {}", body(&answer));
        }
        call.hangs_up("gateway1").comes_to_rest();
    }
}

#[test]
fn r11_anchored_who_moves_is_no_news_to_the_other_side() {
    let mut call = talking();
    call.asks("caller", "INVITE", |again| again.with_sdp(Some(&sdp("caller", 2, 6_000, "sendrecv"))));
    call.settle();
    assert_eq!(count(&mut call, "us → caller", "200"), 2);
    for (way, label) in [("us → gateway1", "INVITE"), ("us → caller", "200")] {
        let places: Vec<Vec<String>> = call.messages(way, label).iter().map(place).collect();
        assert!(places.windows(2).all(|pair| pair[0] == pair[1]), "{way}: {places:?}");
    }
    call.hangs_up("caller").comes_to_rest();
}

#[test]
fn r11_anchored_an_offer_that_cannot_be_carried_is_refused_and_the_two_talk_on() {
    let unfit: [fn(Message) -> Message; 4] = [
        |again| {
            let sdp = String::from_utf8_lossy(&sdp("caller", 2, 4_012, "sendrecv")).into_owned();
            again.with_sdp(Some(sdp.replace("RTP/AVP", "RTP/SAVP").as_bytes()))
        },
        |again| {
            let sdp = String::from_utf8_lossy(&sdp("caller", 2, 4_012, "sendrecv")).into_owned();
            again.with_sdp(Some(
                sdp.replace("m=audio 4012 RTP/AVP 0 101", "m=image 4012 udptl t38").as_bytes(),
            ))
        },
        |again| {
            let sdp = String::from_utf8_lossy(&sdp("caller", 2, 0, "sendrecv")).into_owned();
            again.with_sdp(Some(sdp.as_bytes()))
        },
        |again| again.with_sdp(Some(b"nonsense")),
    ];
    for unfit in unfit {
        let mut call = talking();
        call.asks("caller", "INVITE", unfit);
        call.settle();
        assert_eq!(count(&mut call, "us → caller", "488"), 1);
        assert_eq!(count(&mut call, "us → gateway1", "INVITE"), 1);
        call.does("caller", Act::Holds);
        call.settle();
        assert_eq!(count(&mut call, "us → gateway1", "INVITE"), 2, "what comes next is carried");
        call.hangs_up("caller");
        assert_eq!(end(&mut call), "answered 200 caller");
        call.comes_to_rest();
    }
}

#[test]
fn r11_anchored_who_asks_for_an_offer_gets_ours_and_the_other_side_its_answer() {
    let mut call = talking();
    call.does("caller", Act::AsksForOffer);
    call.settle();
    assert!(last(&mut call, "us → gateway1", "INVITE").body.is_empty());
    assert!(is_ours(&last(&mut call, "us → caller", "200"), 0));
    assert!(is_ours(&last(&mut call, "us → gateway1", "ACK"), 1));
    call.hangs_up("gateway1").comes_to_rest();
}
