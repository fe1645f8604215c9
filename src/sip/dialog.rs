//! One dialog: what identifies it, where its requests go, and in which order they come (RFC 3261 §12).

mod hop;

use std::ops::Range;

use smallvec::SmallVec;

use super::build::Writer;
use super::header::{Method, Name};
use super::peer::Peer;
use super::uri::{Address, Scheme, Uri};
use super::wire::Message;
use hop::{Hop, next_hop};

pub use hop::Ways;

/// Max-Forwards of a request that begins here (RFC 3261 §8.1.1.6).
pub const MAX_FORWARDS: u32 = 70;

/// The most bytes of identity, target and route set that a dialog keeps; a far side that needs more is broken.
const MAX_TEXT: usize = 16 * 1024;

/// A dialog of ours, early or confirmed. One allocation holds its texts.
#[derive(Debug)]
pub struct Dialog {
    text: Box<[u8]>,
    marks: Marks,
    /// CSeq of the last request that we sent.
    local_seq: u32,
    /// CSeq of the last request that came, if any.
    remote_seq: Option<u32>,
    /// The next hop.
    peer: Peer,
}

/// What stands before our identity, theirs and the Call-ID: together they are the lines that each request has.
const FROM: &[u8] = b"From: ";
const TO: &[u8] = b"\r\nTo: ";
const CALL_ID: &[u8] = b"\r\nCall-ID: ";
const LINE_END: &[u8] = b"\r\n";

/// Where each text ends; they stand one after another.
#[derive(Clone, Copy, Debug)]
struct Marks {
    local: u16,
    remote: u16,
    call_id: u16,
    target: u16,
    /// Where the remote tag stands in `remote`.
    remote_tag: (u16, u16),
    /// The first route is a strict router (RFC 2543): it takes the Request-URI (RFC 3261 §12.2.1.1).
    strict: bool,
    /// See [`Dialog::pinned`].
    pinned: bool,
    /// See [`Dialog::scheme`].
    scheme: Scheme,
}

/// A message that cannot make a dialog: no usable Contact, or texts without end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoDialog {
    #[error("no Contact with a sip: or sips: URI (RFC 3261 §12.1)")]
    NoContact,
    #[error("its identity, Contact and Record-Route exceed {MAX_TEXT} bytes")]
    TooLong,
}

impl Dialog {
    /// The dialog of an INVITE that came, as its UAS (RFC 3261 §12.1.1). `tag` is our To tag. A peer of RFC 2543
    /// (§6.13 there; no magic cookie in its branch) may leave Contact out, and is reached at its From.
    ///
    /// # Errors
    /// When the INVITE has no usable Contact or its texts are too long.
    pub fn of_request(
        invite: &Message<'_>,
        tag: &[u8],
        from: Peer,
        ways: &impl Ways,
    ) -> Result<Dialog, NoDialog> {
        let local: [&[u8]; 3] = [invite.to().raw, b";tag=", tag];
        let far = (target_of(invite)?, invite.from());
        let routes = invite.list(Name::RecordRoute).collect();
        let mut dialog = Dialog::new(invite, &local, far, routes, 0, Some(invite.cseq()), (from, ways))?;
        if is_secure(invite) {
            dialog.marks.scheme = Scheme::Sips;
        }
        Ok(dialog)
    }

    /// The dialog that a response to our INVITE makes, as its UAC (RFC 3261 §12.1.2). Without a Contact its far
    /// side is reached where we called it.
    ///
    /// # Errors
    /// When the response has no usable Contact or its texts are too long.
    pub fn of_response(response: &Message<'_>, from: Peer, ways: &impl Ways) -> Result<Dialog, NoDialog> {
        let (local, far) = (response.from().raw, (target_of(response)?, response.to()));
        Dialog::new(response, &[local], far, routes_of(response), response.cseq(), None, (from, ways))
    }

    /// The dialog of a 2xx that [`Dialog::of_response`] makes none of, for its ACK and our BYE alone (RFC 3261
    /// §13.2.2.4): they name whom we called. Without a route, or where that has no end, they go to where it came from.
    ///
    /// # Errors
    /// When its tags are too long.
    pub fn to_be_ended(response: &Message<'_>, from: Peer, ways: &impl Ways) -> Result<Dialog, NoDialog> {
        let (local, far, seq) = (response.from().raw, (response.to(), response.to()), response.cseq());
        let by = |routes| Dialog::new(response, &[local], far, routes, seq, None, (from, ways));
        let mut dialog = by(routes_of(response)).or_else(|_| by(Routes::new()))?;
        if dialog.text.len() == usize::from(dialog.marks.target) {
            dialog.peer = from;
        }
        Ok(dialog)
    }

    fn new<'m>(
        message: &Message<'m>,
        local: &[&[u8]],
        (contact, remote): (Address<'m>, Address<'m>),
        routes: Routes<'m>,
        local_seq: u32,
        remote_seq: Option<u32>,
        (from, ways): (Peer, &impl Ways),
    ) -> Result<Dialog, NoDialog> {
        // All of it, where there is no route.
        let parts = [FROM, TO, remote.raw, CALL_ID, message.call_id(), LINE_END, contact.target()];
        let mut text = Vec::with_capacity(parts.iter().chain(local).map(|part| part.len()).sum());
        text.extend_from_slice(FROM);
        local.iter().for_each(|part| push_unfolded(&mut text, part));
        let local = mark(&text)?;
        text.extend_from_slice(TO);
        let remote_tag = place(remote.raw, remote.tag().unwrap_or_default(), mark(&text)?);
        push_unfolded(&mut text, remote.raw);
        let remote = mark(&text)?;
        text.extend_from_slice(CALL_ID);
        text.extend_from_slice(message.call_id());
        let call_id = mark(&text)?;
        text.extend_from_slice(LINE_END);
        text.extend_from_slice(contact.target());
        let target = mark(&text)?;
        let mut first_hop = None;
        for route in routes {
            text.extend_from_slice(b"Route: ");
            let at = text.len();
            push_unfolded(&mut text, route);
            first_hop.get_or_insert(at..text.len());
            text.extend_from_slice(b"\r\n");
        }
        mark(&text)?;
        let target_hop = || (contact.uri.scheme, false, Some(Hop::of(&contact.uri)));
        let (scheme, strict, hop) = first_hop.map_or_else(target_hop, |at| first_route(&text, at));
        let peer = next_hop(from, hop, ways);
        let marks = Marks { local, remote, call_id, target, remote_tag, strict, pinned: false, scheme };
        Ok(Dialog { text: text.into_boxed_slice(), marks, local_seq, remote_seq, peer })
    }

    /// Gives our side another tag, of the length of the one that it has: which one stands for the dialog is
    /// known when we answer.
    pub fn retag(&mut self, tag: &[u8]) {
        let end = usize::from(self.marks.local);
        if let Some(place) = end.checked_sub(tag.len()).and_then(|at| self.text.get_mut(at..end)) {
            place.copy_from_slice(tag);
        }
    }

    pub fn call_id(&self) -> &[u8] {
        self.between(self.marks.remote, CALL_ID, self.marks.call_id)
    }

    /// Our side as the header value shows it, tag included.
    pub fn local(&self) -> &[u8] {
        self.between(0, FROM, self.marks.local)
    }

    /// The far side as the header value shows it, tag included.
    pub fn remote(&self) -> &[u8] {
        self.between(self.marks.local, TO, self.marks.remote)
    }

    pub fn remote_tag(&self) -> &[u8] {
        self.between(self.marks.remote_tag.0, b"", self.marks.remote_tag.1)
    }

    /// The remote target: the far side's Contact URI.
    pub fn target(&self) -> &[u8] {
        self.between(self.marks.call_id, LINE_END, self.marks.target)
    }

    pub fn peer(&self) -> Peer {
        self.peer
    }

    /// What our Contact is written with: `sips:` where the Request-URI of the INVITE, the first route or, without a
    /// route, the far side's Contact is (RFC 3261 §8.1.1.8, §12.1.1).
    pub fn scheme(&self) -> Scheme {
        self.marks.scheme
    }

    /// Whether a request or response with this Call-ID and this tag of the far side belongs here.
    pub fn matches(&self, call_id: &[u8], remote_tag: &[u8]) -> bool {
        self.call_id() == call_id && self.remote_tag() == remote_tag
    }

    /// Takes a request's CSeq; false when it is out of order (RFC 3261 §12.2.2: answer 500).
    pub fn takes(&mut self, cseq: u32) -> bool {
        let in_order = self.remote_seq.is_none_or(|last| cseq > last);
        if in_order {
            self.remote_seq = Some(cseq);
        }
        in_order
    }

    /// Begins a new request within the dialog: Request-URI, Via, route set, identities, next CSeq, Max-Forwards.
    pub fn request<'o>(
        &mut self,
        out: &'o mut Vec<u8>,
        method: Method,
        branch: &[u8],
        via: &[u8],
    ) -> Writer<'o> {
        self.request_with_hops(out, method, branch, via, MAX_FORWARDS)
    }

    /// The same with fewer hops left: a request that is passed on from another dialog (R11).
    pub fn request_with_hops<'o>(
        &mut self,
        out: &'o mut Vec<u8>,
        method: Method,
        branch: &[u8],
        via: &[u8],
        hops: u32,
    ) -> Writer<'o> {
        self.local_seq += 1;
        self.write(out, method, self.local_seq, branch, via, hops)
    }

    /// Begins the ACK of the 2xx to the INVITE with this CSeq: a request of its own (RFC 3261 §13.2.2.4).
    pub fn ack<'o>(&self, out: &'o mut Vec<u8>, cseq: u32, branch: &[u8], via: &[u8]) -> Writer<'o> {
        self.write(out, Method::Ack, cseq, branch, via, MAX_FORWARDS)
    }

    /// Goes on where the early dialog of the same tags stopped: its CSeqs.
    pub fn go_on_from(&mut self, early: &Dialog) {
        self.local_seq = self.local_seq.max(early.local_seq);
        self.remote_seq = early.remote_seq;
    }

    /// The CSeq of a next request, which is written elsewhere.
    pub fn next_seq(&mut self) -> u32 {
        self.local_seq += 1;
        self.local_seq
    }

    pub fn local_seq(&self) -> u32 {
        self.local_seq
    }

    fn write<'o>(
        &self,
        out: &'o mut Vec<u8>,
        method: Method,
        cseq: u32,
        branch: &[u8],
        via: &[u8],
        hops: u32,
    ) -> Writer<'o> {
        let routes = &self.text[usize::from(self.marks.target)..];
        let (uri, routes, last) = match self.marks.strict.then(|| split_first_route(routes)).flatten() {
            Some((first, rest)) => (first, rest, Some(self.target())),
            None => (self.target(), routes, None),
        };
        let mut writer = Writer::request(out, method.token(), uri);
        writer.via(self.peer.transport, via, branch);
        writer.lines(routes);
        if let Some(target) = last {
            writer.header_parts("Route", &[b"<", target, b">"]);
        }
        writer.lines(&self.text[..usize::from(self.marks.call_id) + LINE_END.len()]);
        writer.cseq(cseq, method.token());
        writer.number(Name::MaxForwards, u64::from(hops));
        writer
    }

    /// A target refresh: re-INVITE, UPDATE or their 2xx names a new Contact (RFC 3261 §12.2.2, RFC 3311 §5.2).
    /// `from`: whom it came from, or went to.
    pub fn refresh_target(&mut self, message: &Message<'_>, from: Peer, ways: &impl Ways) {
        let Some(contact) = message.contact().filter(|contact| contact.uri.scheme.is_sip()) else { return };
        let target = contact.target();
        let delta = target.len() as isize - self.target().len() as isize;
        let length = self.text.len() as isize + delta;
        if length > MAX_TEXT as isize {
            return;
        }
        if target != self.target() {
            let mut text = Vec::with_capacity(self.text.len() + target.len());
            text.extend_from_slice(&self.text[..usize::from(self.marks.call_id) + LINE_END.len()]);
            text.extend_from_slice(target);
            let target = text.len();
            text.extend_from_slice(&self.text[usize::from(self.marks.target)..]);
            self.marks.target = u16::try_from(target).unwrap_or(u16::MAX);
            self.text = text.into_boxed_slice();
        }
        if self.marks.pinned {
            self.peer = from;
        // The same target may have come by another connection.
        } else if self.text.len() == usize::from(self.marks.target) {
            self.peer = next_hop(from, Some(Hop::of(&contact.uri)), ways);
        }
    }

    /// The same with a phone that has registered: it is reached where it registered from, or sends from later, whatever
    /// its Contact and its NAT make of that (RFC 5626 §5.3).
    pub fn pinned(mut self, to: Option<Peer>) -> Dialog {
        if let Some(peer) = to {
            self.marks.pinned = true;
            self.peer = peer;
        }
        self
    }

    /// The phone that it is pinned to is reached there from now on.
    pub fn moves_to(&mut self, peer: Peer) {
        if self.marks.pinned {
            self.peer = peer;
        }
    }

    /// What stands from one mark to another, behind that text.
    fn between(&self, from: u16, behind: &[u8], to: u16) -> &[u8] {
        &self.text[usize::from(from) + behind.len()..usize::from(to)]
    }
}

/// Record-Route in the order in which requests of ours go by it.
type Routes<'m> = SmallVec<[&'m [u8]; 4]>;

/// As who called (RFC 3261 §12.1.2).
fn routes_of<'m>(response: &Message<'m>) -> Routes<'m> {
    let mut routes: Routes<'m> = response.list(Name::RecordRoute).collect();
    routes.reverse();
    routes
}

/// The remote target of a dialog that a message makes.
fn target_of<'m>(message: &Message<'m>) -> Result<Address<'m>, NoDialog> {
    let contact = message.contact().or_else(|| without_contact(message));
    contact.filter(|contact| contact.uri.scheme.is_sip()).ok_or(NoDialog::NoContact)
}

/// The remote target where there is no Contact at all: an INVITE of RFC 2543 is answered to its From, and a 2xx
/// without it is better ended by BYE to whom we called than repeated for 32 s.
fn without_contact<'m>(message: &Message<'m>) -> Option<Address<'m>> {
    match message.get(Name::Contact) {
        Some(_) => None,
        None if !message.is_request() => Some(message.to()),
        None => Some(message.from()).filter(|_| message.via().branch_3261().is_none()),
    }
}

/// Whether a request goes to a `sips:` URI.
pub fn is_secure(request: &Message<'_>) -> bool {
    request.uri().is_ok_and(|uri| uri.scheme == Scheme::Sips)
}

fn first_route(text: &[u8], route: Range<usize>) -> (Scheme, bool, Option<Hop>) {
    match Address::parse(&text[route]) {
        Ok(hop) => (hop.uri.scheme, hop.uri.param("lr").is_none(), Some(Hop::of(&hop.uri))),
        Err(_) => (Scheme::Sip, false, None),
    }
}

fn split_first_route(routes: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = memchr::memmem::find(routes, b"\r\n")?;
    let value = routes.get(b"Route: ".len()..end)?;
    let hop = Address::parse(value).ok()?;
    Uri::parse(hop.uri_raw).ok()?;
    Some((hop.target(), &routes[end + 2..]))
}

fn mark(text: &[u8]) -> Result<u16, NoDialog> {
    if text.len() > MAX_TEXT {
        Err(NoDialog::TooLong)
    } else {
        u16::try_from(text.len()).map_err(|_| NoDialog::TooLong)
    }
}

fn place(text: &[u8], part: &[u8], base: u16) -> (u16, u16) {
    if part.is_empty() {
        return (base, base);
    }
    let at = match text.strip_suffix(part) {
        Some(before) => Some(before.len()),
        None => memchr::memmem::rfind(text, part),
    };
    let at = at.and_then(|at| u16::try_from(at).ok()).unwrap_or(0) + base;
    (at, at + u16::try_from(part.len()).unwrap_or(0))
}

/// Copies a header value with every fold turned into one space (RFC 3261 §7.3.1).
fn push_unfolded(out: &mut Vec<u8>, value: &[u8]) {
    let clean = memchr::memchr2(b'\r', b'\n', value).is_none();
    if clean {
        out.extend_from_slice(value);
    } else {
        out.extend(value.iter().map(|byte| if matches!(byte, b'\r' | b'\n') { b' ' } else { *byte }));
    }
}
