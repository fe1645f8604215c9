//! R4: what the caller hears while it rings, offers and answers, and reliable responses.

use insta::assert_snapshot;
use strowger::sim::manner::{Acks, Offer, Reliably};

use super::*;

#[test]
fn r04_the_first_18x_of_any_leg_gives_the_caller_one_180_without_sdp() {
    let mut call = hunt().incoming(DID);
    call.awaits("alice").awaits("bob");
    call.does("bob", Act::RingsWithMedia).rings("alice").rings("alice").rings("bob");
    let heard = call.messages("us → caller", "180");
    assert_eq!(heard.len(), 1);
    assert!(heard[0].body.is_empty());
    assert_eq!(count(&mut call, "us → caller", "183"), 0);
    call.comes_to_rest();
}

#[test]
fn r04_the_180_is_repeated_every_60_seconds() {
    let mut call = number("ring = [\"alice\"]\ntimeout = 200").incoming(DID).ringing(["alice"]);
    call.after(seconds(190));
    let heard = call.times("us → caller", "180");
    let gaps: Vec<Duration> = heard.windows(2).map(|two| two[1].since(two[0])).collect();
    assert_eq!(gaps, [seconds(60); 3]);
    call.answers("alice").after(seconds(70));
    assert_eq!(count(&mut call, "us → caller", "180"), 4);
    call.comes_to_rest();
}

#[test]
fn r04_a_provisional_response_that_is_no_18x_does_not_ring() {
    let mut call = hunt().incoming(DID);
    call.awaits("alice").behaves(
        "alice",
        invite(|response| response.start = "SIP/2.0 199 Early Dialog Terminated".to_owned()),
    );
    call.rings("alice");
    call.settle();
    assert_eq!(count(&mut call, "alice → us", "199"), 1);
    assert_eq!(count(&mut call, "us → caller", "180"), 0);
    call.comes_to_rest();
}

#[test]
fn r04_183_with_sdp_passes_from_a_single_plain_target_and_a_180_after_it_too() {
    let mut call = forward().incoming(DID);
    call.awaits("gateway1").does("gateway1", Act::RingsWithMedia).rings("gateway1").answers("gateway1");
    assert_snapshot!(call.ladder(), @"
    caller          us              gateway1
      ├─── INVITE ───▶│               │
      │◀──── 100 ─────┤               │
      │               ├─── INVITE ───▶│
      │               │◀──── 183 ─────┤
      │◀──── 183 ─────┤               │
      │               │◀──── 180 ─────┤
      │◀──── 180 ─────┤               │
      │               │◀──── 200 ─────┤
      │               ├───── ACK ────▶│
      │◀──── 200 ─────┤               │
      ├───── ACK ────▶│               │
    ");
    let leg = call.messages("gateway1 → us", "183").remove(0);
    let told = ["183", "180", "200"].map(|label| call.messages("us → caller", label).remove(0));
    assert_eq!(told[0].body, leg.body);
    assert!(told[1].body.is_empty());
    assert!(told.iter().all(|one| one.to_tag() == told[0].to_tag()), "one dialog");
    call.comes_to_rest();
}

#[test]
fn r04_early_sdp_of_several_targets_stays_with_us() {
    for keys in [
        "ring = [\"alice\", \"bob\"]",
        "ring = [\"alice\"]\noverflow = [{ ring = [\"bob\"] }]",
        "ring = [\"alice\"]\nforward_to = \"+13125550199\"",
        "ring = [\"alice\"]\nwhisper = \"Main Street\"\nwhisper_agents = true",
    ] {
        let mut call = number(keys).incoming(DID);
        call.awaits("alice").does("alice", Act::RingsWithMedia);
        call.settle();
        assert_eq!(count(&mut call, "us → caller", "183"), 0, "{keys}");
        assert!(call.messages("us → caller", "180")[0].body.is_empty(), "{keys}");
        call.comes_to_rest();
    }
}

#[test]
fn r04_a_legs_first_sdp_is_repeated_unchanged_in_the_200() {
    let mut call = forward().incoming(DID);
    call.awaits("gateway1").does("gateway1", Act::RingsWithMedia);
    call.behaves(
        "gateway1",
        invite(|answer| answer.body = body_of(answer).replace("a=sendrecv", "a=inactive").into_bytes()),
    );
    call.answers("gateway1");
    let early = call.messages("us → caller", "183").remove(0);
    let late = call.messages("us → caller", "200").remove(0);
    assert_ne!(call.messages("gateway1 → us", "200")[0].body, late.body);
    assert_eq!(early.body, late.body);
    call.comes_to_rest();
}

fn body_of(message: &Message) -> String {
    body(message)
}

#[test]
fn r04_each_leg_whose_sdp_reaches_the_caller_has_a_to_tag_of_its_own() {
    let mut call = forward().incoming(DID);
    call.awaits("gateway1").does("gateway1", Act::RingsWithMedia);
    call.redirects("gateway1", "sip:+13125550123@127.0.3.2");
    call.awaits("gateway2").does("gateway2", Act::RingsWithMedia).answers("gateway2");
    let early = call.messages("us → caller", "183");
    let answer = call.messages("us → caller", "200").remove(0);
    assert_eq!(early.len(), 2);
    assert_ne!(early[0].to_tag(), early[1].to_tag());
    assert_eq!(early[1].to_tag(), answer.to_tag());
    assert_eq!(early[1].body, answer.body);
    call.hangs_up("caller").comes_to_rest();
}

#[test]
fn r04_a_far_side_that_forks_reaches_the_caller_in_dialogs_of_their_own() {
    let mut call = forward().incoming(DID);
    call.awaits("gateway1").does("gateway1", Act::RingsWithMedia);
    call.behaves(
        "gateway1",
        invite(|response| {
            let to = response.get("To").unwrap_or_default().replace(";tag=", ";tag=other");
            response.set("To", to);
            response.body = body(response).replace("4016", "4020").into_bytes();
        }),
    );
    call.does("gateway1", Act::RingsWithMedia);
    let early = call.messages("us → caller", "183");
    assert_eq!(early.len(), 2);
    assert_ne!(early[0].to_tag(), early[1].to_tag());
    call.caller_cancels().comes_to_rest();
}

#[test]
fn r04_provisional_responses_are_reliable_only_where_the_caller_wants_them_so() {
    for (reliably, act, reliable) in [
        (Reliably::No, Act::Rings, false),
        (Reliably::No, Act::RingsWithMedia, false),
        (Reliably::Supported, Act::Rings, false),
        (Reliably::Supported, Act::RingsWithMedia, true),
        (Reliably::Required, Act::Rings, true),
        (Reliably::Required, Act::RingsWithMedia, true),
    ] {
        let mut call = forward().caller(Manner { reliably, ..Manner::default() }).incoming(DID);
        call.awaits("gateway1").does("gateway1", act.clone());
        let label = if act == Act::Rings { "180" } else { "183" };
        let told = call.messages("us → caller", label).remove(0);
        assert_eq!(told.lists("Require", "100rel"), reliable, "{reliably:?} {act:?}");
        assert_eq!(told.get("RSeq").is_some(), reliable, "{reliably:?} {act:?}");
        assert_eq!(count(&mut call, "caller → us", "PRACK"), usize::from(reliable));
        assert_eq!(count(&mut call, "us → caller", "200 (PRACK)"), usize::from(reliable));
        assert_eq!(count(&mut call, "us → gateway1", "PRACK"), 0, "it ends at each leg");
        call.answers("gateway1").hangs_up("gateway1").comes_to_rest();
    }
}

#[test]
fn r04_a_reliable_response_is_repeated_until_its_prack_and_ends_the_invite_without() {
    let manner = Manner { reliably: Reliably::Required, ..Manner::default() };
    let keys = format!("forward_to = \"{FORWARD}\"\ntimeout = 60");
    let mut call = number(&keys).caller(manner).incoming(DID);
    call.awaits("gateway1").does("caller", Act::Dies).rings("gateway1");
    call.after(seconds(40));
    let rung = call.times("us → caller", "180");
    let gaps: Vec<u128> = rung.windows(2).map(|two| two[1].since(two[0]).as_millis()).collect();
    assert_eq!(gaps, [500, 1_000, 2_000, 4_000, 8_000, 16_000]);
    assert_eq!(call.times("us → caller", "504")[0].since(rung[0]), seconds(32));
    assert_eq!(count(&mut call, "us → gateway1", "CANCEL"), 1);
    assert_eq!(end(&mut call), "failed 504 us");
    call.comes_to_rest();
}

#[test]
fn r04_an_answer_that_a_prack_holds_up_is_none_until_it_leaves() {
    let manner = Manner { reliably: Reliably::Required, ..Manner::default() };
    for (ends, record) in [
        (None, "failed 504 us"),
        (Some("gateway1"), "failed 480 callee"),
        (Some("operator"), "failed 480 us"),
    ] {
        let mut call = forward().caller(manner.clone()).incoming(DID);
        call.awaits("gateway1").does("caller", Act::Dies).does("gateway1", Act::RingsWithMedia);
        call.answers("gateway1").after(seconds(1));
        assert_eq!(count(&mut call, "us → gateway1", "ACK"), 1);
        match ends {
            None => drop(call.after(seconds(40))),
            Some("operator") => {
                let id = call.world.live_calls().remove(0);
                call.world.operator_hangs_up(&id);
                call.settle();
            }
            Some(leg) => drop(call.hangs_up(leg).after(seconds(1))),
        }
        assert_eq!(count(&mut call, "us → caller", "200"), 0);
        let cdr = call.cdr();
        assert_eq!(end(&mut call), record);
        assert!(cdr["answered"].is_null() && cdr["winner"].is_null() && cdr["talk_ms"] == 0, "{cdr}");
        assert_eq!(legs(&mut call)[1], "+13125550199 failed 200");
        call.comes_to_rest();
    }
}

#[test]
fn r04_to_legs_100rel_is_supported_and_never_required() {
    let manner = Manner { reliably: Reliably::Required, ..Manner::default() };
    let mut call = forward().caller(manner).incoming(DID).ringing(["gateway1"]);
    let invite = call.messages("us → gateway1", "INVITE").remove(0);
    assert!(invite.lists("Supported", "100rel"));
    assert_eq!(invite.get("Require"), None);
    call.comes_to_rest();
}

#[test]
fn r04_a_legs_reliable_response_gets_its_prack_from_us() {
    let mut call = forward().incoming(DID);
    call.awaits("gateway1").does("gateway1", Act::RingsReliably).answers("gateway1");
    call.after(seconds(1));
    assert_snapshot!(call.ladder(), @"
    caller          us              gateway1
      ├─── INVITE ───▶│               │
      │◀──── 100 ─────┤               │
      │               ├─── INVITE ───▶│
      │               │◀──── 183 ─────┤
      │               ├──── PRACK ───▶│
      │◀──── 183 ─────┤               │
      │               │◀ 200 (PRACK) ─┤
      │               │◀──── 200 ─────┤
      │               ├───── ACK ────▶│
      │◀──── 200 ─────┤               │
      ├───── ACK ────▶│               │
    ");
    let (rseq, rack) = (
        header(&mut call, "gateway1 → us", "183", "RSeq").unwrap_or_default(),
        header(&mut call, "us → gateway1", "PRACK", "RAck").unwrap_or_default(),
    );
    assert_eq!(rack, format!("{rseq} 1 INVITE"));
    call.comes_to_rest();
}

#[test]
fn r04_a_repeated_reliable_response_gets_no_second_prack() {
    let mut call = forward().incoming(DID);
    call.awaits("gateway1").repeats_next("gateway1 → us").does("gateway1", Act::RingsReliably);
    call.settle();
    assert_eq!(count(&mut call, "us → gateway1", "PRACK"), 1);
    call.comes_to_rest();
}

#[test]
fn r04_a_leg_that_has_ended_gets_no_prack() {
    let mut call = hunt().incoming(DID);
    call.awaits("alice").awaits("bob").rings("bob");
    call.answers("alice").while_in_flight(|call| {
        call.does("bob", Act::RingsReliably);
    });
    call.settle();
    assert_eq!(count(&mut call, "us → bob", "PRACK"), 0);
    call.comes_to_rest();
}

mod delayed_offer {
    use super::*;

    fn delayed() -> Manner {
        Manner { offer: Offer::Delayed, ..Manner::default() }
    }

    #[test]
    fn r04_the_winners_offer_goes_out_in_our_200_and_its_ack_waits_for_the_callers() {
        let mut call = hunt().caller(delayed()).incoming(DID).ringing(["alice", "bob"]);
        call.answers("alice");
        assert_snapshot!(call.ladder(), @r#"
        caller          us              alice           bob
          ├─── INVITE ───▶│               │               │
          │◀──── 100 ─────┤               │               │
          │               ├─── INVITE ───▶│               │
          │               ├─────────────────── INVITE ───▶│
          │               │◀──── 180 ─────┤               │
          │◀──── 180 ─────┤               │               │
          │               │◀──────────────────── 180 ─────┤
          │               │◀──── 200 ─────┤               │
          │◀──── 200 ─────┤               │               │
          │               ├─────────────────── CANCEL ───▶│  SIP;cause=200;text="Call completed elsewhere"
          ├───── ACK ────▶│               │               │
          │               ├───── ACK ────▶│               │
          │               │◀─────────────── 200 (CANCEL) ─┤
          │               │◀──────────────────── 487 ─────┤
          │               ├───────────────────── ACK ────▶│
        "#);
        assert!(call.messages("us → alice", "INVITE")[0].body.is_empty());
        assert!(call.messages("us → bob", "INVITE")[0].body.is_empty());
        let offer = call.messages("alice → us", "200").remove(0);
        assert_eq!(call.messages("us → caller", "200")[0].body, offer.body);
        let answer = call.messages("caller → us", "ACK").remove(0);
        assert!(!answer.body.is_empty());
        assert_eq!(call.messages("us → alice", "ACK")[0].body, answer.body);
        call.hangs_up("alice").comes_to_rest();
    }

    #[test]
    fn r04_a_losers_offer_is_refused_with_port_0() {
        let mut call = hunt().caller(delayed()).incoming(DID).ringing(["alice", "bob"]);
        call.answers("alice").while_in_flight(|call| {
            call.answers("bob");
        });
        call.settle();
        let refused = call.messages("us → bob", "ACK").remove(0);
        assert!(body(&refused).contains("m=audio 0 "), "{}", body(&refused));
        assert_eq!(count(&mut call, "us → bob", "BYE"), 1);
        call.comes_to_rest();
    }

    #[test]
    fn r04_when_the_callers_ack_never_comes_every_stream_is_refused_and_both_hear_bye() {
        let manner = Manner { acks: Acks::Never, ..delayed() };
        let mut call = forward().caller(manner).incoming(DID).ringing(["gateway1"]);
        call.answers("gateway1").after(millis(31_800));
        assert_eq!(count(&mut call, "us → gateway1", "ACK"), 0);
        // Its own patience ends as ours does; its BYE comes later.
        call.delays_next("gateway1 → us", seconds(1)).after(seconds(2));
        let ack = call.messages("us → gateway1", "ACK").remove(0);
        assert!(body(&ack).contains("m=audio 0 "), "{}", body(&ack));
        let answered = call.times("us → caller", "200")[0];
        for way in ["us → gateway1", "us → caller"] {
            assert_eq!(call.times(way, "BYE")[0].since(answered), seconds(32), "{way}");
        }
        call.comes_to_rest();
    }

    #[test]
    fn r04_a_leg_that_gives_up_waiting_for_the_answer_gets_its_ack_all_the_same() {
        let manner = Manner { acks: Acks::Never, ..delayed() };
        let mut call = forward().caller(manner).incoming(DID).ringing(["gateway1"]);
        call.answers("gateway1").after(seconds(10)).asks("gateway1", "BYE", |bye| bye);
        call.settle();
        let ack = call.messages("us → gateway1", "ACK").remove(0);
        assert!(body(&ack).contains("m=audio 0 "), "{}", body(&ack));
        call.comes_to_rest();
        assert_eq!(end(&mut call), "answered 200 callee");
    }

    #[test]
    fn r04_no_sdp_reaches_the_caller_before_our_200() {
        let mut call = forward().caller(delayed()).incoming(DID);
        call.awaits("gateway1").does("gateway1", Act::RingsWithMedia).answers("gateway1");
        call.settle();
        assert!(call.messages("us → caller", "180")[0].body.is_empty());
        assert!(!call.messages("us → caller", "200")[0].body.is_empty());
        call.comes_to_rest();
    }

    #[test]
    fn r04_a_caller_whose_ack_brings_no_answer_ends_the_call() {
        let manner = Manner { acks: Acks::Never, ..delayed() };
        let mut call = forward().caller(manner).incoming(DID).ringing(["gateway1"]);
        call.answers("gateway1");
        call.settle();
        let ok = call.messages("us → caller", "200").remove(0);
        let ack = ack_of(&ok, "");
        call.world.sends(layout::CARRIER, &ack);
        call.settle();
        let ack = call.messages("us → gateway1", "ACK").remove(0);
        assert!(body(&ack).contains("m=audio 0 "), "{}", body(&ack));
        assert_eq!(count(&mut call, "us → gateway1", "BYE"), 1);
        assert_eq!(count(&mut call, "us → caller", "BYE"), 1);
        call.comes_to_rest();
        assert_eq!(call.cdr()["cause"], "the ACK held no answer to the offer");
    }
}

#[test]
fn r04_an_answer_without_sdp_joins_nobody() {
    let mut call = hunt().incoming(DID).ringing(["alice", "bob"]);
    call.behaves("alice", invite(|answer| answer.body.clear()));
    call.answers("alice");
    call.settle();
    assert_eq!(call.caller_is_told(), None);
    assert_eq!(count(&mut call, "us → alice", "ACK"), 1);
    assert_eq!(count(&mut call, "us → alice", "BYE"), 1);
    call.answers("bob").hangs_up("bob").comes_to_rest();
    assert_eq!(end(&mut call), "answered 200 callee");
}

/// RFC 3261 §12.1.2 wants a Contact; a phone that forgets it is still somebody who answered.
#[test]
fn r04_a_200_without_contact_is_acknowledged_where_it_came_from() {
    let forgetful = Manner::default().dressed(|response| {
        if response.status() == 200 {
            response.remove("Contact");
        }
    });
    let mut call = number("ring = [\"alice\"]").incoming(DID);
    call.awaits("alice").behaves("alice", forgetful).answers("alice");
    call.settle();
    assert_eq!(count(&mut call, "us → alice", "ACK"), 1);
    call.hangs_up("caller");
    call.settle();
    assert_eq!(count(&mut call, "us → alice", "BYE"), 1);
    call.comes_to_rest();
}

/// RFC 3261 §8.1.3.3.
#[test]
fn r04_a_response_with_two_vias_was_meant_for_somebody_else() {
    let lost = Manner::default().dressed(|response| {
        if response.status() == 486 {
            let via = response.get("Via").unwrap_or_default().to_owned();
            response.set("Via", format!("{via}, SIP/2.0/UDP 192.0.2.1;branch=z9hG4bKfar"));
        }
    });
    let mut call = number("ring = [\"alice\"]\ntimeout = 5").incoming(DID);
    call.awaits("alice").behaves("alice", lost).refuses("alice", 486);
    call.after(seconds(4));
    assert_eq!(count(&mut call, "us → caller", "486"), 0);
    call.after(seconds(2));
    assert_eq!(count(&mut call, "us → caller", "480"), 1);
    call.comes_to_rest();
}
