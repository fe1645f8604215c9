//! REGISTER: an agent says where a phone is (RFC 3261 §10; Path: RFC 3327; flows: RFC 5626).

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use smallvec::SmallVec;

use super::binding::{Binding, EXPIRES, Refused, Silence, Way};
use super::slot::Owner;
use super::{CallEvent, Effects, Exchange, Notice};
use crate::call::refusal::Refusal;
use crate::routing::{Agent, Contact, Text};
use crate::sip::build::{self, push_clean, push_number};
use crate::sip::dialog::Ways as _;
use crate::sip::header::{Name, Param, Params, chars};
use crate::sip::peer::{Peer, Transport};
use crate::sip::transaction::Key;
use crate::sip::uri::{Address, Scheme, Uri};
use crate::sip::wire::Message;
use crate::time::{Instant, Now};

/// The shortest, in seconds: more often is no registration but an attack. 423 below (RFC 3261 §10.3).
const MIN_EXPIRES: u32 = 60;
/// The most bindings of an agent: each rings.
pub const MAX_BINDINGS: usize = 10;
/// The longest Contact or set of Paths that is kept, in bytes.
const LONGEST: usize = 1024;
/// What a REGISTER may require.
const EXTENSIONS: [&str; 2] = ["path", "outbound"];

/// A Contact of the request that is to be bound, or to end.
struct Wish<'m> {
    address: Address<'m>,
    /// In seconds; 0 ends it.
    expires: u32,
    instance: Option<(&'m str, u32)>,
}

/// What a REGISTER wants.
enum Wishes<'m> {
    /// `Contact: *` with `Expires: 0`.
    EndAll,
    /// Each of these; none asks what is bound.
    Each(Vec<Wish<'m>>),
}

/// What became of the bindings.
#[derive(Default)]
struct Changed {
    new: bool,
    gone: bool,
}

impl Exchange {
    pub(super) fn register(
        &mut self,
        now: Now,
        from: Peer,
        request: &Message<'_>,
        key: Key,
        out: &mut Effects,
    ) {
        let Some(agent) = self.authenticate(now, from, request, out) else { return };
        let Ok(id) = self.transactions.accept(now.mono, key, request, from, Owner::Nobody) else {
            return self.refuse_statelessly(from, request, Refusal::Overload, out);
        };
        let outcome = self.bind(now, from, request, &agent, out);
        let code = outcome.map_or_else(Refusal::code, |()| 200);
        if let Err(why) = outcome {
            self.rejected.count(why.label());
            let refused = Refused { why, from: from.addr, at: now.wall };
            self.desk.directory().refuse(&agent.name, refused);
            let name = Arc::clone(&agent.name);
            out.notices.push(Notice::Said(CallEvent::NotRegistered { agent: name, from: from.addr, why }));
        }
        let tag = self.names.stateless_tag(request.via().branch.unwrap_or(request.call_id()));
        self.scratch.clear();
        let mut w =
            build::answer(&mut self.scratch, request, from.addr, code, build::phrase(code), Some(&tag));
        match outcome {
            Ok(()) => {
                let bindings = self.desk.directory().bindings(&agent.name, now.mono);
                let mut text = Vec::with_capacity(256);
                for binding in &bindings {
                    text.clear();
                    write_contact(&mut text, binding, now.mono);
                    w.header(Name::Contact, &text);
                }
                w.copy(request.head(), Name::Path);
                w.header(Name::Supported, b"path, outbound");
                // A phone that did not ask for it need not know it.
                let own = |binding: &Binding| {
                    request.call_id() == &*binding.call_id && request.cseq() == binding.cseq
                };
                if bindings.iter().any(|binding| binding.instance.is_some() && own(binding)) {
                    w.header(Name::Require, b"outbound");
                }
                w.header(Name::Date, http_date(now).as_bytes());
            }
            Err(Refusal::IntervalTooBrief) => {
                w.number(Name::MinExpires, u64::from(MIN_EXPIRES));
            }
            Err(Refusal::Extension) => {
                for tag in unsupported(request) {
                    w.header(Name::Unsupported, tag);
                }
            }
            Err(_) => {}
        }
        let range = w.end();
        self.transactions.respond(now.mono, id, code, &self.scratch[range], &mut out.out);
    }

    /// Does what the request wants, all of it or nothing (RFC 3261 §10.3).
    fn bind(
        &mut self,
        now: Now,
        from: Peer,
        request: &Message<'_>,
        agent: &Arc<Agent>,
        out: &mut Effects,
    ) -> Result<(), Refusal> {
        if unsupported(request).next().is_some() {
            return Err(Refusal::Extension);
        }
        // Nobody registers for another.
        if *request.to().uri.user_unescaped() != *agent.name.as_bytes() {
            return Err(Refusal::OtherAgent);
        }
        let wishes = wishes(request)?;
        let path = path(request)?;
        let fresh = match &wishes {
            Wishes::EndAll => SmallVec::new(),
            Wishes::Each(each) => each
                .iter()
                .map(|wish| self.binding(now, from, request, agent, wish, &path))
                .collect::<Result<SmallVec<[Binding; 2]>, Refusal>>()?,
        };
        let mut outcome = Ok(());
        let mut changed = Changed::default();
        self.desk.directory().change(&agent.name, now.mono, &mut |bindings| {
            outcome = match &wishes {
                Wishes::EndAll => end_all(bindings, request, &mut changed),
                Wishes::Each(each) => apply(bindings, each, &fresh, request, &mut changed),
            };
        });
        outcome?;
        if changed.new {
            let name = Arc::clone(&agent.name);
            out.notices.push(Notice::Said(CallEvent::Registered { agent: name, from: from.addr }));
        }
        if changed.gone {
            let name = Arc::clone(&agent.name);
            out.notices.push(Notice::Said(CallEvent::Unregistered { agent: name }));
        }
        Ok(())
    }

    fn binding(
        &self,
        now: Now,
        from: Peer,
        request: &Message<'_>,
        agent: &Agent,
        wish: &Wish<'_>,
        path: &[Text],
    ) -> Result<Binding, Refusal> {
        let uri = std::str::from_utf8(wish.address.target()).map_err(|_| Refusal::Malformed)?;
        let user_agent = String::from_utf8_lossy(request.get(Name::UserAgent).unwrap_or_default());
        // What comes from there itself needs no leave of its Contact.
        let is_foreign =
            |addr| addr != from.addr && (self.is_anothers(now, from, agent, addr) || self.comes_back(addr));
        let mut peer = self.reached_at(from, request, &wish.address.uri, path)?;
        if let Some(next) = path.first() {
            peer = self.by_path(from, next).filter(|next| !is_foreign(next.addr)).unwrap_or(from);
        } else if is_foreign(peer.addr) || peer.addr != from.addr && self.is_ours_or_a_gateways(peer.addr) {
            return Err(Refusal::ForeignContact);
        }
        Ok(Binding {
            contact: Arc::new(Contact::registered(uri.into(), peer, path.into())),
            instance: wish.instance.map(|(name, flow)| (name.into(), flow)),
            params: further(&wish.address, wish.instance.is_some()).into(),
            call_id: request.call_id().into(),
            cseq: request.cseq(),
            from,
            expires: now.mono + Duration::from_secs(u64::from(wish.expires)),
            registered: now.wall,
            user_agent: user_agent.chars().take(64).collect(),
            secrets: agent.secrets.clone(),
            silence: Silence::default(),
        })
    }

    /// Where calls to a Contact are sent. By the connection that it came by, and by nothing else (RFC 5626 §5.3); over
    /// UDP to where it came from, but to the Contact's own port on the same host, unless it asks for answers at the port
    /// that it sends from: there it listens (RFC 3581 §3), and the other port is one within its NAT. So no Contact sends
    /// anything to a third party, which would be how to reach one in our name. A `sips:` Contact comes by TLS or not at all,
    /// but for a proxy's next hop, which is the proxy's affair: if we opened a connection to its phone, that could hardly
    /// show a certificate of its address.
    fn reached_at(
        &self,
        from: Peer,
        request: &Message<'_>,
        uri: &Uri<'_>,
        path: &[Text],
    ) -> Result<Peer, Refusal> {
        let transport = uri.param("transport").map_or(Some(Transport::Udp), Transport::of_uri_token);
        if uri.port == Some(0) || path.is_empty() && !transport.is_some_and(|one| self.is_served(from, one)) {
            return Err(Refusal::Malformed);
        }
        let own = uri.socket_addr();
        // A proxy may go by it; else what counts is where calls are sent.
        if !path.is_empty() && own.is_some_and(|addr| self.is_ours_or_a_gateways(addr)) {
            return Err(Refusal::ForeignContact);
        }
        // The proxy in front of it has sent this.
        if !path.is_empty() {
            return Ok(from);
        }
        let is_secure = matches!(from.transport, Transport::Tls | Transport::Wss);
        if uri.scheme == Scheme::Sips && !is_secure {
            return Err(Refusal::InsecureContact);
        }
        if from.flow.is_some() {
            return Ok(from);
        }
        let same_host = own.filter(|addr| addr.ip() == from.addr.ip());
        Ok(match (same_host, transport) {
            (Some(_), Some(Transport::Udp)) if request.via().rport.is_some() => from,
            (Some(addr), Some(transport)) => {
                self.settings.peer_at(addr, transport).map_or(from, |peer| match transport {
                    // By the listener that the phone knows.
                    Transport::Udp => Peer { addr, ..from },
                    Transport::Tcp | Transport::Tls | Transport::Ws | Transport::Wss => peer,
                })
            }
            (Some(_) | None, _) => from,
        })
    }

    /// The proxy next to us, where its Path says that it is (RFC 3327 §5.3): by a connection that is opened when it is
    /// wanted, since the one that the REGISTER came by is the proxy's to close, with every phone behind it. Over TLS
    /// that one is used as long as it is there: an address alone may not be what the proxy's certificate bears.
    ///
    /// `None`: we stay with where it came from. So it is with a name, which is not looked up, with another host's address,
    /// for nobody is to have us send to a third party, and with a listener of ours.
    fn by_path(&self, from: Peer, next: &str) -> Option<Peer> {
        let next = Address::parse(next.as_bytes()).ok()?.uri;
        let addr = next.socket_addr().filter(|addr| addr.ip() == from.addr.ip() && addr.port() != 0)?;
        let transport = match (next.scheme == Scheme::Sips, next.param("transport")) {
            (true, _) => Transport::Tls,
            (false, Some(named)) => Transport::of_uri_token(named)?,
            (false, None) => from.transport,
        };
        let by_its_own = match transport {
            Transport::Udp | Transport::Tcp => false,
            Transport::Tls | Transport::Ws | Transport::Wss => transport == from.transport,
        };
        let flow = from.flow.filter(|_| by_its_own);
        let way =
            if transport == from.transport { Some(from) } else { self.settings.peer_at(addr, transport) };
        way.filter(|_| !self.is_ours(addr)).map(|way| Peer { addr, flow, ..way })
    }

    /// Whether we can send by it. UDP is what a Contact means that names none, however its phone is reached.
    fn is_served(&self, from: Peer, transport: Transport) -> bool {
        transport == Transport::Udp
            || transport == from.transport
            || self.settings.listeners.iter().any(|listener| listener.transport == transport)
    }

    /// Whether the phone of another agent is there, on the same host: one that has registered from there, that calls are
    /// sent to by its Contact, or a fixed one. Its calls are its own. Who shares a phone with the other may be there too.
    fn is_anothers(&self, now: Now, from: Peer, agent: &Agent, addr: SocketAddr) -> bool {
        let (directory, way) = (self.desk.directory(), Way::Addr(addr));
        let hosts = self.desk.hosts();
        let leads_to = |host: &_| hosts.in_order(host, now.mono, || 0).iter().any(|found| found.addr == addr);
        let is_own = |own: &Arc<Binding>| own.way() == Some(way) || own.sent_aside() == Some(addr);
        let own = || directory.bindings(&agent.name, now.mono).iter().any(is_own);
        let registered = directory.is_phone(way) || directory.is_sent_aside(addr, from.addr);
        let mut fixed = self.table.fixed_at(addr, leads_to).peekable();
        registered && !own() || fixed.peek().is_some() && !fixed.any(|other| other.name == agent.name)
    }

    /// A Contact there would make us call ourselves, or a carrier in our own name.
    fn is_ours_or_a_gateways(&self, addr: SocketAddr) -> bool {
        let mut gateways = self.table.trunks().iter().flat_map(|trunk| &trunk.gateways);
        self.is_ours(addr) || gateways.any(|gateway| gateway.addr == Some(addr))
    }

    fn is_ours(&self, addr: SocketAddr) -> bool {
        self.settings.listeners.iter().any(|listener| {
            let advertised = listener.advertise.as_deref().and_then(|text| text.parse().ok());
            listener.addr == addr || advertised == Some(addr)
        })
    }

    /// Whether what is sent there comes to a listener of ours that is bound to any address.
    fn comes_back(&self, addr: SocketAddr) -> bool {
        let is_bound = |any: SocketAddr| {
            any.ip().is_unspecified() && (any.port(), any.is_ipv4()) == (addr.port(), addr.is_ipv4())
        };
        self.settings.listeners.iter().any(|listener| is_bound(listener.addr))
            && self.desk.is_local(addr.ip())
    }
}

fn unsupported<'m>(request: &'m Message<'_>) -> impl Iterator<Item = &'m [u8]> {
    request
        .list(Name::Require)
        .filter(|tag| !EXTENSIONS.iter().any(|known| tag.eq_ignore_ascii_case(known.as_bytes())))
}

fn wishes<'m>(request: &Message<'m>) -> Result<Wishes<'m>, Refusal> {
    let overall = request.number(Name::Expires);
    let mut each = Vec::new();
    for value in request.list(Name::Contact) {
        if value == b"*" {
            let alone = each.is_empty() && request.list(Name::Contact).nth(1).is_none();
            return if alone && overall == Some(0) { Ok(Wishes::EndAll) } else { Err(Refusal::Malformed) };
        }
        if each.len() == MAX_BINDINGS {
            return Err(Refusal::TooManyContacts);
        }
        let address = Address::parse(value).map_err(|_| Refusal::Malformed)?;
        if !address.uri.scheme.is_sip() || value.len() > LONGEST {
            return Err(Refusal::Malformed);
        }
        // What cannot be read is taken for no wish (RFC 3261 §20.19).
        let own = address.param("expires").and_then(chars::number);
        let expires =
            own.map(|seconds| u32::try_from(seconds).unwrap_or(u32::MAX)).or(overall).unwrap_or(EXPIRES);
        if (1..MIN_EXPIRES).contains(&expires) {
            return Err(Refusal::IntervalTooBrief);
        }
        each.push(Wish { address, expires: expires.min(EXPIRES), instance: instance(&address, request) });
    }
    Ok(Wishes::Each(each))
}

/// Which phone it is and which of its flows, where it wants outbound and can have it (RFC 5626 §6). Where it cannot, its
/// Contact is bound as if it named no flow, and the 200 requires none: a phone then knows, and is rung. 439 would tell it
/// too, and leave the phones that do not know it unregistered.
fn instance<'m>(address: &Address<'m>, request: &Message<'m>) -> Option<(&'m str, u32)> {
    let asks = |name| request.has_token(name, "outbound");
    if !(asks(Name::Supported) || asks(Name::Require)) || !first_hop_keeps_flows(request) {
        return None;
    }
    let flow = chars::number(address.param("reg-id")?).and_then(|flow| u32::try_from(flow).ok());
    let name = std::str::from_utf8(address.param("+sip.instance")?).ok()?;
    Some((name, flow.filter(|flow| *flow > 0)?))
}

/// Whether the first that a REGISTER came to sends back by the connection or address that it came from: that is us, or a
/// proxy that says so by `ob` in its Path, which is the last (RFC 5626 §5.1).
fn first_hop_keeps_flows(request: &Message<'_>) -> bool {
    match request.addresses(Name::Path).last() {
        None => !request.has_further_via(),
        Some(edge) => edge.is_ok_and(|edge| edge.uri.param("ob").is_some()),
    }
}

/// The parameters of a Contact that are not ours to write.
fn further(address: &Address<'_>, is_flow: bool) -> String {
    let ours: &[&str] = if is_flow { &["expires", "+sip.instance", "reg-id"] } else { &["expires"] };
    let is_ours = |name: &[u8]| ours.iter().any(|own| name.eq_ignore_ascii_case(own.as_bytes()));
    let mut text = Vec::new();
    for Param { name, value } in Params::new(address.params).filter(|param| !is_ours(param.name)) {
        text.push(b';');
        push_clean(&mut text, name);
        if let Some(value) = value {
            text.push(b'=');
            push_clean(&mut text, value);
        }
    }
    String::from_utf8(text).unwrap_or_default()
}

/// The proxies between us and the phone, the one next to us first (RFC 3327 §5.3).
fn path(request: &Message<'_>) -> Result<Vec<Text>, Refusal> {
    let mut path = Vec::new();
    let mut length = 0;
    for value in request.list(Name::Path) {
        let readable = Address::parse(value).is_ok_and(|address| address.uri.scheme.is_sip());
        length += value.len();
        let text = std::str::from_utf8(value).ok().filter(|_| readable && length <= LONGEST);
        path.push(Text::from(text.ok_or(Refusal::Malformed)?));
    }
    Ok(path)
}

/// Whether a request came later than the one that wrote the binding.
fn is_later(request: &Message<'_>, binding: &Binding) -> bool {
    request.call_id() != &*binding.call_id || request.cseq() > binding.cseq
}

fn end_all(
    bindings: &mut Vec<Arc<Binding>>,
    request: &Message<'_>,
    changed: &mut Changed,
) -> Result<(), Refusal> {
    if !bindings.iter().all(|binding| is_later(request, binding)) {
        return Err(Refusal::OutOfOrder);
    }
    changed.gone = !bindings.is_empty();
    bindings.clear();
    Ok(())
}

fn apply(
    bindings: &mut Vec<Arc<Binding>>,
    wishes: &[Wish<'_>],
    fresh: &[Binding],
    request: &Message<'_>,
    changed: &mut Changed,
) -> Result<(), Refusal> {
    let means = |wish: &Wish<'_>, binding: &Binding| binding.is_of(&wish.address.uri, wish.instance);
    let is_old = |binding: &&Arc<Binding>| wishes.iter().any(|wish| means(wish, binding));
    if !bindings.iter().filter(is_old).all(|binding| is_later(request, binding)) {
        return Err(Refusal::OutOfOrder);
    }
    let mut after = bindings.clone();
    for (wish, fresh) in wishes.iter().zip(fresh) {
        let old = after.iter().position(|binding| means(wish, binding));
        // Of flows that have one URI there may be several.
        after.retain(|binding| !means(wish, binding));
        match (old, wish.expires) {
            (Some(_), 0) => changed.gone = true,
            (None, 0) => {}
            (Some(old), _) => after.insert(old, Arc::new(fresh.clone())),
            (None, _) => {
                after.push(Arc::new(fresh.clone()));
                changed.new = true;
            }
        }
    }
    while after.len() > MAX_BINDINGS {
        let is_in_use = |binding: &Binding| wishes.iter().any(|wish| means(wish, binding));
        after.remove(dispensable(&after, fresh, is_in_use).ok_or(Refusal::TooManyContacts)?);
        changed.gone = true;
    }
    *bindings = after;
    Ok(())
}

/// The binding that is the first to give way to new ones, of those that the request does not mean itself: the oldest of a
/// phone that is known to be silent, else the oldest that the same phone has left behind. A registrar may not know better
/// which are in use: a phone that was switched off ends nothing, and one that draws its Contact anew at each start would
/// be refused until the first has expired.
fn dispensable(
    all: &[Arc<Binding>],
    fresh: &[Binding],
    is_in_use: impl Fn(&Binding) -> bool,
) -> Option<usize> {
    let oldest = |is_one: &dyn Fn(&Binding) -> bool| {
        let found = all.iter().enumerate().filter(|(_, one)| !is_in_use(one) && is_one(one));
        found.min_by_key(|(_, one)| one.registered).map(|(place, _)| place)
    };
    oldest(&|one| one.silence.is_long())
        .or_else(|| oldest(&|one| fresh.iter().any(|other| one.is_abandoned_by(other))))
}

/// One Contact of the 200: what is left of it, in seconds.
fn write_contact(out: &mut Vec<u8>, binding: &Binding, now: Instant) {
    out.push(b'<');
    push_clean(out, binding.contact.uri.as_bytes());
    out.extend_from_slice(b">;expires=");
    push_number(out, binding.expires.since(now).as_secs());
    if let Some((name, flow)) = &binding.instance {
        out.extend_from_slice(b";+sip.instance=");
        push_clean(out, name.as_bytes());
        out.extend_from_slice(b";reg-id=");
        push_number(out, u64::from(*flow));
    }
    push_clean(out, binding.params.as_bytes());
}

/// RFC 3261 §20.17.
fn http_date(now: Now) -> String {
    let at = i64::try_from(now.wall.0).ok().and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok());
    at.map(|at| at.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string()).unwrap_or_default()
}
