//! Who calls, read from an INVITE and believed as far as its trunk is trusted (R2, R9, R11).

use smallvec::SmallVec;

use crate::number::E164;
use crate::routing::{Agent, Trunk};
use crate::sip::header::{Name, chars};
use crate::sip::uri::{Address, Scheme, Uri};
use crate::sip::wire::Message;

/// How many earlier diversions we carry on and how many a call may have (R11).
pub const MAX_DIVERSIONS: usize = 5;
/// The longest caller text that we carry where it is no number, in bytes.
const MAX_TEXT: usize = 64;

/// Who calls, as we believe it (R2, R9).
#[derive(Clone, Debug, Default)]
pub struct Caller {
    /// The number, where it is one.
    pub number: Option<E164>,
    /// The user part as it came, where it is no number.
    pub text: Option<Box<str>>,
    pub name: Option<Box<str>>,
    /// The caller asked for privacy (`Privacy: id`, or anonymous).
    pub withheld: bool,
    /// Whom the call was diverted by before it reached us, latest first.
    pub diversions: SmallVec<[Diverted; 1]>,
}

/// One earlier diversion (RFC 5806).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diverted {
    pub by: Diverting,
    /// As the RFC writes it.
    pub reason: &'static str,
    /// What whoever diverted wants kept private, as the RFC writes it.
    pub privacy: &'static str,
    /// How many diversions it stands for, at least 1.
    pub counter: u8,
}

/// Who diverted a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Diverting {
    Number(E164),
    /// The user part as it came, where it is no number (R2).
    Text(Box<str>),
}

/// The reasons that RFC 5806 names; another one is `unknown`.
const REASONS: [&str; 10] = [
    "unconditional",
    "user-busy",
    "no-answer",
    "unavailable",
    "time-of-day",
    "do-not-disturb",
    "deflection",
    "follow-me",
    "out-of-service",
    "away",
];

/// What a diverting party may want kept private (RFC 5806 §4); `off`: nothing.
const PRIVACIES: [&str; 4] = ["full", "name", "uri", "off"];
/// The counter's grammar has two digits.
const MAX_COUNTER: u8 = 99;

impl Caller {
    pub fn of(invite: &Message<'_>, trunk: &Trunk) -> Caller {
        let from = invite.from();
        // Identity headers of a sender are believed only from trunks with `trusted_identity` (R9).
        let asserted = trunk.trusted_identity.then(|| asserted(invite)).flatten();
        let withheld = is_withheld(invite, &from);
        let shown = asserted.unwrap_or(from);
        let user = user_of(&shown.uri);
        let number = trunk.read_number(&user);
        let text = (number.is_none() && !withheld && !user.is_empty()).then(|| cut(&user).into());
        Caller {
            number,
            text,
            name: display(&shown).or_else(|| display(&from)),
            withheld,
            diversions: diversions(invite, trunk),
        }
    }
}

impl Caller {
    /// An agent, as `shows`; without a number by name, to others of ours. Never what the phone claims (R9).
    pub fn agent(invite: &Message<'_>, agent: &Agent, shows: Option<E164>) -> Caller {
        Caller { withheld: is_withheld(invite, &invite.from()), ..Caller::shown(agent, shows) }
    }

    /// An agent who calls for help: by its own number, which whoever comes is to know (R13).
    pub fn for_help(agent: &Agent) -> Caller {
        Caller::shown(agent, agent.number)
    }

    fn shown(agent: &Agent, shows: Option<E164>) -> Caller {
        Caller {
            number: shows,
            text: shows.is_none().then(|| (&*agent.name).into()),
            name: None,
            withheld: false,
            diversions: SmallVec::new(),
        }
    }
}

/// Whether `did` diverted this call before, or it was diverted too often: a loop (R11). A Diversion counts for as
/// many as it stands for.
pub fn loops(invite: &Message<'_>, did: E164, trunk: &Trunk) -> bool {
    let diverted = |address: &Address<'_>| trunk.read_number(&user_of(&address.uri)) == Some(did);
    let mut count = 0usize;
    for address in invite.addresses(Name::Diversion) {
        count += address.as_ref().map_or(1, |address| usize::from(counter(address)));
        if address.is_ok_and(|address| diverted(&address)) {
            return true;
        }
    }
    // The last entry names where the call goes now, not who diverted it (RFC 7044 §5).
    let mut history = invite.list(Name::HistoryInfo).peekable();
    let mut hops = 0usize;
    while let Some(value) = history.next() {
        if history.peek().is_none() {
            break;
        }
        hops += 1;
        if Address::parse(value).is_ok_and(|address| diverted(&address)) {
            return true;
        }
    }
    count > MAX_DIVERSIONS || hops > MAX_DIVERSIONS
}

fn asserted<'m>(invite: &Message<'m>) -> Option<Address<'m>> {
    let by_name = |name| invite.list(name).find_map(|value| Address::parse(value).ok());
    by_name(Name::PAssertedIdentity).or_else(|| by_name(Name::RemotePartyId))
}

/// RFC 3323 `id`, `user` and `header`; RFC 3261 §8.1.1.3 anonymous; the privacy of an older Remote-Party-ID.
fn is_withheld(invite: &Message<'_>, from: &Address<'_>) -> bool {
    let asked = invite.all(Name::Privacy).any(|value| {
        value.split(|byte| matches!(byte, b';' | b',')).any(|token| {
            [&b"id"[..], b"user", b"header", b"full"]
                .iter()
                .any(|name| token.trim_ascii().eq_ignore_ascii_case(name))
        })
    });
    let anonymous = from.uri.user.is_some_and(|user| user.eq_ignore_ascii_case(b"anonymous"))
        || from.uri.host.eq_ignore_ascii_case(b"anonymous.invalid");
    let old = invite.list(Name::RemotePartyId).any(|value| {
        Address::parse(value).is_ok_and(|address| {
            address.param("privacy").is_some_and(|privacy| !privacy.eq_ignore_ascii_case(b"off"))
        })
    });
    asked || anonymous || old
}

impl Diverted {
    /// The reason as History-Info says it, in the entry that the call was diverted to (RFC 7544 §7.1, RFC 4458).
    pub fn cause(&self) -> u16 {
        CAUSES.iter().find(|(_, reason)| *reason == self.reason).map_or(404, |(cause, _)| *cause)
    }
}

/// `cause` of History-Info and `reason` of Diversion (RFC 7544 §7); any other is 404 or `unknown`.
const CAUSES: [(u16, &str); 6] = [
    (302, "unconditional"),
    (486, "user-busy"),
    (408, "no-answer"),
    (480, "deflection"),
    // Deflection while it rang; written as 480.
    (487, "deflection"),
    (503, "unavailable"),
];

/// Whom the call was diverted by, latest first: by Diversion, or where there is none by History-Info.
fn diversions(invite: &Message<'_>, trunk: &Trunk) -> SmallVec<[Diverted; 1]> {
    if invite.get(Name::Diversion).is_none() {
        return by_history(invite, trunk);
    }
    let read = |address: Address<'_>| {
        let reason = address.param("reason").and_then(|given| known(&REASONS, given));
        // Whoever wants what we do not know wants something kept private.
        let privacy =
            address.param("privacy").map_or("off", |given| known(&PRIVACIES, given).unwrap_or("full"));
        Some(Diverted {
            by: diverting(&address.uri, trunk)?,
            reason: reason.unwrap_or("unknown"),
            privacy,
            counter: counter(&address),
        })
    };
    invite.addresses(Name::Diversion).take(MAX_DIVERSIONS).filter_map(|address| read(address.ok()?)).collect()
}

/// Who diverted. None: a URI without a user part names nobody.
fn diverting(uri: &Uri<'_>, trunk: &Trunk) -> Option<Diverting> {
    let user = user_of(uri);
    match trunk.read_number(&user) {
        Some(number) => Some(Diverting::Number(number)),
        None => (!user.is_empty()).then(|| Diverting::Text(cut(&user).into())),
    }
}

/// How many diversions a Diversion stands for.
fn counter(diversion: &Address<'_>) -> u8 {
    let counter = diversion.param("counter").and_then(chars::number);
    counter.map_or(1, |counter| u8::try_from(counter).unwrap_or(MAX_COUNTER).clamp(1, MAX_COUNTER))
}

/// The one of these words that a parameter says, in quotes or not.
fn known(words: &[&'static str], given: &[u8]) -> Option<&'static str> {
    let given = given.strip_prefix(b"\"").and_then(|given| given.strip_suffix(b"\"")).unwrap_or(given);
    words.iter().copied().find(|word| given.eq_ignore_ascii_case(word.as_bytes()))
}

/// RFC 7544 §6: an entry diverted the call where the one behind it names a cause. One that asks for privacy
/// (RFC 7044 §10.1) stays in its own header.
fn by_history(invite: &Message<'_>, trunk: &Trunk) -> SmallVec<[Diverted; 1]> {
    let mut found = SmallVec::new();
    let mut before: Option<Address<'_>> = None;
    for entry in invite.list(Name::HistoryInfo).map(Address::parse) {
        let entry = entry.ok();
        let cause = entry.and_then(|entry| entry.uri.param("cause"));
        if let (Some(by), Some(cause)) = (before, cause)
            && !asks_for_privacy(by.uri.headers)
            && let Some(by) = diverting(&by.uri, trunk)
        {
            let cause = std::str::from_utf8(cause).ok().and_then(|cause| cause.parse().ok());
            let known = CAUSES.iter().find(|(known, _)| Some(*known) == cause);
            let reason = known.map_or("unknown", |(_, reason)| *reason);
            found.insert(0, Diverted { by, reason, privacy: "off", counter: 1 });
        }
        before = entry;
    }
    found.truncate(MAX_DIVERSIONS);
    found
}

/// Whether the headers in an entry's URI hold a Privacy; a Reason, which says how its leg ended, is none.
fn asks_for_privacy(headers: &[u8]) -> bool {
    headers.split(|byte| *byte == b'&').any(|header| {
        let value = header.get(8..).filter(|_| header[..8].eq_ignore_ascii_case(b"privacy="));
        value.is_some_and(|value| !value.eq_ignore_ascii_case(b"none"))
    })
}

/// The user part of a sip: URI, or a tel: URI's number, unescaped.
pub fn user_of(uri: &Uri<'_>) -> String {
    match uri.scheme {
        Scheme::Sip | Scheme::Sips | Scheme::Tel => {
            String::from_utf8_lossy(&uri.user_unescaped()).into_owned()
        }
        Scheme::Other => String::new(),
    }
}

fn display(address: &Address<'_>) -> Option<Box<str>> {
    let raw = address.display?.trim_ascii();
    let bare = raw.strip_prefix(b"\"").and_then(|raw| raw.strip_suffix(b"\"")).unwrap_or(raw);
    let mut text = String::with_capacity(bare.len());
    let mut letters = std::str::from_utf8(bare).ok()?.chars();
    while let Some(letter) = letters.next() {
        let letter = if letter == '\\' { letters.next()? } else { letter };
        if !letter.is_control() {
            text.push(letter);
        }
    }
    let text = cut(text.trim());
    (!text.is_empty()).then(|| text.into())
}

/// As much of a stranger's text as a record keeps.
pub fn cut(text: &str) -> &str {
    let end = (0..=MAX_TEXT.min(text.len())).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
    &text[..end]
}
