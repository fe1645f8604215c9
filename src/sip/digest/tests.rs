use proptest::prelude::*;

use super::*;
use crate::time::Instant;
use std::net::IpAddr;
use std::time::Duration;

/// RFC 7616 §3.9.1.
const ASKED: &str = "Digest realm=\"http-auth@example.org\", qop=\"auth, auth-int\", algorithm=SHA-256, \
    nonce=\"7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v\", opaque=\"FQhe/qaU925kfnzjCev0ciny7QMkPqMAFRtzCUYo5tdS\"";
const MUFASA: (&[u8], &[u8], &[u8]) = (b"Mufasa", b"http-auth@example.org", b"Circle of Life");
const CNONCE: &[u8] = b"f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ";

fn answered(
    challenge: &str,
    algorithm: Algorithm,
    (username, realm, password): (&[u8], &[u8], &[u8]),
) -> String {
    let challenge = Challenge::parse(challenge.as_bytes()).expect("a challenge");
    assert_eq!(challenge.algorithm, algorithm);
    let ha1 = algorithm.ha1(username, realm, password);
    let mut out = Vec::new();
    answer(&mut out, &challenge, username, &ha1, ("GET", b"/dir/index.html"), (1, CNONCE));
    String::from_utf8(out).expect("text")
}

#[test]
fn the_examples_of_rfc_7616_have_their_responses() {
    for (algorithm, response) in [
        (Algorithm::Md5, "8ca523f5e9506fed4657c9700eebdbec"),
        (Algorithm::Sha256, "753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1"),
    ] {
        let asked = ASKED.replace("SHA-256", algorithm.token());
        let text = answered(&asked, algorithm, MUFASA);
        assert!(text.contains(&format!("response=\"{response}\"")), "{text}");
        assert!(text.contains("nc=00000001") && text.contains("qop=auth,"), "{text}");
        let credentials = Credentials::parse(text.as_bytes()).expect("credentials");
        let ha1 = algorithm.ha1(MUFASA.0, MUFASA.1, MUFASA.2);
        assert_eq!(credentials.prove("GET", ha1.as_bytes()), Some(Proof { count: Some(1) }));
        assert_eq!(credentials.prove("PUT", ha1.as_bytes()), None);
        let wrong = algorithm.ha1(MUFASA.0, MUFASA.1, b"Circle Of Life");
        assert_eq!(credentials.prove("GET", wrong.as_bytes()), None);
    }
}

#[test]
fn the_example_of_rfc_2617_has_its_response() {
    let text = "Digest username=\"Mufasa\", realm=\"testrealm@host.com\", \
        nonce=\"dcd98b7102dd2f0e8b11d0f600bfb0c093\", uri=\"/dir/index.html\", qop=auth, nc=00000001, \
        cnonce=\"0a4f113b\", response=\"6629fae49393a05397450978507c4ef1\", \
        opaque=\"5ccc069c403ebaf9f0171e9517f40e41\"";
    let credentials = Credentials::parse(text.as_bytes()).expect("credentials");
    assert_eq!(credentials.algorithm, Algorithm::Md5, "where none is named");
    let ha1 = Algorithm::Md5.ha1(b"Mufasa", b"testrealm@host.com", b"Circle Of Life");
    assert_eq!(ha1.as_bytes(), b"939e7578ed9e3c518a452acee763bce9");
    assert!(credentials.prove("GET", ha1.as_bytes()).is_some());
    assert!(
        Credentials::parse(text.replace("6629fae", "6629FAE").as_bytes())
            .is_some_and(|loud| loud.prove("GET", ha1.as_bytes()).is_some())
    );
}

#[test]
fn an_old_server_is_answered_without_quality_and_count() {
    let asked = "Digest realm=\"r\", nonce=\"n\"";
    let text = answered(asked, Algorithm::Md5, (b"u", b"r", b"p"));
    assert!(!text.contains("qop") && !text.contains("nc=") && !text.contains("cnonce"), "{text}");
    let ha1 = Algorithm::Md5.ha1(b"u", b"r", b"p");
    let credentials = Credentials::parse(text.as_bytes()).expect("credentials");
    assert_eq!(credentials.prove("GET", ha1.as_bytes()), Some(Proof { count: None }));
}

#[test]
fn of_several_challenges_the_strongest_is_answered() {
    let [weak, strong, foreign] = ["MD5", "SHA-256", "SHA-512-256"]
        .map(|algorithm| format!("Digest realm=\"r\", nonce=\"n\", algorithm={algorithm}, qop=\"auth\""));
    let chosen = |values: &[&str]| {
        Challenge::strongest(values.iter().map(|value| value.as_bytes())).map(|challenge| challenge.algorithm)
    };
    assert_eq!(chosen(&[&foreign, &weak, "Basic realm=\"r\"", &strong]), Some(Algorithm::Sha256));
    assert_eq!(chosen(&[&weak, &foreign]), Some(Algorithm::Md5));
    assert_eq!(chosen(&[&foreign, "Digest realm=\"r\", nonce=\"n\", qop=\"auth-int\""]), None);
    assert_eq!(chosen(&[]), None);
}

#[test]
fn a_challenge_is_written_as_it_is_read() {
    let challenge = Challenge {
        realm: b"strowger",
        nonce: b"abc",
        opaque: Some(b"x"),
        algorithm: Algorithm::Sha256,
        stale: true,
        auth: true,
    };
    let mut out = Vec::new();
    challenge.write(&mut out);
    assert_eq!(
        String::from_utf8_lossy(&out),
        "Digest realm=\"strowger\", nonce=\"abc\", opaque=\"x\", algorithm=SHA-256, qop=\"auth\", stale=true"
    );
    assert_eq!(Challenge::parse(&out), Some(challenge));
}

#[test]
fn what_is_not_well_formed_or_not_whole_proves_nothing() {
    const GOOD: &str = "Digest username=\"u\", realm=\"r\", nonce=\"n\", uri=\"sip:r\", response=\"0\", qop=auth, \
        nc=0000000a, cnonce=\"c\", algorithm=MD5";
    assert!(Credentials::parse(GOOD.as_bytes()).is_some());
    for (part, instead) in [
        ("Digest ", "Digest"),
        ("Digest", "Basic"),
        ("username=\"u\", ", ""),
        ("realm=\"r\", ", ""),
        ("nonce=\"n\"", "nonce=\"n"),
        ("nonce=\"n\", ", "nonce=\"n\" "),
        ("uri=\"sip:r\", ", ""),
        ("response=\"0\", ", ""),
        ("username=\"u\"", "username=\"u\", username=\"v\""),
        ("qop=auth", "qop=auth-int"),
        ("nc=0000000a, ", ""),
        ("nc=0000000a", "nc=00000000a"),
        ("nc=0000000a", "nc=g"),
        ("cnonce=\"c\", ", ""),
        ("algorithm=MD5", "algorithm=MD5-sess"),
        ("algorithm=MD5", "algorithm"),
        ("algorithm=MD5", "=MD5"),
    ] {
        let bad = GOOD.replacen(part, instead, 1);
        assert!(Credentials::parse(bad.as_bytes()).is_none(), "{bad}");
    }
    let folded = GOOD.replace(", ", ",\r\n  ,").replace('=', " = ");
    assert!(Credentials::parse(folded.as_bytes()).is_some(), "{folded}");
}

#[test]
fn a_nonce_is_known_again_by_its_maker_for_its_source_and_its_time() {
    let at = |seconds: u64| Instant::from_micros(seconds * 1_000_000);
    let [here, there]: [IpAddr; 2] = [[192, 0, 2, 1].into(), [192, 0, 2, 2].into()];
    let nonces = Nonces::new([7; 64]);
    let nonce = nonces.draw(at(100), 1, b"strowger", here);
    let lifetime = Duration::from_secs(300);
    let check = |nonce: &[u8], now, realm: &[u8], source| nonces.check(nonce, now, realm, source);
    assert_eq!(check(&nonce, at(100), b"strowger", here), Some(at(100)));
    let mapped = IpAddr::V6([0, 0, 0, 0, 0, 0xffff, 0xc000, 0x0201].into());
    assert_eq!(check(&nonce, at(100), b"strowger", mapped), Some(at(100)));
    assert_eq!(check(&nonce, at(100) + lifetime, b"strowger", here), Some(at(100)));
    for (now, realm, source) in [
        (at(401), &b"strowger"[..], here),
        (at(99), b"strowger", here),
        (at(100), b"other", here),
        (at(100), b"strowger", there),
    ] {
        assert_eq!(check(&nonce, now, realm, source), None, "{now:?} {source}");
    }
    assert_eq!(Nonces::new([8; 64]).check(&nonce, at(100), b"strowger", here), None);
    for at_digit in 0..nonce.len() {
        let mut forged = nonce;
        forged[at_digit] = if forged[at_digit] == b'0' { b'1' } else { b'0' };
        assert_eq!(check(&forged, at(100), b"strowger", here), None, "digit {at_digit}");
    }
    assert_eq!(check(&nonce[1..], at(100), b"strowger", here), None);
    assert_eq!(check(b"", at(100), b"strowger", here), None);
    assert_ne!(nonce, nonces.draw(at(100), 2, b"strowger", here));
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whoever_knows_the_password_proves_it(
        username in "[a-z0-9 .@]{1,12}",
        password in "\\PC{0,16}",
        realm in "[a-z.]{1,9}",
        nonce in "[A-Za-z0-9/+=]{1,40}",
        opaque in proptest::option::of("[a-z]{1,4}"),
        algorithm in proptest::sample::select(Algorithm::ALL.to_vec()),
        count in 1u32..,
        auth: bool,
    ) {
        let challenge = Challenge {
            realm: realm.as_bytes(),
            nonce: nonce.as_bytes(),
            opaque: opaque.as_ref().map(|opaque| opaque.as_bytes()),
            algorithm,
            stale: false,
            auth,
        };
        let mut asked = Vec::new();
        challenge.write(&mut asked);
        let challenge = Challenge::parse(&asked).expect("our own challenge");
        let ha1 = algorithm.ha1(username.as_bytes(), realm.as_bytes(), password.as_bytes());
        let mut out = Vec::new();
        answer(&mut out, &challenge, username.as_bytes(), &ha1, ("INVITE", b"sip:b@c"), (count, b"x"));
        let credentials = Credentials::parse(&out).expect("our own credentials");
        prop_assert_eq!(credentials.username, username.as_bytes());
        let proof = credentials.prove("INVITE", ha1.as_bytes());
        prop_assert_eq!(proof, Some(Proof { count: auth.then_some(count) }));
        let other = algorithm.ha1(username.as_bytes(), realm.as_bytes(), b"another password, longer than any");
        prop_assert_eq!(credentials.prove("INVITE", other.as_bytes()), None);
    }

    #[test]
    fn strangers_bytes_do_no_harm(value in proptest::collection::vec(any::<u8>(), 0..200)) {
        Challenge::parse(&value);
        Credentials::parse(&value);
        let named = [b"Digest ", &value[..]].concat();
        Challenge::parse(&named);
        if let Some(credentials) = Credentials::parse(&named) {
            credentials.prove("INVITE", b"");
        }
    }
}
