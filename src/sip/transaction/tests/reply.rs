//! Where responses go (RFC 3261 §18.2.2, RFC 3581 §4).

use super::*;

fn reply(via: &str, from: Peer) -> Peer {
    let text = format!(
        "OPTIONS sip:a@b SIP/2.0\r\nVia: {via}\r\nFrom: <sip:a@b>;tag=1\r\nTo: <sip:a@b>\r\nCall-ID: 1\r\n\
         CSeq: 1 OPTIONS\r\nContent-Length: 0\r\n\r\n"
    );
    reply_to(&Message::parse(text.as_bytes()).expect("a request"), from)
}

#[test]
fn over_udp() {
    let from = peer(Transport::Udp);
    for (via, port) in [
        ("SIP/2.0/UDP 10.0.0.1:5099;branch=z9hG4bK1;rport", 5062),
        ("SIP/2.0/UDP 10.0.0.1:5099;branch=z9hG4bK1;rport=77", 5062),
        ("SIP/2.0/UDP 10.0.0.1:5099;branch=z9hG4bK1", 5099),
        ("SIP/2.0/UDP 10.0.0.1;branch=z9hG4bK1", 5060),
        ("SIP/2.0/UDP pc.example.com:0;branch=z9hG4bK1", 5060),
        ("SIP/2.0/UDP 10.0.0.1:5099;branch=z9hG4bK1;maddr=203.0.113.66;received=203.0.113.66", 5099),
    ] {
        assert_eq!(reply(via, from), Peer { addr: ([192, 0, 2, 9], port).into(), ..from }, "{via}");
    }
}

#[test]
fn over_streams() {
    for (transport, port) in
        [(Transport::Tcp, 5060), (Transport::Tls, 5061), (Transport::Ws, 80), (Transport::Wss, 443)]
    {
        let from = peer(transport);
        let via = format!("SIP/2.0/{} 10.0.0.1;branch=z9hG4bK1;rport", transport.via_token());
        assert_eq!(reply(&via, from), Peer { addr: ([192, 0, 2, 9], port).into(), ..from });
        let via = format!("SIP/2.0/{} 10.0.0.1:6000;branch=z9hG4bK1", transport.via_token());
        assert_eq!(reply(&via, from), Peer { addr: ([192, 0, 2, 9], 6_000).into(), ..from });
    }
}

#[test]
fn over_ipv6() {
    let from = Peer { addr: "[2001:db8::9]:4000".parse().expect("an address"), ..peer(Transport::Udp) };
    let to = reply("SIP/2.0/UDP [2001:db8::1]:5070;branch=z9hG4bK1", from);
    assert_eq!(to.addr, "[2001:db8::9]:5070".parse().expect("an address"));
}
