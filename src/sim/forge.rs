//! Messages that none of a call's ends wrote: an earlier one, rewritten. It still bears the tags, branches and
//! Call-IDs of live calls, so that it gets past the reader and into the call.

use super::dice::Dice;
use super::message::Message;

/// What a forger does to a message that crossed the edge.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Forgery {
    /// A request becomes a response of this status, under this To tag where it had none.
    Answers { status: u16, tag: u8 },
    /// It asks for something else, so many CSeqs further, on another branch unless it is `None`.
    Asks { method: &'static str, further: u32, branch: Option<u8> },
    /// From and To change places, as if the other end had said it.
    Turned,
    /// The field at that place says this; nothing: it is gone.
    Field { at: usize, value: Vec<u8> },
    /// There is a field more.
    More { name: &'static str, value: Vec<u8> },
    /// It carries this body.
    Body { kind: &'static str, bytes: Vec<u8> },
    /// It begins another call.
    Call { id: u8 },
}

const METHODS: [&str; 14] = [
    "INVITE",
    "ACK",
    "BYE",
    "CANCEL",
    "PRACK",
    "UPDATE",
    "INFO",
    "OPTIONS",
    "REFER",
    "NOTIFY",
    "REGISTER",
    "MESSAGE",
    "SUBSCRIBE",
    "FROB",
];

const STATUSES: [u16; 24] = [
    100, 180, 181, 183, 199, 200, 202, 299, 300, 302, 380, 400, 401, 407, 408, 422, 481, 486, 487, 491, 500,
    503, 600, 699,
];

/// Fields that change what a message means.
const FIELDS: [&str; 28] = [
    "Via",
    "From",
    "To",
    "Call-ID",
    "CSeq",
    "Contact",
    "Route",
    "Record-Route",
    "Require",
    "Proxy-Require",
    "Supported",
    "RSeq",
    "RAck",
    "Session-Expires",
    "Min-SE",
    "Max-Forwards",
    "Max-Breadth",
    "Retry-After",
    "Reason",
    "Privacy",
    "P-Asserted-Identity",
    "Remote-Party-ID",
    "Diversion",
    "History-Info",
    "Replaces",
    "Content-Type",
    "Content-Encoding",
    "Refer-To",
];

const KINDS: [&str; 3] = ["application/sdp", "multipart/mixed;boundary=b", "text/plain"];

/// Values that are right somewhere, and borders of numbers.
const VALUES: [&str; 20] = [
    "100rel",
    "timer",
    "replaces",
    "0",
    "1",
    "90;refresher=uac",
    "90;refresher=uas",
    "4294967295",
    "4294967296",
    "1 1 INVITE",
    "2 1 INVITE",
    "<sip:127.0.2.1:5060>",
    "<sip:127.0.0.1:5060;lr>",
    "<sip:[::1]:5060>",
    "<sip:x@192.0.2.1;transport=tcp>",
    "<tel:+12015550101>",
    "id",
    "<sip:+12015550101@127.0.0.1>;reason=unconditional",
    "sip:+12015550101@127.0.0.1 (",
    "*",
];

/// No more bytes of a fuzzer in one field or body than this.
const BYTES: usize = 250;

impl Forgery {
    pub fn draw(dice: &mut Dice) -> Forgery {
        match dice.below(14) {
            0..=3 => Forgery::Answers { status: *dice.pick(&STATUSES), tag: dice.below(256) as u8 },
            4..=7 => Forgery::Asks {
                method: dice.pick::<&str>(&METHODS),
                further: dice.below(3) as u32,
                branch: (dice.below(4) > 0).then(|| dice.below(256) as u8),
            },
            8 => Forgery::Turned,
            9 => Forgery::Field { at: dice.below(256) as usize, value: value(dice) },
            10 | 11 => Forgery::More { name: dice.pick::<&str>(&FIELDS), value: value(dice) },
            12 => Forgery::Body { kind: dice.pick::<&str>(&KINDS), bytes: dice.bytes(BYTES) },
            _ => Forgery::Call { id: dice.below(256) as u8 },
        }
    }

    pub fn rewrite(&self, message: &mut Message) {
        match self {
            Forgery::Answers { status, tag } => {
                let mut response = Message::response(message, *status, "Forged");
                if response.to_tag().is_none() {
                    let to = response.get("To").unwrap_or_default().to_owned();
                    response.set("To", format!("{to};tag=f{tag}"));
                }
                if let Some(contact) = message.get("Contact") {
                    response = response.with("Contact", contact);
                }
                *message = response.with_sdp(message.sdp());
            }
            Forgery::Asks { method, further, branch } => {
                let uri = match message.is_request() {
                    true => message.uri().to_owned(),
                    false => message.contact().unwrap_or("sip:127.0.0.1").to_owned(),
                };
                message.start = format!("{method} {uri} SIP/2.0");
                let number = message.cseq().0.wrapping_add(*further);
                message.set("CSeq", format!("{number} {method}"));
                if let Some(branch) = branch {
                    message.set("Via", format!("SIP/2.0/UDP 127.0.9.9:5060;branch=z9hG4bKf{branch}"));
                }
                message.set("Max-Forwards", "70");
            }
            Forgery::Turned => {
                let [from, to] = ["From", "To"].map(|name| message.get(name).unwrap_or_default().to_owned());
                message.set("From", to);
                message.set("To", from);
            }
            Forgery::Field { at, value } => {
                let at = at % message.fields.len().max(1);
                if value.is_empty() && at < message.fields.len() {
                    message.fields.remove(at);
                } else if let Some((_, held)) = message.fields.get_mut(at) {
                    *held = String::from_utf8_lossy(value).into_owned();
                }
            }
            Forgery::More { name, value } => {
                message.fields.push(((*name).to_owned(), String::from_utf8_lossy(value).into_owned()));
            }
            Forgery::Body { kind, bytes } => {
                message.set("Content-Type", *kind);
                message.body.clone_from(bytes);
            }
            Forgery::Call { id } => {
                message.set("Call-ID", format!("forged{id}"));
                if let Some(to) = message.get("To").map(str::to_owned) {
                    message.set("To", to.split(";tag=").next().unwrap_or_default());
                }
            }
        }
    }
}

/// A value of the list, or a fuzzer's own.
fn value(dice: &mut Dice) -> Vec<u8> {
    match dice.below(4) {
        0 => dice.bytes(BYTES),
        _ => dice.pick(&VALUES).as_bytes().to_vec(),
    }
}
