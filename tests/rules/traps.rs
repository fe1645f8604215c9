//! Traps that others fell into, those that concern signalling, each named after its trap.

use strowger::sim::manner::{Acks, Oddity, OnCancel, Since};

use super::*;

#[test]
fn a_487_that_answers_our_cancel_is_acknowledged_and_the_far_end_falls_silent() {
    let mut call = hunt().incoming(DID).ringing(["alice", "bob"]);
    call.loses_next("us → bob").answers("alice").after(seconds(40));
    // The CANCEL was lost, so it came again; its 487 came once, as it was acknowledged at once.
    assert_eq!(count(&mut call, "us → bob", "CANCEL"), 2);
    assert_eq!(count(&mut call, "bob → us", "487"), 1);
    assert_eq!(count(&mut call, "us → bob", "ACK"), 1);
    call.comes_to_rest();
}

#[test]
fn a_lost_ack_of_the_487_is_sent_again_for_the_repeated_487() {
    let mut call = hunt().incoming(DID).ringing(["alice", "bob"]);
    call.answers("alice").while_in_flight(|call| {
        call.world.run(millis(12));
        call.loses_next("us → bob");
        call.world.run(seconds(2));
    });
    assert_eq!(count(&mut call, "bob → us", "487"), 2);
    assert_eq!(count(&mut call, "us → bob", "ACK"), 2);
    call.comes_to_rest();
}

#[test]
fn a_200_that_crosses_the_cancel_is_found_by_the_invites_branch() {
    // Two legs of one call at one phone's address: nothing but the branch tells their answers apart.
    let mut call = hunt().incoming(DID).ringing(["alice", "bob"]);
    for who in ["alice", "bob"] {
        call.behaves(who, Manner { on_cancel: OnCancel::Crosses, ..Manner::default() });
    }
    call.caller_cancels();
    call.settle();
    for who in ["alice", "bob"] {
        let way = format!("us → {who}");
        assert_eq!((count(&mut call, &way, "ACK"), count(&mut call, &way, "BYE")), (1, 1), "{who}");
        let (invite, ack) = (call.messages(&way, "INVITE").remove(0), call.messages(&way, "ACK").remove(0));
        assert_eq!(invite.call_id(), ack.call_id());
        assert_ne!(invite.branch(), ack.branch(), "the ACK of a 2xx is a transaction of its own");
    }
    call.comes_to_rest();
}

#[test]
fn a_retransmitted_cancel_gets_its_200_again() {
    let mut call = hunt().incoming(DID).ringing(["alice", "bob"]);
    call.loses_next("us → caller").caller_cancels().after(seconds(1));
    assert_eq!(count(&mut call, "caller → us", "CANCEL"), 2);
    assert_eq!(count(&mut call, "us → caller", "200 (CANCEL)"), 2);
    assert_eq!(count(&mut call, "us → alice", "CANCEL"), 1);
    assert_eq!(call.caller_is_told(), Some(487));
    call.comes_to_rest();
    assert_eq!(call.world.records.len(), 1);
}

#[test]
fn a_2xx_to_a_reinvite_after_the_bye_is_acknowledged() {
    let mut call = bridged();
    call.delays_next("gateway1 → us", millis(300)).does("caller", Act::Holds).while_in_flight(|call| {
        call.world.run(millis(20));
        call.hangs_up("caller");
    });
    call.after(seconds(1));
    assert_eq!(count(&mut call, "us → gateway1", "ACK"), 2);
    call.comes_to_rest();
}

#[test]
fn a_caller_who_never_acknowledges_is_not_kept() {
    let manner = Manner { acks: Acks::Never, ..Manner::default() };
    let mut call = hunt().caller(manner).incoming(DID).ringing(["alice", "bob"]);
    call.answers("bob").after(seconds(33));
    assert_eq!(count(&mut call, "us → bob", "BYE"), 1);
    assert_eq!(count(&mut call, "us → caller", "BYE"), 1);
    call.comes_to_rest();
}

#[test]
fn no_prack_goes_to_a_leg_that_has_ended() {
    let mut call = forward().incoming(DID);
    call.awaits("gateway1").rings("gateway1");
    call.caller_cancels().while_in_flight(|call| {
        call.world.run(millis(6));
        call.does("gateway1", Act::RingsReliably);
    });
    call.settle();
    assert_eq!(count(&mut call, "us → gateway1", "PRACK"), 0);
    call.comes_to_rest();
}

#[test]
fn a_cancel_whose_sent_by_changed_behind_nat_stops_the_phones() {
    let manner = Manner { oddity: Oddity::OtherPort, ..Manner::default() };
    let mut call = hunt().caller(manner).incoming(DID).ringing(["alice", "bob"]);
    call.caller_cancels();
    call.settle();
    assert_eq!(count(&mut call, "us → caller", "200 (CANCEL)"), 1);
    for way in ["us → alice", "us → bob"] {
        assert_eq!(count(&mut call, way, "CANCEL"), 1, "{way}");
    }
    assert_eq!(call.caller_is_told(), Some(487));
    call.comes_to_rest();
}

#[test]
fn a_cancel_reaches_every_leg_while_others_come_and_go() {
    let mut call = number("ring = [\"alice\", \"bob\", \"carol\", \"dave\", \"erin\"]").incoming(DID);
    let mut call = {
        call.awaits("erin");
        call.ringing(["alice", "bob", "carol", "dave"])
    };
    call.sends_busy("carol").caller_cancels();
    call.settle();
    for who in ["alice", "bob", "dave"] {
        assert_eq!(count(&mut call, &format!("us → {who}"), "CANCEL"), 1, "{who}");
    }
    call.rings("erin");
    call.settle();
    assert_eq!(count(&mut call, "us → erin", "CANCEL"), 1, "once it has said something");
    call.comes_to_rest();
}

#[test]
fn the_first_callers_number_survives_a_forward_and_an_earlier_one() {
    let manner = invite(|invite| invite.set("Diversion", "<sip:415.555.0177@10.0.0.1>;reason=\"user-busy\""));
    let mut call = forward().caller(manner).incoming(DID).ringing(["gateway1"]);
    let found = call.messages("us → gateway1", "INVITE").remove(0);
    assert!(found.get("From").is_some_and(|from| from.contains(CALLER)));
    let diverted: Vec<&str> = found.all("Diversion").collect();
    assert_eq!(diverted.len(), 2);
    assert!(diverted[1].starts_with("<sip:+14155550177@"), "normalised like the rest: {}", diverted[1]);
    call.comes_to_rest();
    assert_eq!(call.cdr()["diversions"], serde_json::json!(["+14155550177"]));
}

#[test]
fn a_call_token_of_more_than_a_kilobyte_comes_back_unchanged() {
    let setup = node("trusted_identity = true", "carry = [\"X-Twilio-CallToken\"]", "", &did_forward());
    let manner =
        invite(|invite| invite.set("X-Twilio-CallToken", format!("%7B{}%7D", "aZ09%22".repeat(180))));
    let mut call = setup.caller(manner).incoming(DID).ringing(["gateway1"]);
    let name = "X-Twilio-CallToken";
    assert_eq!(
        header(&mut call, "us → gateway1", "INVITE", name),
        header(&mut call, "caller → us", "INVITE", name)
    );
    call.comes_to_rest();
}

#[test]
fn a_trunks_limit_says_nothing_of_retry_after() {
    let mut call = node("max_calls = 1", "", "", &did_forward()).incoming(DID).ringing(["gateway1"]);
    let second = call.world.dials(DID, Manner::default());
    call.after(millis(100));
    let told = call
        .world
        .trace
        .crossings
        .iter()
        .find(|crossing| crossing.message.call_id() == second && crossing.message.status() == 503);
    assert!(told.is_some_and(|crossing| crossing.message.get("Retry-After").is_none()));
    call.comes_to_rest();
}

#[test]
fn every_leg_names_the_first_legs_call_id() {
    let keys = format!("forward_to = \"{FORWARD}\"\nring = [\"alice\"]\noverflow = [{{ ring = [\"bob\"] }}]");
    let mut call = number(&keys).incoming(DID).ringing(["alice", "gateway1"]);
    call.after(seconds(21));
    let mut call = call.ringing(["bob"]);
    let first = call.call_id.clone();
    for way in ["us → alice", "us → gateway1", "us → bob"] {
        assert_eq!(header(&mut call, way, "INVITE", "X-CID"), Some(first.clone()), "{way}");
    }
    call.comes_to_rest();
}

#[test]
fn a_phone_that_dies_in_the_call_leaves_no_silent_caller() {
    let mut call = bridged();
    call.does("gateway1", Act::Dies).after(seconds(340));
    assert_eq!(count(&mut call, "us → caller", "BYE"), 1);
    call.comes_to_rest();
}

#[test]
fn a_held_call_is_not_taken_for_a_dead_one() {
    let mut call = bridged();
    call.does("caller", Act::Holds).after(seconds(1_200));
    assert_eq!(count(&mut call, "us → caller", "BYE") + count(&mut call, "us → gateway1", "BYE"), 0);
    call.hangs_up("caller").comes_to_rest();
}

#[test]
fn a_reload_changes_nothing_for_a_call_in_progress() {
    let mut call = hunt().incoming(DID).ringing(["alice", "bob"]);
    call.publishes(&format!("[[number]]\ndid = \"{DID}\"\nring = [\"carol\"]\n"));
    call.answers("bob").after(seconds(1));
    let manner = Manner::default().then(Since::Invited, seconds(5), Act::Cancels);
    call.world.dials(DID, manner);
    call.after(seconds(1));
    assert_eq!(call.world.hosts[4].parties.len(), 1, "the next call rings carol");
    call.hangs_up("caller").comes_to_rest();
    assert_eq!(call.cdr()["generation"], 1);
}
