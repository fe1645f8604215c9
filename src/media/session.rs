//! PURE. The audio of one call: its sides, who hears whom, and what we say ourselves.
//!
//! A packet of one side goes to the other as it came, under the numbers of the stream that we send there; nothing is
//! decoded for it. Cost of a packet: two searches among a handful of formats, a header of 12 bytes, no allocation.

use std::net::SocketAddr;
use std::time::Duration;

use smallvec::SmallVec;

pub use super::account::{Quality, Refused};
use super::counts::Dropped;
use super::event::{Digit, Listener};
pub use super::format::{Agreed, Format};
use super::keys::{self, Keypad};
use super::latch::{Latch, Sender};
pub use super::listening::Listen;
use super::listening::{Listening, is_loud};
use super::quality;
use super::rtcp::{self, Reception, Said};
use super::rtp::{HEADER, Packet, Stream};
use super::saying::{Next, Saying, Voice};
use super::tape::{self, Rate, Sound, Tape};
pub use super::told::{Say, SideId, Told};
use super::{g711, g722};
use crate::sip::sdp::audio::Codec;
use crate::time::{Instant, Now};

/// How long a packet of ours lasts: 160 samples of G.711, and 160 bytes of G.722.
pub use super::prompt::FRAME;
const FRAME_TICKS: u32 = 160;

/// No more than this is written down of one packet: 120 ms.
const MOST_BYTES: usize = 960;

/// Nobody waits for the end of what is said under this number.
const NOBODYS: u32 = u32::MAX - 1;

/// The audio of one call.
#[derive(Debug, Default)]
pub struct Session {
    sides: SmallVec<[Side; 2]>,
    /// Nobody may be silent on both sides for longer.
    patience: Option<Duration>,
    /// Since when that is counted: from the last word, or from when it was asked.
    heard: Instant,
    recording: Option<Recording>,
    /// Why the last packet went no further, where it was refused.
    refusal: Option<Dropped>,
}

/// What is written down, and who is on which channel.
#[derive(Debug)]
struct Recording {
    tape: Tape,
    left: SideId,
    right: Option<SideId>,
}

#[derive(Debug)]
struct Side {
    id: SideId,
    latch: Option<Latch>,
    formats: SmallVec<[Format; 3]>,
    /// How many offers it had made when something was last agreed on with it, be it that it hears nothing.
    agreed: Option<u32>,
    /// It wants to hear nobody just now.
    is_held: bool,
    /// What we send to it.
    stream: Stream,
    sent: Sent,
    reception: Reception,
    /// The payload type of its last packet that was no event.
    spoke: Option<u8>,
    trip: rtcp::Trip,
    digits: Listener,
    /// Who hears it, and in which format what it says goes on.
    heard_by: Option<SideId>,
    onward: SmallVec<[Onward; 4]>,
    saying: Option<Saying>,
    listening: Option<Listening>,
    /// Keys of its that are tones in its audio, and keys that we press for it.
    keypad: Keypad,
    /// Of what it says in G.722.
    decoder: g722::Decoder,
    /// Of what goes on in another codec where one of the two is G.722.
    translator: Option<Box<Translator>>,
    refused: Refused,
}

/// What G.722 keeps from sample to sample, the one way or the other.
#[derive(Debug, Default)]
struct Translator {
    decoder: g722::Decoder,
    encoder: g722::Encoder,
}

#[derive(Debug, Default)]
struct Sent {
    packets: u32,
    bytes: u32,
}

/// What becomes of packets of one payload type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Onward {
    from: u8,
    to: u8,
    how: How,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum How {
    AsItIs,
    /// Byte for byte: each of the codecs that we speak has 8,000 of them a second.
    Translated {
        from: Codec,
        to: Codec,
    },
}

impl Session {
    /// A side whose port is open. Its stream's first numbers are drawn.
    pub fn open(&mut self, id: SideId, stream: Stream) {
        self.close(id);
        self.sides.push(Side {
            id,
            latch: None,
            formats: SmallVec::new(),
            agreed: None,
            is_held: false,
            stream,
            sent: Sent::default(),
            reception: Reception::default(),
            spoke: None,
            trip: rtcp::Trip::default(),
            digits: Listener::default(),
            heard_by: None,
            onward: SmallVec::new(),
            saying: None,
            listening: None,
            keypad: Keypad::default(),
            decoder: g722::Decoder::default(),
            translator: None,
            refused: Refused::default(),
        });
    }

    /// A side that is no more; how it was heard.
    pub fn close(&mut self, id: SideId) -> Option<Quality> {
        self.hears_nobody(id);
        let at = self.sides.iter().position(|side| side.id == id)?;
        let side = self.sides.swap_remove(at);
        for other in self.sides.iter_mut().filter(|other| other.heard_by == Some(id)) {
            other.heard_by = None;
        }
        Some(side.quality())
    }

    pub fn is_empty(&self) -> bool {
        self.sides.is_empty()
    }

    /// What a side's description and ours say now. Whether it is to be latched anew: it is somewhere else, or may be.
    pub fn agree(&mut self, now: Instant, id: SideId, agreed: Agreed) -> bool {
        let Some(side) = self.side(id) else { return false };
        let offered = side.agreed.replace(agreed.offers).is_some_and(|before| before != agreed.offers);
        let moved = match (&mut side.latch, agreed.place) {
            (Some(latch), Some(place)) => {
                latch.moves(now, place) || offered && latch.may_have_moved(now, agreed.signals)
            }
            (Some(latch), None) => {
                latch.falls_deaf();
                side.stream.rests();
                false
            }
            (latch @ None, place) => {
                *latch = place.map(Latch::new);
                false
            }
        };
        side.is_held = agreed.is_held;
        if side.is_held {
            side.stream.rests();
        }
        side.formats = agreed.formats;
        side.keypad.agree(&side.formats);
        if let Some(first) = side.formats.first() {
            side.stream.set_rate(first.clock);
        }
        let voice = side.voice();
        side.saying.iter_mut().for_each(|saying| saying.voice = voice);
        let whom: SmallVec<[SideId; 2]> = self
            .sides
            .iter()
            .filter(|other| other.id == id || other.heard_by == Some(id))
            .map(|other| other.id)
            .collect();
        whom.into_iter().for_each(|other| self.link(other));
        moved
    }

    /// From now on `to` hears `from`, and nobody else.
    pub fn hears(&mut self, to: SideId, from: SideId) {
        self.hears_nobody(to);
        if to != from
            && self.sides.iter().any(|side| side.id == to)
            && let Some(side) = self.side(from)
        {
            side.heard_by = Some(to);
            self.link(from);
        }
    }

    /// From now on `to` hears only what we say.
    pub fn hears_nobody(&mut self, to: SideId) {
        for side in self.sides.iter_mut().filter(|side| side.heard_by == Some(to)) {
            side.heard_by = None;
            side.onward.clear();
        }
    }

    /// A side hears this in place of whatever it hears now, as soon as something is agreed on with it. False: it can hear
    /// nothing of ours.
    pub fn say(&mut self, id: SideId, say: Say, told: &mut Vec<Told>) -> bool {
        let Some(side) = self.side(id) else { return false };
        let (number, voice) = (say.number, side.voice());
        side.saying = (voice != Voice::Nowhere).then(|| Saying::new(say, voice));
        if side.saying.is_none() {
            told.push(Told::Said(id, number));
        }
        side.saying.is_some()
    }

    /// Writes down what these two say from now on, or another one on the right than before.
    pub fn record(&mut self, now: Instant, left: SideId, right: Option<SideId>) -> Rate {
        if let Some(recording) = &mut self.recording {
            (recording.left, recording.right) = (left, right);
            return recording.tape.rate();
        }
        let is_wide = |side: &Side| side.speaks().is_some_and(|(codec, _)| codec == Codec::G722);
        let on_it = |side: &&Side| side.id == left || Some(side.id) == right;
        let rate = match self.sides.iter().filter(on_it).any(is_wide) {
            true => Rate::Wide,
            false => Rate::Narrow,
        };
        self.recording = Some(Recording { tape: Tape::new(now, rate), left, right });
        rate
    }

    /// What is left to be written down; nothing more is.
    pub fn end_recording(&mut self, now: Instant, out: impl FnMut(&[i16])) {
        if let Some(recording) = self.recording.take() {
            recording.tape.end(now, out);
        }
    }

    /// Hands on what is ready of the recording.
    pub fn write_down(&mut self, now: Instant, out: impl FnMut(&[i16])) {
        if let Some(recording) = &mut self.recording {
            recording.tape.turn(now, out);
        }
    }

    pub fn is_recorded(&self) -> bool {
        self.recording.is_some()
    }

    /// Listens whether a side says anything.
    pub fn listen(&mut self, now: Instant, id: SideId, listen: Listen) {
        if let Some(side) = self.side(id) {
            side.listening = Some(Listening::new(now, listen));
        }
    }

    /// A side is to be listened for keys, or no longer, where they are not told as telephone events.
    pub fn await_keys(&mut self, id: SideId, awaits: bool) {
        if let Some(side) = self.side(id) {
            side.keypad.await_keys(awaits, &side.formats);
        }
    }

    /// A side is to hear a key: as a telephone event, or else as a tone. False: in none of its formats it can.
    pub fn press(&mut self, id: SideId, digit: Digit, duration: Duration) -> bool {
        let Some(side) = self.side(id) else { return false };
        if side.event().is_some() {
            side.keypad.press(digit, duration);
        } else if side.saying.is_none() {
            let say = Say {
                after: Duration::ZERO,
                prompt: keys::tone(digit),
                again: None,
                number: NOBODYS,
                is_notice: false,
            };
            return self.say(id, say, &mut Vec::new());
        }
        true
    }

    /// We say nothing more to it.
    pub fn hush(&mut self, id: SideId) {
        if let Some(side) = self.side(id) {
            side.saying = None;
            side.stream.falls_silent();
        }
    }

    /// Tells when nobody has been heard for so long, counted from now (R12).
    pub fn watch(&mut self, now: Instant, patience: Option<Duration>) {
        (self.patience, self.heard) = (patience, now);
    }

    /// A datagram of a side's port. Who it goes on to, and how much of it: it is rewritten where it lies.
    pub fn hear(
        &mut self,
        now: Instant,
        id: SideId,
        from: SocketAddr,
        datagram: &mut [u8],
        told: &mut Vec<Told>,
        write_down: impl FnMut(&[i16]),
    ) -> Option<(SideId, usize)> {
        let at = self.sides.iter().position(|side| side.id == id)?;
        let side = &mut self.sides[at];
        let Some(packet) = Packet::read(datagram) else {
            side.refused.garbage += 1;
            self.refusal = Some(Dropped::NotRtp);
            return None;
        };
        match side.latch.as_mut().map(|latch| latch.sender(now, from)) {
            None | Some(Sender::Stranger) => {
                side.refused.strangers += 1;
                self.refusal = Some(Dropped::Stranger);
                return None;
            }
            Some(Sender::First) => told.push(Told::Latched(id)),
            Some(Sender::Known) => {}
        }
        let Some(format) = side.format(packet.payload_type) else {
            side.refused.formats += 1;
            self.refusal = Some(Dropped::Format);
            return None;
        };
        let (codec, clock) = (format.codec, format.clock);
        self.heard = now;
        if codec == Codec::Event {
            side.reception.hear_event(now, &packet, clock);
            told.extend(side.digits.hear(now, &packet).map(|digit| Told::Pressed(id, digit)));
        } else {
            side.reception.hear(now, &packet, clock);
            side.spoke = Some(packet.payload_type);
        }
        let recording =
            self.recording.as_mut().and_then(|recording| Some((recording.channel(id)?, recording)));
        if recording.is_some() || side.listening.is_some() || side.keypad.listens() {
            side.take_down(now, codec, &packet, told, recording, write_down);
        }
        let onward = *side.onward.iter().find(|onward| onward.from == packet.payload_type)?;
        // Who still hears the notice is not heard either (R7).
        let to = side.heard_by.filter(|_| !side.saying.as_ref().is_some_and(Saying::is_notice))?;
        let hearer = self.sides.iter_mut().find(|side| side.id == to).filter(|side| side.hears_others())?;
        let length = packet.payload.len();
        let begins = packet.payload.as_ptr().addr() - datagram.as_ptr().addr();
        let header =
            hearer.stream.relay(now, &Packet { payload_type: onward.to, payload: &[], ..packet }).header();
        hearer.sent.count(length);
        datagram.copy_within(begins..begins + length, HEADER);
        datagram[..HEADER].copy_from_slice(&header);
        self.sides[at].translate(onward.how, &mut datagram[HEADER..HEADER + length]);
        Some((to, HEADER + length))
    }

    /// Why the last packet that [`Session::hear`] was given went no further, where it was refused; told once.
    pub fn take_refusal(&mut self) -> Option<Dropped> {
        self.refusal.take()
    }

    /// Another 20 ms: what we say to each side now.
    pub fn tick(
        &mut self,
        now: Instant,
        told: &mut Vec<Told>,
        mut send: impl FnMut(SideId, SocketAddr, [u8; HEADER], &[u8]),
    ) -> bool {
        let mut is_notice = false;
        for side in &mut self.sides {
            match side.keypad.is_idle() {
                true => is_notice |= side.says_on(now, told, &mut send),
                false => side.presses_on(now, &mut send),
            }
        }
        is_notice
    }

    /// Whether we say something to anybody.
    pub fn is_saying(&self) -> bool {
        self.sides.iter().any(|side| side.saying.is_some() || !side.keypad.is_idle())
    }

    /// Told about once a second: whether it is silent for too long.
    pub fn look(&mut self, now: Instant, told: &mut Vec<Told>) {
        for side in &mut self.sides {
            side.notice_silence(now, told);
        }
        if self.patience.is_some_and(|patience| now.since(self.heard) >= patience) {
            self.patience = None;
            told.push(Told::Silent);
        }
    }

    /// Where packets for a side go.
    pub fn to(&self, id: SideId) -> Option<SocketAddr> {
        self.sides.iter().find(|side| side.id == id)?.latch.as_ref().map(Latch::to)
    }

    /// The one address of a side, where it speaks from where it listens.
    pub fn only(&self, id: SideId) -> Option<SocketAddr> {
        self.sides.iter().find(|side| side.id == id)?.latch.as_ref().and_then(Latch::only)
    }

    /// What came to the port of a side's RTCP.
    pub fn hear_rtcp(&mut self, now: Instant, id: SideId, from: SocketAddr, datagram: &[u8]) {
        let Some(side) = self.side(id) else { return };
        if !side.latch.as_mut().is_some_and(|latch| latch.hears_rtcp(from)) {
            side.refused.strangers += 1;
            return;
        }
        for said in rtcp::read(datagram) {
            let Said::Reports { ssrc, sender, reports } = said else { continue };
            if let Some(sender) = sender {
                side.reception.reported(now, ssrc, &sender);
            }
            side.trip.ends(now, side.stream.ssrc(), &reports);
        }
    }

    /// Writes what we report to a side, and says where that goes. `leaves`: it is the last.
    pub fn report(
        &mut self,
        now: Now,
        id: SideId,
        name: &str,
        leaves: bool,
        out: &mut Vec<u8>,
    ) -> Option<SocketAddr> {
        let side = self.side(id)?;
        let to = side.latch.as_ref().filter(|latch| !latch.is_deaf())?.rtcp_to();
        let sender = (side.sent.packets > 0).then(|| rtcp::Sender {
            ntp: rtcp::ntp(now.wall),
            timestamp: side.stream.timestamp_at(now.mono),
            packets: side.sent.packets,
            bytes: side.sent.bytes,
        });
        let heard = side.reception.report(now.mono);
        if sender.is_none() && heard.is_none() {
            return None;
        }
        side.trip.begins(now.mono, sender);
        rtcp::write(side.stream.ssrc(), sender, heard, name, leaves, out);
        Some(to)
    }

    /// How a side is heard.
    pub fn quality(&self, id: SideId) -> Option<Quality> {
        self.sides.iter().find(|side| side.id == id).map(Side::quality)
    }

    pub fn sides(&self) -> impl Iterator<Item = SideId> + '_ {
        self.sides.iter().map(|side| side.id)
    }

    fn side(&mut self, id: SideId) -> Option<&mut Side> {
        self.sides.iter_mut().find(|side| side.id == id)
    }

    /// Says anew in which formats a side's packets go on.
    fn link(&mut self, id: SideId) {
        let of = |id: SideId| self.sides.iter().find(|side| side.id == id);
        let Some(side) = of(id) else { return };
        let hearer = side.heard_by.and_then(of);
        let onward = hearer.map(|hearer| onward(&side.formats, &hearer.formats)).unwrap_or_default();
        if let Some(side) = self.side(id) {
            side.onward = onward;
        }
    }
}

impl Side {
    fn translate(&mut self, how: How, payload: &mut [u8]) {
        let How::Translated { from, to } = how else { return };
        let translator = self.translator.get_or_insert_default();
        for byte in payload {
            let sample = match from {
                Codec::Pcma => g711::decode_pcma(*byte),
                Codec::G722 => translator.decoder.decode_narrow(*byte),
                Codec::Pcmu | Codec::Event | Codec::Other => g711::decode_pcmu(*byte),
            };
            *byte = match to {
                Codec::Pcma => g711::encode_pcma(sample),
                Codec::G722 => translator.encoder.encode_narrow(sample),
                Codec::Pcmu | Codec::Event | Codec::Other => g711::encode_pcmu(sample),
            };
        }
    }

    fn format(&self, payload_type: u8) -> Option<&Format> {
        let ours = self.formats.iter().find(|format| format.ours == payload_type);
        ours.or_else(|| self.formats.iter().find(|format| format.theirs == payload_type))
    }

    /// The format in which we speak to it.
    fn speaks(&self) -> Option<(Codec, u8)> {
        let ours = |format: &&Format| matches!(format.codec, Codec::Pcmu | Codec::Pcma | Codec::G722);
        self.formats.iter().find(ours).map(|format| (format.codec, format.theirs))
    }

    /// The payload type by which it is told of keys.
    fn event(&self) -> Option<u8> {
        self.latch.as_ref()?;
        self.formats.iter().find(|format| format.codec == Codec::Event).map(|format| format.theirs)
    }

    fn presses_on(&mut self, now: Instant, send: &mut impl FnMut(SideId, SocketAddr, [u8; HEADER], &[u8])) {
        let (Some(payload_type), Some(latch)) = (self.event(), &self.latch) else {
            return self.keypad.give_up();
        };
        if let Some((packet, payload)) = self.keypad.tick(now, &mut self.stream, payload_type) {
            self.sent.count(payload.len());
            send(self.id, latch.to(), packet.header(), &payload);
        }
    }

    fn hears_others(&self) -> bool {
        self.saying.is_none() && self.keypad.is_idle() && self.is_reached()
    }

    /// Whether it is anywhere, and does not hold us.
    fn is_reached(&self) -> bool {
        !self.is_held && self.latch.as_ref().is_some_and(|latch| !latch.is_deaf())
    }

    fn voice(&self) -> Voice {
        match (self.agreed, self.speaks(), &self.latch) {
            (None, _, _) => Voice::Awaited,
            (Some(_), Some(_), Some(latch)) if self.is_held || latch.is_deaf() => Voice::Awaited,
            (Some(_), Some((codec, payload_type)), Some(_)) => Voice::In(codec, payload_type),
            (Some(_), _, _) => Voice::Nowhere,
        }
    }

    /// True: with this the notice that the call is recorded begins.
    fn says_on(
        &mut self,
        now: Instant,
        told: &mut Vec<Told>,
        send: &mut impl FnMut(SideId, SocketAddr, [u8; HEADER], &[u8]),
    ) -> bool {
        let (Some(saying), to) = (&mut self.saying, self.latch.as_ref().map(Latch::to)) else { return false };
        match (saying.next(), to) {
            (Next::Packet { payload_type, payload, is_notice }, Some(to)) => {
                let packet = self.stream.say(now, payload_type, FRAME_TICKS, payload);
                self.sent.count(payload.len());
                send(self.id, to, packet.header(), payload);
                return is_notice;
            }
            (Next::Nothing | Next::Packet { .. }, _) => {}
            (Next::Pauses, _) => self.stream.falls_silent(),
            (Next::Over(number), _) => {
                self.stream.falls_silent();
                told.push(Told::Said(self.id, number));
                self.saying = None;
            }
        }
        false
    }

    fn quality(&self) -> Quality {
        let speech = || self.formats.iter().find(|format| format.codec != Codec::Event);
        let spoken = self.spoke.and_then(|payload_type| self.format(payload_type)).or_else(speech);
        let (rated, clock) =
            spoken.map_or((quality::Codec::Other, 8_000), |format| (format.rated(), format.clock));
        let heard = quality::Quality::of(&self.reception, rated, clock, self.trip.round());
        Quality {
            codec: spoken.map(Format::codec_name),
            received: heard.map_or(0, |heard| heard.received),
            lost: heard.map_or(0, |heard| heard.lost),
            jitter: heard.map_or(Duration::ZERO, |heard| heard.jitter),
            mos: heard.map(|heard| heard.mos),
            sent: u64::from(self.sent.packets),
            refused: self.refused,
        }
    }
}

impl Recording {
    fn channel(&self, id: SideId) -> Option<tape::Side> {
        match id {
            id if id == self.left => Some(tape::Side::Caller),
            id if Some(id) == self.right => Some(tape::Side::Answerer),
            _ => None,
        }
    }
}

impl Side {
    /// A packet of speech is written down, and listened to.
    fn take_down(
        &mut self,
        now: Instant,
        codec: Codec,
        packet: &Packet<'_>,
        told: &mut Vec<Told>,
        recording: Option<(tape::Side, &mut Recording)>,
        write_down: impl FnMut(&[i16]),
    ) {
        let mut wide = [0; 2 * MOST_BYTES];
        let payload = &packet.payload[..packet.payload.len().min(MOST_BYTES)];
        let sound = match codec {
            Codec::Pcmu => Sound::Pcmu(payload),
            Codec::Pcma => Sound::Pcma(payload),
            Codec::G722 => {
                for (byte, pair) in payload.iter().zip(wide.as_chunks_mut().0) {
                    *pair = self.decoder.decode(*byte);
                }
                Sound::Wide(&wide[..2 * payload.len()])
            }
            Codec::Event | Codec::Other => return,
        };
        if let Some(listening) = &mut self.listening
            && is_loud(sound)
            && listening.hear(now, payload.len())
        {
            told.push(Told::SaidEnough(self.id));
        }
        self.keypad.hear(packet, sound, |digit| told.push(Told::Pressed(self.id, digit)));
        if let Some((channel, recording)) = recording {
            recording.tape.hear(now, channel, packet, sound, write_down);
        }
    }

    fn notice_silence(&mut self, now: Instant, told: &mut Vec<Told>) {
        // Nobody leaves a message while he holds us.
        if let Some(at) = &mut self.listening
            && (self.is_held || self.latch.as_ref().is_some_and(Latch::is_deaf))
        {
            at.last = now;
        }
        if self.listening.as_ref().is_some_and(|at| now.since(at.last) >= at.listen.quiet) {
            self.listening = None;
            told.push(Told::FellSilent(self.id));
        }
    }
}

impl Sent {
    /// Both go round, as RTCP counts them.
    const fn count(&mut self, bytes: usize) {
        self.packets = self.packets.wrapping_add(1);
        self.bytes = self.bytes.wrapping_add(bytes as u32);
    }
}

/// In which format of the one who hears it each format goes on: in the same, or else translated.
fn onward(from: &[Format], to: &[Format]) -> SmallVec<[Onward; 4]> {
    let same = |format: &Format| {
        to.iter().find(|other| other.name == format.name).map(|other| (other.theirs, How::AsItIs))
    };
    let of = |codec: Codec| to.iter().find(|other| other.codec == codec).map(|other| other.theirs);
    let translated = |format: &Format| {
        let first = |codecs: [Codec; 2]| codecs.into_iter().find_map(|codec| Some((codec, of(codec)?)));
        let (to, theirs) = match format.codec {
            Codec::Pcmu => first([Codec::Pcma, Codec::G722]),
            Codec::Pcma => first([Codec::Pcmu, Codec::G722]),
            Codec::G722 => first([Codec::Pcmu, Codec::Pcma]),
            Codec::Event | Codec::Other => None,
        }?;
        Some((theirs, How::Translated { from: format.codec, to }))
    };
    let mut all = SmallVec::new();
    // By our numbers first: it may have the same ones for something else (RFC 3264 §5.1).
    for by in [|format: &Format| format.ours, |format: &Format| format.theirs] {
        for format in from {
            let Some((to, how)) = same(format).or_else(|| translated(format)) else { continue };
            let from = by(format);
            if !all.iter().any(|onward: &Onward| onward.from == from) {
                all.push(Onward { from, to, how });
            }
        }
    }
    all
}
