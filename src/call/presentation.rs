//! As whom a leg rings: From, P-Asserted-Identity, Privacy, Diversion, History-Info (R9).

use smallvec::SmallVec;

use super::Caller;
use super::caller::{Diverted, Diverting, MAX_DIVERSIONS, user_of};
use super::leg::{Destination, Leg, Shown};
use crate::number::E164;
use crate::routing::{Pai, Plan, Trunk};
use crate::sip::build::Writer;
use crate::sip::header::Name;
use crate::sip::uri::Address;
use crate::sip::wire::Fields;

/// What a leg is told of the caller.
#[derive(Debug)]
pub struct Presentation<'a> {
    caller: &'a Caller,
    did: Option<E164>,
    /// The DID diverts the call.
    diverts: bool,
    /// How the numbers in the caller's messages are read.
    from: &'a Trunk,
    shown: Shown,
    /// The trunk that the leg goes through; `None` for an agent's phone.
    trunk: Option<&'a Trunk>,
    /// Our own address as URIs name it.
    host: &'a [u8],
}

/// The index of an entry of History-Info: `1.1.2`.
type Index = SmallVec<[u8; 16]>;

/// What a header's value is put together from.
type Parts<'p> = SmallVec<[&'p [u8]; 16]>;

fn index_behind(last: &[u8]) -> Index {
    let mut index = Index::from_slice(last);
    index.extend_from_slice(if last.is_empty() { b"1" } else { b".1" });
    index
}

/// The user part that a leg shows; a number is written as its trunk wants it.
type User = SmallVec<[u8; 24]>;

impl<'a> Presentation<'a> {
    pub fn of(leg: &'a Leg, plan: &'a Plan, caller: &'a Caller, host: &'a [u8]) -> Self {
        let trunk = match &leg.to {
            Destination::Gateway { trunk, .. } => Some(&**trunk),
            Destination::Phone { .. } | Destination::Inside(_) => None,
        };
        let (from, diverts) = (plan.origin.reads(), plan.diverts);
        Presentation { caller, did: plan.did, diverts, from, shown: leg.shown, trunk, host }
    }

    /// Whether the caller is to stay unknown to this leg.
    fn is_anonymous(&self) -> bool {
        self.shown == Shown::Caller && self.caller.withheld
    }

    /// The number that the called side sees, for the record; `None` when withheld.
    pub fn number(shown: Shown, caller: &Caller, did: Option<E164>) -> Option<Box<str>> {
        match shown {
            Shown::Did => did.map(Into::into),
            Shown::Caller if caller.withheld => None,
            Shown::Caller => match (caller.number, &caller.text) {
                (Some(number), _) => Some(number.into()),
                (None, text) => text.clone(),
            },
        }
    }

    /// The From header, with our tag.
    pub fn write_from(&self, w: &mut Writer<'_>, tag: &[u8]) {
        if self.is_anonymous() {
            w.header_parts(Name::From, &[b"\"Anonymous\" <sip:anonymous@anonymous.invalid>;tag=", tag]);
            return;
        }
        let name = match (self.shown, &self.caller.name) {
            (Shown::Caller, Some(name)) => quoted(name),
            (Shown::Caller | Shown::Did, _) => SmallVec::new(),
        };
        w.header_parts(Name::From, &[&name, b"<sip:", &self.user(), b"@", self.host, b">;tag=", tag]);
    }

    /// The identity that we assert, Privacy, and the numbers that the call was diverted by.
    /// `target` is the leg's Request-URI, `invite` the caller's.
    pub fn write_identity(&self, w: &mut Writer<'_>, target: &[u8], invite: Fields<'_, '_>) {
        if self.is_anonymous() {
            w.header(Name::Privacy, b"id");
        }
        let Some(trunk) = self.trunk else {
            if !self.is_anonymous() {
                w.header_parts(Name::PAssertedIdentity, &[b"<sip:", &self.user(), b"@", self.host, b">"]);
            }
            return;
        };
        self.write_asserted(w, trunk);
        if !self.diverts {
            return;
        }
        if trunk.diversion {
            self.write_diversion(w, trunk);
        }
        if trunk.history_info {
            self.write_history(w, trunk, target, invite);
        }
    }

    fn write_asserted(&self, w: &mut Writer<'_>, trunk: &Trunk) {
        let user = match trunk.pai {
            Pai::None => return,
            Pai::Did => self.did_user(),
            Pai::Caller if !self.is_anonymous() => self.user(),
            // A withheld number goes to those alone who keep it to themselves (RFC 3325 §5).
            Pai::Caller if trunk.trusted_identity && self.caller.number.is_some() => self.user(),
            Pai::Caller => return,
        };
        w.header_parts(Name::PAssertedIdentity, &[b"<sip:", &user, b"@", self.host, b">"]);
    }

    /// Diversion (RFC 5806): the DID diverted this call, those before it stay, normalised.
    fn write_diversion(&self, w: &mut Writer<'_>, trunk: &Trunk) {
        let did = self.did_user();
        let ours: [&[u8]; 5] =
            [b"<sip:", &did, b"@", self.host, b">;reason=unconditional;privacy=off;counter=1"];
        w.header_parts(Name::Diversion, &ours);
        for earlier in self.earlier() {
            let user = diverting_user(&earlier.by, trunk);
            let counter = earlier.counter.to_string();
            let theirs: [&[u8]; 10] = [
                b"<sip:",
                &user,
                b"@",
                self.host,
                b">;reason=",
                earlier.reason.as_bytes(),
                b";privacy=",
                earlier.privacy.as_bytes(),
                b";counter=",
                counter.as_bytes(),
            ];
            w.header_parts(Name::Diversion, &theirs);
        }
    }

    /// History-Info (RFC 7044): whatever came with the call, or else the earlier diversions (RFC 7544 §5), then the
    /// DID, then whom it was forwarded to. Where the last entry that came is the DID, the history has no gap: an entry
    /// is added for a Request-URI that the last one does not match, and no other (RFC 7044 §9.1).
    fn write_history(&self, w: &mut Writer<'_>, trunk: &Trunk, target: &[u8], invite: Fields<'_, '_>) {
        let mut last = Index::new();
        let mut ends_with_the_did = false;
        if !self.caller.withheld {
            // The last entry is no diversion (R11).
            for entry in invite.list(Name::HistoryInfo).take(MAX_DIVERSIONS + 1) {
                w.header(Name::HistoryInfo, entry);
                let entry = Address::parse(entry).ok();
                let index = entry.and_then(|entry| entry.param("index"));
                if let Some(index) = index {
                    last = index.iter().copied().take(64).collect();
                }
                ends_with_the_did = index.is_some() && entry.is_some_and(|entry| self.is_the_did(&entry));
            }
        }
        if ends_with_the_did {
            let forward: [&[u8]; 6] = [b"<", target, b";cause=302>;index=", &last, b".1;mp=", &last];
            w.header_parts(Name::HistoryInfo, &forward);
            return;
        }
        let mut cause = Index::new();
        if last.is_empty() {
            for earlier in self.earlier().rev() {
                let user = diverting_user(&earlier.by, trunk);
                let index = index_behind(&last);
                let private = earlier.privacy != "off";
                w.header_parts(Name::HistoryInfo, &self.entry(&user, &cause, private, &index, &last));
                (last, cause) = (index, Index::from_slice(earlier.cause().to_string().as_bytes()));
            }
        }
        let (did, index) = (self.did_user(), index_behind(&last));
        let mut parts = self.entry(&did, &cause, false, &index, &last);
        let forward: [&[u8]; 6] = [b",<", target, b";cause=302>;index=", &index, b".1;mp=", &index];
        parts.extend(forward);
        w.header_parts(Name::HistoryInfo, &parts);
    }

    /// Whether an entry that came names the number that was dialled, as its trunk writes the dialled one or any other.
    fn is_the_did(&self, entry: &Address<'_>) -> bool {
        let user = user_of(&entry.uri);
        [self.from.read_number(&user), self.from.read_dialled(&user)].contains(&self.did)
    }

    /// An entry behind the one of the index `last`, which was diverted to it for this cause, if for any. One that is
    /// `private` asks for it as RFC 7044 §10.1 writes it.
    fn entry<'p>(
        &'p self,
        user: &'p [u8],
        cause: &'p [u8],
        private: bool,
        index: &'p [u8],
        last: &'p [u8],
    ) -> Parts<'p> {
        let mut parts = Parts::from_slice(&[b"<sip:", user, b"@", self.host]);
        if !cause.is_empty() {
            parts.extend([&b";cause="[..], cause]);
        }
        if private {
            parts.push(b"?Privacy=history");
        }
        parts.extend([&b">;index="[..], index]);
        if !cause.is_empty() {
            parts.extend([&b";mp="[..], last]);
        }
        parts
    }

    /// The earlier diversions that may be told, latest first.
    fn earlier(&self) -> impl DoubleEndedIterator<Item = &'a Diverted> {
        self.caller.diversions.iter().filter(|earlier| self.may_name(&earlier.by))
    }

    /// Whether whoever diverted may be named: not where it is, or may be, a withheld caller itself.
    fn may_name(&self, by: &Diverting) -> bool {
        match by {
            _ if !self.caller.withheld => true,
            Diverting::Number(number) => self.caller.number.is_some_and(|own| own != *number),
            Diverting::Text(_) => false,
        }
    }

    fn did_user(&self) -> User {
        self.did.map_or_else(|| User::from_slice(b"anonymous"), |did| number_user(did, self.trunk))
    }

    fn user(&self) -> User {
        match (self.shown, self.caller.number, &self.caller.text) {
            (Shown::Did, _, _) => self.did_user(),
            (Shown::Caller, Some(number), _) => number_user(number, self.trunk),
            (Shown::Caller, None, Some(text)) => escaped(text),
            (Shown::Caller, None, None) => User::from_slice(b"anonymous"),
        }
    }
}

fn number_user(number: E164, trunk: Option<&Trunk>) -> User {
    let user = |number: &str| User::from_slice(number.as_bytes());
    match trunk {
        Some(trunk) => trunk.with_number(number, user),
        None => user(number.digits().with_plus()),
    }
}

fn diverting_user(by: &Diverting, trunk: &Trunk) -> User {
    match by {
        Diverting::Number(number) => number_user(*number, Some(trunk)),
        Diverting::Text(text) => escaped(text),
    }
}

/// A display name as a quoted string, with a space behind it.
fn quoted(name: &str) -> SmallVec<[u8; 48]> {
    let mut out = SmallVec::new();
    out.push(b'"');
    for byte in name.bytes().filter(|byte| *byte >= b' ' && *byte != 0x7f) {
        if matches!(byte, b'"' | b'\\') {
            out.push(b'\\');
        }
        out.push(byte);
    }
    out.extend_from_slice(b"\" ");
    out
}

/// A user part whose escapes were undone, escaped again (RFC 3261 §25.1 `user`).
fn escaped(text: &str) -> User {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    let mut user = User::new();
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.!~*'()&=+$,;?/".contains(&byte) {
            user.push(byte);
        } else {
            user.extend([b'%', HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]]);
        }
    }
    user
}
