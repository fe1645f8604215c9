//! The audio stream of a session description, for calls whose audio passes through us (RFC 8866, RFC 3264): what the
//! other side offers or answers, and what we write ourselves.

use std::net::IpAddr;

use smallvec::SmallVec;

use super::{Direction, Lines, Media, media};

/// Descriptions with more streams than this describe no call.
const MOST_STREAMS: usize = 32;

/// Of one stream so many formats are looked at, the most wanted first.
const MOST_FORMATS: usize = 32;

/// What is said of a format is shown to others: a longer name, or more parameters, than any codec has is no format.
const LONGEST_MAP: usize = 64;
const LONGEST_PARAMETERS: usize = 512;

/// The kind, the protocol and the first format of a stream that we refuse are said again in our answer: longer ones
/// describe no call. So is the time of the session, in place of which ours is said.
const LONGEST_WORD: usize = 64;

/// What we can read and write ourselves; anything else passes as it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Codec {
    Pcmu,
    Pcma,
    /// 16 kHz, though its clock says 8,000 (RFC 3551 §4.5.2).
    G722,
    /// Digits (RFC 4733).
    Event,
    Other,
}

/// What whoever offers nothing is offered in its stead: what we can speak ourselves, and digits.
pub const PLAIN_OFFER: &[u8] = b"v=0\r\no=- 0 0 IN IP4 192.0.2.0\r\ns=-\r\nc=IN IP4 192.0.2.0\r\nt=0 0\r\n\
    m=audio 9 RTP/AVP 0 8 9 101\r\na=rtpmap:0 PCMU/8000\r\na=rtpmap:8 PCMA/8000\r\na=rtpmap:9 G722/8000\r\n\
    a=rtpmap:101 telephone-event/8000\r\na=fmtp:101 0-16\r\na=ptime:20\r\n";

/// One format of a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Format<'a> {
    /// 0 to 127.
    pub payload_type: u8,
    pub codec: Codec,
    /// `opus/48000/2`, as it is written; of a static payload type as RFC 3551 has it.
    pub map: &'a [u8],
    /// Its `a=fmtp:`, without the payload type.
    pub parameters: &'a [u8],
}

impl Format<'_> {
    /// The rate of its timestamps in Hz.
    pub fn clock(&self) -> u32 {
        let clock = self.map.split(|&byte| byte == b'/').nth(1).and_then(super::super::header::chars::number);
        clock.and_then(|clock| u32::try_from(clock).ok()).filter(|clock| *clock > 0).unwrap_or(8_000)
    }

    /// Whether two names mean the same (RFC 8866 §6.6: case does not count, one channel need not be said).
    pub fn is_as(&self, other: &Format<'_>) -> bool {
        let name = |map: &'_ [u8]| map.strip_suffix(b"/1").unwrap_or(map).to_ascii_uppercase();
        name(self.map) == name(other.map)
    }
}

/// The first audio stream that is not refused and that RTP carries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Audio<'a> {
    /// Its place among the description's streams.
    pub at: usize,
    /// None: a host name, which no RTP goes to, or nothing.
    pub address: Option<IpAddr>,
    pub port: u16,
    /// Where RTCP goes where it has a port of its own: one above, or `a=rtcp:` (RFC 3605).
    pub rtcp: u16,
    /// It can have both on one port, if the other side can too (RFC 5761 §5.1.1).
    pub has_mux: bool,
    pub direction: Direction,
    /// `RTP/AVP`, or with feedback `RTP/AVPF`.
    pub protocol: &'a [u8],
    /// How much of it a packet holds, in ms, where it says so.
    pub packet_ms: Option<u8>,
    /// In the order in which they are wanted.
    pub formats: SmallVec<[Format<'a>; 8]>,
}

/// Why there is no stream of audio to talk by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unfit {
    /// It is no description, or one of too many streams, or of what no stream is called.
    NoSession,
    /// Every stream of it is refused, is no audio, or is carried by something else: SRTP for instance.
    NoAudio,
    /// It does not say where its audio is heard, or no audio of ours gets there.
    NoPlace,
}

impl<'a> Audio<'a> {
    pub fn of(sdp: &'a [u8]) -> Result<Audio<'a>, Unfit> {
        if !sdp.starts_with(b"v=")
            || media(sdp).nth(MOST_STREAMS).is_some()
            || media(sdp).any(|stream| stream.words().iter().any(|word| word.len() > LONGEST_WORD))
        {
            return Err(Unfit::NoSession);
        }
        let is_fit = |(_, stream): &(usize, Media<'_>)| {
            stream.kind == b"audio" && stream.port != 0 && matches!(stream.protocol, b"RTP/AVP" | b"RTP/AVPF")
        };
        let (at, stream) = media(sdp).enumerate().find(is_fit).ok_or(Unfit::NoAudio)?;
        let own = Attributes::of(section(sdp, at));
        let port = stream.port;
        let said =
            own.value(b"rtcp:").and_then(|value| value.split(|&byte| byte == b' ').next().and_then(number));
        let types = stream.formats.split(|&byte| byte == b' ').filter_map(number::<u8>);
        let formats = types.filter(|payload_type| *payload_type < 128).take(MOST_FORMATS);
        let formats = formats.filter_map(|payload_type| own.format(payload_type)).collect();
        Ok(Audio {
            at,
            address: std::str::from_utf8(stream.address).ok().and_then(|address| address.parse().ok()),
            port,
            rtcp: said.unwrap_or_else(|| port.checked_add(1).unwrap_or(port)),
            has_mux: own.has(b"rtcp-mux"),
            direction: stream.direction,
            protocol: stream.protocol,
            packet_ms: own.value(b"ptime:").and_then(number),
            formats,
        })
    }

    /// Whether it names an address that is one side's alone, or says that there is none just now (0.0.0.0), in this
    /// family. A host's name is none: no RTP goes to it.
    pub fn has_place(&self, is_ipv4: bool) -> bool {
        let is_one = |address: IpAddr| match address {
            IpAddr::V4(v4) => !v4.is_multicast() && !v4.is_broadcast(),
            IpAddr::V6(v6) => !v6.is_multicast(),
        };
        self.address.is_some_and(|address| address.is_ipv4() == is_ipv4 && is_one(address))
    }

    /// Whether its author hears nobody just now: RFC 3264 §8.4, and the older way.
    pub fn is_held(&self) -> bool {
        let nowhere = self.address.is_some_and(|address| address.is_unspecified());
        nowhere || matches!(self.direction, Direction::SendOnly | Direction::Inactive)
    }

    /// Whether it has a codec that we can speak.
    pub fn speaks(&self) -> bool {
        [Codec::Pcmu, Codec::Pcma, Codec::G722].iter().any(|codec| self.format(*codec).is_some())
    }

    pub fn format(&self, codec: Codec) -> Option<&Format<'a>> {
        self.formats.iter().find(|format| format.codec == codec)
    }
}

/// What we write: one stream of audio, and whatever else was offered refused.
#[derive(Clone, Debug)]
pub struct Ours<'a> {
    /// The session's number, and how often its content has changed (RFC 8866 §5.2): the next offer or answer that
    /// differs from the last has one more.
    pub session: u64,
    pub version: u32,
    pub address: IpAddr,
    /// RTCP comes to the port above, or to this one where both sides mux.
    pub port: u16,
    pub has_mux: bool,
    pub direction: Direction,
    pub protocol: &'a [u8],
    pub packet_ms: Option<u8>,
    pub formats: &'a [Format<'a>],
}

impl Ours<'_> {
    /// Appends it as an offer, with this one stream.
    pub fn offer(&self, out: &mut Vec<u8>) {
        self.head(b"0 0", out);
        self.stream(out);
    }

    /// Appends it as the answer to an offer whose stream `at` it is: as many streams, the others refused, and the offer's
    /// time (RFC 3264 §6).
    pub fn answer(&self, offer: &[u8], at: usize, out: &mut Vec<u8>) {
        let time =
            Lines(offer).find_map(|line| line.strip_prefix(b"t=")).filter(|at| at.len() <= LONGEST_WORD);
        self.head(time.unwrap_or(b"0 0"), out);
        for (number, stream) in media(offer).take(MOST_STREAMS).enumerate() {
            if number == at {
                self.stream(out);
            } else {
                // One format will do: nobody looks at it (RFC 3264 §6).
                let [kind, protocol, format] = stream.words();
                let refused = [b"m=", kind, b" 0 ", protocol, b" ", format, b"\r\n"];
                refused.iter().for_each(|part| out.extend_from_slice(part));
            }
        }
    }

    fn head(&self, time: &[u8], out: &mut Vec<u8>) {
        let family = if self.address.is_ipv4() { "IP4" } else { "IP6" };
        let (session, version, address) = (self.session, self.version, self.address);
        let lines = format!(
            "v=0\r\no=- {session} {version} IN {family} {address}\r\ns=-\r\nc=IN {family} {address}\r\nt="
        );
        out.extend_from_slice(lines.as_bytes());
        out.extend_from_slice(time);
        out.extend_from_slice(b"\r\n");
    }

    fn stream(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(format!("m=audio {} ", self.port).as_bytes());
        out.extend_from_slice(self.protocol);
        for format in self.formats {
            out.extend_from_slice(format!(" {}", format.payload_type).as_bytes());
        }
        out.extend_from_slice(b"\r\n");
        for format in self.formats {
            line(out, b"rtpmap", format.payload_type, format.map);
            if !format.parameters.is_empty() {
                line(out, b"fmtp", format.payload_type, format.parameters);
            }
        }
        if let Some(ms) = self.packet_ms {
            out.extend_from_slice(format!("a=ptime:{ms}\r\n").as_bytes());
        }
        if self.has_mux {
            out.extend_from_slice(b"a=rtcp-mux\r\n");
        }
        out.extend_from_slice(match self.direction {
            Direction::Both => b"a=sendrecv\r\n",
            Direction::SendOnly => b"a=sendonly\r\n",
            Direction::ReceiveOnly => b"a=recvonly\r\n",
            Direction::Inactive => b"a=inactive\r\n",
        });
    }
}

impl<'a> Media<'a> {
    /// Its kind, its protocol and its first format.
    fn words(&self) -> [&'a [u8]; 3] {
        let first = self.formats.split(|&byte| byte == b' ').next().unwrap_or_default();
        [self.kind, self.protocol, first]
    }
}

fn line(out: &mut Vec<u8>, name: &[u8], payload_type: u8, value: &[u8]) {
    out.extend_from_slice(b"a=");
    out.extend_from_slice(name);
    out.extend_from_slice(format!(":{payload_type} ").as_bytes());
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}

/// The lines below the `m=` line of that stream.
fn section(sdp: &[u8], at: usize) -> impl Iterator<Item = &[u8]> {
    let mut streams = 0;
    Lines(sdp).filter(move |line| {
        streams += usize::from(line.starts_with(b"m="));
        streams == at + 1
    })
}

/// The `a=` lines of one stream.
struct Attributes<'a>(SmallVec<[&'a [u8]; 16]>);

impl<'a> Attributes<'a> {
    fn of(lines: impl Iterator<Item = &'a [u8]>) -> Attributes<'a> {
        Attributes(lines.filter_map(|line| line.strip_prefix(b"a=")).take(8 * MOST_FORMATS).collect())
    }

    fn has(&self, flag: &[u8]) -> bool {
        self.0.contains(&flag)
    }

    fn value(&self, name: &[u8]) -> Option<&'a [u8]> {
        self.0.iter().find_map(|line| line.strip_prefix(name))
    }

    /// `rtpmap:96 opus/48000/2` → `opus/48000/2`.
    fn of_type(&self, name: &[u8], payload_type: u8) -> Option<&'a [u8]> {
        self.0.iter().find_map(|line| {
            let line = line.strip_prefix(name)?;
            let space = line.iter().position(|&byte| byte == b' ')?;
            (number(&line[..space]) == Some(payload_type)).then_some(line[space..].trim_ascii())
        })
    }

    /// None: a dynamic payload type of which nothing is said, or more than there is to say.
    fn format(&self, payload_type: u8) -> Option<Format<'a>> {
        let map = self.of_type(b"rtpmap:", payload_type).or_else(|| static_map(payload_type))?;
        let name = map.split(|&byte| byte == b'/').next().unwrap_or_default();
        let parameters = self.of_type(b"fmtp:", payload_type).unwrap_or_default();
        if map.len() > LONGEST_MAP || parameters.len() > LONGEST_PARAMETERS {
            return None;
        }
        let format = Format { payload_type, codec: Codec::Other, map, parameters };
        let is_narrow = format.clock() == 8_000;
        let codec = match name {
            _ if !is_narrow => Codec::Other,
            name if name.eq_ignore_ascii_case(b"PCMU") => Codec::Pcmu,
            name if name.eq_ignore_ascii_case(b"PCMA") => Codec::Pcma,
            name if name.eq_ignore_ascii_case(b"G722") => Codec::G722,
            name if name.eq_ignore_ascii_case(b"telephone-event") => Codec::Event,
            _ => Codec::Other,
        };
        Some(Format { codec, ..format })
    }
}

/// What a static payload type means (RFC 3551 §6, table 4).
const fn static_map(payload_type: u8) -> Option<&'static [u8]> {
    match payload_type {
        0 => Some(b"PCMU/8000"),
        3 => Some(b"GSM/8000"),
        4 => Some(b"G723/8000"),
        5 => Some(b"DVI4/8000"),
        7 => Some(b"LPC/8000"),
        8 => Some(b"PCMA/8000"),
        9 => Some(b"G722/8000"),
        12 => Some(b"QCELP/8000"),
        13 => Some(b"CN/8000"),
        15 => Some(b"G728/8000"),
        18 => Some(b"G729/8000"),
        _ => None,
    }
}

fn number<T: TryFrom<u64>>(digits: &[u8]) -> Option<T> {
    super::super::header::chars::number(digits.trim_ascii()).and_then(|number| T::try_from(number).ok())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const OFFER: &str = "v=0\r\no=- 20518 0 IN IP4 203.0.113.1\r\ns=-\r\nc=IN IP4 203.0.113.1\r\nt=1 2\r\n\
        m=video 51372 RTP/AVP 99\r\na=rtpmap:99 h263-1998/90000\r\n\
        m=audio 54400 RTP/SAVP 0\r\n\
        m=audio 54402 RTP/AVP 8 0 9 111 96 98 3 13\r\nc=IN IP4 203.0.113.2\r\n\
        a=rtpmap:111 opus/48000/2\r\na=fmtp:111 useinbandfec=1\r\na=rtpmap:96 Telephone-Event/8000\r\n\
        a=fmtp:96 0-15\r\na=rtcp:53020\r\na=ptime:20\r\na=sendonly\r\n";

    #[test]
    fn the_first_stream_of_audio_is_taken_with_all_that_is_said_of_it() {
        let audio = Audio::of(OFFER.as_bytes()).unwrap();
        assert_eq!((audio.at, audio.port, audio.rtcp, audio.has_mux), (2, 54402, 53020, false));
        assert_eq!(audio.address, "203.0.113.2".parse().ok());
        assert_eq!(
            (audio.direction, audio.packet_ms, audio.is_held()),
            (Direction::SendOnly, Some(20), true)
        );
        let formats: Vec<_> =
            audio.formats.iter().map(|format| (format.payload_type, format.codec, format.clock())).collect();
        let expected = [
            (8, Codec::Pcma, 8_000),
            (0, Codec::Pcmu, 8_000),
            (9, Codec::G722, 8_000),
            (111, Codec::Other, 48_000),
            (96, Codec::Event, 8_000),
            (3, Codec::Other, 8_000),
            (13, Codec::Other, 8_000),
        ];
        assert_eq!(formats, expected, "98 is nothing");
        assert_eq!(audio.format(Codec::Event).map(|format| format.parameters), Some(&b"0-15"[..]));
        assert_eq!(audio.formats[3].parameters, b"useinbandfec=1");
    }

    #[test]
    fn what_is_left_out_has_its_default() {
        let plain = "v=0\nm=audio 4000 RTP/AVP 0\n";
        let audio = Audio::of(plain.as_bytes()).unwrap();
        assert_eq!((audio.address, audio.rtcp, audio.direction), (None, 4001, Direction::Both));
        let mux = Audio::of(b"v=0\nm=audio 4000 RTP/AVPF 0\na=rtcp-mux\na=rtcp:9\n").unwrap();
        assert_eq!((mux.rtcp, mux.has_mux), (9, true));
        for held in ["c=IN IP4 0.0.0.0\n", "c=IN IP6 ::\n", "a=inactive\n", "a=sendonly\n"] {
            assert!(Audio::of(format!("{plain}{held}").as_bytes()).unwrap().is_held(), "{held}");
        }
        assert!(
            !Audio::of(format!("{plain}c=IN IP4 host.example\na=recvonly\n").as_bytes()).unwrap().is_held()
        );
    }

    #[test]
    fn a_format_is_the_same_by_its_name() {
        let format = |map: &'static str| Format {
            payload_type: 0,
            codec: Codec::Other,
            map: map.as_bytes(),
            parameters: b"",
        };
        assert!(format("PCMU/8000").is_as(&format("pcmu/8000/1")));
        assert!(!format("opus/48000/2").is_as(&format("opus/48000")));
        assert_eq!(
            ["x", "x/", "x/0", "x/-1", "x/99999999999", "x/16000"].map(|map| format(map).clock()),
            [8_000, 8_000, 8_000, 8_000, 8_000, 16_000]
        );
    }

    #[test]
    fn what_has_no_audio_that_we_can_carry_says_so() {
        let many = format!("v=0\r\n{}", "m=audio 4000 RTP/AVP 0\r\n".repeat(500));
        for (sdp, why) in [
            ("", Unfit::NoSession),
            ("hello", Unfit::NoSession),
            (&many, Unfit::NoSession),
            ("v=0\r\n", Unfit::NoAudio),
            ("v=0\r\nm=audio 0 RTP/AVP 0\r\n", Unfit::NoAudio),
            ("v=0\r\nm=audio 4000 RTP/SAVPF 0\r\n", Unfit::NoAudio),
            ("v=0\r\nm=image 4000 udptl t38\r\n", Unfit::NoAudio),
            ("v=0\r\nm=audio\r\n", Unfit::NoAudio),
            (
                &format!("v=0\r\nm=audio 4000 RTP/AVP 0\r\nm={} 4002 x y\r\n", "z".repeat(65)),
                Unfit::NoSession,
            ),
        ] {
            assert_eq!(Audio::of(sdp.as_bytes()), Err(why), "{sdp}");
        }
        assert_eq!(
            Audio::of(b"v=0\nm=audio 4000 RTP/AVP x 200 98\n").map(|audio| audio.formats.len()),
            Ok(0)
        );
    }

    #[test]
    fn an_answer_has_as_many_streams_and_refuses_all_but_one() {
        let audio = Audio::of(OFFER.as_bytes()).unwrap();
        let formats = [audio.formats[1], audio.formats[4]];
        let ours = Ours {
            session: 7,
            version: 1,
            address: "192.0.2.9".parse().unwrap(),
            port: 10_000,
            has_mux: false,
            direction: Direction::ReceiveOnly,
            protocol: audio.protocol,
            packet_ms: Some(20),
            formats: &formats,
        };
        let mut out = Vec::new();
        ours.answer(OFFER.as_bytes(), audio.at, &mut out);
        insta::assert_snapshot!(String::from_utf8_lossy(&out).replace('\r', ""), @r"
        v=0
        o=- 7 1 IN IP4 192.0.2.9
        s=-
        c=IN IP4 192.0.2.9
        t=1 2
        m=video 0 RTP/AVP 99
        m=audio 0 RTP/SAVP 0
        m=audio 10000 RTP/AVP 0 96
        a=rtpmap:0 PCMU/8000
        a=rtpmap:96 Telephone-Event/8000
        a=fmtp:96 0-15
        a=ptime:20
        a=recvonly
        ");
        out.clear();
        let mux = Ours { address: "2001:db8::1".parse().unwrap(), has_mux: true, packet_ms: None, ..ours };
        mux.offer(&mut out);
        insta::assert_snapshot!(String::from_utf8_lossy(&out).replace('\r', ""), @r"
        v=0
        o=- 7 1 IN IP6 2001:db8::1
        s=-
        c=IN IP6 2001:db8::1
        t=0 0
        m=audio 10000 RTP/AVP 0 96
        a=rtpmap:0 PCMU/8000
        a=rtpmap:96 Telephone-Event/8000
        a=fmtp:96 0-15
        a=rtcp-mux
        a=recvonly
        ");
        let read = Audio::of(&out).unwrap();
        assert_eq!((read.address, read.port, read.has_mux), (Some(mux.address), 10_000, true));
        assert_eq!(read.formats[..], formats);
    }

    #[test]
    fn what_is_said_at_great_length_goes_no_further() {
        let long = "x".repeat(30_000);
        let sdp = format!(
            "v=0\r\nt={long}\r\nm=audio 4000 RTP/AVP 0 96 97\r\na=rtpmap:96 {long}/8000\r\n\
             a=rtpmap:97 opus/48000/2\r\na=fmtp:97 {long}\r\na={long}\r\nm=video 4002 RTP/AVP 31 {long}\r\n"
        );
        let audio = Audio::of(sdp.as_bytes()).unwrap();
        let types: Vec<u8> = audio.formats.iter().map(|format| format.payload_type).collect();
        assert_eq!(types, [0]);
        let ours = Ours {
            session: 7,
            version: 0,
            address: "192.0.2.9".parse().unwrap(),
            port: 10_000,
            has_mux: false,
            direction: Direction::Both,
            protocol: audio.protocol,
            packet_ms: None,
            formats: &audio.formats,
        };
        let mut out = Vec::new();
        ours.answer(sdp.as_bytes(), audio.at, &mut out);
        let text = String::from_utf8_lossy(&out);
        assert!(text.contains("\r\nt=0 0\r\n") && text.ends_with("\r\nm=video 0 RTP/AVP 31\r\n"), "{text}");
    }

    #[test]
    fn a_place_is_an_address_of_one_host_in_our_family_or_none_just_now() {
        let place = |line: &str| {
            let sdp = format!("v=0\nm=audio 4000 RTP/AVP 0\n{line}\n");
            let audio = Audio::of(sdp.as_bytes()).unwrap();
            [audio.has_place(true), audio.has_place(false)]
        };
        for (line, found) in [
            ("c=IN IP4 192.0.2.1", [true, false]),
            ("c=IN IP4 0.0.0.0", [true, false]),
            ("c=IN IP6 2001:db8::1", [false, true]),
            ("c=IN IP6 ::", [false, true]),
            ("c=IN IP4 224.2.1.1/127", [false, false]),
            ("c=IN IP6 ff02::1", [false, false]),
            ("c=IN IP4 255.255.255.255", [false, false]),
            ("c=IN IP4 phone.example.com", [false, false]),
            ("", [false, false]),
        ] {
            assert_eq!(place(line), found, "{line}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_and_answered(bytes in "(v=0\n)?([mca]=[a-z0-9:/ ]{0,20}\n|m=audio 9 RTP/AVP 0 96\n|\\PC){0,12}") {
            if let Ok(audio) = Audio::of(bytes.as_bytes()) {
                let formats: Vec<Format<'_>> = audio.formats.to_vec();
                let ours = Ours {
                    session: 1, version: 1, address: "192.0.2.9".parse().unwrap(), port: 10_000, has_mux: audio.has_mux,
                    direction: audio.direction, protocol: audio.protocol, packet_ms: audio.packet_ms, formats: &formats,
                };
                let mut out = Vec::new();
                ours.answer(bytes.as_bytes(), audio.at, &mut out);
                let read = Audio::of(&out).unwrap();
                prop_assert_eq!((read.at, read.port, read.direction), (audio.at, 10_000, audio.direction));
                prop_assert_eq!(read.formats.len(), formats.len());
                prop_assert_eq!(media(&out).count(), media(bytes.as_bytes()).count());
            }
        }
    }
}
