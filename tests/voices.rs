//! Calls with audio over real sockets: keys that SIPp presses, what is left of many calls, and what is left of a recording
//! whose node is killed.

#![expect(clippy::unwrap_used, reason = "in a test a panic is the report")]

#[expect(dead_code, reason = "shared with tests that ask for more")]
mod common;
#[expect(dead_code, reason = "shared with tests that ask for more")]
#[path = "common/node.rs"]
mod node;
#[path = "common/sound.rs"]
mod sound;
#[expect(dead_code, reason = "shared with tests that ask for more")]
mod support;

use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::{Duration, Instant};

use common::wait_until;
use nix::sys::signal::Signal;
use node::{Line, Place, SDP, Serving, answer, invite};
use strowger::media::g711;
use strowger::media::rtp::Packet;
use support::process::until;
use support::{DID, Outcome, World};

/// Whom the number forwards to must press 1.
const CONNECTS: &str = "forward_to = \"+12015550199\"\ncall_connect = true\nvoicemail = false";

/// How long anything may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// A carrier, a trunk to the gateway, and the number with those keys.
fn routing(number: &str) -> String {
    format!(
        "[[trunk]]\nname = \"carrier\"\nfrom = [\"{{host}}:{{carrier}}\"]\noptions_interval = 0\n\
         [[trunk]]\nname = \"mobile\"\ngateways = [{{ uri = \"sip:{{gateway}}\" }}]\noutbound = true\n\
         options_interval = 0\n[[number]]\ndid = \"{DID}\"\n{number}\n"
    )
}

/// A call whose called phone presses 1 as that scenario does it.
fn is_accepted_by(scenario: &str) -> Outcome {
    let world = World::with_audio(&routing(CONNECTS))?;
    let phone = world.phone(scenario, world.gateway, &["-d", "300"])?;
    world.caller("caller_talks", world.carrier, &["-d", "300"])?.finish()?;
    phone.finish()?;
    let cdr = world.cdr()?;
    let told = (&cdr["outcome"], &cdr["ended_by"], cdr["legs"][1]["confirmed"].is_string());
    if told != (&"answered".into(), &"caller".into(), true) {
        return Err(format!("{cdr:#}"));
    }
    is_left_with_nothing(&world)
}

#[test]
fn r06_sipp_presses_1_by_packets_that_it_has_captured() -> Outcome {
    is_accepted_by("phone_presses")
}

#[test]
fn r06_sipp_says_by_info_that_1_was_pressed() -> Outcome {
    is_accepted_by("phone_presses_by_info")
}

/// No call, no leg, no port of audio.
fn is_left_with_nothing(world: &World) -> Outcome {
    let active = ["strowger_calls_active", "strowger_legs_active", "strowger_rtp_ports_active"];
    let left = || active.map(|name| world.metric(name).unwrap_or(f64::NAN));
    until(PATIENCE, || left() == [0.0; 3]);
    if left() == [0.0; 3] { Ok(()) } else { Err(format!("{active:?} are {:?}", left())) }
}

/// How many sockets a process has.
fn sockets(process: u32) -> usize {
    let open = fs::read_dir(format!("/proc/{process}/fd")).into_iter().flatten().flatten();
    let kinds = open.filter_map(|entry| fs::read_link(entry.path()).ok());
    kinds.filter(|kind| kind.to_string_lossy().starts_with("socket:")).count()
}

/// Numbers whose forwarded phone is busy, accepts, and never does.
const BUSY: &str = "+12015550111";
const ACCEPTS: &str = "+12015550112";
const IGNORES: &str = "+12015550113";

#[test]
fn r12_five_hundred_failed_confirmed_and_unconfirmed_calls_leave_no_port() -> Outcome {
    let trunk = |name: &str, at: &str| {
        format!(
            "[[trunk]]\nname = \"{name}\"\ngateways = [{{ uri = \"sip:{{{at}}}\" }}]\noptions_interval = 0\n\
             outbound = true\n"
        )
    };
    let number = |did: &str, trunk: &str| {
        format!(
            "[[number]]\ndid = \"{did}\"\n{CONNECTS}\ntrunk = \"{trunk}\"\nrecord = true\n\
             call_connect_seconds = 1\n"
        )
    };
    let routing = [
        "[[trunk]]\nname = \"carrier\"\nfrom = [\"{host}/32\"]\noptions_interval = 0\n".to_owned(),
        trunk("busy", "gateway"),
        trunk("accepts", "alice"),
        trunk("ignores", "bob"),
        number(BUSY, "busy"),
        number(ACCEPTS, "accepts"),
        number(IGNORES, "ignores"),
    ]
    .concat();
    let world = World::with_audio_by(&routing, "20000-20599")?;
    let before = sockets(world.node());
    let [busy, accepts, ignores] = [200, 150, 150];
    let phone = |scenario, port, calls: u32, more: &[&str]| {
        world.phone(scenario, port, &[&["-m", &calls.to_string(), "-l", "1000"], more].concat())
    };
    let phones = [
        phone("phone_is_busy", world.gateway, busy, &[])?,
        phone("phone_presses_by_info", world.alice, accepts, &["-d", "100"])?,
        phone("phone_answers", world.bob, ignores, &["-d", "0"])?,
    ];
    let call = |scenario, port, number, calls: u32, more: &[&str]| {
        let calls = calls.to_string();
        let usual = ["-s", number, "-m", &calls, "-l", "1000", "-r", "25"];
        world.caller(scenario, port, &[&usual[..], more].concat())
    };
    let [second, third] = support::process::free_ports(world.host)?;
    let refused = &["-key", "hops", "70"];
    let callers = [
        call("caller_is_refused", world.carrier, BUSY, busy, refused)?,
        call("caller_talks", second, ACCEPTS, accepts, &["-d", "100"])?,
        call("caller_is_refused", third, IGNORES, ignores, refused)?,
    ];
    for sipp in callers.into_iter().chain(phones) {
        sipp.finish()?;
    }
    is_left_with_nothing(&world)?;
    let cdrs = world.cdrs(500)?;
    let ended = |outcome: &str| cdrs.iter().filter(|cdr| cdr["outcome"] == outcome).count();
    let ends = ["busy", "answered", "not_confirmed"].map(ended);
    if ends != [200, 150, 150] {
        return Err(format!("{ends:?} are busy, answered, not confirmed"));
    }
    // The kernel has them back too: what is left beside is no more than the connection of whoever asked for metrics.
    let closed = || sockets(world.node()) <= before + 1;
    until(PATIENCE, closed);
    if closed() { Ok(()) } else { Err(format!("{} sockets, {before} before", sockets(world.node()))) }
}

/// 20 ms of what the caller says, as loud as that.
const LOUD: i16 = 12_000;

/// So much of it is on disk before the node is killed: a second and a half in two channels.
const ENOUGH: u64 = 44 + 12_000 * 4;

/// An address that no other test's node has.
fn own_host() -> IpAddr {
    static HOSTS: AtomicU8 = AtomicU8::new(200);
    let [.., high, low] = std::process::id().to_be_bytes();
    Ipv4Addr::new(127, 0x40 | high & 0x3f, low, HOSTS.fetch_add(1, Ordering::Relaxed)).into()
}

/// Where a node is served whose audio is there.
fn with_audio_at(host: IpAddr) -> Place {
    let place = Place::new();
    place.changes("config/strowger.toml", |node| {
        format!("[media]\naddr = \"{host}\"\nports = \"20000-20199\"\n{node}")
    });
    place
}

/// A port for a phone's audio.
fn audio() -> UdpSocket {
    audio_at(Ipv4Addr::LOCALHOST.into())
}

fn audio_at(host: IpAddr) -> UdpSocket {
    let socket = UdpSocket::bind((host, 0)).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket
}

/// 20 ms of one value, as PCMU.
fn says(from: &UdpSocket, to: SocketAddr, number: u16, word: u8) {
    let timestamp = u32::from(number) * 160;
    let payload = [word; 160];
    let packet = Packet {
        marker: number == 0,
        payload_type: 0,
        sequence: number,
        timestamp,
        ssrc: 7,
        payload: &payload,
    };
    from.send_to(&[&packet.header()[..], &payload].concat(), to).unwrap();
}

/// The word by which the two of a call find out that they hear each other.
const HELLO: u8 = 0x11;

/// The value of the next 20 ms that are none of that word.
fn hears(at: &UdpSocket) -> u8 {
    loop {
        match hears_anything(at).unwrap() {
            HELLO => {}
            word => return word,
        }
    }
}

fn hears_anything(at: &UdpSocket) -> std::io::Result<u8> {
    let mut buffer = [0; 2_048];
    let length = at.recv(&mut buffer)?;
    Ok(Packet::read(&buffer[..length]).unwrap().payload[0])
}

/// Says something again and again until it is heard there within 20 ms, or until it is not: what was agreed on in this
/// instant may be known a moment later to who carries the audio.
fn is_so(at: &UdpSocket, say: impl Fn(), heard: bool) -> bool {
    at.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
    let is_so = until(PATIENCE, || {
        say();
        hears_anything(at).is_ok() == heard
    });
    at.set_read_timeout(Some(PATIENCE)).unwrap();
    is_so
}

/// It has got nothing that it has not read.
fn has_heard_all(at: &UdpSocket) {
    at.set_nonblocking(true).unwrap();
    while let Ok(word) = hears_anything(at) {
        assert_eq!(word, HELLO, "something more is heard");
    }
    at.set_nonblocking(false).unwrap();
}

/// The port of ours that a description names.
fn audio_of(message: &str) -> SocketAddr {
    let line = |start: &str| message.lines().find_map(|line| line.strip_prefix(start)).unwrap();
    let port = line("m=audio ").split(' ').next().unwrap().parse().unwrap();
    let address = line("c=IN IP").split(' ').nth(1).unwrap();
    SocketAddr::new(address.trim().parse().unwrap(), port)
}

/// The message with the port of that socket in its description.
fn with_port(message: &str, audio: &UdpSocket) -> String {
    with_sdp(message, &sdp_of(audio))
}

fn with_sdp(message: &str, sdp: &str) -> String {
    let length = |sdp: &str| format!("Content-Length: {}", sdp.len());
    message.replace(SDP, sdp).replace(&length(SDP), &length(sdp))
}

/// What a phone says whose audio is there.
fn sdp_of(audio: &UdpSocket) -> String {
    let at = audio.local_addr().unwrap();
    let sdp = SDP.replace("m=audio 9 ", &format!("m=audio {} ", at.port()));
    if at.is_ipv4() { sdp } else { sdp.replace("IN IP4 127.0.0.1", "IN IP6 ::1") }
}

/// A request of the caller's within the dialog that the 200 opened, whose INVITE [`invite`] wrote.
fn within(answered: &str, method: &str, cseq: u32, from: &Line, sdp: &str) -> String {
    let field = |name: &str| answered.lines().find_map(|line| line.strip_prefix(name)).unwrap().trim();
    let target = field("Contact:").trim_matches(['<', '>']);
    let addr = from.addr();
    let kind = if sdp.is_empty() { "" } else { "Content-Type: application/sdp\r\n" };
    format!(
        "{method} {target} SIP/2.0\r\nVia: SIP/2.0/UDP {addr};branch=z9hG4bK-{method}-{cseq}-{};rport\r\n\
         Max-Forwards: 70\r\nFrom: {}\r\nTo: {}\r\nCall-ID: {}\r\nCSeq: {cseq} {method}\r\n\
         Contact: <sip:{addr}>\r\n{kind}Content-Length: {}\r\n\r\n{sdp}",
        field("Call-ID:"),
        field("From:"),
        field("To:"),
        field("Call-ID:"),
        sdp.len()
    )
}

/// A call between two who have spoken: the caller's 200, and our ports on either side.
fn talks(
    place: &Place,
    node: &Serving,
    carrier: &Line,
    call: &str,
    audio: [&UdpSocket; 2],
) -> (String, [SocketAddr; 2]) {
    let [ours, theirs] = audio;
    carrier.send(node.sip, &with_port(&invite(carrier, DID, call), ours));
    let (offered, from) = place.phone.offered();
    place.phone.send(from, &with_port(&answer(&offered, "200 OK", &place.phone), theirs));
    let answered = carrier.receive_final();
    assert!(answered.starts_with("SIP/2.0 200 "), "{answered}");
    carrier.send(node.sip, &within(&answered, "ACK", 1, carrier, ""));
    let at = [audio_of(&answered), audio_of(&offered)];
    // What is said in the instant of the 200 may be too early.
    for (side, (from, to)) in [(ours, theirs), (theirs, ours)].into_iter().enumerate() {
        assert!(is_so(to, || says(from, at[side], 0, HELLO), true));
    }
    (answered, at)
}

#[test]
fn r11_a_caller_who_holds_and_moves_by_re_invite_is_heard_where_it_is() {
    let place = with_audio_at(own_host());
    let node = place.serve();
    let (carrier, ours, theirs) = (Line::new(), audio(), audio());
    let (answered, [at, from]) = talks(&place, &node, &carrier, "moves", [&ours, &theirs]);
    // The other side answers each re-INVITE of ours as it did the first.
    let asks = |cseq: u32, sdp: &str| {
        carrier.send(node.sip, &within(&answered, "INVITE", cseq, &carrier, sdp));
        let (offered, from) = place.phone.offered();
        let again = answer(&offered, "200 OK", &place.phone).replace(";tag=phone;tag=phone", ";tag=phone");
        place.phone.send(from, &with_port(&again, &theirs));
        let answered = carrier.receive_final();
        assert!(answered.starts_with("SIP/2.0 200 "), "{answered}");
        carrier.send(node.sip, &within(&answered, "ACK", cseq, &carrier, ""));
        (offered, answered)
    };
    let (told, held) = asks(2, &sdp_of(&ours).replace("c=IN IP4 127.0.0.1", "c=IN IP4 0.0.0.0"));
    assert!(told.contains("a=sendonly") && held.contains("a=recvonly"), "{told}\n{held}");
    assert!(is_so(&ours, || says(&theirs, from, 1, HELLO), false), "who holds hears nothing");
    says(&ours, at, 1, 0x33);
    assert_eq!(hears(&theirs), 0x33, "music");
    let moved = audio();
    let (told, back) = asks(3, &sdp_of(&moved));
    assert_eq!([audio_of(&told), audio_of(&back)], [from, at], "our ports are the same");
    assert!(is_so(&moved, || says(&theirs, from, 2, HELLO), true), "it is heard where it is now");
    says(&ours, at, 2, 0x55);
    says(&moved, at, 3, 0x66);
    assert_eq!(hears(&theirs), 0x66, "and not what comes late from where it was");
    has_heard_all(&ours);
    carrier.send(node.sip, &within(&answered, "BYE", 4, &carrier, ""));
    assert!(carrier.receive_final().starts_with("SIP/2.0 200 "));
}

#[test]
fn r04_at_any_address_a_caller_by_ipv6_and_a_phone_by_ipv4_hear_each_other() {
    let place = with_audio_at(Ipv6Addr::UNSPECIFIED.into());
    // The first is the one that it says it is ready at.
    place.changes("config/strowger.toml", |node| {
        let ipv6 = "[[listen]]\ntransport = \"udp\"\naddr = \"[::1]:0\"\n";
        node.replacen("[[listen]]", &format!("{ipv6}[[listen]]"), 1)
    });
    place.changes("config/routing/all.toml", |text| text.replace("127.0.0.1/32", "::1/128"));
    let node = place.serve();
    let carrier = Line { socket: UdpSocket::bind((Ipv6Addr::LOCALHOST, 0)).unwrap() };
    let (ours, theirs) = (audio_at(Ipv6Addr::LOCALHOST.into()), audio());
    let (_, [at, from]) = talks(&place, &node, &carrier, "ipv6", [&ours, &theirs]);
    let loopback: [IpAddr; 2] = [Ipv6Addr::LOCALHOST.into(), Ipv4Addr::LOCALHOST.into()];
    assert_eq!([at.ip(), from.ip()], loopback, "each side is told of an address of its own family");
}

#[test]
fn r07_a_recording_whose_node_is_killed_is_whole_at_the_next_start() {
    let place = with_audio_at(own_host());
    sound::beep(&place.folder.path().join("config/routing/notice.wav"), 3_000);
    place.changes("config/routing/all.toml", |text| {
        format!("{text}record = true\nrecord_notice = {{ file = \"notice.wav\" }}\n")
    });
    let mut node = place.serve();
    let [ours, theirs] = [0; 2].map(|_| audio());
    let carrier = Line::new();
    carrier.send(node.sip, &with_port(&invite(&carrier, DID, "killed"), &ours));
    let (offered, from) = place.phone.offered();
    place.phone.send(from, &with_port(&answer(&offered, "200 OK", &place.phone), &theirs));
    let answered = carrier.receive_final();
    assert!(answered.starts_with("SIP/2.0 200 "), "{answered}");
    let to = audio_of(&answered);
    let recordings = place.folder.path().join("data/recordings");
    let mut number = 0;
    let begun = Instant::now();
    let length = || find(&recordings, ".wav.part").and_then(|part| Some(part.metadata().ok()?.len()));
    while length().is_none_or(|length| length < ENOUGH) {
        assert!(begun.elapsed() < PATIENCE, "{:?} of the recording", length());
        says(&ours, to, number, g711::encode_pcmu(LOUD));
        number += 1;
        let next = Duration::from_millis(20) * u32::from(number);
        std::thread::sleep(next.saturating_sub(begun.elapsed()));
    }
    node.signal(Signal::SIGKILL);
    assert_eq!(node.ended(), None);
    let cut_off = length().unwrap();

    let _node = place.serve();
    wait_until(|| find(&recordings, ".wav").is_some());
    assert_eq!(find(&recordings, ".part"), None);
    let path = find(&recordings, ".wav").unwrap();
    assert_eq!(path.metadata().unwrap().len(), cut_off, "nothing of it is lost");
    let mut wav = hound::WavReader::open(&path).unwrap();
    assert_eq!((wav.spec().channels, wav.spec().sample_rate), (2, 8_000));
    let samples: Vec<i16> = wav.samples().collect::<Result<_, _>>().unwrap();
    assert_eq!(samples.len() as u64 * 2 + 44, cut_off, "its header says how long it is");
    let loud =
        |channel: usize| samples.iter().skip(channel).step_by(2).filter(|sample| **sample > LOUD / 2).count();
    assert!(loud(0) > 8_000 && loud(1) == 0, "{} of the caller, {} of the phone", loud(0), loud(1));
    let sheet: serde_json::Value =
        serde_json::from_slice(&fs::read(path.with_extension("json")).unwrap()).unwrap();
    let told = (sheet["duration_ms"].as_u64(), sheet["end"].as_str(), sheet["did"].as_str());
    assert_eq!(told, (Some(samples.len() as u64 / 16), Some("cut_off"), Some(DID)), "{sheet:#}");
    assert!(sheet["notice_said"].is_string(), "{sheet:#}");
}

/// A file of that ending, in the folder or below.
fn find(folder: &Path, ending: &str) -> Option<PathBuf> {
    fs::read_dir(folder).ok()?.flatten().find_map(|entry| match entry.path() {
        path if path.is_dir() => find(&path, ending),
        path => path.to_string_lossy().ends_with(ending).then_some(path),
    })
}
