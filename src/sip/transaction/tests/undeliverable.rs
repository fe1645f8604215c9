//! The transport fails (RFC 3261 §17.1.4, §18.2.2, §18.4).

use insta::assert_snapshot;

use super::*;
use crate::sip::peer::Undelivered;

#[test]
fn what_has_no_answer_when_its_connection_dies_tries_the_address_once() {
    let mut bench = Bench::tcp();
    let calling = bench.sends(Method::Invite);
    let ringing = bench.sends(Method::Invite);
    bench.gets(&ringing, 180);
    bench.cancels(&ringing);
    let answered = bench.sends(Method::Invite);
    bench.gets(&answered, 200);
    bench.sends(Method::Bye);
    bench.story();
    let elsewhere = Peer { flow: Some(FlowId(8)), ..peer(Transport::Tcp) };
    bench.tx.undeliverable(bench.now, elsewhere, Undelivered::Unreachable, &mut bench.out);
    assert_eq!(bench.settle().len(), 0);
    assert_eq!(bench.story(), "");
    bench.tx.undeliverable(bench.now, peer(Transport::Tcp), Undelivered::Unreachable, &mut bench.out);
    let tried: Vec<Option<FlowId>> = bench.out.sends.iter().map(|sent| sent.to.flow).collect();
    assert_eq!(tried, [None, None, None], "the INVITE without an answer, the CANCEL and the BYE");
    bench.settle();
    assert!(bench.tx.owner(calling.id).is_some());
    let address = Peer { flow: None, ..peer(Transport::Tcp) };
    bench.tx.undeliverable(bench.now, address, Undelivered::Unreachable, &mut bench.out);
    bench.settle();
    assert_eq!(bench.tx.owner(calling.id), None);
    assert_snapshot!(bench.silence().story(), @r"
         0 > INVITE
         0 > CANCEL
         0 > BYE
         0 ! undeliverable
         0 ! gone
         0 ! undeliverable
         0 ! gone
     32000 ! timed out
     32000 ! gone
     32000 ! gone
    ");
}

#[test]
fn what_went_into_a_connection_that_was_closed_already_goes_once_more_by_a_new_one() {
    for method in [Method::Invite, Method::Bye] {
        let mut bench = Bench::tcp();
        let asked = bench.sends(method);
        bench.story();
        let address = Peer { flow: None, ..peer(Transport::Tcp) };
        // The flow, the connection that the address had, and the one that was opened then.
        for (to, goes) in [(peer(Transport::Tcp), 1), (address, 1), (address, 0)] {
            bench.tx.undeliverable(bench.now, to, Undelivered::Closed, &mut bench.out);
            assert_eq!(bench.out.sends.len(), goes, "{method:?}");
            bench.settle();
        }
        assert_eq!(bench.tx.owner(asked.id), None);
        assert!(bench.story().ends_with("! undeliverable\n     0 ! gone\n"));

        let asked = bench.sends(method);
        for (to, goes) in [(peer(Transport::Tcp), 1), (address, 0)] {
            bench.tx.undeliverable(bench.now, to, Undelivered::Unreachable, &mut bench.out);
            assert_eq!(bench.out.sends.len(), goes, "{method:?}: nobody listens at the address");
            bench.settle();
        }
        assert_eq!(bench.tx.owner(asked.id), None);
    }
}

#[test]
fn who_read_an_invite_that_was_given_up_before_its_connection_closed_is_told_when_it_rings() {
    let mut bench = Bench::tcp();
    let asked = bench.sends(Method::Invite);
    bench.cancels(&asked);
    bench.story();
    for to in [peer(Transport::Tcp), Peer { flow: None, ..peer(Transport::Tcp) }] {
        bench.tx.undeliverable(bench.now, to, Undelivered::Closed, &mut bench.out);
        assert_eq!(bench.out.sends.len(), 0, "nobody wants it any more");
        bench.settle();
    }
    bench.gets(&asked, 180);
    let tried: Vec<Option<FlowId>> = bench.out.sends.iter().map(|sent| sent.to.flow).collect();
    bench.settle();
    assert!(bench.story().contains("> CANCEL"), "{tried:?}");
}

#[test]
fn what_rings_may_answer_by_a_new_connection() {
    let mut bench = Bench::tcp();
    let ringing = bench.sends(Method::Invite);
    bench.gets(&ringing, 180);
    bench.story();
    for to in [peer(Transport::Tcp), Peer { flow: None, ..peer(Transport::Tcp) }] {
        bench.tx.undeliverable(bench.now, to, Undelivered::Unreachable, &mut bench.out);
        bench.settle();
    }
    bench.at(40_000).gets(&ringing, 200);
    assert_snapshot!(bench.silence().story(), @r"
         0 ! out of reach
     40000 < 200 INVITE
     40000 ! Success { first: true }
     72000 ! gone
    ");
}

#[test]
fn a_cancel_follows_to_the_address_and_the_answer_that_crosses_it_is_handed_up() {
    let mut bench = Bench::tcp();
    let ringing = bench.sends(Method::Invite);
    bench.gets(&ringing, 100);
    bench.tx.undeliverable(bench.now, peer(Transport::Tcp), Undelivered::Unreachable, &mut bench.out);
    bench.settle();
    bench.story();
    bench.tx.cancel(bench.now, ringing.id, None, &mut bench.out);
    let tried: Vec<Option<FlowId>> = bench.out.sends.iter().map(|sent| sent.to.flow).collect();
    assert_eq!(tried, [None]);
    let address = Peer { flow: None, ..peer(Transport::Tcp) };
    bench.tx.undeliverable(bench.now, address, Undelivered::Unreachable, &mut bench.out);
    bench.settle();
    bench.at(5_000).gets(&ringing, 200);
    assert_snapshot!(bench.silence().story(), @r"
         0 > CANCEL
      5000 < 200 INVITE
      5000 ! Success { first: true }
     37000 ! gone
    ");
}

#[test]
fn the_ack_of_a_487_that_came_by_a_new_connection_goes_to_the_address() {
    let mut bench = Bench::tcp();
    let ringing = bench.sends(Method::Invite);
    bench.gets(&ringing, 180);
    bench.cancels(&ringing);
    bench.tx.undeliverable(bench.now, peer(Transport::Tcp), Undelivered::Unreachable, &mut bench.out);
    bench.settle();
    let refused = response(&ringing.bytes, 487, "callee");
    let message = Message::parse(&refused).expect("a response");
    bench.tx.response(bench.now, &message, &mut bench.out);
    let acks: Vec<Option<FlowId>> = bench.out.sends.iter().map(|sent| sent.to.flow).collect();
    assert_eq!(acks, [None]);
    bench.settle();
    assert_eq!(bench.silence().tx.live(), (0, 0));
}

#[test]
fn over_udp_a_cancel_is_repeated_though_nobody_listens_and_ends_in_time() {
    let mut bench = Bench::udp();
    let ringing = bench.sends(Method::Invite);
    bench.gets(&ringing, 100);
    bench.cancels(&ringing);
    bench.tx.undeliverable(bench.now, peer(Transport::Udp), Undelivered::Unreachable, &mut bench.out);
    bench.settle();
    assert_snapshot!(bench.silence().story(), @r"
         0 > INVITE
         0 < 100 INVITE
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
fn over_udp_the_address_counts() {
    let mut bench = Bench::udp();
    bench.sends(Method::Options);
    let other = Peer { addr: ([192, 0, 2, 10], 5062).into(), ..peer(Transport::Udp) };
    bench.tx.undeliverable(bench.now, other, Undelivered::Unreachable, &mut bench.out);
    assert_eq!(bench.tx.live(), (0, 1));
    bench.tx.undeliverable(bench.now, peer(Transport::Udp), Undelivered::Unreachable, &mut bench.out);
    bench.settle();
    assert_snapshot!(bench.silence().story(), @r"
         0 > OPTIONS
         0 ! undeliverable
         0 ! gone
    ");
}

#[test]
fn one_transaction_alone_can_fail() {
    let mut bench = Bench::udp();
    let first = bench.sends(Method::Invite);
    bench.sends(Method::Invite);
    bench.tx.failed(bench.now, first.id, &mut bench.out);
    bench.settle();
    assert_eq!(bench.tx.live(), (0, 1));
}

#[test]
fn responses_go_by_a_new_connection_when_theirs_is_dead() {
    let mut bench = Bench::tcp();
    let (invite, _) = invite_and_ack(Transport::Tcp);
    let id = bench.begins(&invite);
    let home = bench.tx.peer(id).expect("it lives");
    assert_eq!((home.flow, home.addr), (Some(FlowId(7)), ([192, 0, 2, 9], 5060).into()));
    bench.tx.undeliverable(bench.now, peer(Transport::Tcp), Undelivered::Unreachable, &mut bench.out);
    bench.answers(id, 200);
    let home = bench.tx.peer(id).expect("it lives");
    assert_eq!((home.flow, home.addr), (None, ([192, 0, 2, 9], 5060).into()));
}

#[test]
fn a_final_answer_to_an_invite_that_died_with_its_connection_goes_once_more_by_a_new_one() {
    for (code, dies_after_ack, tried) in
        [(480, false, 1), (480, true, 0), (200, false, 1), (200, true, 0), (180, false, 0)]
    {
        let mut bench = Bench::tcp();
        let (invite, _) = invite_and_ack(Transport::Tcp);
        let id = bench.begins(&invite);
        bench.answers(id, code);
        if dies_after_ack {
            bench.tx.acked(bench.now, id);
        }
        bench.settle();
        bench.tx.undeliverable(bench.now, peer(Transport::Tcp), Undelivered::Unreachable, &mut bench.out);
        let homes: Vec<_> = bench.out.sends.iter().map(|sent| (sent.to.flow, sent.to.addr)).collect();
        assert_eq!(homes, vec![(None, ([192, 0, 2, 9], 5060).into()); tried], "{code}");
        bench.settle();
        // That one's end is none of its.
        let next = Peer { flow: Some(FlowId(8)), ..peer(Transport::Tcp) };
        bench.tx.undeliverable(bench.now, next, Undelivered::Unreachable, &mut bench.out);
        assert_eq!(bench.settle().len(), 0);
    }
}

#[test]
fn whoever_has_come_to_another_connection_is_answered_there() {
    for (code, acked, repeated) in [(200, false, 1), (480, false, 1), (200, true, 0), (180, false, 0)] {
        let mut bench = Bench::tcp();
        let (invite, _) = invite_and_ack(Transport::Tcp);
        let id = bench.begins(&invite);
        bench.answers(id, code);
        assert_eq!(bench.tx.awaits_ack(id), code >= 200);
        if acked {
            bench.tx.acked(bench.now, id);
        }
        bench.settle();
        let next =
            Peer { addr: ([192, 0, 2, 9], 40_001).into(), flow: Some(FlowId(8)), ..peer(Transport::Tcp) };
        bench.tx.reply_by(bench.now, id, next, &mut bench.out);
        let to: Vec<Peer> = bench.out.sends.iter().map(|sent| sent.to).collect();
        assert_eq!((to, bench.tx.peer(id)), (vec![next; repeated], Some(next)), "{code}");
        bench.settle();
        // The old one is none of its any more, and the new one is.
        bench.tx.undeliverable(bench.now, peer(Transport::Tcp), Undelivered::Unreachable, &mut bench.out);
        assert_eq!((bench.settle().len(), bench.tx.peer(id)), (0, Some(next)));
        bench.tx.undeliverable(bench.now, next, Undelivered::Unreachable, &mut bench.out);
        assert_eq!(bench.tx.peer(id), Some(Peer { flow: None, ..next }));
        assert_eq!(bench.settle().len(), repeated);
    }
}

#[test]
fn only_what_waits_for_a_final_response_is_looked_at() {
    let mut bench = Bench::tcp();
    let sent: Vec<Sent> = (0..10).map(|_| bench.sends(Method::Invite)).collect();
    for one in &sent[3..] {
        bench.gets(one, 200);
    }
    assert_eq!(bench.tx.unanswered.len(), 3);
    bench.tx.abandon(sent[0].id);
    assert_eq!(bench.tx.unanswered.len(), 2);
    bench.tx.undeliverable(bench.now, peer(Transport::Tcp), Undelivered::Unreachable, &mut bench.out);
    assert_eq!(bench.tx.unanswered.len(), 2, "the address is tried");
    bench.tx.undeliverable(
        bench.now,
        Peer { flow: None, ..peer(Transport::Tcp) },
        Undelivered::Unreachable,
        &mut bench.out,
    );
    bench.settle();
    assert_eq!((bench.tx.unanswered.len(), bench.tx.live()), (0, (0, 7)));
}
