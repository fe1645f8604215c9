//! CANCEL of our INVITE (RFC 3261 §9.1), and of others' (§9.2, R1a).

use insta::assert_snapshot;

use super::*;

#[test]
fn a_cancel_goes_at_once_when_a_provisional_response_has_come() {
    let mut bench = Bench::udp();
    let invite = bench.sends(Method::Invite);
    bench.at(50).gets(&invite, 180).at(100);
    let cancel = bench.cancels(&invite).remove(0);
    bench.at(120).gets(&cancel, 200).at(130).gets(&invite, 487).at(200).gets(&invite, 487);
    assert_snapshot!(bench.silence().story(), @r"
         0 > INVITE
        50 < 180 INVITE
        50 ! Provisional
       100 cancel
       100 > CANCEL
       120 < 200 CANCEL
       130 < 487 INVITE
       130 > ACK
       130 ! Failure
       200 < 487 INVITE
       200 > ACK
     33000 ! gone
    ");
}

#[test]
fn a_cancel_waits_for_the_first_provisional_response() {
    let mut bench = Bench::udp();
    let invite = bench.sends(Method::Invite);
    bench.at(100).cancels(&invite);
    bench.at(600).gets(&invite, 100);
    assert_snapshot!(bench.story(), @r"
         0 > INVITE
       100 cancel
       500 > INVITE
       600 < 100 INVITE
       600 > CANCEL
       600 ! Provisional
    ");
}

#[test]
fn a_cancel_that_nobody_can_hear_ends_with_timer_b() {
    let mut bench = Bench::udp();
    let invite = bench.sends(Method::Invite);
    bench.cancels(&invite);
    bench.at(31_900).story();
    assert_snapshot!(bench.silence().story(), @r"
     32000 ! timed out
     32000 ! gone
    ");
}

#[test]
fn a_final_response_makes_a_waiting_cancel_needless() {
    for (status, handed_up) in [(200, "Success { first: true }"), (486, "Failure")] {
        let mut bench = Bench::udp();
        let invite = bench.sends(Method::Invite);
        bench.cancels(&invite);
        bench.gets(&invite, status);
        let story = bench.silence().story();
        assert!(story.contains(handed_up) && !story.contains("> CANCEL"), "{story}");
    }
}

#[test]
fn the_cancel_repeats_by_timer_e_and_the_invite_waits_64_t1_for_its_final() {
    let mut bench = Bench::udp();
    let invite = bench.sends(Method::Invite);
    bench.gets(&invite, 180);
    bench.cancels(&invite);
    assert_snapshot!(bench.silence().story(), @r"
         0 > INVITE
         0 < 180 INVITE
         0 ! Provisional
         0 cancel
         0 > CANCEL
       500 > CANCEL
      1500 > CANCEL
      3500 > CANCEL
      7500 > CANCEL
     11500 > CANCEL
     15500 > CANCEL
     19500 > CANCEL
     23500 > CANCEL
     27500 > CANCEL
     31500 > CANCEL
     32000 ! timed out
     32000 ! gone
    ");
}

#[test]
fn a_200_that_crosses_the_cancel_is_handed_up() {
    insta::allow_duplicates! {
    for mut bench in [Bench::udp(), Bench::tcp()] {
        let invite = bench.sends(Method::Invite);
        bench.gets(&invite, 180);
        let cancel = bench.cancels(&invite).remove(0);
        bench.at(5).gets(&invite, 200).at(6).gets(&cancel, 200).at(20).gets(&cancel, 200);
        assert_snapshot!(bench.silence().story(), @r"
             0 > INVITE
             0 < 180 INVITE
             0 ! Provisional
             0 cancel
             0 > CANCEL
             5 < 200 INVITE
             5 ! Success { first: true }
             6 < 200 CANCEL
            20 < 200 CANCEL
         32005 ! gone
        ");
    }
    }
}

#[test]
fn the_second_cancel_changes_nothing() {
    let mut bench = Bench::udp();
    let invite = bench.sends(Method::Invite);
    bench.cancels(&invite);
    assert!(bench.cancels(&invite).is_empty());
    bench.gets(&invite, 180);
    assert!(bench.cancels(&invite).is_empty());
    bench.gets(&invite, 487);
    assert!(bench.cancels(&invite).is_empty());
    let story = bench.story();
    assert_eq!(story.matches("> CANCEL").count(), 1, "{story}");
}

#[test]
fn over_a_stream_the_late_answer_to_the_cancel_is_nobodys() {
    let mut bench = Bench::tcp();
    let invite = bench.sends(Method::Invite);
    bench.gets(&invite, 180);
    let cancel = bench.cancels(&invite).remove(0);
    bench.at(5).gets(&invite, 487).at(6).gets(&cancel, 200);
    assert_eq!(bench.tx.live(), (0, 0));
    assert_snapshot!(bench.story(), @r"
         0 > INVITE
         0 < 180 INVITE
         0 ! Provisional
         0 cancel
         0 > CANCEL
         5 < 487 INVITE
         5 > ACK
         5 ! gone
         5 ! Failure
         6 < 200 CANCEL
    ");
}

#[test]
fn the_cancel_is_the_invites_with_its_branch_and_a_reason() {
    let mut bench = Bench::udp();
    let invite = bench.sends(Method::Invite);
    bench.gets(&invite, 180);
    let cancel = bench.cancels(&invite).remove(0);
    let branch = Message::parse(&invite.bytes).expect("ours").via().branch.expect("a branch");
    assert_snapshot!(text(&cancel.bytes).replace(&*String::from_utf8_lossy(branch), "BRANCH"), @r#"
    CANCEL sip:bob@192.0.2.9 SIP/2.0
    Via: SIP/2.0/UDP 192.0.2.1:5060;branch=BRANCH;rport
    Max-Forwards: 70
    Route: <sip:p1.example;lr>, <sip:p2.example;lr>
    Route: <sip:p3.example;lr>
    From: "Alice" <sip:alice@example.com>;tag=caller
    To: <sip:bob@example.com>
    Call-ID: a84b4c76e66710
    CSeq: 1 CANCEL
    Reason: SIP;cause=200
    Content-Length: 0
    "#);
}

#[test]
fn r01_a_cancel_finds_its_invite_whatever_its_sent_by() {
    let mut bench = Bench::udp();
    let (invite, _) = invite_and_ack(Transport::Udp);
    let id = bench.begins(&invite);
    let cancel = text(&request("CANCEL", "z9hG4bK776", Transport::Udp, ""))
        .replace("192.0.2.1:5060", "203.0.113.77:61234")
        .replace('\n', "\r\n");
    let met = bench.comes(cancel.as_bytes());
    assert!(matches!(met, Meeting::Cancel { invite, .. } if invite == Some(id)), "{met:?}");
    let elsewhere = cancel.replace("a84b4c76e66710", "another");
    assert!(matches!(bench.comes(elsewhere.as_bytes()), Meeting::Cancel { invite: None, .. }));
    let unknown = cancel.replace("z9hG4bK776", "z9hG4bK777");
    assert!(matches!(bench.comes(unknown.as_bytes()), Meeting::Cancel { invite: None, .. }));
}

#[test]
fn a_repeated_cancel_gets_its_200_again_after_the_487_too() {
    let mut bench = Bench::udp();
    let (invite, ack) = invite_and_ack(Transport::Udp);
    let cancel = request("CANCEL", "z9hG4bK776", Transport::Udp, "");
    let first = bench.begins(&invite);
    let second = bench.begins(&cancel);
    bench.answers(second, 200).answers(first, 487);
    bench.at(100).comes(&ack);
    bench.at(600).comes(&cancel);
    bench.at(20_000).comes(&cancel);
    assert_snapshot!(bench.silence().story(), @r"
         0 < INVITE
         0 < CANCEL
         0 > 200
         0 > 487
       100 < ACK
       600 < CANCEL
       600 > 200
      5100 ! gone
     20000 < CANCEL
     20000 > 200
     32000 ! gone
    ");
}
