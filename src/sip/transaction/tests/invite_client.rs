//! RFC 3261 §17.1.1, Figure 5, as RFC 6026 §8.4 changes it.

use insta::assert_snapshot;

use super::*;

#[test]
fn calling_repeats_by_timer_a_and_gives_up_by_timer_b() {
    let mut bench = Bench::udp();
    bench.sends(Method::Invite);
    assert_snapshot!(bench.silence().story(), @r"
         0 > INVITE
       500 > INVITE
      1500 > INVITE
      3500 > INVITE
      7500 > INVITE
     15500 > INVITE
     31500 > INVITE
     32000 ! timed out
     32000 ! gone
    ");
    assert_eq!(bench.tx.traffic().repeats_out, 6);
}

#[test]
fn calling_over_a_stream_repeats_nothing_and_gives_up_by_timer_b() {
    let mut bench = Bench::tcp();
    bench.sends(Method::Invite);
    assert_snapshot!(bench.silence().story(), @r"
         0 > INVITE
     32000 ! timed out
     32000 ! gone
    ");
}

#[test]
fn proceeding_is_silent_and_hands_every_provisional_response_up() {
    let mut bench = Bench::udp();
    let invite = bench.sends(Method::Invite);
    bench.at(600).gets(&invite, 100).at(2_000).gets(&invite, 180).at(60_000).gets(&invite, 180);
    assert_snapshot!(bench.story(), @r"
         0 > INVITE
       500 > INVITE
       600 < 100 INVITE
       600 ! Provisional
      2000 < 180 INVITE
      2000 ! Provisional
     60000 < 180 INVITE
     60000 ! Provisional
    ");
    assert_eq!(bench.tx.live(), (0, 1));
}

#[test]
fn a_failure_gets_its_ack_from_every_state_and_again_until_timer_d() {
    insta::allow_duplicates! {
    for before in [None, Some(100), Some(183)] {
        let mut bench = Bench::udp();
        let invite = bench.sends(Method::Invite);
        if let Some(status) = before {
            bench.gets(&invite, status);
        }
        bench.story();
        bench.at(100).gets(&invite, 486).at(600).gets(&invite, 486).at(32_099).gets(&invite, 486);
        bench.silence().gets(&invite, 486);
        assert_snapshot!(bench.story(), @r"
           100 < 486 INVITE
           100 > ACK
           100 ! Failure
           600 < 486 INVITE
           600 > ACK
         32099 < 486 INVITE
         32099 > ACK
         33000 ! gone
        102099 < 486 INVITE
        ");
        let traffic = bench.tx.traffic();
        assert_eq!((traffic.repeats_in, traffic.repeats_out, traffic.strays), (2, 2, 1));
    }
    }
}

#[test]
fn over_a_stream_timer_d_is_zero() {
    let mut bench = Bench::tcp();
    let invite = bench.sends(Method::Invite);
    bench.at(10).gets(&invite, 404).gets(&invite, 404);
    assert_snapshot!(bench.silence().story(), @r"
         0 > INVITE
        10 < 404 INVITE
        10 > ACK
        10 ! gone
        10 ! Failure
        10 < 404 INVITE
    ");
}

#[test]
fn accepted_hands_every_2xx_up_until_timer_m_on_any_transport() {
    insta::allow_duplicates! {
    for mut bench in [Bench::udp(), Bench::tcp()] {
        let invite = bench.sends(Method::Invite);
        bench.at(100).gets(&invite, 180).gets(&invite, 200).at(600).gets(&invite, 200);
        bench.at(700).gets_from(&invite, 200, "other").at(900).gets(&invite, 183).gets(&invite, 500);
        bench.at(32_099).gets(&invite, 200).at(32_100).gets(&invite, 200);
        assert_snapshot!(bench.silence().story(), @r"
             0 > INVITE
           100 < 180 INVITE
           100 ! Provisional
           100 < 200 INVITE
           100 ! Success { first: true }
           600 < 200 INVITE
           600 ! Success { first: false }
           700 < 200 INVITE
           700 ! Success { first: false }
           900 < 183 INVITE
           900 < 500 INVITE
         32099 < 200 INVITE
         32099 ! Success { first: false }
         32100 ! gone
         32100 < 200 INVITE
        ");
    }
    }
}

#[test]
fn a_2xx_straight_from_calling_stops_timers_a_and_b() {
    let mut bench = Bench::udp();
    let invite = bench.sends(Method::Invite);
    bench.at(499).gets(&invite, 200);
    assert_snapshot!(bench.silence().story(), @r"
         0 > INVITE
       499 < 200 INVITE
       499 ! Success { first: true }
     32499 ! gone
    ");
}

#[test]
fn a_late_2xx_after_a_failure_is_handed_up() {
    let mut bench = Bench::udp();
    let invite = bench.sends(Method::Invite);
    bench.gets(&invite, 503).at(50).gets_from(&invite, 200, "late").gets(&invite, 180);
    assert_snapshot!(bench.silence().story(), @r"
         0 > INVITE
         0 < 503 INVITE
         0 > ACK
         0 ! Failure
        50 < 200 INVITE
        50 ! Success { first: true }
        50 < 180 INVITE
     32000 ! gone
    ");
}

#[test]
fn the_ack_of_a_failure_is_the_invites_with_the_to_of_the_response() {
    let mut bench = Bench::udp();
    let invite = bench.sends(Method::Invite);
    let failure = response(&invite.bytes, 486, "busy");
    bench.tx.response(bench.now, &Message::parse(&failure).expect("a response"), &mut bench.out);
    let ack = bench.settle().remove(0);
    let branch = Message::parse(&invite.bytes).expect("ours").via().branch.expect("a branch");
    assert_snapshot!(text(&ack).replace(&*String::from_utf8_lossy(branch), "BRANCH"), @r#"
    ACK sip:bob@192.0.2.9 SIP/2.0
    Via: SIP/2.0/UDP 192.0.2.1:5060;branch=BRANCH;rport
    Max-Forwards: 70
    Route: <sip:p1.example;lr>, <sip:p2.example;lr>
    Route: <sip:p3.example;lr>
    From: "Alice" <sip:alice@example.com>;tag=caller
    To: <sip:bob@example.com>;tag=busy
    Call-ID: a84b4c76e66710
    CSeq: 1 ACK
    Content-Length: 0
    "#);
}

#[test]
fn nothing_of_the_invite_is_kept_after_its_final_response() {
    let mut bench = Bench::udp();
    let invite = bench.sends(Method::Invite);
    bench.gets(&invite, 200);
    let kept = bench.tx.clients.get(invite.id).expect("it lives");
    assert!(matches!(kept.role, Role::Invite { state: client::Invite::Accepted, .. }));
}
