//! RFC 3261 §17.2.2, Figure 8, and RFC 4320.

use insta::assert_snapshot;

use super::*;

fn bye(transport: Transport) -> Vec<u8> {
    request("BYE", "z9hG4bKbye", transport, ";tag=us")
}

#[test]
fn completed_repeats_the_final_response_until_timer_j() {
    let mut bench = Bench::udp();
    let bye = bye(Transport::Udp);
    let id = bench.begins(&bye);
    bench.at(10).comes(&bye);
    bench.at(20).answers(id, 200).at(500).comes(&bye);
    bench.answers(id, 481).at(32_019).comes(&bye);
    assert_snapshot!(bench.silence().story(), @r"
         0 < BYE
        10 < BYE
        20 > 200
       500 < BYE
       500 > 200
     32019 < BYE
     32019 > 200
     33000 ! gone
    ");
}

#[test]
fn over_a_stream_timer_j_is_zero() {
    let mut bench = Bench::tcp();
    let id = bench.begins(&bye(Transport::Tcp));
    bench.answers(id, 200);
    assert_eq!(bench.tx.live(), (0, 0));
    assert_snapshot!(bench.silence().story(), @r"
         0 < BYE
         0 > 200
         0 ! gone
    ");
}

#[test]
fn proceeding_repeats_the_100() {
    let mut bench = Bench::udp();
    let bye = bye(Transport::Udp);
    let id = bench.begins(&bye);
    bench.at(3_500).answers(id, 100).at(3_600).comes(&bye);
    bench.at(4_000).answers(id, 200).comes(&bye);
    assert_snapshot!(bench.story(), @r"
         0 < BYE
      3500 > 100
      3600 < BYE
      3600 > 100
      4000 > 200
      4000 < BYE
      4000 > 200
    ");
}

#[test]
fn rfc_4320_no_provisional_response_but_100_and_no_408() {
    let mut bench = Bench::udp();
    let bye = bye(Transport::Udp);
    let id = bench.begins(&bye);
    bench.answers(id, 180).answers(id, 183).answers(id, 408).comes(&bye);
    assert_eq!(bench.tx.live(), (1, 0));
    assert_snapshot!(bench.silence().story(), @r"
         0 < BYE
         0 < BYE
     32000 ! gone
    ");
}

#[test]
fn one_that_is_never_answered_ends_when_its_sender_has_given_up() {
    let mut bench = Bench::udp();
    let id = bench.begins(&bye(Transport::Udp));
    bench.at(31_999);
    assert_eq!(bench.tx.owner(id), Some(1));
    assert_snapshot!(bench.silence().story(), @r"
         0 < BYE
     32000 ! gone
    ");
}
