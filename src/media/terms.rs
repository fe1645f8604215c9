//! PURE. What one side and we have agreed on about its audio, by offer and answer (RFC 3264).
//!
//! Each side is shown our own address and port and, of the formats of whom it talks with, those that it can have. A
//! description that was offered counts only once it is answered: until then, and when it is refused, what was agreed on
//! before holds (RFC 3264 §8).

use std::net::{IpAddr, SocketAddr};

use smallvec::SmallVec;

use super::latch::Place;
use super::session::{self, Agreed};
use crate::sip::body::Body;
use crate::sip::sdp::Direction;
use crate::sip::sdp::audio::{Audio, Codec, Format, Ours, Unfit};

/// The type of a description.
const SDP: &str = "application/sdp";

/// So many formats we show at most.
const MOST_FORMATS: usize = 16;

/// What is offered beside what the other has, where that can be translated: whoever has audio at all has one of these
/// (RFC 3551 §4.5). G.722 is not offered beside them: some would choose it, and hear no more by it.
const TRANSLATED: [(Codec, u8, &[u8]); 2] = [(Codec::Pcmu, 0, b"PCMU/8000"), (Codec::Pcma, 8, b"PCMA/8000")];

/// What a call lets us show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Whatever the two can speak with each other.
    Anything,
    /// Only what we can speak and write down ourselves (R4: recording, whisper, call connect), and digits.
    Speech,
}

/// Where a side finds us, and what it is to be believed.
#[derive(Clone, Copy, Debug)]
pub struct Here {
    pub address: IpAddr,
    /// Of its RTP; RTCP comes to the one above.
    pub port: u16,
    pub scope: Scope,
    pub nat: Nat,
}

/// Whether a side stands behind a NAT: where its audio comes from is where it is then, whatever it says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Nat {
    None,
    Behind,
    /// If it names another address than this one, which its messages come from.
    Unless(IpAddr),
}

impl Nat {
    fn hides(self, address: IpAddr) -> bool {
        match self {
            Nat::None => false,
            Nat::Behind => true,
            Nat::Unless(from) => address != from,
        }
    }
}

/// What one side and we have told each other.
#[derive(Debug)]
pub struct Terms {
    here: Here,
    session: u64,
    version: u32,
    /// The last description that we showed it.
    shown: Option<Description>,
    open: Open,
    /// What was open when that came: it is so again when that is refused (RFC 3264 §4, RFC 3311 §5.2).
    under: Open,
    agreed: Option<(Description, Body)>,
    /// How many offers of its were answered.
    offers: u32,
    /// Whence the last of its requests within the call came.
    signals: Option<IpAddr>,
}

/// Which offer is open.
#[derive(Debug)]
enum Open {
    Nothing,
    Ours,
    Theirs(Body),
    /// It asked us for one.
    Wanted,
}

/// One of ours.
#[derive(Clone, Debug)]
struct Description {
    body: Body,
    formats: SmallVec<[Shown; 4]>,
}

/// One format of it.
#[derive(Clone, Debug)]
struct Shown {
    name: Box<[u8]>,
    codec: Codec,
    clock: u32,
    payload_type: u8,
}

/// The formats that we write.
type Formats<'a> = SmallVec<[Format<'a>; 8]>;

impl Terms {
    /// `session`: the number by which our descriptions to it are known (RFC 8866 §5.2), drawn.
    pub const fn new(here: Here, session: u64) -> Terms {
        let (open, under) = (Open::Nothing, Open::Nothing);
        Terms { here, session, version: 0, shown: None, open, under, agreed: None, offers: 0, signals: None }
    }

    /// A request that may change what holds came from there.
    pub fn signals_from(&mut self, host: IpAddr) {
        self.signals = Some(host);
    }

    /// It offers this. An error: nothing of it can be carried, or spoken where we must speak.
    pub fn offered(&mut self, theirs: &Body) -> Result<(), Unfit> {
        let audio = Audio::of(theirs.sdp().unwrap_or_default())?;
        if !audio.has_place(self.here.address.is_ipv4()) {
            return Err(Unfit::NoPlace);
        }
        if !audio.formats.iter().any(|format| self.here.scope.allows(format) && format.codec != Codec::Event)
        {
            return Err(Unfit::NoAudio);
        }
        self.opens(Open::Theirs(theirs.clone()));
        Ok(())
    }

    /// It answers our offer, or says its answer once more.
    pub fn answered(&mut self, theirs: &Body) {
        let ours = match (&self.open, &self.agreed) {
            (Open::Ours, _) => self.shown.clone(),
            // A fork's, or that of a 200 after a 183.
            (Open::Nothing, Some((ours, _))) => Some(ours.clone()),
            (Open::Nothing | Open::Theirs(_) | Open::Wanted, _) => None,
        };
        if let Some(ours) = ours {
            self.agreed = Some((ours, theirs.clone()));
            (self.open, self.under) = (Open::Nothing, Open::Nothing);
        }
    }

    /// The open offer, ours or its, was refused: what was agreed on holds, and another that was open before it.
    pub fn refused(&mut self) {
        if let (Open::Ours, Some((ours, _))) = (&self.open, &self.agreed) {
            self.shown = Some(ours.clone());
        }
        self.open = std::mem::replace(&mut self.under, Open::Nothing);
    }

    /// It asks us for an offer.
    pub fn wants_offer(&mut self) {
        self.opens(Open::Wanted);
    }

    fn opens(&mut self, open: Open) {
        self.under = std::mem::replace(&mut self.open, open);
    }

    /// Whether what it is shown now is an answer: to its open offer, or to the last once more.
    pub fn answers(&self) -> bool {
        match self.open {
            Open::Theirs(_) => true,
            Open::Nothing => self.agreed.is_some(),
            Open::Ours | Open::Wanted => false,
        }
    }

    /// Whether it has offered and waits for our answer.
    pub fn is_asked(&self) -> bool {
        matches!(self.open, Open::Theirs(_))
    }

    /// Whether we have offered and wait for its answer.
    pub fn asks(&self) -> bool {
        matches!(self.open, Open::Ours)
    }

    /// What we offer it: what the other says that it can have. None: that says nothing of audio.
    pub fn offer(&mut self, of: &Body) -> Option<Body> {
        let other = Audio::of(of.sdp()?).ok()?;
        let mut formats: Formats<'_> = other
            .formats
            .iter()
            .filter(|format| self.here.scope.allows(format))
            .copied()
            .take(MOST_FORMATS)
            .collect();
        // Beside what the other has, what we can translate for it (R4), wanted less.
        if formats.iter().any(is_translated) {
            for (codec, payload_type, map) in TRANSLATED {
                let is_there =
                    |format: &Format<'_>| format.codec == codec || format.payload_type == payload_type;
                if !formats.iter().any(is_there) {
                    formats.push(Format { payload_type, codec, map, parameters: b"" });
                }
            }
        }
        if self.here.scope == Scope::Speech && !formats.iter().any(|format| format.codec == Codec::Event) {
            formats.extend(free_type(&formats).map(events));
        }
        let body = self.write(&formats, other.direction_shown(), b"RTP/AVP", other.packet_ms, None)?;
        (self.open, self.under) = (Open::Ours, Open::Nothing);
        Some(body)
    }

    /// What we answer it: what the other answers. None: they have nothing in common that we could translate.
    pub fn answer(&mut self, of: &Body) -> Option<Body> {
        let offer = match (&self.open, &self.agreed) {
            (Open::Theirs(offer), _) => offer.clone(),
            // The same in a later response.
            (Open::Nothing, Some((_, theirs))) => theirs.clone(),
            (Open::Nothing | Open::Ours | Open::Wanted, _) => return None,
        };
        let (asked, other) = (Audio::of(offer.sdp()?).ok()?, Audio::of(of.sdp()?).ok()?);
        let formats = self.here.scope.common(&asked, &other);
        if !formats.iter().any(|format| format.codec != Codec::Event) {
            return None;
        }
        let direction = answers(asked.direction_shown(), other.direction_shown());
        let body = self.write(
            &formats,
            direction,
            asked.protocol,
            asked.packet_ms.or(other.packet_ms),
            Some((&offer, asked.at)),
        )?;
        self.offers += u32::from(self.is_asked());
        (self.open, self.under) = (Open::Nothing, Open::Nothing);
        self.agreed = self.shown.clone().map(|ours| (ours, offer.clone()));
        Some(body)
    }

    /// What holds for its audio now. None: nothing, or what it answered last says nothing that can be carried.
    pub fn agreed(&self) -> Option<Agreed> {
        let (ours, theirs) = self.agreed.as_ref()?;
        let audio =
            Audio::of(theirs.sdp()?).ok().filter(|audio| audio.has_place(self.here.address.is_ipv4()))?;
        let address = audio.address.filter(|address| !address.is_unspecified());
        let place = address.map(|address| Place {
            rtp: SocketAddr::new(address, audio.port),
            rtcp: SocketAddr::new(address, audio.rtcp),
            is_behind_nat: self.here.nat.hides(address),
        });
        let mut formats = SmallVec::new();
        for format in &audio.formats {
            let name = name_of(format);
            if let Some(Shown { codec, clock, payload_type, .. }) =
                ours.formats.iter().find(|shown| shown.name == name)
            {
                formats.push(session::Format {
                    codec: *codec,
                    name,
                    clock: *clock,
                    ours: *payload_type,
                    theirs: format.payload_type,
                });
            }
        }
        Some(Agreed { place, is_held: audio.is_held(), formats, offers: self.offers, signals: self.signals })
    }

    /// Whether it wants nobody to speak to it just now.
    pub fn is_held(&self) -> bool {
        let theirs = self.agreed.as_ref().and_then(|(_, theirs)| theirs.sdp());
        theirs.and_then(|sdp| Audio::of(sdp).ok()).is_some_and(|audio| audio.is_held())
    }

    /// Writes a description with the next version, or the last once more if it says the same.
    fn write(
        &mut self,
        formats: &[Format<'_>],
        direction: Direction,
        protocol: &[u8],
        packet_ms: Option<u8>,
        answers: Option<(&Body, usize)>,
    ) -> Option<Body> {
        let Here { address, port, .. } = self.here;
        let written = |version: u32| {
            let (session, has_mux) = (self.session, false);
            let ours =
                Ours { session, version, address, port, has_mux, direction, protocol, packet_ms, formats };
            let mut out = Vec::with_capacity(512);
            match answers {
                Some((offer, at)) => ours.answer(offer.sdp().unwrap_or_default(), at, &mut out),
                None => ours.offer(&mut out),
            }
            Body::new(SDP, &out)
        };
        let same = written(self.version);
        let body = match &self.shown {
            Some(shown) if shown.body == same => same,
            Some(_) => {
                self.version += 1;
                written(self.version)
            }
            None => same,
        };
        let formats = formats
            .iter()
            .map(|format| Shown {
                name: name_of(format),
                codec: format.codec,
                clock: format.clock(),
                payload_type: format.payload_type,
            })
            .collect();
        self.shown = Some(Description { body: body.clone(), formats });
        Some(body)
    }
}

impl Scope {
    fn allows(self, format: &Format<'_>) -> bool {
        match (self, format.codec) {
            (Scope::Anything, _) => true,
            (Scope::Speech, Codec::Pcmu | Codec::Pcma | Codec::G722 | Codec::Event) => true,
            (Scope::Speech, Codec::Other) => false,
        }
    }

    /// Of what was asked for, what the other has too; in the other's order, for that is what it will speak. Where they
    /// share no speech, what we can translate.
    fn common<'a>(self, asked: &Audio<'a>, other: &Audio<'_>) -> Formats<'a> {
        let mut formats = Formats::new();
        for theirs in &other.formats {
            let same = asked.formats.iter().find(|format| format.is_as(theirs) && self.allows(format));
            if let Some(same) = same.filter(|same| !formats.contains(same)) {
                formats.push(*same);
            }
        }
        if !formats.iter().any(|format| format.codec != Codec::Event)
            && other.formats.iter().any(|format| is_translated(format))
            && let Some(first) = asked.formats.iter().copied().find(is_translated)
        {
            formats.insert(0, first);
        }
        if self == Scope::Speech && !formats.iter().any(|format| format.codec == Codec::Event) {
            // We listen to digits ourselves.
            formats.extend(asked.format(Codec::Event).copied());
        }
        formats
    }
}

fn is_translated(format: &Format<'_>) -> bool {
    matches!(format.codec, Codec::Pcmu | Codec::Pcma | Codec::G722)
}

fn name_of(format: &Format<'_>) -> Box<[u8]> {
    format.map.strip_suffix(b"/1").unwrap_or(format.map).to_ascii_uppercase().into()
}

/// The dynamic payload type that nothing has: 101 where that is free, as nearly everybody has it.
fn free_type(formats: &[Format<'_>]) -> Option<u8> {
    let is_free = |number: &u8| !formats.iter().any(|format| format.payload_type == *number);
    std::iter::once(101).chain(96..=127).find(is_free)
}

const fn events(payload_type: u8) -> Format<'static> {
    Format { payload_type, codec: Codec::Event, map: b"telephone-event/8000", parameters: b"0-16" }
}

/// Which way a stream flows by our answer: no further than both sides let it (RFC 3264 §6.1).
const fn answers(asked: Direction, other: Direction) -> Direction {
    let sends = matches!(asked, Direction::Both | Direction::ReceiveOnly)
        && matches!(other, Direction::Both | Direction::SendOnly);
    let receives = matches!(asked, Direction::Both | Direction::SendOnly)
        && matches!(other, Direction::Both | Direction::ReceiveOnly);
    match (sends, receives) {
        (true, true) => Direction::Both,
        (true, false) => Direction::SendOnly,
        (false, true) => Direction::ReceiveOnly,
        (false, false) => Direction::Inactive,
    }
}

impl Audio<'_> {
    /// Which way its stream flows; where it names no address nothing is to be sent to it, the older way to hold
    /// (RFC 3264 §8.4).
    fn direction_shown(&self) -> Direction {
        let nowhere = self.address.is_some_and(|address| address.is_unspecified());
        match (nowhere, self.direction) {
            (true, Direction::Both) => Direction::SendOnly,
            (true, Direction::ReceiveOnly) => Direction::Inactive,
            (_, direction) => direction,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OFFER: &str = "v=0\r\no=a 1 1 IN IP4 192.0.2.1\r\ns=-\r\nc=IN IP4 192.0.2.1\r\nt=0 0\r\n\
        m=audio 4000 RTP/AVP 111 8 0 96\r\na=rtpmap:111 opus/48000/2\r\na=fmtp:111 useinbandfec=1\r\n\
        a=rtpmap:96 telephone-event/8000\r\na=fmtp:96 0-15\r\nm=video 4002 RTP/AVP 31\r\n";
    const ANSWER: &str = "v=0\r\no=b 1 1 IN IP4 192.0.2.2\r\ns=-\r\nc=IN IP4 192.0.2.2\r\nt=0 0\r\n\
        m=audio 6000 RTP/AVP 0 101\r\na=rtpmap:101 telephone-event/8000\r\na=ptime:20\r\n";

    fn sdp(text: &str) -> Body {
        Body::new(SDP, text.as_bytes())
    }

    fn terms(port: u16, scope: Scope) -> Terms {
        Terms::new(Here { address: "203.0.113.9".parse().unwrap(), port, scope, nat: Nat::None }, 7)
    }

    fn shown(body: Option<Body>) -> String {
        String::from_utf8_lossy(body.expect("a description").bytes()).replace('\r', "")
    }

    /// Payload types as we and as they have them, and codecs.
    fn formats(terms: &Terms) -> Vec<(u8, u8, Codec)> {
        let agreed = terms.agreed().expect("agreed");
        agreed.formats.iter().map(|format| (format.ours, format.theirs, format.codec)).collect()
    }

    #[test]
    fn r04_each_side_is_shown_our_address_and_what_the_other_can_have() {
        let (mut caller, mut called) = (terms(10_000, Scope::Anything), terms(10_002, Scope::Anything));
        caller.offered(&sdp(OFFER)).unwrap();
        insta::assert_snapshot!(shown(called.offer(&sdp(OFFER))), @r"
        v=0
        o=- 7 0 IN IP4 203.0.113.9
        s=-
        c=IN IP4 203.0.113.9
        t=0 0
        m=audio 10002 RTP/AVP 111 8 0 96
        a=rtpmap:111 opus/48000/2
        a=fmtp:111 useinbandfec=1
        a=rtpmap:8 PCMA/8000
        a=rtpmap:0 PCMU/8000
        a=rtpmap:96 telephone-event/8000
        a=fmtp:96 0-15
        a=sendrecv
        ");
        called.answered(&sdp(ANSWER));
        insta::assert_snapshot!(shown(caller.answer(&sdp(ANSWER))), @r"
        v=0
        o=- 7 0 IN IP4 203.0.113.9
        s=-
        c=IN IP4 203.0.113.9
        t=0 0
        m=audio 10000 RTP/AVP 0 96
        a=rtpmap:0 PCMU/8000
        a=rtpmap:96 telephone-event/8000
        a=fmtp:96 0-15
        a=ptime:20
        a=sendrecv
        m=video 0 RTP/AVP 31
        ");
        assert_eq!(formats(&called), [(0, 0, Codec::Pcmu), (96, 101, Codec::Event)], "theirs differ");
        assert_eq!(formats(&caller), [(0, 0, Codec::Pcmu), (96, 96, Codec::Event)]);
        let place = called.agreed().unwrap().place.unwrap();
        assert_eq!(
            (place.rtp, place.rtcp),
            ("192.0.2.2:6000".parse().unwrap(), "192.0.2.2:6001".parse().unwrap())
        );
    }

    #[test]
    fn r04_where_we_speak_ourselves_only_what_we_can_speak_is_shown_and_digits_can_be_pressed() {
        let mut called = terms(10_002, Scope::Speech);
        let plain =
            OFFER.replace(" 96\r\n", " 101\r\n").replace("a=rtpmap:96 telephone-event", "a=rtpmap:101 speex");
        let offer = shown(called.offer(&sdp(&plain)));
        assert!(offer.contains("m=audio 10002 RTP/AVP 8 0 101\n"), "{offer}");
        assert!(offer.contains("a=rtpmap:101 telephone-event/8000\na=fmtp:101 0-16\n"), "{offer}");
        let mut caller = terms(10_000, Scope::Speech);
        let opus = OFFER.replace("111 8 0 96", "111 96");
        assert_eq!(caller.offered(&sdp(&opus)), Err(Unfit::NoAudio), "nothing that we can speak");
        assert_eq!(terms(10_000, Scope::Anything).offered(&sdp(&opus)), Ok(()));
    }

    #[test]
    fn r04_a_version_rises_only_when_the_content_changes() {
        let mut side = terms(10_002, Scope::Anything);
        let version =
            |body: Option<Body>| shown(body).lines().nth(1).unwrap().split(' ').nth(2).unwrap().to_owned();
        assert_eq!(version(side.offer(&sdp(OFFER))), "0");
        side.answered(&sdp(ANSWER));
        assert_eq!(
            version(side.offer(&sdp(&OFFER.replace("4000", "4004")))),
            "0",
            "its port is no matter of theirs"
        );
        side.answered(&sdp(ANSWER));
        assert_eq!(version(side.offer(&sdp(&OFFER.replace("m=video", "a=sendonly\r\nm=video")))), "1");
        side.answered(&sdp(ANSWER));
        assert_eq!(version(side.offer(&sdp(OFFER))), "2");
    }

    #[test]
    fn r11_an_offer_that_is_refused_changes_nothing() {
        let mut side = terms(10_002, Scope::Anything);
        side.offer(&sdp(OFFER));
        side.answered(&sdp(ANSWER));
        let before = side.agreed();
        side.offered(&sdp(&ANSWER.replace("6000", "6100"))).unwrap();
        assert_eq!((side.agreed(), side.is_asked()), (before.clone(), true));
        side.refused();
        side.offer(&sdp(&OFFER.replace("111 8 0 96", "8")));
        side.refused();
        assert_eq!((side.agreed(), side.is_asked(), side.asks()), (before, false, false));
        side.offered(&sdp(&ANSWER.replace("6000", "6100"))).unwrap();
        side.answer(&sdp(OFFER)).unwrap();
        assert_eq!(side.agreed().unwrap().place.unwrap().rtp.port(), 6100);
    }

    #[test]
    fn r11_a_hold_travels_and_an_answer_lets_no_more_flow_than_both_want() {
        use Direction::{Both, Inactive, ReceiveOnly, SendOnly};
        let all = [Both, SendOnly, ReceiveOnly, Inactive];
        let table = all.map(|asked| all.map(|other| answers(asked, other)));
        assert_eq!(
            table,
            [
                [Both, SendOnly, ReceiveOnly, Inactive],
                [ReceiveOnly, Inactive, ReceiveOnly, Inactive],
                [SendOnly, SendOnly, Inactive, Inactive],
                [Inactive; 4],
            ]
        );
        let (mut caller, mut called) = (terms(10_000, Scope::Anything), terms(10_002, Scope::Anything));
        let old = OFFER.replace("c=IN IP4 192.0.2.1", "c=IN IP4 0.0.0.0");
        caller.offered(&sdp(&old)).unwrap();
        assert!(shown(called.offer(&sdp(&old))).contains("a=sendonly"));
        called.answered(&sdp(&ANSWER.replace("a=ptime:20", "a=recvonly")));
        let answer = shown(caller.answer(&sdp(&ANSWER.replace("a=ptime:20", "a=recvonly"))));
        assert!(answer.contains("a=recvonly"), "{answer}");
        assert_eq!((caller.agreed().unwrap().place, caller.is_held()), (None, true));
    }

    #[test]
    fn r04_what_shares_nothing_is_translated_if_we_can_and_else_not_answered() {
        let other = |list: &str| sdp(&ANSWER.replace("RTP/AVP 0 101", &format!("RTP/AVP {list}")));
        let mut caller = terms(10_000, Scope::Anything);
        caller.offered(&sdp(&OFFER.replace("111 8 0 96", "8 96"))).unwrap();
        assert!(shown(caller.answer(&other("0"))).contains("m=audio 10000 RTP/AVP 8\n"));
        // Who has G.722 alone is translated too, and the other is offered what he then has.
        let wide = sdp(&OFFER.replace("111 8 0 96", "9 96"));
        let (mut caller, mut called) = (terms(10_000, Scope::Anything), terms(10_002, Scope::Anything));
        caller.offered(&wide).unwrap();
        assert!(shown(called.offer(&wide)).contains("m=audio 10002 RTP/AVP 9 96 0 8\n"));
        called.answered(&other("8 101"));
        assert!(shown(caller.answer(&other("8 101"))).contains("m=audio 10000 RTP/AVP 9 96\n"));
        assert_eq!(formats(&called), [(8, 8, Codec::Pcma), (96, 101, Codec::Event)]);
        let mut caller = terms(10_000, Scope::Anything);
        caller.offered(&sdp(&OFFER.replace("111 8 0 96", "111 96"))).unwrap();
        assert_eq!(caller.answer(&other("0 101")), None);
        let opus = shown(called.offer(&sdp(&OFFER.replace("111 8 0 96", "111 96"))));
        assert!(opus.contains("m=audio 10002 RTP/AVP 111 96\n"), "nothing that we cannot translate: {opus}");
    }

    #[test]
    fn r04_who_names_the_address_that_its_messages_come_from_is_heard_from_there_alone() {
        let [says, other] = ["192.0.2.2", "198.51.100.7"].map(|text| text.parse().unwrap());
        for (nat, is_hidden) in
            [(Nat::None, false), (Nat::Behind, true), (Nat::Unless(says), false), (Nat::Unless(other), true)]
        {
            let mut side = terms(10_002, Scope::Anything);
            side.here.nat = nat;
            side.offer(&sdp(OFFER));
            side.answered(&sdp(ANSWER));
            assert_eq!(side.agreed().unwrap().place.unwrap().is_behind_nat, is_hidden, "{nat:?}");
        }
    }

    #[test]
    fn an_answer_is_said_once_more_in_a_later_response_and_a_forks_own_counts() {
        let mut caller = terms(10_000, Scope::Anything);
        caller.offered(&sdp(OFFER)).unwrap();
        let early = caller.answer(&sdp(ANSWER));
        assert_eq!(caller.answer(&sdp(ANSWER)), early);
        let mut called = terms(10_002, Scope::Anything);
        called.offer(&sdp(OFFER));
        called.answered(&sdp(ANSWER));
        called.answered(&sdp(&ANSWER.replace("6000", "7000")));
        assert_eq!(called.agreed().unwrap().place.unwrap().rtp.port(), 7000);
    }

    #[test]
    fn what_answers_nothing_and_what_is_no_description_changes_nothing() {
        let mut side = terms(10_002, Scope::Anything);
        side.answered(&sdp(ANSWER));
        assert_eq!((side.agreed(), side.answer(&sdp(ANSWER))), (None, None));
        assert_eq!(side.offer(&sdp("v=0\r\n")), None);
        assert_eq!(side.offered(&sdp("nonsense")), Err(Unfit::NoSession));
    }

    #[test]
    fn r04_who_says_no_address_or_one_of_another_family_has_no_place() {
        for other in ["", "c=IN IP4 phone.example.com\r\n", "c=IN IP6 2001:db8::1\r\n"] {
            let mut side = terms(10_002, Scope::Anything);
            let without = |sdp: &str, address: &str| sdp.replace(&format!("c=IN IP4 {address}\r\n"), other);
            assert_eq!(side.offered(&sdp(&without(OFFER, "192.0.2.1"))), Err(Unfit::NoPlace), "{other}");
            side.offer(&sdp(OFFER));
            side.answered(&sdp(&without(ANSWER, "192.0.2.2")));
            assert_eq!(side.agreed(), None, "{other}");
        }
    }

    #[test]
    fn rtcp_has_a_port_of_its_own_where_we_have_not_said_that_it_need_not() {
        let mut side = terms(10_000, Scope::Anything);
        let muxed = OFFER.replace("m=video", "a=rtcp-mux\r\nm=video");
        side.offered(&sdp(&muxed)).unwrap();
        assert!(!shown(side.answer(&sdp(ANSWER))).contains("rtcp-mux"));
        let place = side.agreed().unwrap().place.unwrap();
        assert_eq!((place.rtp.port(), place.rtcp.port()), (4000, 4001));
    }
}
