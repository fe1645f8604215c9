//! The built program with TLS: calls in and out, certificates exchanged while they last, and what is wrong with them.

#![expect(clippy::unwrap_used, reason = "in a test a panic is the report")]

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::process::{Command, Stdio};

use certs::{Ca, Client, Issued, accept, dial, phone};
use common::wait_until;
use nix::sys::signal::Signal;
use process::{Place, Serving};
use rustls::version::{TLS12, TLS13};
use strowger::call::cdr::Outcome;
use zone::Zone;

#[expect(dead_code, reason = "shared with tests that ask for more")]
#[path = "common/certs.rs"]
mod certs;
#[expect(dead_code, reason = "shared with tests that ask for more")]
mod common;
#[expect(dead_code, reason = "shared with tests that ask for more")]
#[path = "common/node.rs"]
mod process;
#[expect(dead_code, reason = "shared with tests that ask for more")]
#[path = "common/zone.rs"]
mod zone;

/// A node whose trunk has these gateways and whose number is forwarded there.
struct Edge {
    place: Place,
    ca: Ca,
}

impl Edge {
    fn new(gateways: &str) -> Edge {
        let (place, ca) = (Place::new(), Ca::new("root"));
        ca.issue(&["127.0.0.1"]).write(&place.folder.path().join("config/tls"));
        std::fs::write(place.folder.path().join("ca.pem"), &ca.pem).unwrap();
        let tls = "[[listen]]\ntransport = \"tls\"\naddr = \"127.0.0.1:0\"\ncert = \"tls/edge.pem\"\nkey = \"tls/edge.key\"\n";
        place.changes("config/strowger.toml", |node| format!("{tls}{node}"));
        let routing = format!(
            "[[trunk]]\nname = \"carrier\"\nfrom = [\"127.0.0.1/32\"]\ngateways = [{gateways}]\noutbound = true\n\
             options_interval = 0\n[[number]]\ndid = \"+12015550101\"\nforward_to = \"+12015550199\"\n"
        );
        std::fs::write(place.folder.path().join("config/routing/all.toml"), routing).unwrap();
        Edge { place, ca }
    }

    /// Connections that it opens trust the CA.
    fn serve(&self) -> Serving {
        self.serve_by(None)
    }

    /// The same, with names from a DNS server of the test's.
    fn serve_by(&self, zone: Option<&Zone>) -> Serving {
        let mut command = self.place.command(&["serve", "--log", "json"]);
        command.env("SSL_CERT_FILE", self.place.folder.path().join("ca.pem"));
        if let Some(zone) = zone {
            command.env("STROWGER_DNS", zone.addr.to_string());
        }
        self.place.start(command)
    }

    fn carrier(&self, node: &Serving) -> Client {
        dial(secure(node), &phone(&self.ca, None, &[&TLS13, &TLS12])).unwrap()
    }
}

/// Where the node takes connections by TLS.
fn secure(node: &Serving) -> SocketAddr {
    node.ready.split_once("tls:").unwrap().1.split([',', ' ']).next().unwrap().parse().unwrap()
}

fn shown(client: &Client) -> Vec<u8> {
    client.conn.peer_certificates().unwrap()[0].to_vec()
}

/// The next message of a stream.
fn receive(stream: &mut impl Read) -> String {
    let mut text = Vec::new();
    let mut byte = [0];
    while !text.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte).unwrap();
        text.push(byte[0]);
    }
    let head = String::from_utf8(text).unwrap();
    let mut body = vec![0; value(&head, "Content-Length").parse().unwrap()];
    stream.read_exact(&mut body).unwrap();
    head + &String::from_utf8(body).unwrap()
}

/// The next one that begins so.
fn next(stream: &mut impl Read, begin: &str) -> String {
    std::iter::repeat_with(|| receive(stream)).find(|text| text.starts_with(begin)).unwrap()
}

fn value<'m>(message: &'m str, name: &str) -> &'m str {
    let line = message.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
    line.unwrap_or_else(|| panic!("{name} in {message}"))
}

/// A request of the carrier's.
fn request(method: &str, target: &str, to: &str, call_id: &str, cseq: u32) -> String {
    let sdp = if method == "INVITE" {
        "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=audio 9 RTP/AVP 0\r\n"
    } else {
        ""
    };
    let scheme = target.split(':').next().unwrap();
    format!(
        "{method} {target} SIP/2.0\r\nVia: SIP/2.0/TLS 127.0.0.1;branch=z9hG4bK{method}{call_id}{cseq}\r\nMax-Forwards: 70\r\n\
         From: <sip:+14155550001@127.0.0.1>;tag=c\r\nTo: {to}\r\nCall-ID: {call_id}\r\nCSeq: {cseq} {method}\r\n\
         Contact: <{scheme}:127.0.0.1>\r\nContent-Type: application/sdp\r\nContent-Length: {}\r\n\r\n{sdp}",
        sdp.len()
    )
}

/// What the gateway says to a request.
fn answer(request: &str, status: &str, contact: &str) -> String {
    let copied: String = request
        .lines()
        .filter(|line| ["Via: ", "From: ", "Call-ID: ", "CSeq: "].iter().any(|name| line.starts_with(name)))
        .map(|line| format!("{line}\r\n"))
        .collect();
    let to = value(request, "To");
    let tag = if to.contains(";tag=") { "" } else { ";tag=g" };
    let sdp = if value(request, "CSeq").ends_with("INVITE") && status.starts_with('2') {
        "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=audio 9 RTP/AVP 0\r\n"
    } else {
        ""
    };
    format!(
        "SIP/2.0 {status}\r\n{copied}To: {to}{tag}\r\nContact: <{contact}>\r\nContent-Type: application/sdp\r\n\
         Content-Length: {}\r\n\r\n{sdp}",
        sdp.len()
    )
}

#[test]
fn a_call_comes_in_and_goes_out_by_tls_and_outlives_new_certificates() {
    for scheme in ["sip", "sips"] {
        let listens = TcpListener::bind("127.0.0.1:0").unwrap();
        let at = listens.local_addr().unwrap();
        let param = if scheme == "sip" { ";transport=tls" } else { "" };
        let edge = Edge::new(&format!("{{ uri = \"{scheme}:{at}{param}\" }}"));
        let node = edge.serve();
        let mut carrier = edge.carrier(&node);
        let number = "+12015550101@127.0.0.1";
        let (target, to) = (format!("{scheme}:{number}"), format!("<{scheme}:{number}>"));
        carrier.write_all(request("INVITE", &target, &to, "call", 1).as_bytes()).unwrap();
        let mut gateway = accept(&listens, &edge.ca.issue(&["127.0.0.1"]).server()).unwrap();
        let invite = next(&mut gateway, "INVITE ");
        assert!(invite.starts_with(&format!("INVITE {scheme}:+12015550199@{at}{param} ")), "{invite}");
        assert!(value(&invite, "Via").starts_with(&format!("SIP/2.0/TLS {}", secure(&node))), "{invite}");
        // RFC 3261 §8.1.1.8: to a sips: URI our Contact is one.
        let contact = format!("<{scheme}:{}{param}>", secure(&node));
        assert_eq!(value(&invite, "Contact"), contact);
        gateway.write_all(answer(&invite, "200 OK", &format!("{scheme}:{at}{param}")).as_bytes()).unwrap();
        let ok = next(&mut carrier, "SIP/2.0 200");
        // §12.1.1: and to who called one.
        assert_eq!(value(&ok, "Contact"), contact);
        let (ours, to) = (value(&ok, "Contact").trim_matches(['<', '>']), value(&ok, "To"));
        carrier.write_all(request("ACK", ours, to, "call", 1).as_bytes()).unwrap();
        next(&mut gateway, "ACK ");

        let before = shown(&carrier);
        let renewed = edge.ca.issue(&["127.0.0.1"]);
        renewed.write(&edge.place.folder.path().join("config/tls"));
        node.signal(Signal::SIGHUP);
        wait_until(|| shown(&edge.carrier(&node)) == renewed.chain()[0].to_vec());
        assert_ne!(before, renewed.chain()[0].to_vec());

        carrier.write_all(request("BYE", ours, to, "call", 2).as_bytes()).unwrap();
        next(&mut carrier, "SIP/2.0 200");
        let bye = next(&mut gateway, "BYE ");
        assert!(bye.starts_with(&format!("BYE {scheme}:{at}{param} ")), "{bye}");
        gateway.write_all(answer(&bye, "200 OK", "sip:x").as_bytes()).unwrap();
        wait_until(|| edge.place.records().len() == 1);
        let record = &edge.place.records()[0];
        assert_eq!((record.outcome, record.trunk.as_deref()), (Outcome::Answered, Some("carrier")));
    }
}

#[test]
fn r14_a_gateway_that_shows_anothers_certificate_is_left_for_the_next() {
    let [wrong, right] = [(), ()].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
    let [at_wrong, at_right] = [&wrong, &right].map(|gateway| gateway.local_addr().unwrap());
    let edge = Edge::new(&format!(
        "{{ uri = \"sips:{at_wrong}\" }}, {{ uri = \"sips:{at_right}\", priority = 20 }}"
    ));
    let node = edge.serve();
    let mut carrier = edge.carrier(&node);
    let to = "sip:+12015550101@127.0.0.1";
    carrier.write_all(request("INVITE", to, &format!("<{to}>"), "call", 1).as_bytes()).unwrap();
    let impostor = edge.ca.issue(&["sbc.other.test"]).server();
    let impostor = std::thread::spawn(move || {
        accept(&wrong, &impostor).map(|mut stream| stream.read_to_end(&mut Vec::new()))
    });
    let mut gateway = accept(&right, &edge.ca.issue(&["127.0.0.1"]).server()).unwrap();
    let invite = next(&mut gateway, "INVITE ");
    gateway.write_all(answer(&invite, "486 Busy Here", "sip:x").as_bytes()).unwrap();
    next(&mut carrier, "SIP/2.0 486");
    let _broken = impostor.join().unwrap();
    wait_until(|| edge.place.log().contains("its certificate is another's"));
    assert!(!edge.place.log().contains(&at_wrong.to_string()), "no whole address: {}", edge.place.log());
}

/// A gateway that shows this certificate to the first who come, whatever they make of it.
fn shows(gateway: TcpListener, shown: &Issued) {
    let server = shown.server();
    std::thread::spawn(move || {
        for _ in 0..8 {
            drop(accept(&gateway, &server).map(|mut stream| stream.read(&mut [0])));
        }
    });
}

#[test]
fn r14_why_no_tls_connection_comes_about_is_told_with_the_trunk() {
    let other = "no TLS connection: its certificate is another's";
    for (keys, calls_it, field) in [
        ("options_interval = 0", true, "gateways"),
        ("options_interval = 1", false, "gateways"),
        (
            "options_interval = 0\nregister = true\nauth = { username = \"house\", password = \"sesame\" }",
            false,
            "registration",
        ),
    ] {
        let listens = TcpListener::bind("127.0.0.1:0").unwrap();
        let edge = Edge::new(&format!("{{ uri = \"sips:{}\" }}", listens.local_addr().unwrap()));
        edge.place.changes("config/routing/all.toml", |text| text.replace("options_interval = 0", keys));
        shows(listens, &edge.ca.issue(&["sbc.other.test"]));
        let node = edge.serve();
        let _carrier = calls_it.then(|| calls(&edge, &node, "call"));
        let trunks = || -> serde_json::Value {
            let (code, out, err) = edge.place.strowger(&["trunks", "--json"]);
            assert_eq!(code, 0, "{err}");
            serde_json::from_str(&out).unwrap()
        };
        wait_until(|| trunks().to_string().contains(other));
        let told = trunks();
        assert!(told["items"][0][field].to_string().contains(other), "{field} of {told}");
    }
}

/// A call to the number, which goes out to the gateway.
fn calls(edge: &Edge, node: &Serving, call_id: &str) -> Client {
    let mut carrier = edge.carrier(node);
    let to = "sip:+12015550101@127.0.0.1";
    carrier.write_all(request("INVITE", to, &format!("<{to}>"), call_id, 1).as_bytes()).unwrap();
    carrier
}

/// RFC 3263 §4, RFC 5922 §7.1: wherever DNS leads, the certificate is that of the name in the URI.
#[test]
fn r13_a_name_from_dns_is_called_by_tls_and_shows_the_certificate_of_that_name() {
    const NAME: &str = "sbc.example.test";
    for (uri, by_srv) in [
        ("sips:sbc.example.test:{port}", false),
        ("sip:SBC.example.test:{port};transport=tls", false),
        ("sips:sbc.example.test", true),
        ("sip:sbc.example.test;transport=tls", true),
    ] {
        let (zone, listens) = (Zone::new(), TcpListener::bind("127.0.0.1:0").unwrap());
        let port = listens.local_addr().unwrap().port();
        if by_srv {
            zone.has_servers("_sips._tcp.sbc.example.test", &[(1, port, "one.example.test")]);
            zone.has_address("one.example.test", 60, Ipv4Addr::LOCALHOST);
        } else {
            zone.has_address(NAME, 60, Ipv4Addr::LOCALHOST);
        }
        let uri = uri.replace("{port}", &port.to_string());
        let edge = Edge::new(&format!("{{ uri = \"{uri}\" }}"));
        let node = edge.serve_by(Some(&zone));
        let mut carrier = calls(&edge, &node, "call");
        let mut gateway = accept(&listens, &edge.ca.issue(&[NAME]).server()).unwrap();
        let invite = next(&mut gateway, "INVITE ");
        assert_eq!(gateway.conn.server_name(), Some(NAME), "SNI of {uri}");
        assert!(value(&invite, "Via").starts_with("SIP/2.0/TLS "), "{uri}: {invite}");
        gateway.write_all(answer(&invite, "486 Busy Here", "sip:x").as_bytes()).unwrap();
        next(&mut carrier, "SIP/2.0 486");
    }
}

/// The certificate of the server that SRV names is another's: whoever forges DNS has that one.
#[test]
fn r14_a_name_from_dns_with_the_certificate_of_another_is_left_for_the_next() {
    for wrong_name in ["one.example.test", "sbc.other.test", "example.test"] {
        let zone = Zone::new();
        let [wrong, right] = [(), ()].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
        let port = |gateway: &TcpListener| gateway.local_addr().unwrap().port();
        zone.has_servers("_sips._tcp.sbc.example.test", &[(1, port(&wrong), "one.example.test")]);
        zone.has_address("one.example.test", 60, Ipv4Addr::LOCALHOST);
        zone.has_address("two.example.test", 60, Ipv4Addr::LOCALHOST);
        let edge = Edge::new(&format!(
            "{{ uri = \"sips:sbc.example.test\" }}, {{ uri = \"sips:two.example.test:{}\", priority = 20 }}",
            port(&right)
        ));
        let node = edge.serve_by(Some(&zone));
        let mut carrier = calls(&edge, &node, "call");
        let impostor = edge.ca.issue(&[wrong_name]).server();
        let impostor = std::thread::spawn(move || {
            accept(&wrong, &impostor).map(|mut stream| {
                let mut heard = Vec::new();
                stream.read_to_end(&mut heard).ok();
                heard
            })
        });
        // A wildcard will do.
        let mut gateway = accept(&right, &edge.ca.issue(&["*.example.test"]).server()).unwrap();
        let invite = next(&mut gateway, "INVITE ");
        gateway.write_all(answer(&invite, "486 Busy Here", "sip:x").as_bytes()).unwrap();
        next(&mut carrier, "SIP/2.0 486");
        assert!(impostor.join().unwrap().unwrap_or_default().is_empty(), "{wrong_name} heard of the call");
        wait_until(|| edge.place.log().contains("its certificate is another's"));
        wait_until(|| edge.place.records().len() == 1);
        assert_eq!(edge.place.records()[0].legs.len(), 3, "{wrong_name}");
    }
}

#[test]
fn a_broken_certificate_is_refused_whole_and_the_old_one_is_kept() {
    let edge = Edge::new("{ uri = \"sip:127.0.0.1:9\" }");
    let node = edge.serve();
    let folder = edge.place.folder.path().join("config/tls");
    let before = shown(&edge.carrier(&node));
    std::fs::write(folder.join("edge.pem"), "-----BEGIN CERTIFICATE-----\nAAAA\n").unwrap();
    let (code, _, told) = edge.place.strowger(&["reload"]);
    assert_eq!(code, 1);
    assert!(
        told.contains("config/strowger.toml:4:8: cert = \"tls/edge.pem\" is no whole PEM file"),
        "{told}"
    );
    assert_eq!(shown(&edge.carrier(&node)), before);
    // A dry run changes nothing.
    let renewed = edge.ca.issue(&["127.0.0.1"]);
    renewed.write(&folder);
    assert_eq!(edge.place.strowger(&["reload", "--dry-run"]).0, 0);
    assert_eq!(shown(&edge.carrier(&node)), before);
    assert_eq!(edge.place.strowger(&["reload"]).0, 0);
    assert_eq!(shown(&edge.carrier(&node)), renewed.chain()[0].to_vec());
}

#[test]
fn check_reads_the_files_and_says_what_is_wrong_with_each() {
    let edge = Edge::new("{ uri = \"sip:127.0.0.1:9\" }");
    let folder = edge.place.folder.path().join("config/tls");
    let told = |cert: Option<&str>, key: Option<&str>| {
        for (name, text) in [("edge.pem", cert), ("edge.key", key)] {
            match text {
                Some(text) => std::fs::write(folder.join(name), text).unwrap(),
                None => std::fs::remove_file(folder.join(name)).unwrap(),
            }
        }
        let (code, out, err) = edge.place.strowger(&["check"]);
        (code, out + &err)
    };
    let (good, other, old) = (
        edge.ca.issue(&["127.0.0.1"]),
        edge.ca.issue(&["127.0.0.1"]),
        edge.ca.issue_until(&["a.test"], 2021),
    );
    let now = std::time::SystemTime::now();
    let days = |days: u64| std::time::Duration::from_secs(days * 86_400);
    let ends = edge.ca.issue_between(&["a.test"], now - days(30), now + days(10));
    let early = edge.ca.issue_between(&["a.test"], now + days(1), now + days(100));
    let locked = "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n";
    let chain = format!("{}{}", good.cert, edge.ca.pem);
    for (cert, key, code, says) in [
        (Some(&*chain), Some(&*good.key), 0, "config: 1 number, 0 agents, 1 trunk: no mistake"),
        (None, Some(&good.key), 1, "strowger.toml:4:8: cert = \"tls/edge.pem\" cannot be read: No such file"),
        (
            Some("x"),
            Some(&good.key),
            1,
            "cert = \"tls/edge.pem\" holds no certificate; write the name of a PEM file",
        ),
        (Some(&good.cert), Some("x"), 1, "strowger.toml:5:7: key = \"tls/edge.key\" holds no private key"),
        (Some(&good.cert), Some(locked), 1, "key = \"tls/edge.key\" holds a key with a passphrase"),
        (
            Some(&good.cert),
            Some(&other.key),
            1,
            "is not the key of the first certificate in \"tls/edge.pem\"",
        ),
        (
            Some(&old.cert),
            Some(&old.key),
            0,
            "warning: cert = \"tls/edge.pem\": the certificate has expired at 2021-01-01T00:00:00Z",
        ),
        (Some(&ends.cert), Some(&ends.key), 0, "the certificate expires at 20"),
        (Some(&early.cert), Some(&early.key), 0, "the certificate is not valid before 20"),
    ] {
        let (ended, said) = told(cert, key);
        assert!(said.contains(says), "{says}\n{said}");
        assert_eq!(ended, code, "{said}");
    }
    told(Some(&good.cert), Some(&good.key));
    for (ca, says) in [
        ("absent.pem", "client_ca = \"absent.pem\" cannot be read"),
        ("tls/edge.key", "client_ca = \"tls/edge.key\" holds no certificate"),
    ] {
        edge.place.changes("config/strowger.toml", |node| {
            node.replacen("key =", &format!("client_ca = \"{ca}\"\nkey ="), 1)
        });
        let (code, out, _) = edge.place.strowger(&["check"]);
        assert!(code == 1 && out.contains(says), "{out}");
        edge.place
            .changes("config/strowger.toml", |node| node.replace(&format!("client_ca = \"{ca}\"\n"), ""));
    }
}

#[test]
fn openssl_shakes_hands_and_is_answered() {
    let edge = Edge::new("{ uri = \"sip:127.0.0.1:9\" }");
    let node = edge.serve();
    for version in ["-tls1_2", "-tls1_3"] {
        let mut openssl = Command::new("openssl")
            .args(["s_client", "-quiet", "-verify_return_error", "-verify_ip", "127.0.0.1", version])
            .args(["-CAfile", "ca.pem", "-connect", &secure(&node).to_string()])
            .current_dir(edge.place.folder.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let ping = request("OPTIONS", "sip:127.0.0.1", "<sip:127.0.0.1>", version, 1);
        openssl.stdin.as_mut().unwrap().write_all(ping.as_bytes()).unwrap();
        let answered = receive(openssl.stdout.as_mut().unwrap());
        assert!(answered.starts_with("SIP/2.0 200 "), "{version}: {answered}");
        openssl.kill().unwrap();
        openssl.wait().unwrap();
    }
    // Nor with anything older, which the far end would offer.
    let refused = Command::new("openssl")
        .args([
            "s_client",
            "-tls1_1",
            "-cipher",
            "DEFAULT:@SECLEVEL=0",
            "-connect",
            &secure(&node).to_string(),
        ])
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert!(!refused.status.success());
    let counted = || {
        let agent: ureq::Agent = ureq::Agent::config_builder().http_status_as_error(false).build().into();
        let mut told = agent.get(format!("{}/metrics", node.admin)).call().unwrap();
        told.body_mut().read_to_string().unwrap()
    };
    wait_until(|| counted().contains("strowger_rejected_total{reason=\"tls\"} 1"));
}
