//! R1 whole: who sent a request outside a dialog, for every sender, credentials, From and token together.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use strowger::sip::digest::{self, Challenge};

use super::register::Phone;
use super::*;

const fn at(host: [u8; 4]) -> SocketAddr {
    SocketAddr::new(IpAddr::V4(Ipv4Addr::new(host[0], host[1], host[2], host[3])), 5060)
}

/// Where the trunk `itsp` is registered, and from where nothing is sent.
const REGISTRAR: SocketAddr = at([127, 0, 5, 1]);

/// From where a request comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sender {
    /// The trunk `carrier`.
    Carrier,
    /// A phone that is bound, by no Path.
    Phone,
    /// That phone's host, from another port.
    PhonesHost,
    /// A proxy by whose Path a phone is bound.
    Proxy,
    /// A phone that is bound, by no Path, from an address of the trunk `office`.
    Office,
    Stranger,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shows {
    Nothing,
    /// Alice's, for our realm.
    Right,
    /// A wrong password of alice's, for our realm.
    Wrong,
    /// Alice's, for the realm of somebody else.
    OtherRealm,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum From {
    Agent,
    Other,
}

/// The token in the Request-URI.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Line {
    None,
    Right,
    Wrong,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asks {
    Invite,
    Options,
    Register,
}

/// Who the sender is taken for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Taken {
    Agent,
    /// An agent who is still to show a password.
    Challenged,
    Trunk(&'static str),
    Nobody,
}

const SENDERS: [Sender; 6] =
    [Sender::Carrier, Sender::Phone, Sender::PhonesHost, Sender::Proxy, Sender::Office, Sender::Stranger];
const SHOWN: [Shows; 4] = [Shows::Nothing, Shows::Right, Shows::Wrong, Shows::OtherRealm];
const FROMS: [From; 2] = [From::Agent, From::Other];
const LINES: [Line; 3] = [Line::None, Line::Right, Line::Wrong];
const ASKED: [Asks; 3] = [Asks::Invite, Asks::Options, Asks::Register];

type Case = (Asks, Shows, From, Sender, Line);

/// R1 b to e as it is written: the first match wins.
fn rule(case: Case) -> Taken {
    match case {
        // b: every REGISTER is challenged alike.
        (Asks::Register, Shows::Right, _, _, _) => Taken::Agent,
        (Asks::Register, Shows::Nothing | Shows::Wrong | Shows::OtherRealm, _, _, _) => Taken::Challenged,
        // b: credentials for our realm …
        (_, Shows::Right, _, _, _) => Taken::Agent,
        (_, Shows::Wrong, _, _, _) => Taken::Challenged,
        // … or an agent's name in From …
        (_, _, From::Agent, _, _) => Taken::Challenged,
        // … or from the address and port of a binding that has no Path and that no trunk matches.
        (_, _, _, Sender::Phone, _) => Taken::Challenged,
        // c
        (_, _, _, _, Line::Right) => Taken::Trunk("itsp"),
        // d
        (_, _, _, Sender::Carrier, _) => Taken::Trunk("carrier"),
        (_, _, _, Sender::Office, _) => Taken::Trunk("office"),
        // e
        (_, _, _, Sender::PhonesHost | Sender::Proxy | Sender::Stranger, _) => Taken::Nobody,
    }
}

/// What each hears: an INVITE is to somebody whom nobody knows, so that it ends at once.
fn hears(asks: Asks, taken: Taken) -> &'static [u16] {
    match (asks, taken) {
        (Asks::Invite, Taken::Agent | Taken::Trunk(_)) => &[100, 404],
        (Asks::Options | Asks::Register, Taken::Agent | Taken::Trunk(_)) => &[200],
        (Asks::Invite | Asks::Options, Taken::Challenged) => &[407],
        (Asks::Register, Taken::Challenged) => &[401],
        (Asks::Invite, Taken::Nobody) => &[403],
        (Asks::Options | Asks::Register, Taken::Nobody) => &[],
    }
}

impl Sender {
    fn addr(self) -> SocketAddr {
        match self {
            Sender::Carrier => layout::CARRIER,
            Sender::Phone => at([127, 0, 2, 2]),
            Sender::PhonesHost => SocketAddr::new(Sender::Phone.addr().ip(), 5070),
            Sender::Proxy => at([127, 0, 2, 3]),
            Sender::Office => at([127, 0, 2, 4]),
            Sender::Stranger => layout::STRANGER,
        }
    }
}

impl Asks {
    fn method(self) -> &'static str {
        match self {
            Asks::Invite => "INVITE",
            Asks::Options => "OPTIONS",
            Asks::Register => "REGISTER",
        }
    }
}

/// All senders in place: bob's, carol's and dave's phones are bound, and `itsp` has asked to be registered.
fn place() -> Call {
    let agent = |name: &str| format!("[[agent]]\nname = \"{name}\"\npassword = \"{name}s\"\n\n");
    let text = format!(
        "[[trunk]]\nname = \"carrier\"\nfrom = [\"{}/32\"]\noptions_interval = 0\n\n\
         [[trunk]]\nname = \"office\"\nfrom = [\"{}/32\"]\noptions_interval = 0\n\n\
         [[trunk]]\nname = \"itsp\"\ngateways = [{{ uri = \"sip:{REGISTRAR}\" }}]\nregister = true\n\
         options_interval = 0\nauth = {{ username = \"house\", password = \"sesame\" }}\n\n{}{}",
        Sender::Carrier.addr().ip(),
        Sender::Office.addr().ip(),
        ["alice", "bob", "carol", "dave"].map(agent).concat(),
        did("ring = [\"alice\"]"),
    );
    let mut call = Setup::new(served(), &text).before_any_call();
    call.after(seconds(2));
    for (name, password, sender) in [
        ("bob", "bobs", Sender::Phone),
        ("carol", "carols", Sender::Proxy),
        ("dave", "daves", Sender::Office),
    ] {
        let path = format!("<sip:{};lr>", sender.addr());
        let mut phone = Phone { call_id: name, ..Phone::new(name, password, sender.addr()) };
        let code = phone.registers(&mut call, |message| match sender {
            Sender::Proxy => message.with("Supported", "path").with("Path", path.clone()),
            Sender::Carrier | Sender::Phone | Sender::PhonesHost | Sender::Office | Sender::Stranger => {
                message
            }
        });
        assert_eq!(code, 200, "{name}");
    }
    call
}

/// The token of our registration.
fn token(call: &Call) -> String {
    let crossings = call.world.trace.crossings.iter();
    let mut registers = crossings.filter(|crossing| crossing.peer == REGISTRAR);
    let contact = registers.find_map(|crossing| crossing.message.get("Contact")).unwrap_or_default();
    let (_, token) = contact.split_once(";line=").unwrap_or_default();
    token.trim_end_matches('>').to_owned()
}

/// A request from there, of its own transaction.
fn request(method: &str, uri: &str, from: &str, sender: Sender, id: &str) -> Message {
    let addr = sender.addr();
    Message::request(method, uri)
        .with("Via", format!("SIP/2.0/UDP {addr};branch=z9hG4bK-{id}"))
        .with("Max-Forwards", "70")
        .with("From", format!("<sip:{from}@strowger>;tag=f"))
        .with("To", "<sip:alice@strowger>")
        .with("Call-ID", id)
        .with("CSeq", format!("1 {method}"))
        .with("Contact", format!("<sip:{addr}>"))
}

/// What the sender hears to it.
fn heard(call: &mut Call, sender: Sender, message: &Message) -> Vec<Message> {
    let before = call.world.trace.crossings.len();
    call.world.sends(sender.addr(), message);
    call.after(millis(200));
    let since = call.world.trace.crossings[before..].iter();
    let to_it = since.filter(|crossing| crossing.peer == sender.addr() && crossing.message.status() > 0);
    let mut branches: Vec<u16> = Vec::new();
    // Without repetitions: it acknowledges nothing.
    let first = to_it.filter(|crossing| {
        let is_new = !branches.contains(&crossing.message.status());
        branches.push(crossing.message.status());
        is_new
    });
    first.map(|crossing| crossing.message.clone()).collect()
}

/// The credentials that a case shows, for a nonce that was made for its sender.
fn credentials(call: &mut Call, (asks, shows, _, sender, _): Case, uri: &str) -> Option<String> {
    let (realm, password) = match shows {
        Shows::Nothing => return None,
        Shows::Right => (None, "alices"),
        Shows::Wrong => (None, "guessed"),
        Shows::OtherRealm => (Some("realm=\"elsewhere\""), "alices"),
    };
    let asked = heard(call, sender, &request("REGISTER", "sip:strowger", "alice", sender, "nonce"));
    let text = asked[0].get("WWW-Authenticate").unwrap_or_default();
    let text = realm.map_or_else(|| text.to_owned(), |realm| text.replace("realm=\"strowger\"", realm));
    let challenge = Challenge::parse(text.as_bytes())?;
    let ha1 = challenge.algorithm.ha1(b"alice", challenge.realm, password.as_bytes());
    let mut written = Vec::new();
    let signed = (asks.method(), uri.as_bytes());
    digest::answer(&mut written, &challenge, b"alice", &ha1, signed, (1, b"c"));
    Some(String::from_utf8_lossy(&written).into_owned())
}

/// What is heard to a case, and whose call the record says that it was.
fn told(case: Case) -> (Vec<u16>, Option<String>) {
    let (asks, _, from, sender, line) = case;
    let mut call = place();
    let line = match line {
        Line::None => String::new(),
        Line::Right => format!(";line={}", token(&call)),
        Line::Wrong => format!(";line={}", token(&call).chars().rev().collect::<String>()),
    };
    let user = if asks == Asks::Register { "" } else { "nobody@" };
    let uri = format!("sip:{user}{}{line}", layout::SERVER);
    let name = if from == From::Agent { "alice" } else { "somebody" };
    let mut message = request(asks.method(), &uri, name, sender, "case");
    if let Some(written) = credentials(&mut call, case, &uri) {
        let field = if asks == Asks::Register { "Authorization" } else { "Proxy-Authorization" };
        message = message.with(field, written);
    }
    let codes = heard(&mut call, sender, &message).iter().map(Message::status).collect();
    let whose = |record: &serde_json::Value| match record["trunk"].as_str() {
        Some(trunk) => trunk.to_owned(),
        None => format!("an agent's, {}", record["direction"].as_str().unwrap_or("?")),
    };
    (codes, call.world.records.first().map(whose))
}

#[test]
fn r01_every_sender_with_every_credentials_from_and_token_is_who_the_rule_says() {
    let mut wrong = Vec::new();
    let mut count = 0;
    for asks in ASKED {
        for shows in SHOWN {
            for from in FROMS {
                for (sender, line) in SENDERS.into_iter().flat_map(|sender| LINES.map(|line| (sender, line)))
                {
                    let case = (asks, shows, from, sender, line);
                    let taken = rule(case);
                    let record = match (asks, taken) {
                        (Asks::Invite, Taken::Agent) => Some("an agent's, outbound".to_owned()),
                        (Asks::Invite, Taken::Trunk(trunk)) => Some(trunk.to_owned()),
                        (_, Taken::Agent | Taken::Trunk(_) | Taken::Challenged | Taken::Nobody) => None,
                    };
                    let expected = (hears(asks, taken).to_vec(), record);
                    let found = told(case);
                    if found != expected {
                        wrong.push(format!("{case:?}: {found:?}, not {expected:?}"));
                    }
                    count += 1;
                }
            }
        }
    }
    assert_eq!(count, 432);
    assert!(wrong.is_empty(), "{} of {count} are not as R1 says:\n{}", wrong.len(), wrong.join("\n"));
}
