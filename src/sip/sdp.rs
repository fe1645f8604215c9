//! The little of a session description that signalling needs (RFC 8866, RFC 3264): read where it lies, and
//! rewritten only where a hold ends. [`audio`] is what a call needs whose audio passes through us.

pub mod audio;

/// One `m=` section.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Media<'a> {
    /// `audio`, `video` …
    pub kind: &'a [u8],
    /// 0 refuses the stream (RFC 3264 §6).
    pub port: u16,
    /// `RTP/AVP` …
    pub protocol: &'a [u8],
    /// Payload types or formats, separated by spaces.
    pub formats: &'a [u8],
    pub direction: Direction,
    /// The address of its `c=` line, or of the session's where it has none.
    pub address: &'a [u8],
}

impl<'a> Media<'a> {
    /// Where it is and which way it flows; which of the formats is used does not matter.
    pub fn place(&self) -> (&'a [u8], u16, Direction, &'a [u8]) {
        (self.kind, self.port, self.direction, self.address)
    }
}

/// Which way a stream flows, seen from whoever wrote the description (RFC 3264 §5.1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Direction {
    #[default]
    Both,
    SendOnly,
    ReceiveOnly,
    Inactive,
}

/// Whether it is a description of something: who answers with anything else has answered nothing.
pub fn describes(sdp: &[u8]) -> bool {
    sdp.starts_with(b"v=") && media(sdp).next().is_some()
}

/// The streams in order, each with what it inherits from the session.
pub fn media(sdp: &[u8]) -> impl Iterator<Item = Media<'_>> {
    let mut rest = Lines(sdp);
    let mut session = Section::default();
    let mut next = session.take(&mut rest);
    std::iter::from_fn(move || {
        let line = next?;
        let mut own = session;
        next = own.take(&mut rest);
        stream(line, own)
    })
}

/// Whether its author has put the other side on hold: it has a stream that is not refused, and every such
/// stream is sendonly or inactive, or goes to the address 0.0.0.0 (RFC 3264 §8.4).
pub fn is_held(sdp: &[u8]) -> bool {
    let mut held = false;
    for stream in media(sdp).filter(|stream| stream.port != 0) {
        let silent = matches!(stream.direction, Direction::SendOnly | Direction::Inactive);
        if !silent && stream.address != b"0.0.0.0" {
            return false;
        }
        held = true;
    }
    held
}

/// Whether two descriptions are the same byte for byte: then the second is a refresh and changes nothing.
pub fn same(left: &[u8], right: &[u8]) -> bool {
    left == right
}

/// Appends an answer that refuses every stream of the offer: each `m=` line with port 0 (RFC 3264 §6), the
/// offer's `t=` line, and no address of ours.
pub fn refuse_all(offer: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(b"v=0\r\no=- 0 0 IN IP4 0.0.0.0\r\ns=-\r\nc=IN IP4 0.0.0.0\r\nt=");
    out.extend_from_slice(Lines(offer).find_map(|line| line.strip_prefix(b"t=")).unwrap_or(b"0 0"));
    out.extend_from_slice(b"\r\n");
    for stream in media(offer) {
        out.extend_from_slice(b"m=");
        out.extend_from_slice(stream.kind);
        out.extend_from_slice(b" 0 ");
        out.extend_from_slice(stream.protocol);
        out.push(b' ');
        out.extend_from_slice(stream.formats);
        out.extend_from_slice(b"\r\n");
    }
}

/// Appends a description as its author would give it if the other side did not hold it: `recvonly` and `inactive`,
/// which answer a hold (RFC 3264 §6.1), are `sendrecv`; what is `sendonly` is so by its own wish.
pub fn take_off_hold(sdp: &[u8], out: &mut Vec<u8>) {
    for line in Lines(sdp) {
        let held = matches!(line, b"a=recvonly" | b"a=inactive");
        out.extend_from_slice(if held { b"a=sendrecv" } else { line });
        out.extend_from_slice(b"\r\n");
    }
}

/// What a section says that streams inherit.
#[derive(Clone, Copy, Default)]
struct Section<'a> {
    direction: Direction,
    address: &'a [u8],
}

impl<'a> Section<'a> {
    /// Reads up to the next `m=` line, and gives what stands after its `m=`.
    fn take(&mut self, lines: &mut Lines<'a>) -> Option<&'a [u8]> {
        for line in lines {
            match line {
                [b'm', b'=', stream @ ..] => return Some(stream),
                [b'c', b'=', connection @ ..] => self.address = address_of(connection),
                b"a=sendrecv" => self.direction = Direction::Both,
                b"a=sendonly" => self.direction = Direction::SendOnly,
                b"a=recvonly" => self.direction = Direction::ReceiveOnly,
                b"a=inactive" => self.direction = Direction::Inactive,
                _ => {}
            }
        }
        None
    }
}

/// `IN IP4 224.2.1.1/127` → `224.2.1.1`.
fn address_of(connection: &[u8]) -> &[u8] {
    let address = connection.split(|&byte| byte == b' ').nth(2).unwrap_or_default();
    address.split(|&byte| byte == b'/').next().unwrap_or_default()
}

/// `audio 49170/2 RTP/AVP 0 8` in its parts, with what the section says. A port that cannot be read is 0.
fn stream<'a>(line: &'a [u8], section: Section<'a>) -> Option<Media<'a>> {
    let mut parts = line.splitn(4, |&byte| byte == b' ');
    let (kind, ports, protocol) = (parts.next()?, parts.next()?, parts.next()?);
    let port = ports.split(|&byte| byte == b'/').next().unwrap_or_default();
    let port = super::header::chars::number(port).and_then(|port| u16::try_from(port).ok()).unwrap_or(0);
    let formats = parts.next().unwrap_or_default();
    Some(Media { kind, port, protocol, formats, direction: section.direction, address: section.address })
}

/// The lines without their ends; CRLF and LF alike (RFC 8866 §5), and a CR is never part of one.
struct Lines<'a>(&'a [u8]);

impl<'a> Iterator for Lines<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        if self.0.is_empty() {
            return None;
        }
        let end = memchr::memchr2(b'\n', b'\r', self.0).unwrap_or(self.0.len());
        let (line, rest) = self.0.split_at(end);
        self.0 = rest.strip_prefix(b"\r\n").or_else(|| rest.get(1..)).unwrap_or_default();
        Some(line)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OFFER: &str = "v=0\r\no=alice 1 1 IN IP4 192.0.2.1\r\ns=-\r\nc=IN IP4 192.0.2.1\r\nt=3149328700 0\r\n\
        m=audio 49170/2 RTP/AVP 0 8 101\r\na=rtpmap:101 telephone-event/8000\r\n\
        m=video 51372 RTP/AVP 31\r\nc=IN IP6 2001:db8::1\r\na=recvonly\r\n";

    #[test]
    fn streams_inherit_from_the_session() {
        let streams: Vec<_> = media(OFFER.as_bytes()).collect();
        assert_eq!(streams.len(), 2);
        assert_eq!((streams[0].kind, streams[0].port), (&b"audio"[..], 49170));
        assert_eq!((streams[0].protocol, streams[0].formats), (&b"RTP/AVP"[..], &b"0 8 101"[..]));
        assert_eq!((streams[0].direction, streams[0].address), (Direction::Both, &b"192.0.2.1"[..]));
        assert_eq!(streams[1].direction, Direction::ReceiveOnly);
        assert_eq!(streams[1].address, b"2001:db8::1");
    }

    #[test]
    fn what_a_hold_stopped_is_sent_again() {
        let mut out = Vec::new();
        take_off_hold(OFFER.replace("m=video", "a=sendonly\r\nm=video").as_bytes(), &mut out);
        let directions: Vec<_> = media(&out).map(|stream| stream.direction).collect();
        assert_eq!(directions, [Direction::SendOnly, Direction::Both]);
        assert_eq!(out.len(), OFFER.len() + "a=sendonly\r\n".len());
    }

    #[test]
    fn every_stream_is_refused() {
        let mut out = Vec::new();
        refuse_all(OFFER.as_bytes(), &mut out);
        insta::assert_snapshot!(String::from_utf8_lossy(&out).replace('\r', ""), @r"
        v=0
        o=- 0 0 IN IP4 0.0.0.0
        s=-
        c=IN IP4 0.0.0.0
        t=3149328700 0
        m=audio 0 RTP/AVP 0 8 101
        m=video 0 RTP/AVP 31
        ");
    }

    #[test]
    fn hold_is_seen_in_every_form() {
        let with = |from: &str, to: &str| is_held(OFFER.replace(from, to).as_bytes());
        assert!(!is_held(OFFER.as_bytes()));
        assert!(!with("s=-\r\n", "s=-\r\na=sendonly\r\n"), "the video still receives");
        let audio = &OFFER[..OFFER.find("m=video").expect("a video stream")];
        assert!(!is_held(audio.as_bytes()));
        assert!(is_held(format!("{audio}a=sendonly\r\n").as_bytes()));
        assert!(is_held(format!("{audio}a=inactive\n").as_bytes()));
        assert!(is_held(audio.replace("c=IN IP4 192.0.2.1", "c=IN IP4 0.0.0.0").as_bytes()));
        assert!(is_held(audio.replace("t=", "a=inactive\r\nt=").as_bytes()));
        assert!(!is_held(audio.replace("49170/2", "0").as_bytes()), "nothing is left to hold");
        assert!(!is_held(b""));
    }
}
