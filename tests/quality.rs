//! How the audio of a call went, as a running node tells it: in the record, to `strowger call`, and in `/metrics`.

#![expect(clippy::unwrap_used, reason = "in a test a panic is the report")]

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::time::Duration;

use common::{PATIENCE, wait_until};
use process::{Line, Place, Serving, answer, invite};

#[expect(dead_code, reason = "shared with tests that ask for more")]
mod common;
#[expect(dead_code, reason = "shared with tests that ask for more")]
#[path = "common/node.rs"]
mod process;

/// One end of a call's audio.
struct Sound {
    socket: UdpSocket,
    sequence: u16,
}

impl Sound {
    fn new() -> Sound {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        Sound { socket, sequence: 0 }
    }

    /// A message whose description names this end.
    fn in_place_of_the_usual(&self, message: &str) -> String {
        let (head, body) = message.split_once("\r\n\r\n").unwrap();
        let port = self.socket.local_addr().unwrap().port();
        let body = body.replace("m=audio 9 ", &format!("m=audio {port} "));
        let head: Vec<String> = head
            .lines()
            .map(|line| match line.starts_with("Content-Length") {
                true => format!("Content-Length: {}", body.len()),
                false => line.to_owned(),
            })
            .collect();
        format!("{}\r\n\r\n{body}", head.join("\r\n"))
    }

    fn says(&mut self, to: SocketAddr) {
        self.sequence += 1;
        let timestamp = u32::from(self.sequence) * 160;
        let mut packet = vec![0x80, 0];
        packet.extend(self.sequence.to_be_bytes());
        packet.extend(timestamp.to_be_bytes());
        packet.extend(7u32.to_be_bytes());
        packet.extend([0xff; 160]);
        self.socket.send_to(&packet, to).unwrap();
    }

    fn hears(&self) {
        assert_eq!(self.socket.recv(&mut [0; 2_048]).unwrap(), 172);
    }
}

/// Where a description of ours says that audio goes.
fn audio_of(message: &str) -> SocketAddr {
    let port = message.split("m=audio ").nth(1).unwrap().split(' ').next().unwrap().parse().unwrap();
    assert!(message.contains("c=IN IP4 127.0.0.77"), "{message}");
    SocketAddr::from(([127, 0, 0, 77], port))
}

/// A node whose audio comes through it.
fn place(more: &str) -> Place {
    let place = Place::new();
    let media = "[media]\naddr = \"127.0.0.77\"\nports = \"24000-24099\"\n";
    place.changes("config/strowger.toml", |node| format!("{node}{media}{more}"));
    place
}

/// A call that was answered: both ends of its audio, and where ours are for them.
fn talks(place: &Place, node: &Serving, carrier: &Line) -> ([Sound; 2], [SocketAddr; 2], String) {
    let sounds = [Sound::new(), Sound::new()];
    carrier.send(node.sip, &sounds[0].in_place_of_the_usual(&invite(carrier, "+12015550101", "heard")));
    let (offered, from) = place.phone.offered();
    let answer = answer(&offered, "200 OK", &place.phone);
    place.phone.send(from, &sounds[1].in_place_of_the_usual(&answer));
    let answered = carrier.receive_final();
    assert!(answered.starts_with("SIP/2.0 200 "), "{answered}");
    let ours = [audio_of(&answered), audio_of(&offered)];
    (sounds, ours, answered)
}

fn get(node: &Serving, path: &str) -> String {
    let mut stream = TcpStream::connect(node.admin.strip_prefix("http://").unwrap()).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    text
}

#[test]
fn r12_what_each_side_said_and_heard_is_in_the_record_and_in_the_metrics() {
    let place = place("");
    let node = place.serve();
    let carrier = Line::new();
    let ([mut caller, mut called], [to_caller, to_called], answered) = talks(&place, &node, &carrier);
    for number in 0..150 {
        if number == 70 {
            caller.sequence += 1;
        }
        caller.says(to_caller);
        called.hears();
    }
    for _ in 0..20 {
        called.says(to_called);
        caller.hears();
    }
    let to = answered.lines().find(|line| line.starts_with("To:")).unwrap();
    let addr = carrier.addr();
    carrier.send(
        node.sip,
        &format!(
            "BYE sip:{} SIP/2.0\r\nVia: SIP/2.0/UDP {addr};branch=z9hG4bK-bye;rport\r\nMax-Forwards: 70\r\n\
             From: <sip:+12025550123@{addr}>;tag=carrier\r\n{to}\r\nCall-ID: heard\r\nCSeq: 2 BYE\r\n\
             Content-Length: 0\r\n\r\n",
            node.sip
        ),
    );
    wait_until(|| place.records().len() == 1);
    let record = place.records().remove(0);
    let told: Vec<_> = record
        .legs
        .iter()
        .map(|leg| {
            let rtp = leg.rtp.as_deref().unwrap();
            (leg.codec.as_deref().unwrap(), rtp.rx, rtp.tx, rtp.lost)
        })
        .collect();
    assert_eq!(told, [("PCMU", 150, 20, 1), ("PCMU", 20, 150, 0)]);
    assert!(record.legs[0].rtp.as_deref().unwrap().mos.is_some_and(|mos| (3.5..=4.5).contains(&mos)));
    let (code, shown, _) = place.strowger(&["call", &record.id]);
    assert!(code == 0 && shown.contains("AUDIO") && shown.contains("150       1     "), "{shown}");
    let listed = get(&node, "/v1/cdrs");
    let listed: serde_json::Value = serde_json::from_str(listed.split_once("\r\n\r\n").unwrap().1).unwrap();
    let rtp = &listed["items"][0]["legs"][0]["rtp"];
    assert_eq!((&rtp["tx"], &rtp["rx"], &rtp["lost"]), (&20.into(), &150.into(), &1.into()), "{listed}");
    let metrics = get(&node, "/metrics");
    for line in [
        "strowger_rtp_packets_total{dir=\"in\"} 170",
        "strowger_rtp_packets_total{dir=\"out\"} 170",
        "strowger_rtp_dropped_total{reason=\"stranger\"} 0",
        "strowger_media_calls 0",
        "strowger_media_faults_total 0",
        "strowger_rtp_relay_seconds_bucket{le=\"+Inf\"} 2",
        "strowger_rtp_relay_seconds_count 2",
    ] {
        assert!(metrics.lines().any(|told| told == line), "{line}\n{metrics}");
    }
    assert!(!metrics.contains("strowger_media_threads 0"));
    assert!(get(&node, "/readyz").ends_with("ready\n"));
}

#[test]
fn r12_a_call_of_which_nobody_is_heard_ends_by_itself() {
    let place = place("[limits]\nrtp_timeout = 2\n");
    let node = place.serve();
    let carrier = Line::new();
    let ([mut caller, called], [to_caller, _], _answered) = talks(&place, &node, &carrier);
    // One side speaks for longer than that, and then nobody does.
    for _ in 0..60 {
        caller.says(to_caller);
        called.hears();
        std::thread::park_timeout(Duration::from_millis(50));
    }
    assert!(place.records().is_empty());
    wait_until(|| place.records().len() == 1);
    let record = place.records().remove(0);
    assert_eq!(record.cause.as_deref(), Some("no audio of either side for rtp_timeout"));
    assert_eq!(record.legs[0].rtp.as_deref().map(|rtp| rtp.rx), Some(60));
}
