//! Any number of phones behind one socket, each at an address of its own in 127.0.0.0/8, and their REGISTERs.

use std::fmt::Write as _;
use std::io::{self, IoSlice};
use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};
use std::os::fd::{AsFd, AsRawFd};
use std::time::Duration;

use nix::libc;
use nix::poll::{PollFd, PollFlags, ppoll};
use nix::sys::socket::{ControlMessage, MsgFlags, SockaddrIn, sendmsg};
use nix::sys::time::TimeSpec;
use strowger::sip::digest::{self, Algorithm, Challenge};

use crate::batch::{Inbox, bound, local};
use crate::message::write;

/// The realm of a node whose configuration says nothing of it, and what its phones register at.
const REALM: &str = "strowger";
const URI: &str = "sip:strowger";

/// Phones are told apart by the last 22 bits of their addresses, from 127.64.0.0 on: no address of a carrier.
const FIRST: u32 = u32::from_be_bytes([127, 64, 0, 0]);

/// Where phone number `phone` is.
pub fn address(phone: u32) -> Ipv4Addr {
    Ipv4Addr::from(FIRST + phone)
}

/// The user of phone number `phone`.
pub fn name(phone: u32) -> String {
    format!("agent-{phone:06}")
}

fn ha1(phone: u32) -> digest::Hex {
    Algorithm::Md5.ha1(name(phone).as_bytes(), REALM.as_bytes(), format!("secret-{phone}").as_bytes())
}

/// So many agents, each with its password, in the words of a configuration.
pub fn agents(count: u32) -> String {
    let mut text = String::with_capacity(count as usize * 80);
    for phone in 0..count {
        let ha1 = ha1(phone);
        let ha1 = std::str::from_utf8(ha1.as_bytes()).unwrap_or_default();
        // Writing to a String cannot fail.
        writeln!(text, "[[agent]]\nname = \"{}\"\nha1 = \"{ha1}\"", name(phone)).ok();
    }
    text
}

/// The socket.
pub struct Party {
    socket: UdpSocket,
    port: u16,
    server: SockaddrIn,
}

impl Party {
    pub fn new(server: u16) -> io::Result<Party> {
        let socket = bound(Ipv4Addr::UNSPECIFIED, 0)?;
        let port = socket.local_addr()?.port();
        Ok(Party { socket, port, server: local(server).into() })
    }

    /// Sends a message from that address. One that finds no room anywhere is lost, as on any wire.
    pub fn say(&self, from: Ipv4Addr, message: &[u8]) -> io::Result<()> {
        let source = libc::in_pktinfo {
            ipi_ifindex: 0,
            ipi_spec_dst: libc::in_addr { s_addr: u32::from(from).to_be() },
            ipi_addr: libc::in_addr { s_addr: 0 },
        };
        let control = [ControlMessage::Ipv4PacketInfo(&source)];
        let flags = MsgFlags::MSG_DONTWAIT;
        match sendmsg(self.socket.as_raw_fd(), &[IoSlice::new(message)], &control, flags, Some(&self.server))
        {
            Ok(_) | Err(nix::errno::Errno::ECONNREFUSED | nix::errno::Errno::EAGAIN) => Ok(()),
            Err(e) => Err(e.into()),
        }
    }

    /// Takes what waits, at most a batch; says how many.
    pub fn receive(&self, inbox: &mut Inbox) -> io::Result<usize> {
        inbox.receive(&self.socket)
    }

    /// Sleeps until something waits or `limit` has passed.
    pub fn wait(&self, limit: Duration) -> io::Result<()> {
        let mut sockets = [PollFd::new(self.socket.as_fd(), PollFlags::POLLIN)];
        match ppoll(&mut sockets, Some(TimeSpec::from_duration(limit)), None) {
            Ok(_) | Err(nix::errno::Errno::EINTR) => Ok(()),
            Err(e) => Err(e.into()),
        }
    }

    /// A REGISTER of `user` for an hour, from `at`. The answer bears `phone`, as `Seen::names_of` reads it, and `cseq`.
    pub fn register(&self, phone: u32, at: Ipv4Addr, user: &str, cseq: u32, credentials: &[u8]) -> Vec<u8> {
        let here = SocketAddrV4::new(at, self.port);
        let mut out = Vec::with_capacity(768);
        write(
            &mut out,
            format_args!(
                "REGISTER {URI} SIP/2.0\r\nVia: SIP/2.0/UDP {here};branch=z9hG4bK{phone}-{cseq};rport\r\n\
                 Max-Forwards: 70\r\nFrom: <sip:{user}@{REALM}>;tag={phone}\r\nTo: <sip:{user}@{REALM}>\r\n\
                 Call-ID: {phone}-0@{here}\r\nCSeq: {cseq} REGISTER\r\nContact: <sip:{user}@{here}>\r\n\
                 Expires: 3600\r\nAllow: INVITE, ACK, CANCEL, BYE, OPTIONS, NOTIFY, REFER\r\n"
            ),
        );
        out.extend_from_slice(credentials);
        out.extend_from_slice(b"User-Agent: bench-phone/1.0\r\nContent-Length: 0\r\n\r\n");
        out
    }

    /// An INVITE of `user`, from `at`, told apart as a REGISTER is. Nobody wants its call: it offers nothing.
    pub fn invite(&self, phone: u32, at: Ipv4Addr, user: &str, cseq: u32, credentials: &[u8]) -> Vec<u8> {
        let here = SocketAddrV4::new(at, self.port);
        let mut out = Vec::with_capacity(768);
        write(
            &mut out,
            format_args!(
                "INVITE sip:+15550000000@{REALM} SIP/2.0\r\n\
                 Via: SIP/2.0/UDP {here};branch=z9hG4bK{phone}-{cseq};rport\r\nMax-Forwards: 70\r\n\
                 From: <sip:{user}@{REALM}>;tag={phone}\r\nTo: <sip:+15550000000@{REALM}>\r\n\
                 Call-ID: {phone}-0@{here}\r\nCSeq: {cseq} INVITE\r\nContact: <sip:{user}@{here}>\r\n\
                 Allow: INVITE, ACK, CANCEL, BYE, OPTIONS, NOTIFY, REFER\r\n"
            ),
        );
        out.extend_from_slice(credentials);
        out.extend_from_slice(b"User-Agent: bench-phone/1.0\r\nContent-Length: 0\r\n\r\n");
        out
    }
}

/// The right answer to a challenge, for the `count`th time, as a line. Nothing where it is none that can be answered.
pub fn credentials(phone: u32, challenge: &[u8], count: u32) -> Vec<u8> {
    let Some(challenge) = Challenge::parse(challenge) else { return Vec::new() };
    let mut line = b"Authorization: ".to_vec();
    let (name, ha1) = (name(phone), ha1(phone));
    digest::answer(
        &mut line,
        &challenge,
        name.as_bytes(),
        &ha1,
        ("REGISTER", URI.as_bytes()),
        (count, b"b5"),
    );
    line.extend_from_slice(b"\r\n");
    line
}

/// A wrong answer to a challenge, for the `count`th time; `guess` tells it from others.
pub fn guessed(user: &str, nonce: &str, count: u32, guess: u64) -> Vec<u8> {
    let line = format!(
        "Authorization: Digest username=\"{user}\", realm=\"{REALM}\", nonce=\"{nonce}\", uri=\"{URI}\", \
         response=\"{guess:032x}\", algorithm=MD5, cnonce=\"b5\", qop=auth, nc={count:08x}\r\n"
    );
    line.into_bytes()
}

/// The nonce of a challenge.
pub fn nonce(challenge: &[u8]) -> Option<String> {
    let nonce = Challenge::parse(challenge)?.nonce;
    Some(String::from_utf8_lossy(nonce).into_owned())
}
