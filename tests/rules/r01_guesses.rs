//! R1b: who guesses passwords is slowed, and nobody else for it.

use std::net::SocketAddr;

use super::register::{DESK, POCKET, Phone, codes, home};
use super::*;

#[test]
fn r01_b_who_does_not_know_the_password_is_asked_again_and_then_hears_nothing() {
    let mut call = home("", "").before_any_call();
    for name in ["alice", "nobody"] {
        let mut phone = Phone { call_id: name, ..Phone::new(name, "guessed", POCKET) };
        assert_eq!(codes(&phone.sends(&mut call, |message| message)), [401]);
        let heard: Vec<Vec<u16>> =
            (0..8).map(|_| codes(&phone.sends(&mut call, |message| message))).collect();
        assert_eq!(
            heard,
            [vec![401], vec![401], vec![401], vec![401], vec![401], vec![401], vec![], vec![]],
            "{name}"
        );
    }
    // Who comes from elsewhere is not the worse for it, and with time it is forgiven.
    assert_eq!(Phone { call_id: "reg-2", ..Phone::alice(DESK) }.registers(&mut call, |message| message), 200);
    call.after(seconds(60));
    assert_eq!(
        Phone { call_id: "reg-3", ..Phone::alice(POCKET) }.registers(&mut call, |message| message),
        200
    );
}

/// Another phone at the same address, whose password is wrong, until it hears nothing.
fn guesses_until_unheard(call: &mut Call, name: &'static str) {
    let mut guesser =
        Phone { call_id: "guess", ..Phone::new(name, "guessed", SocketAddr::new(DESK.ip(), 7_000)) };
    let heard: Vec<usize> = (0..12).map(|_| guesser.sends(call, |message| message).len()).collect();
    assert_eq!(heard, [1, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0, 0]);
}

#[test]
fn r01_b_a_right_password_is_taken_however_often_others_at_its_address_guessed() {
    let mut call = home("", "").before_any_call();
    guesses_until_unheard(&mut call, "alice");
    let mut phone = Phone::alice(DESK);
    assert_eq!(phone.registers(&mut call, |message| message), 200);
    assert_eq!(phone.registers(&mut call, |message| message), 200, "and with the nonce that it has");
    phone.invites(&mut call, "sip:911@strowger", &|message| message);
    let told = call.world.trace.crossings.iter().filter(|one| one.peer == DESK);
    assert_eq!(told.map(|one| one.message.status()).rfind(|status| *status > 0), Some(100), "it is called");
    let mut other =
        Phone { call_id: "reg-2", ..Phone::new("bob", "builder", SocketAddr::new(DESK.ip(), 7_002)) };
    assert_eq!(other.registers(&mut call, |message| message), 200);
    call.world.leaves_unchecked("answers_legal");
}

#[test]
fn r01_b_who_floods_with_guesses_shuts_nobody_out_at_its_address() {
    let mut call = home("", "").before_any_call();
    let mut bound = Phone::alice(DESK);
    assert_eq!(bound.registers(&mut call, |message| message), 200);
    // By one port, each time with another nonce of ours, on and on.
    let there = |port| SocketAddr::new(DESK.ip(), port);
    let mut guesser = Phone { call_id: "guess", ..Phone::new("alice", "guessed", there(7_000)) };
    let mut guess = |call: &mut Call, port: u16| {
        (guesser.at, guesser.challenge) = (there(port), None);
        guesser.sends(call, |message| message).len() + guesser.sends(call, |message| message).len()
    };
    let heard: usize = (0..100).map(|_| guess(&mut call, 7_000)).sum();
    assert_eq!(heard, 106, "a challenge each time, and six answers to guesses");
    let mut new = Phone { call_id: "reg-2", ..Phone::alice(there(7_002)) };
    assert_eq!(new.registers(&mut call, |message| message), 200, "a phone that nobody knows yet");
    // By as many ports as there are: all that the address may try is spent.
    let heard: usize = (0..100).map(|port| guess(&mut call, 7_100 + port)).sum();
    assert_eq!(heard, 100);
    assert_eq!(bound.registers(&mut call, |message| message), 200, "with the nonce that it has");
    bound.challenge = None;
    assert_eq!(bound.registers(&mut call, |message| message), 200, "and with another");
}

#[test]
fn r01_b_a_nonce_that_was_never_ours_counts_nothing() {
    let mut call = home("", "").before_any_call();
    let forged = r#"Digest realm="strowger", nonce="00000000000000000000000000000000000000000000000000000000", algorithm=MD5, qop="auth""#;
    for _ in 0..100 {
        let mut phone = Phone { challenge: Some(forged.to_owned()), ..Phone::new("alice", "guessed", DESK) };
        let answers = phone.sends(&mut call, |message| message);
        assert!(answers.iter().all(|answer| answer.status() == 401), "{answers:?}");
    }
    guesses_until_unheard(&mut call, "alice");
}

#[test]
fn r13_no_flood_at_its_address_shuts_out_who_calls_for_help() {
    let mut call = home("", "").before_any_call();
    let at = |port| SocketAddr::new(DESK.ip(), port);
    let told = |answers: Vec<Message>| answers.iter().map(Message::status).collect::<Vec<_>>();
    let flood = |call: &mut Call| {
        for port in 10_000..13_000 {
            let bare = Message::request("REGISTER", "sip:strowger")
                .with("Via", format!("SIP/2.0/UDP {};branch=z9hG4bK-{port}", at(port)))
                .with("From", "<sip:bob@strowger>;tag=1")
                .with("To", "<sip:bob@strowger>")
                .with("Call-ID", format!("flood-{port}"))
                .with("CSeq", "1 REGISTER");
            call.world.sends(at(port), &bare);
        }
    };
    let mut phone = Phone { call_id: "help", ..Phone::alice(at(7_003)) };
    flood(&mut call);
    assert_eq!(phone.sends(&mut call, |message| message).len(), 0, "there are too many to be asked");
    flood(&mut call);
    assert_eq!(told(phone.invites(&mut call, "sip:911@strowger", &|message| message)), [407]);
    // And while somebody guesses by as many ports as there are.
    let mut guesser = Phone { call_id: "guess", ..Phone::new("alice", "guessed", at(7_000)) };
    let mut heard = 1;
    for port in 7_100..7_200 {
        (guesser.at, guesser.challenge) = (at(port), None);
        guesser.sends(&mut call, |message| message);
        heard = guesser.sends(&mut call, |message| message).len();
    }
    assert_eq!(heard, 0, "all that the address may try is spent");
    assert_eq!(phone.sends(&mut call, |message| message).len(), 0);
    assert_eq!(told(phone.invites(&mut call, "sip:911@strowger", &|message| message)), [] as [u16; 0]);
    assert_eq!(
        call.world.trace.crossings.iter().rfind(|one| one.peer == phone.at).map(|one| one.message.status()),
        Some(100)
    );
    call.world.leaves_unchecked("answers_legal");
}
