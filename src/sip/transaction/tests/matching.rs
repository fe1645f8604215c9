//! Which transaction a message belongs to (RFC 3261 §17.1.3, §17.2.3, §8.2.2.2; R1a).

use super::*;

fn edited(bytes: &[u8], edits: &[(&str, &str)]) -> Vec<u8> {
    let mut text = String::from_utf8(bytes.to_vec()).expect("text");
    for (from, to) in edits {
        assert!(text.contains(from), "{from} is not in {text}");
        text = text.replace(from, to);
    }
    text.into_bytes()
}

#[test]
fn a_retransmission_is_the_same_request_from_wherever_it_comes() {
    let mut bench = Bench::udp();
    let (invite, _) = invite_and_ack(Transport::Udp);
    let id = bench.begins(&invite);
    assert_eq!(bench.comes(&invite), Meeting::Again(id));
    let moved = edited(&invite, &[("192.0.2.1:5060", "198.51.100.1:5099"), ("69", "68")]);
    assert_eq!(bench.comes(&moved), Meeting::Again(id));
}

#[test]
fn one_branch_with_two_methods_is_two_transactions() {
    let mut bench = Bench::udp();
    let options = request("OPTIONS", "z9hG4bK1", Transport::Udp, ";tag=x");
    let info = request("INFO", "z9hG4bK1", Transport::Udp, ";tag=x");
    let unknown = request("FROBNICATE", "z9hG4bK1", Transport::Udp, ";tag=x");
    let unknown_too = request("DEFENESTRATE", "z9hG4bK1", Transport::Udp, ";tag=x");
    let ids = [&options, &info, &unknown, &unknown_too].map(|bytes| bench.begins(bytes));
    assert_eq!(bench.comes(&info), Meeting::Again(ids[1]));
    assert_eq!(bench.comes(&unknown_too), Meeting::Again(ids[3]));
    assert_eq!(bench.tx.live(), (4, 0));
}

#[test]
fn one_branch_in_two_call_ids_is_two_transactions() {
    let mut bench = Bench::udp();
    let (invite, _) = invite_and_ack(Transport::Udp);
    bench.begins(&invite);
    let other = edited(&invite, &[("a84b4c76e66710", "elsewhere")]);
    assert!(matches!(bench.comes(&other), Meeting::New(_)));
}

#[test]
fn another_branch_of_a_known_request_is_merged() {
    let mut bench = Bench::udp();
    let (invite, _) = invite_and_ack(Transport::Udp);
    let id = bench.begins(&invite);
    let branch = edited(&invite, &[("z9hG4bK776", "z9hG4bK777")]);
    assert!(matches!(bench.comes(&branch), Meeting::Merged(_)));
    let second = bench.begins(&branch);
    bench.answers(second, 482);
    assert_eq!(bench.comes(&branch), Meeting::Again(second));
    // Its CANCEL finds its own branch, not the first.
    let cancel = request("CANCEL", "z9hG4bK776", Transport::Udp, "");
    assert!(matches!(bench.comes(&cancel), Meeting::Cancel { invite, .. } if invite == Some(id)));
    for (what, to) in [
        ("CSeq: 1 ", "CSeq: 2 "),
        ("tag=caller", "tag=another"),
        ("bob@example.com>", "bob@example.com>;tag=us"),
    ] {
        assert!(
            matches!(bench.comes(&edited(&branch, &[("K777", "K778"), (what, to)])), Meeting::New(_)),
            "{what}"
        );
    }
    bench.answers(id, 404);
    bench.silence();
    let third = edited(&invite, &[("z9hG4bK776", "z9hG4bK779")]);
    assert!(matches!(bench.comes(&third), Meeting::New(_)), "the first is forgotten");
}

#[test]
fn rfc_2543_requests_match_by_their_headers() {
    for branch in [";branch=1", ";branch=z9hG4bK", ""] {
        let mut bench = Bench::udp();
        let old = |bytes: &[u8]| edited(bytes, &[(";branch=z9hG4bK776", branch)]);
        let (invite, ack) = invite_and_ack(Transport::Udp);
        let (invite, ack) = (old(&invite), old(&ack));
        let cancel = old(&request("CANCEL", "z9hG4bK776", Transport::Udp, ""));
        let id = bench.begins(&invite);
        assert_eq!(bench.comes(&invite), Meeting::Again(id));
        assert!(matches!(bench.comes(&cancel), Meeting::Cancel { invite, .. } if invite == Some(id)));
        bench.answers(id, 486);
        assert_eq!(bench.comes(&ack), Meeting::Ack(id));
        let next = edited(&invite, &[("CSeq: 1 ", "CSeq: 2 ")]);
        assert!(matches!(bench.comes(&next), Meeting::New(_)), "another CSeq is another request");
    }
}

#[test]
fn a_response_is_found_by_branch_and_cseq_method() {
    let mut bench = Bench::udp();
    let invite = bench.sends(Method::Invite);
    let bye = bench.sends(Method::Bye);
    let answer = |bench: &mut Bench, bytes: &[u8]| {
        let message = Message::parse(bytes).expect("a response");
        bench.tx.response(bench.now, &message, &mut bench.out).map(|(id, ..)| id)
    };
    let ringing = response(&invite.bytes, 180, "callee");
    assert_eq!(answer(&mut bench, &ringing), Some(invite.id));
    assert_eq!(answer(&mut bench, &response(&bye.bytes, 200, "callee")), Some(bye.id));

    let strays = bench.tx.traffic().strays;
    let other_method = edited(&ringing, &[("CSeq: 1 INVITE", "CSeq: 1 BYE")]);
    let cancel_of_none = edited(&ringing, &[("CSeq: 1 INVITE", "CSeq: 1 CANCEL")]);
    let branch =
        String::from_utf8_lossy(Message::parse(&invite.bytes).expect("ours").via().branch.expect("one"))
            .into_owned();
    let last = branch.chars().last().expect("a letter");
    let forged = format!("{}{}", &branch[..branch.len() - 1], if last == 'a' { 'b' } else { 'a' });
    let forged = edited(&ringing, &[(&branch, &forged)]);
    let no_place = edited(&ringing, &[(&branch, "z9hG4bK77777777777777777777")]);
    let foreign = edited(&ringing, &[(&branch, "z9hG4bKother")]);
    let none = edited(&ringing, &[(&format!(";branch={branch}"), "")]);
    for stray in [other_method, cancel_of_none, forged, no_place, foreign, none] {
        assert_eq!(answer(&mut bench, &stray), None, "{}", text(&stray));
    }
    assert_eq!(bench.tx.traffic().strays, strays + 6);
}

#[test]
fn a_place_used_again_has_another_branch_and_another_id() {
    let mut bench = Bench::tcp();
    let first = bench.sends(Method::Bye);
    bench.gets(&first, 200);
    let second = bench.sends(Method::Bye);
    assert_ne!(first.id, second.id);
    assert_eq!(first.id.place(), second.id.place());
    let late = response(&first.bytes, 200, "callee");
    let late = Message::parse(&late).expect("a response");
    assert_eq!(bench.tx.response(bench.now, &late, &mut bench.out), None);
    assert_eq!(bench.tx.owner(first.id), None);
    assert_eq!(bench.tx.owner(second.id), Some(1));
}

#[test]
fn shards_with_other_seeds_make_other_branches() {
    let branch = |seed| Transactions::<u8>::new(seed).reserve(1).expect("room").1;
    assert_eq!(branch([1; 16]), branch([1; 16]));
    assert_ne!(branch([1; 16]), branch([2; 16]));
    let text = branch([1; 16]).to_string();
    assert!(text.starts_with("z9hG4bK"), "{text}");
    assert!(text[7..].bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit()), "{text}");
}
