//! RFC 3261 §17.2.1, Figure 7, as RFC 6026 §8.7 changes it; the 2xx by §13.3.1.4.

use insta::assert_snapshot;

use super::*;

#[test]
fn proceeding_repeats_the_last_provisional_response() {
    let mut bench = Bench::udp();
    let (invite, _) = invite_and_ack(Transport::Udp);
    let id = bench.begins(&invite);
    bench.at(10).comes(&invite);
    bench.answers(id, 100).at(500).comes(&invite);
    bench.at(600).answers(id, 180).at(1_500).comes(&invite);
    assert_snapshot!(bench.story(), @r"
         0 < INVITE
        10 < INVITE
        10 > 100
       500 < INVITE
       500 > 100
       600 > 180
      1500 < INVITE
      1500 > 180
    ");
    let traffic = bench.tx.traffic();
    assert_eq!((traffic.repeats_in, traffic.repeats_out), (3, 2));
}

#[test]
fn completed_repeats_by_timer_g_until_timer_h_says_that_no_ack_came() {
    let mut bench = Bench::udp();
    let (invite, _) = invite_and_ack(Transport::Udp);
    let id = bench.begins(&invite);
    bench.answers(id, 486).at(600).comes(&invite);
    assert_snapshot!(bench.silence().story(), @r"
         0 < INVITE
         0 > 486
       500 > 486
       600 < INVITE
       600 > 486
      1500 > 486
      3500 > 486
      7500 > 486
     11500 > 486
     15500 > 486
     19500 > 486
     23500 > 486
     27500 > 486
     31500 > 486
     32000 ! ACK missing
     32000 ! gone
    ");
}

#[test]
fn an_ack_confirms_and_timer_i_absorbs_its_repeats() {
    let mut bench = Bench::udp();
    let (invite, ack) = invite_and_ack(Transport::Udp);
    let id = bench.begins(&invite);
    bench.answers(id, 404).at(400);
    assert_eq!(bench.comes(&ack), Meeting::Ack(id));
    bench.at(450);
    assert_eq!(bench.comes(&ack), Meeting::Ack(id));
    bench.at(460);
    assert_eq!(bench.comes(&invite), Meeting::Again(id));
    bench.silence();
    assert_eq!(bench.comes(&ack), Meeting::AckOfDialog);
    assert_snapshot!(bench.story(), @r"
         0 < INVITE
         0 > 404
       400 < ACK
       450 < ACK
       460 < INVITE
      5400 ! gone
     70460 < ACK
    ");
}

#[test]
fn over_a_stream_there_is_no_timer_g_and_timer_i_is_zero() {
    let mut bench = Bench::tcp();
    let (invite, ack) = invite_and_ack(Transport::Tcp);
    let id = bench.begins(&invite);
    bench.answers(id, 404).at(5_000).comes(&ack);
    assert_eq!(bench.tx.live(), (0, 0));
    let unheard = bench.begins(&invite);
    bench.answers(unheard, 404);
    assert_snapshot!(bench.silence().story(), @r"
         0 < INVITE
         0 > 404
      5000 < ACK
      5000 ! gone
      5000 < INVITE
      5000 > 404
     37000 ! ACK missing
     37000 ! gone
    ");
}

#[test]
fn a_second_final_response_is_ignored() {
    for (first, second) in [(486, 200), (200, 486), (486, 404), (200, 180)] {
        let mut bench = Bench::udp();
        let id = {
            let (invite, _) = invite_and_ack(Transport::Udp);
            bench.begins(&invite)
        };
        bench.answers(id, first).story();
        bench.answers(id, second);
        assert_eq!(bench.story(), "", "{first} then {second}");
    }
}

#[test]
fn accepted_repeats_the_2xx_on_any_transport_until_it_is_acknowledged() {
    insta::allow_duplicates! {
    for (mut bench, transport) in [(Bench::udp(), Transport::Udp), (Bench::tcp(), Transport::Tcp)] {
        let (invite, _) = invite_and_ack(transport);
        let id = bench.begins(&invite);
        bench.answers(id, 180).answers(id, 200).at(8_000);
        bench.tx.acked(bench.now, id);
        bench.at(9_000);
        assert_eq!(bench.comes(&invite), Meeting::Again(id));
        assert_snapshot!(bench.silence().story(), @r"
             0 < INVITE
             0 > 180
             0 > 200
           500 > 200
          1500 > 200
          3500 > 200
          7500 > 200
          9000 < INVITE
         32000 ! gone
        ");
    }
    }
}

#[test]
fn a_2xx_that_nobody_acknowledges_is_told_after_64_t1() {
    let mut bench = Bench::udp();
    let (invite, _) = invite_and_ack(Transport::Udp);
    let id = bench.begins(&invite);
    bench.answers(id, 200).at(300).comes(&invite);
    assert_snapshot!(bench.silence().story(), @r"
         0 < INVITE
         0 > 200
       300 < INVITE
       500 > 200
      1500 > 200
      3500 > 200
      7500 > 200
     11500 > 200
     15500 > 200
     19500 > 200
     23500 > 200
     27500 > 200
     31500 > 200
     32000 ! ACK missing
     32000 ! gone
    ");
}

#[test]
fn an_ack_with_the_invites_own_branch_acknowledges_a_2xx() {
    let mut bench = Bench::udp();
    let (invite, ack) = invite_and_ack(Transport::Udp);
    let id = bench.begins(&invite);
    assert_eq!(bench.comes(&ack), Meeting::AckOfDialog, "nothing to acknowledge yet");
    bench.answers(id, 200).at(100);
    assert_eq!(bench.comes(&ack), Meeting::AckOfAccepted(id));
    assert_snapshot!(bench.silence().story(), @r"
         0 < INVITE
         0 < ACK
         0 > 200
       100 < ACK
     32000 ! gone
    ");
}

#[test]
fn an_acknowledged_2xx_is_not_kept() {
    let mut bench = Bench::udp();
    let (invite, _) = invite_and_ack(Transport::Udp);
    let id = bench.begins(&invite);
    bench.answers(id, 200);
    bench.tx.acked(bench.now, id);
    let kept = bench.tx.servers.get(id).expect("it lives");
    assert!(matches!(kept.machine, Machine::Invite(server::Invite::Acknowledged)));
}
