//! RFC 3261 §17.1.2, Figure 6.

use insta::assert_snapshot;

use super::*;

#[test]
fn trying_repeats_by_timer_e_and_gives_up_by_timer_f() {
    let mut bench = Bench::udp();
    bench.sends(Method::Bye);
    assert_snapshot!(bench.silence().story(), @r"
         0 > BYE
       500 > BYE
      1500 > BYE
      3500 > BYE
      7500 > BYE
     11500 > BYE
     15500 > BYE
     19500 > BYE
     23500 > BYE
     27500 > BYE
     31500 > BYE
     32000 ! timed out
     32000 ! gone
    ");
}

#[test]
fn proceeding_repeats_every_t2_and_gives_up_by_timer_f() {
    let mut bench = Bench::udp();
    let bye = bench.sends(Method::Bye);
    bench.at(700).gets(&bye, 100);
    assert_snapshot!(bench.silence().story(), @r"
         0 > BYE
       500 > BYE
       700 < 100 BYE
       700 ! Provisional
      1500 > BYE
      5500 > BYE
      9500 > BYE
     13500 > BYE
     17500 > BYE
     21500 > BYE
     25500 > BYE
     29500 > BYE
     32000 ! timed out
     32000 ! gone
    ");
}

#[test]
fn over_a_stream_timer_f_remains_and_timer_k_is_zero() {
    let mut bench = Bench::tcp();
    bench.sends(Method::Options);
    let bye = bench.sends(Method::Bye);
    bench.at(5).gets(&bye, 200).gets(&bye, 200);
    assert_snapshot!(bench.silence().story(), @r"
         0 > OPTIONS
         0 > BYE
         5 < 200 BYE
         5 ! gone
         5 ! Success { first: true }
         5 < 200 BYE
     32000 ! timed out
     32000 ! gone
    ");
}

#[test]
fn completed_absorbs_repeats_until_timer_k() {
    for (status, handed_up) in [(200, "Success { first: true }"), (481, "Failure")] {
        let mut bench = Bench::udp();
        let bye = bench.sends(Method::Bye);
        bench.at(100).gets(&bye, status).at(200).gets(&bye, status).at(5_099).gets(&bye, 500);
        let story = bench.silence().story();
        let expected = format!(
            "     0 > BYE\n   100 < {status} BYE\n   100 ! {handed_up}\n   200 < {status} BYE\n  5099 < 500 BYE\n  5100 ! gone\n"
        );
        assert_eq!(story, expected);
        assert_eq!(bench.tx.traffic().repeats_in, 2);
    }
}

#[test]
fn cancel_means_nothing_to_it() {
    let mut bench = Bench::udp();
    let bye = bench.sends(Method::Bye);
    bench.gets(&bye, 100);
    assert!(bench.cancels(&bye).is_empty());
}
