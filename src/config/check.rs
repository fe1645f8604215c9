//! What no single key can know: names that must exist, numbers that must not lead back, things written twice.

use std::collections::BTreeSet;
use std::fmt::Display;
use std::hash::{Hash, RandomState};
use std::net::SocketAddr;

use hashbrown::{HashMap, HashSet};

use super::choices::{ListenTransport, TrunkTransport};
use super::fields::shown;
use super::number::{Dialled, Keys, Voicemail, over_http};
use super::numbers::Listed;
use super::place::{At, Place, Report, suggestion};
use super::uri::SipUri;
use super::{AHEAD, Config, Dids, Listen};
use crate::number::E164;
use crate::sip::peer::Transport;

/// Ringing longer lets a mobile's own voicemail answer: the call counts as completed and nobody spoke.
const MOBILE_VOICEMAIL: u32 = 20;
/// Of a longer list not all is told.
const SHORT: usize = 20;

/// What of a configuration could not be read, and was told so.
#[derive(Default)]
pub(super) struct Unread {
    /// What numbers and profiles say whose `did` or name cannot be read.
    pub keys: Vec<Keys>,
    /// Sections with an entry that cannot be read. Others may name it: they are not told that it does not exist.
    pub sections: BTreeSet<&'static str>,
    /// A trunk has a mistake, or a file's syntax: which numbers are served is not known.
    pub ways: bool,
    /// Anything has a mistake: of what is missing nobody knows whether it was written.
    pub anything: bool,
}

pub(super) fn check(config: &Config, unread: &Unread, report: &Report) {
    let dids = dids(config, report);
    let ours = |number: E164| Some(config.numbers.get(*dids.find(number)? as usize)?.did());
    let check = Check::new(config, unread, report, &ours);
    check.duplicates();
    check.trunk_matches();
    check.own_listeners();
    check.ways_out();
    for keys in config.profiles.iter().map(|profile| &profile.keys) {
        check.keys(keys);
    }
    check.keys(&config.defaults);
    for keys in &unread.keys {
        check.keys(keys);
    }
    check.emergency();
    check.shown_by_agents();
    check.numbers();
}

/// The numbers by their place among all: of those that are written twice, which is told, the first.
fn dids(config: &Config, report: &Report) -> Dids<u32, 5> {
    let numbers = &config.numbers;
    let mut dids = Dids::with_capacity(numbers.len());
    for (place, number) in (0..).zip(numbers.iter()) {
        if (place as usize).is_multiple_of(AHEAD) {
            let next = (place as usize..).take(AHEAD).map_while(|place| numbers.get(place));
            dids.look_ahead(next.map(|next| next.did().value));
        }
        let did = number.did();
        if let Some(first) = dids.insert(did.value, place).and_then(|first: u32| numbers.get(first as usize))
        {
            written_twice(report, "number", first.did().place, did.place, &did.value);
        }
    }
    dids
}

/// Where the number or block is written that a number is ours by.
pub(super) type Ours<'o> = &'o dyn Fn(E164) -> Option<At<Dialled>>;

pub(super) struct Check<'c> {
    config: &'c Config,
    unread: &'c Unread,
    report: &'c Report,
    agents: HashSet<&'c str, RandomState>,
    ours: Ours<'c>,
}

impl<'c> Check<'c> {
    pub fn new(config: &'c Config, unread: &'c Unread, report: &'c Report, ours: Ours<'c>) -> Check<'c> {
        let agents = config.agents.iter().map(|agent| &**agent.name).collect();
        Check { config, unread, report, agents, ours }
    }

    /// A number that is set by itself.
    pub fn number(&self, keys: &Keys) {
        self.keys(keys);
        let whole = self.config.merged(keys);
        self.mobile_voicemail(&whole, false);
        self.ways_out_of(&whole, false);
    }

    fn duplicates(&self) {
        let config = self.config;
        self.once("trunk", config.trunks.iter().map(|trunk| &trunk.name), |name| name.to_string());
        self.once("agent", config.agents.iter().map(|agent| &agent.name), |name| name.to_string());
        self.once("profile", config.profiles.iter().map(|profile| &profile.name), |name| name.to_string());
        self.once("pool", config.pools.iter().map(|pool| &pool.name), |name| name.to_string());
        self.once("caller_id", config.caller_ids.iter().map(|id| &id.number), |number| number.to_string());
    }

    /// Reports each value that comes a second time, where it does, and names the first place.
    fn once<T: Eq + Hash + 'c>(
        &self,
        what: &str,
        all: impl Iterator<Item = &'c At<T>>,
        name: impl Fn(&T) -> String,
    ) {
        let mut seen: HashMap<&T, Place, RandomState> = HashMap::default();
        for at in all {
            let first = *seen.entry(&at.value).or_insert(at.place);
            if first != at.place {
                written_twice(self.report, what, first, at.place, &name(&at.value));
            }
        }
    }

    /// Two trunks that match a source equally well: R1d could not say which one it is.
    fn trunk_matches(&self) {
        let nets: Vec<_> = self
            .config
            .trunks
            .iter()
            .flat_map(|trunk| trunk.from.iter().map(move |net| (net, trunk)))
            .collect();
        let mut seen = HashMap::<_, _, RandomState>::default();
        for (net, trunk) in nets {
            let (first, owner) = *seen.entry(net.value).or_insert((net.place, trunk));
            if first != net.place {
                let what = format!(
                    "trunk \"{}\" matches {} as trunk \"{}\" does at {}",
                    *trunk.name,
                    net.value,
                    *owner.name,
                    self.report.at(first),
                );
                self.report.error(net.place, what, "keep one of them, or name ports that differ");
            }
        }
    }

    /// What we send goes out by a listener of its transport and of its family of addresses. Where DNS chooses the
    /// transport, it chooses among those that we have.
    fn ways_out(&self) {
        let listens = |transport: Transport, addr: Option<SocketAddr>| {
            self.config.node.listen.iter().any(|listen| {
                let same_family = addr.is_none_or(|addr| addr.is_ipv4() == listen.addr.is_ipv4());
                listen.transport.transport() == transport && same_family
            })
        };
        // Who cannot read a listener does not know what it would have listened on.
        if self.unread.sections.contains("listen") {
            return;
        }
        let complain = |place: Place, who: String, uri: &SipUri, fallback: Option<Transport>| {
            let transport = match uri.transport.or(fallback) {
                Some(transport) => transport,
                None if uri.addr.is_some() || uri.port.is_some() => Transport::Udp,
                None => return,
            };
            if listens(transport, uri.addr) {
                return;
            }
            let by = transport.uri_token();
            let upper = by.to_ascii_uppercase();
            let what =
                format!("{who} is reached by {upper} at \"{}\", and nothing here listens so", uri.text);
            let remedy =
                format!("add a [[listen]] with transport = \"{by}\", of the same family of addresses");
            self.report.warning(place, what, remedy);
        };
        for trunk in &self.config.trunks {
            let fallback = match trunk.transport {
                TrunkTransport::Auto => None,
                TrunkTransport::Udp => Some(Transport::Udp),
                TrunkTransport::Tcp => Some(Transport::Tcp),
                TrunkTransport::Tls => Some(Transport::Tls),
            };
            for gateway in &trunk.gateways {
                complain(trunk.place, format!("trunk \"{}\"", *trunk.name), &gateway.uri, fallback);
            }
        }
        for agent in &self.config.agents {
            if let Some(uri) = &agent.contact {
                complain(agent.place, format!("agent \"{}\"", *agent.name), uri, None);
            }
        }
    }

    /// A gateway or a fixed phone that is a listener of ours: what goes out comes back in.
    fn own_listeners(&self) {
        for trunk in &self.config.trunks {
            let by = match trunk.transport {
                TrunkTransport::Auto | TrunkTransport::Udp => Transport::Udp,
                TrunkTransport::Tcp => Transport::Tcp,
                TrunkTransport::Tls => Transport::Tls,
            };
            for uri in trunk.gateways.iter().map(|gateway| &gateway.uri).filter(|uri| self.is_ours(uri, by)) {
                let what = format!("trunk \"{}\" leads to \"{}\", where we listen", *trunk.name, uri.text);
                let remedy = "write the carrier's address: calls would come back";
                self.report.error(trunk.place, what, remedy);
            }
        }
        for agent in &self.config.agents {
            if let Some(uri) = agent.contact.as_ref().filter(|uri| self.is_ours(uri, Transport::Udp)) {
                let what =
                    format!("agent \"{}\" has the contact \"{}\", where we listen", *agent.name, uri.text);
                let remedy = "write the phone's address: calls would come back";
                self.report.error(agent.place, what, remedy);
            }
        }
    }

    /// Whether it leads to a listener of ours. `by`: the transport where it names none.
    fn is_ours(&self, uri: &SipUri, by: Transport) -> bool {
        let Some(addr) = uri.addr else { return false };
        let by = uri.transport.unwrap_or(by);
        // Where none could be read, the one that there is was not written.
        let is_known =
            |listen: &&Listen| listen.place != Place::default() || !self.unread.sections.contains("listen");
        self.config.node.listen.iter().filter(is_known).any(|listen| {
            let everywhere = listen.addr.ip().is_unspecified()
                && addr.ip().is_loopback()
                && (listen.addr.port(), listen.addr.is_ipv4()) == (addr.port(), addr.is_ipv4());
            is_spoken(listen.transport, by)
                && (everywhere || listen.addr == addr || listen.advertise == Some(addr))
        })
    }

    fn emergency(&self) {
        if let Some(trunk) = &self.config.emergency.trunk {
            self.trunk(trunk.place, trunk);
        }
    }

    /// A number's own keys are checked where they stand; what its profile and the defaults bring is judged once
    /// there, but for what only the merged number shows. What many say alike is judged once too, if there is nothing to
    /// say of it.
    fn numbers(&self) {
        let numbers = &self.config.numbers;
        let merged: Vec<Keys> = numbers.sets().map(|keys| self.config.merged(keys)).collect();
        // Without a `forward_to` of its own and with one.
        let mut judged: Vec<[Judged; 2]> = vec![[Judged::Not; 2]; merged.len()];
        for number in numbers.iter() {
            if self.report.is_full() {
                return;
            }
            let set = number.set() as usize;
            let own = number.forward();
            if let Some(forward) = own {
                self.destination(forward.place, forward.value);
                self.way_of(&merged[set], forward);
            }
            let known = &mut judged[set][usize::from(own.is_some())];
            let is_heard = match known {
                Judged::Not => true,
                Judged::Fine => false,
                Judged::Warned => self.report.hears_warnings(),
                Judged::Wrong => true,
            };
            if is_heard {
                let before = (self.report.mistakes(), self.report.noted());
                let keys = number.alike_here();
                self.keys(&keys);
                let whole = self.config.merged(&keys);
                self.mobile_voicemail(&whole, own.is_some());
                self.ways_out_of(&whole, own.is_some());
                self.rings_somebody(number, &whole);
                *known = match (self.report.mistakes() > before.0, self.report.noted() > before.1) {
                    (true, _) => Judged::Wrong,
                    (false, true) => Judged::Warned,
                    (false, false) => Judged::Fine,
                };
            }
        }
    }

    /// Nobody to ring in any step and no message taken (R3.5): allowed, and most likely not meant.
    fn rings_somebody(&self, number: Listed<'_>, keys: &Keys) {
        let unknown = set(&keys.profile).is_some_and(|(_, name)| self.config.profile(name).is_none());
        let is_off = keys.enabled.is_some_and(|at| !at.value);
        let rings = number.forward().is_some() || keys.rings_somebody();
        let off = keys.voicemail.as_ref().is_some_and(|at| at.value == Voicemail::Off);
        let takes_messages = self.config.node.media.is_some() && !off;
        if self.unread.anything || unknown || is_off || rings || takes_messages {
            return;
        }
        let did = number.did();
        let what = format!("{} rings nobody: the caller gets 480", did.value);
        let remedy = "write ring, forward_to or assigned_to, or enabled = false where it is not in use";
        self.report.warning(did.place, what, remedy);
    }

    /// A forward that no trunk carries is unreachable: allowed, and most likely not meant. `forwards`: to a number that is
    /// looked at by itself.
    fn ways_out_of(&self, keys: &Keys, forwards: bool) {
        let first = set(&keys.forward_to).map(|(place, number)| At { value: *number, place });
        let overflow = keys.overflow.iter().flat_map(|steps| &steps.value).filter_map(|step| step.forward_to);
        first.filter(|_| !forwards).into_iter().chain(overflow).for_each(|number| self.way_of(keys, number));
    }

    fn way_of(&self, keys: &Keys, number: At<E164>) {
        let unknown = self.unread.ways || self.unread.sections.contains("trunk");
        if set(&keys.trunk).is_some() || unknown {
            return;
        }
        let serves = |trunk: &&super::Trunk| {
            trunk.outbound && trunk.prefixes.iter().any(|prefix| prefix.covers(number.value))
        };
        let allowed = self.config.dial.allows(number.value);
        if allowed && !self.config.trunks.iter().any(|trunk| serves(&trunk)) {
            let what = format!("no outbound trunk serves {}", number.value);
            let remedy = "write outbound = true, and its prefix, at the [[trunk]] that is to carry it";
            self.report.warning(number.place, what, remedy);
        }
    }

    fn keys(&self, keys: &Keys) {
        self.names(keys);
        self.needs_audio(keys);
        if let Some((place, number)) = set(&keys.caller_id) {
            self.verified("caller_id", place, *number);
        }
    }

    /// What we say, hear and write down wants audio that comes through us.
    fn needs_audio(&self, keys: &Keys) {
        if self.config.node.media.is_some() || self.unread.sections.contains("media") {
            return;
        }
        let is_on = |key: &Option<At<bool>>| key.as_ref().filter(|at| at.value).map(|at| at.place);
        let takes_messages = |voicemail: &&At<Voicemail>| voicemail.value != Voicemail::Off;
        let wanted = [
            ("call_connect", is_on(&keys.call_connect)),
            ("whisper", set(&keys.whisper).map(|(place, _)| place)),
            ("record", is_on(&keys.record)),
            ("voicemail", keys.voicemail.as_ref().filter(takes_messages).map(|at| at.place)),
        ];
        for (key, place) in wanted {
            if let Some(place) = place {
                let what = format!("{key} needs audio that comes through this node, and there is no [media]");
                self.report.warning(place, what, "write [media] into strowger.toml, or leave it out");
            }
        }
    }

    /// What an agent's calls show is ours or verified (R9).
    fn shown_by_agents(&self) {
        for number in self.config.agents.iter().filter_map(|agent| agent.number.as_ref()) {
            self.verified("number", number.place, number.value);
        }
    }

    /// What keys name must exist. True of keys without a number of their own too.
    fn names(&self, keys: &Keys) {
        for name in keys.ring.iter().flat_map(|ring| &ring.value) {
            self.agent(name.place, name);
        }
        if let Some((place, name)) = set(&keys.assigned_to) {
            self.agent(place, name);
        }
        if let Some((place, name)) = set(&keys.profile)
            && self.config.profile(name).is_none()
        {
            let known = self.config.profiles.iter().map(|profile| &**profile.name);
            self.unknown("profile", place, name, known, "write a [[profile]]");
        }
        if let Some((place, name)) = set(&keys.pool)
            && !self.config.pools.iter().any(|pool| *pool.name.value == **name)
        {
            let known = self.config.pools.iter().map(|pool| &**pool.name);
            self.unknown("pool", place, name, known, "write a [[pool]]");
        }
        if let Some((place, name)) = set(&keys.trunk) {
            self.trunk(place, name);
        }
        if let Some((place, number)) = set(&keys.forward_to) {
            self.destination(place, *number);
        }
        for step in keys.overflow.iter().flat_map(|steps| &steps.value) {
            for name in &step.ring {
                self.agent(name.place, name);
            }
            if let Some(number) = &step.forward_to {
                self.destination(number.place, number.value);
            }
        }
    }

    fn agent(&self, place: Place, name: &str) {
        if !self.agents.contains(name) {
            let known = self.config.agents.iter().map(|agent| &**agent.name);
            self.unknown("agent", place, name, known, "write an [[agent]]");
        }
    }

    fn trunk(&self, place: Place, name: &str) {
        match self.config.trunks.iter().find(|trunk| &**trunk.name == name) {
            None => {
                let known = self.config.trunks.iter().map(|trunk| &**trunk.name);
                self.unknown("trunk", place, name, known, "write a [[trunk]]");
            }
            Some(trunk) if trunk.gateways.is_empty() && !trunk.gateways_unread => {
                let what = format!("trunk \"{}\" has no gateways to call through", shown(name));
                self.report.error(place, what, "give it gateways, or name another trunk");
            }
            Some(_) => {}
        }
    }

    fn unknown<'a>(
        &self,
        kind: &str,
        place: Place,
        name: &str,
        known: impl Iterator<Item = &'a str> + Clone,
        none: &str,
    ) {
        if self.unread.sections.contains(kind) {
            return;
        }
        let what = format!("{kind} \"{}\" does not exist", shown(name));
        self.report.error(place, what, suggestion(name, known, none));
    }

    /// What calls show, as `key` says, must be verified; a DID of ours is.
    pub fn verified(&self, key: &str, place: Place, number: E164) {
        let known = self.config.caller_ids.iter().find(|id| id.number.value == number);
        match known {
            Some(id) if id.verified.is_some() => {}
            None if (self.ours)(number).is_some() => {}
            None if ["number", "caller_id"].iter().any(|kind| self.unread.sections.contains(*kind)) => {}
            Some(id) => {
                let at = self.report.at(id.number.place);
                let what = format!("{key} {number} is not verified");
                self.report.error(place, what, format!("verify it, and write when at {at}"));
            }
            None => {
                let what = format!("{key} {number} is not verified");
                let remedy =
                    format!("verify it, and write [[caller_id]] number = \"{number}\" verified = \"…\"");
                self.report.error(place, what, remedy);
            }
        }
    }

    /// Where a call may be forwarded to: a number that is not ours, and that `[dial]` allows.
    fn destination(&self, place: Place, number: E164) {
        if let Some(first) = (self.ours)(number) {
            let at = match first.place.file {
                Place::OVER_HTTP => over_http(first.value),
                _ => self.report.at(first.place),
            };
            let what = format!("forward_to {number} is a number of ours ({at}): the call would come back");
            self.report.error(place, what, "ring its agents, or forward to a number that is not ours");
        } else if !self.is_dial_unread() && !self.config.dial.allows(number) {
            let what = format!("forward_to {number} is forbidden by [dial]");
            let dial = &self.config.dial;
            let remedy = match dial.denies(number) {
                // The longest match decides.
                Some(deny) if deny.len() < number.len() && dial.allow.len() > SHORT => {
                    format!("denied is {deny}; add \"{number}\" to allow there for this number alone")
                }
                // What is allowed may be written nowhere.
                Some(deny) if deny.len() < number.len() => {
                    let allow: Vec<String> =
                        dial.allow.iter().map(|prefix| format!("\"{prefix}\"")).collect();
                    let allow = allow.join(", ");
                    format!("denied is {deny}; for this number alone write allow = [{allow}, \"{number}\"]")
                }
                Some(deny) => format!("take {deny} out of deny there"),
                None => format!("allow it there (allowed is {})", listed(&dial.allow)),
            };
            self.report.error(place, what, remedy);
        }
    }

    /// Whether nobody knows what `[dial]` allows; where it says nothing, that is the node's country.
    fn is_dial_unread(&self) -> bool {
        ["dial", "node"].iter().any(|section| self.unread.sections.contains(section))
    }

    /// `forwards`: whatever the keys say of it.
    fn mobile_voicemail(&self, keys: &Keys, forwards: bool) {
        // What a profile that is not there, or cannot be read, would bring is not known.
        let unknown = set(&keys.profile).is_some_and(|(_, name)| self.config.profile(name).is_none());
        let unread = self.unread.sections.contains("defaults");
        if unknown || unread || keys.call_connect.is_some_and(|at| at.value) {
            return;
        }
        let step = keys.timeout.as_ref();
        if forwards || set(&keys.forward_to).is_some() {
            self.rings_long(step);
        }
        for overflow in keys.overflow.iter().flat_map(|steps| &steps.value) {
            if overflow.forward_to.is_some() {
                self.rings_long(overflow.timeout.as_ref().or(step));
            }
        }
    }

    fn rings_long(&self, timeout: Option<&At<u32>>) {
        if let Some(at) = timeout.filter(|at| at.value > MOBILE_VOICEMAIL) {
            let what = format!("forward_to rings for {} s without call_connect", at.value);
            let remedy = "the phone's own voicemail may answer: write 20 seconds or less";
            self.report.warning(at.place, what, remedy);
        }
    }
}

/// What was said of numbers that say the same.
#[derive(Clone, Copy)]
enum Judged {
    Not,
    Fine,
    Warned,
    Wrong,
}

fn written_twice(report: &Report, what: &str, first: Place, second: Place, name: &dyn Display) {
    let first = report.at(first);
    report.error(second, format!("{what} \"{name}\" is written twice, first at {first}"), "keep one of them");
}

fn is_spoken(at: ListenTransport, by: Transport) -> bool {
    let spoken = match at {
        ListenTransport::Udp => Transport::Udp,
        ListenTransport::Tcp => Transport::Tcp,
        ListenTransport::Tls => Transport::Tls,
        ListenTransport::Ws => Transport::Ws,
        ListenTransport::Wss => Transport::Wss,
    };
    spoken == by
}

/// The value of a key that is written, and not as unset.
fn set<T>(key: &Option<At<Option<T>>>) -> Option<(Place, &T)> {
    let at = key.as_ref()?;
    Some((at.place, at.value.as_ref()?))
}

fn listed(items: &[impl Display]) -> String {
    const SHOWN: usize = 8;
    let mut text = items.iter().take(SHOWN).map(ToString::to_string).collect::<Vec<_>>().join(", ");
    if items.len() > SHOWN {
        text.push_str(", …");
    }
    if text.is_empty() { "nothing".into() } else { text }
}
