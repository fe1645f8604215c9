//! Where a host is, by DNS (RFC 3263): NAPTR, then SRV, then its addresses. Asked for on the `back` runtime alone.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use futures::future::{Either, join_all, select};
use hickory_resolver::TokioResolver;
use hickory_resolver::config::{ConnectionConfig, NameServerConfig, ResolverConfig};
use hickory_resolver::net::{DnsError, NetError};
use hickory_resolver::proto::op::ResponseCode;
use hickory_resolver::proto::rr::{RData, Record, RecordType};

use super::hosts::Target;
use crate::routing::Host;
use crate::sip::peer::Transport;

/// How many services NAPTR may name, how many servers SRV may name in all, and how many addresses are kept of one
/// server, or of a host without SRV: who says more says nothing that a call would live to see, and a server with many
/// addresses hides no other.
const MOST_SERVICES: usize = 8;
const MOST_SERVERS: usize = 16;
const MOST_PER_SERVER: usize = 4;
const MOST_ADDRESSES: usize = 16;

/// An answer is asked for again after its TTL, and within these bounds: who says 0 is not asked with every call, and a
/// change is seen within the hour.
const SOONEST: Duration = Duration::from_secs(5);
const LATEST: Duration = Duration::from_secs(3600);
/// What was found though a part of DNS did not answer is believed no longer: the rest may be heard next time.
const UNSURE: Duration = Duration::from_secs(60);

/// One try of a question has so long, and all its tries together: the resolver repeats a question within a try ever
/// later the more others had no answer, and a datagram that is lost may cost no more than the next try.
const PATIENCE: Duration = Duration::from_secs(1);
const ALL_TRIES: Duration = Duration::from_secs(4);
const REPEATED: usize = 3;
/// Once a name's addresses of one family are known, those of the other are waited for so long (RFC 8305 §3 has less;
/// no caller waits here).
const OTHER_FAMILY: Duration = Duration::from_millis(500);

/// Why a host was not found.
#[derive(Debug, thiserror::Error)]
pub enum Lost {
    #[error("DNS knows no address of it")]
    Unknown,
    #[error("DNS names transports alone that no [[listen]] serves")]
    NoTransport,
    #[error("DNS does not answer: {0}")]
    Failed(String),
}

/// Where a host is, and for how long that may be believed.
#[derive(Debug, PartialEq, Eq)]
pub struct Found {
    pub targets: Vec<Target>,
    pub lasts: Duration,
    pub basis: Basis,
}

/// What is behind an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Basis {
    Said,
    /// The addresses of the name itself, because NAPTR or SRV had no answer: better than nothing, and no better than what
    /// DNS has said before.
    Guessed,
}

/// The kinds of hop that a listener of ours can reach, each with whether it is IPv4.
pub type Reachable = Vec<(Transport, bool)>;

/// A NAPTR record, as far as SIP reads it (RFC 3263 §4.1).
#[derive(Clone, Debug)]
pub struct Naptr {
    pub order: u16,
    pub preference: u16,
    pub flags: String,
    pub services: String,
    pub replacement: String,
}

/// An SRV record (RFC 2782).
#[derive(Clone, Debug)]
pub struct Srv {
    pub priority: u16,
    pub weight: u16,
    pub port: u16,
    pub target: String,
}

/// What was asked for, and for how long it may be believed.
pub struct Answer<T> {
    pub records: Vec<T>,
    pub lasts: Duration,
}

/// What answers questions of DNS. No record of the kind is an empty answer.
pub trait Dns {
    fn naptr(&self, name: &str) -> impl Future<Output = Result<Answer<Naptr>, Lost>> + Send;
    fn srv(&self, name: &str) -> impl Future<Output = Result<Answer<Srv>, Lost>> + Send;
    /// IPv4 (A) or IPv6 (AAAA).
    fn addresses(&self, name: &str, v4: bool) -> impl Future<Output = Result<Answer<IpAddr>, Lost>> + Send;
}

/// Looks a host up (RFC 3263 §4).
///
/// A server that refuses NAPTR is asked for SRV. The addresses of the name itself are looked at where SRV knows nothing of
/// it; where SRV does not answer, too, and then are a guess. A server without addresses costs itself alone.
pub async fn find(dns: &impl Dns, host: &Host, reach: &[(Transport, bool)]) -> Result<Found, Lost> {
    let found = Found { targets: Vec::new(), lasts: LATEST, basis: Basis::Said };
    let mut search = Search { dns, reach, found, silent: None };
    let plain = if host.secure { Transport::Tls } else { Transport::Udp };
    if let Some(port) = host.port {
        search.host(&host.name, port, host.transport.unwrap_or(plain)).await;
        return search.done();
    }
    let services = match host.transport {
        Some(transport) => vec![(service_of(transport, &host.name), transport)],
        None => search.services(host).await?,
    };
    match search.servers(services).await {
        Service::Known => {}
        Service::Unknown => {
            let transport = host.transport.unwrap_or(plain);
            let port = if transport == Transport::Tls { 5061 } else { 5060 };
            search.found.basis = if search.silent.is_none() { Basis::Said } else { Basis::Guessed };
            search.host(&host.name, port, transport).await;
        }
    }
    search.done()
}

/// Whether SRV knows of a service: if it does, the name's own addresses are none of it, though all its servers be lost or
/// it be decidedly not available (RFC 3263 §4.2, RFC 2782).
enum Service {
    Known,
    Unknown,
}

fn service_of(transport: Transport, name: &str) -> String {
    match transport {
        Transport::Udp => format!("_sip._udp.{name}"),
        Transport::Tcp => format!("_sip._tcp.{name}"),
        Transport::Tls => format!("_sips._tcp.{name}"),
        Transport::Ws => format!("_ws._tcp.{name}"),
        Transport::Wss => format!("_wss._tcp.{name}"),
    }
}

/// One look-up under way.
struct Search<'a, D> {
    dns: &'a D,
    reach: &'a [(Transport, bool)],
    found: Found,
    /// The first question that had no answer.
    silent: Option<Lost>,
}

impl<D: Dns> Search<'_, D> {
    fn can(&self, transport: Transport) -> bool {
        self.reach.iter().any(|(served, _)| *served == transport)
    }

    /// Which SRV names to ask for, best first: those that NAPTR names, else one for each transport that we have.
    async fn services(&mut self, host: &Host) -> Result<Vec<(String, Transport)>, Lost> {
        let answer = self.dns.naptr(&host.name).await;
        let answer = self.heard(answer);
        let mut named: Vec<&Naptr> =
            answer.records.iter().filter(|one| !one.replacement.is_empty()).collect();
        named.sort_by_key(|one| (one.order, one.preference));
        let known = |one: &&Naptr| {
            let transport = match one.services.to_ascii_uppercase().as_str() {
                "SIP+D2U" if !host.secure => Transport::Udp,
                "SIP+D2T" if !host.secure => Transport::Tcp,
                "SIPS+D2T" => Transport::Tls,
                _ => return None,
            };
            one.flags.eq_ignore_ascii_case("s").then(|| (one.replacement.clone(), transport))
        };
        let services: Vec<_> = named.iter().filter_map(known).collect();
        if !services.is_empty() {
            self.found.lasts = self.found.lasts.min(answer.lasts);
            let usable: Vec<_> = services.into_iter().filter(|(_, transport)| self.can(*transport)).collect();
            return if usable.is_empty() { Err(Lost::NoTransport) } else { Ok(usable) };
        }
        let ours: &[Transport] =
            if host.secure { &[Transport::Tls] } else { &[Transport::Udp, Transport::Tcp] };
        let served = ours.iter().filter(|transport| self.can(**transport));
        Ok(served.map(|transport| (service_of(*transport, &host.name), *transport)).collect())
    }

    /// An answer, or none where there is no answer.
    fn heard<T>(&mut self, answer: Result<Answer<T>, Lost>) -> Answer<T> {
        answer.unwrap_or_else(|lost| {
            self.found.lasts = self.found.lasts.min(UNSURE);
            self.silent.get_or_insert(lost);
            Answer { records: Vec::new(), lasts: LATEST }
        })
    }

    /// The servers of these services, each with its addresses.
    async fn servers(&mut self, mut services: Vec<(String, Transport)>) -> Service {
        services.truncate(MOST_SERVICES);
        let (dns, reach) = (self.dns, self.reach);
        let answers = join_all(services.iter().map(|(name, _)| dns.srv(name))).await;
        let mut servers = Vec::new();
        let mut service = Service::Unknown;
        for ((place, (_, transport)), answer) in (0u32..).zip(services).zip(answers) {
            let mut answer = self.heard(answer);
            if answer.records.is_empty() {
                continue;
            }
            service = Service::Known;
            self.found.lasts = self.found.lasts.min(answer.lasts);
            answer.records.sort_by_key(|one| one.priority);
            // A single dot: the service is decidedly not available (RFC 2782).
            answer.records.retain(|one| !one.target.is_empty() && one.target != "." && one.port != 0);
            servers.extend(answer.records.into_iter().map(|one| (place << 16, transport, one)));
        }
        servers.truncate(MOST_SERVERS);
        let addresses =
            join_all(servers.iter().map(|(_, transport, one)| both(dns, &one.target, *transport, reach)))
                .await;
        for ((server, (rank, transport, one)), addresses) in (0u16..).zip(&servers).zip(addresses) {
            let rank = rank + u32::from(one.priority);
            let at = |addr| Target { rank, server, weight: one.weight, addr, transport: *transport };
            self.keep(addresses, MOST_PER_SERVER, |ip| at(SocketAddr::new(ip, one.port)));
        }
        service
    }

    /// The addresses of the name itself.
    async fn host(&mut self, name: &str, port: u16, transport: Transport) {
        let addresses = both(self.dns, name, transport, self.reach).await;
        self.keep(addresses, MOST_ADDRESSES, |ip| Target {
            rank: 0,
            server: 0,
            weight: 0,
            addr: SocketAddr::new(ip, port),
            transport,
        });
    }

    /// Keeps so many addresses, of the two families in turn.
    fn keep(&mut self, families: Families, most: usize, target: impl Fn(IpAddr) -> Target) {
        let [mut v4, mut v6] = families.map(|answer| {
            let answer = self.heard(answer);
            if !answer.records.is_empty() {
                self.found.lasts = self.found.lasts.min(answer.lasts);
            }
            answer.records.into_iter()
        });
        let in_turn = std::iter::from_fn(|| match (v4.next(), v6.next()) {
            (None, None) => None,
            (one, other) => Some([one, other]),
        });
        for target in in_turn.flatten().flatten().take(most).map(target) {
            let same = |known: &Target| (known.addr, known.transport) == (target.addr, target.transport);
            if !self.found.targets.iter().any(same) {
                self.found.targets.push(target);
            }
        }
    }

    fn done(self) -> Result<Found, Lost> {
        if self.found.targets.is_empty() {
            return Err(self.silent.unwrap_or(Lost::Unknown));
        }
        Ok(Found { lasts: self.found.lasts.clamp(SOONEST, LATEST), ..self.found })
    }
}

/// A name's addresses, of IPv4 and of IPv6.
type Families = [Result<Answer<IpAddr>, Lost>; 2];

/// A name's addresses that we can reach, both families asked for at once.
async fn both(dns: &impl Dns, name: &str, transport: Transport, reach: &[(Transport, bool)]) -> Families {
    let one = async |v4| {
        if !reach.contains(&(transport, v4)) {
            return Ok(Answer { records: Vec::new(), lasts: LATEST });
        }
        dns.addresses(name, v4).await
    };
    let (v4, v6) = (std::pin::pin!(one(true)), std::pin::pin!(one(false)));
    match select(v4, v6).await {
        Either::Left((v4, v6)) => {
            let v6 = other(&v4, v6).await;
            [v4, v6]
        }
        Either::Right((v6, v4)) => [other(&v6, v4).await, v6],
    }
}

/// The other family's addresses, which are not waited for as long where some are known.
async fn other(
    first: &Result<Answer<IpAddr>, Lost>,
    other: impl Future<Output = Result<Answer<IpAddr>, Lost>>,
) -> Result<Answer<IpAddr>, Lost> {
    if !first.as_ref().is_ok_and(|first| !first.records.is_empty()) {
        return other.await;
    }
    let late = |_| Err(Lost::Failed("no answer in time".into()));
    tokio::time::timeout(OTHER_FAMILY, other).await.unwrap_or_else(late)
}

/// The system's resolver, or one server.
pub struct Resolver(TokioResolver);

impl fmt::Debug for Resolver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Resolver(…)")
    }
}

impl Resolver {
    /// Asks the servers of `/etc/resolv.conf`, or only `server`.
    ///
    /// # Errors
    /// When there is no such file, or nothing in it that can be used.
    pub fn new(server: Option<SocketAddr>) -> Result<Resolver, Lost> {
        let failed = |error: NetError| Lost::Failed(error.to_string());
        let mut builder = match server {
            None => TokioResolver::builder_tokio().map_err(failed)?,
            Some(server) => {
                let connection = |mut to: ConnectionConfig| {
                    to.port = server.port();
                    to
                };
                let connections = [ConnectionConfig::udp(), ConnectionConfig::tcp()].map(connection).into();
                let server = NameServerConfig::new(server.ip(), true, connections);
                let config = ResolverConfig::from_parts(None, Vec::new(), vec![server]);
                TokioResolver::builder_with_config(config, Default::default())
            }
        };
        let options = builder.options_mut();
        // Whoever asks remembers, for as long as the answer says.
        options.cache_size = 0;
        options.timeout = PATIENCE;
        options.attempts = REPEATED;
        Ok(Resolver(builder.build().map_err(failed)?))
    }

    /// Whether the servers answer at all: what the root is, every one of them knows or refuses to say.
    pub async fn answers(&self) -> bool {
        match tokio::time::timeout(ALL_TRIES, self.0.lookup(".", RecordType::SOA)).await {
            Ok(Ok(_)) => true,
            // A server that cannot ask others on answers SERVFAIL, and knows nothing of our hosts either.
            Ok(Err(NetError::Dns(DnsError::ResponseCode(code)))) => code != ResponseCode::ServFail,
            Ok(Err(NetError::Dns(DnsError::NoRecordsFound(none)))) => {
                none.response_code != ResponseCode::ServFail
            }
            Ok(Err(_)) | Err(_) => false,
        }
    }

    async fn ask<T>(
        &self,
        name: &str,
        kind: RecordType,
        read: impl Fn(&Record) -> Option<T>,
    ) -> Result<Answer<T>, Lost> {
        // The name is whole: no search list of the machine's is tried behind it.
        let whole = if name.ends_with('.') { name.to_owned() } else { format!("{name}.") };
        let answer = tokio::time::timeout(ALL_TRIES, self.0.lookup(whole.as_str(), kind)).await;
        match answer.map_err(|_| Lost::Failed("no answer in time".into()))? {
            Ok(answer) => Ok(Answer {
                records: answer.answers().iter().filter_map(read).collect(),
                lasts: answer.valid_until().saturating_duration_since(Instant::now()),
            }),
            Err(NetError::Dns(DnsError::NoRecordsFound(none)))
                if matches!(none.response_code, ResponseCode::NXDomain | ResponseCode::NoError) =>
            {
                Ok(Answer { records: Vec::new(), lasts: LATEST })
            }
            Err(error) => Err(Lost::Failed(error.to_string())),
        }
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

impl Dns for Resolver {
    async fn naptr(&self, name: &str) -> Result<Answer<Naptr>, Lost> {
        self.ask(name, RecordType::NAPTR, |record| {
            let RData::NAPTR(naptr) = &record.data else { return None };
            Some(Naptr {
                order: naptr.order,
                preference: naptr.preference,
                flags: text(&naptr.flags),
                services: text(&naptr.services),
                replacement: naptr.replacement.to_ascii(),
            })
        })
        .await
    }

    async fn srv(&self, name: &str) -> Result<Answer<Srv>, Lost> {
        self.ask(name, RecordType::SRV, |record| {
            let RData::SRV(srv) = &record.data else { return None };
            let target = srv.target.to_ascii();
            Some(Srv { priority: srv.priority, weight: srv.weight, port: srv.port, target })
        })
        .await
    }

    async fn addresses(&self, name: &str, v4: bool) -> Result<Answer<IpAddr>, Lost> {
        let kind = if v4 { RecordType::A } else { RecordType::AAAA };
        self.ask(name, kind, |record| record.data.ip_addr()).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a zone says, each record with a TTL of 60 s.
    #[derive(Default)]
    struct Zone {
        naptr: Vec<(&'static str, u16, &'static str, &'static str)>,
        srv: Vec<(&'static str, u16, u16, u16, &'static str)>,
        addresses: Vec<(&'static str, &'static str)>,
        /// What is asked for these, by kind and name, has no answer.
        broken: Vec<(&'static str, &'static str)>,
        /// Nor is it heard of.
        silent: Vec<(&'static str, &'static str)>,
    }

    impl Zone {
        async fn breaks(&self, kind: &str, name: &str) -> Result<(), Lost> {
            if self.silent.contains(&(kind, name)) {
                std::future::pending::<()>().await;
            }
            if self.broken.contains(&(kind, name)) {
                return Err(Lost::Failed("SERVFAIL".into()));
            }
            Ok(())
        }
    }

    fn answer<T>(records: Vec<T>) -> Answer<T> {
        Answer { records, lasts: Duration::from_secs(60) }
    }

    impl Dns for Zone {
        async fn naptr(&self, name: &str) -> Result<Answer<Naptr>, Lost> {
            self.breaks("NAPTR", name).await?;
            let of_name = self.naptr.iter().filter(|record| record.0 == name);
            Ok(answer(
                of_name
                    .map(|(_, order, services, replacement)| Naptr {
                        order: *order,
                        preference: 0,
                        flags: "S".into(),
                        services: (*services).into(),
                        replacement: (*replacement).into(),
                    })
                    .collect(),
            ))
        }

        async fn srv(&self, name: &str) -> Result<Answer<Srv>, Lost> {
            self.breaks("SRV", name).await?;
            let of_name = self.srv.iter().filter(|record| record.0 == name);
            Ok(answer(
                of_name
                    .map(|(_, priority, weight, port, target)| Srv {
                        priority: *priority,
                        weight: *weight,
                        port: *port,
                        target: (*target).into(),
                    })
                    .collect(),
            ))
        }

        async fn addresses(&self, name: &str, v4: bool) -> Result<Answer<IpAddr>, Lost> {
            self.breaks(if v4 { "A" } else { "AAAA" }, name).await?;
            let of_name = self.addresses.iter().filter(|record| record.0 == name);
            let all = of_name.filter_map(|(_, ip)| ip.parse::<IpAddr>().ok());
            Ok(answer(all.filter(|ip| ip.is_ipv4() == v4).collect()))
        }
    }

    const ALL: [(Transport, bool); 4] =
        [(Transport::Udp, true), (Transport::Udp, false), (Transport::Tcp, true), (Transport::Tls, true)];

    fn host(port: Option<u16>, transport: Option<Transport>, secure: bool) -> Host {
        Host { name: "example.com".into(), port, transport, secure }
    }

    fn found(zone: &Zone, host: &Host, reach: &[(Transport, bool)]) -> Result<Vec<String>, String> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let found = runtime.block_on(find(zone, host, reach)).map_err(|lost| lost.to_string())?;
        let line = |target: &Target| {
            let Target { rank, weight, addr, transport, server: _ } = target;
            format!("{}:{rank}:{weight} {} {addr}", rank >> 16, transport.uri_token())
        };
        Ok(found.targets.iter().map(line).collect())
    }

    #[test]
    fn rfc3263_a_port_means_addresses_alone() {
        let zone = Zone {
            srv: vec![("_sip._udp.example.com", 1, 1, 5099, "a.example.com")],
            addresses: vec![("example.com", "192.0.2.1"), ("example.com", "2001:db8::1")],
            ..Zone::default()
        };
        let by_port = host(Some(5070), None, false);
        assert_eq!(
            found(&zone, &by_port, &ALL).unwrap(),
            ["0:0:0 udp 192.0.2.1:5070", "0:0:0 udp [2001:db8::1]:5070"]
        );
        assert_eq!(found(&zone, &by_port, &ALL[..1]).unwrap(), ["0:0:0 udp 192.0.2.1:5070"]);
    }

    #[test]
    fn rfc3263_naptr_chooses_the_transport_and_srv_the_server() {
        let zone = Zone {
            naptr: vec![
                ("example.com", 50, "SIPS+D2T", "_sips._tcp.example.com."),
                ("example.com", 90, "SIP+D2T", "_sip._tcp.example.com."),
                ("example.com", 10, "SIP+D2S", "_sip._sctp.example.com."),
            ],
            srv: vec![
                ("_sips._tcp.example.com.", 1, 5, 5061, "a.example.com."),
                ("_sip._tcp.example.com.", 2, 1, 5060, "b.example.com."),
                ("_sip._tcp.example.com.", 1, 1, 5062, "a.example.com."),
            ],
            addresses: vec![("a.example.com.", "192.0.2.1"), ("b.example.com.", "192.0.2.2")],
            ..Zone::default()
        };
        let plain = host(None, None, false);
        let tls = "0:1:5 tls 192.0.2.1:5061";
        let tcp = ["1:65537:1 tcp 192.0.2.1:5062", "1:65538:1 tcp 192.0.2.2:5060"];
        assert_eq!(found(&zone, &plain, &ALL).unwrap(), [tls, tcp[0], tcp[1]]);
        assert_eq!(found(&zone, &host(None, None, true), &ALL).unwrap(), [tls], "sips: stays safe");
        let udp = found(&zone, &plain, &ALL[..2]).unwrap_err();
        assert!(udp.contains("no [[listen]] serves"), "{udp}");
    }

    #[test]
    fn rfc3263_without_naptr_srv_of_every_transport_else_the_addresses() {
        let zone = Zone {
            srv: vec![("_sip._tcp.example.com", 0, 0, 5080, "a.example.com.")],
            addresses: vec![("a.example.com.", "192.0.2.1"), ("example.com", "192.0.2.9")],
            ..Zone::default()
        };
        let plain = host(None, None, false);
        assert_eq!(found(&zone, &plain, &ALL).unwrap(), ["1:65536:0 tcp 192.0.2.1:5080"]);
        let tcp = host(None, Some(Transport::Tcp), false);
        assert_eq!(found(&zone, &tcp, &ALL).unwrap(), ["0:0:0 tcp 192.0.2.1:5080"]);
        let tls = host(None, Some(Transport::Tls), true);
        assert_eq!(found(&zone, &tls, &ALL).unwrap(), ["0:0:0 tls 192.0.2.9:5061"]);
    }

    #[test]
    fn what_dns_says_is_bounded_and_leads_nowhere_twice() {
        let zone = Zone {
            // Where a server is, is asked once: no name leads on to a further SRV.
            naptr: vec![("example.com", 1, "SIP+D2U", "_sip._udp.example.com.")],
            srv: (0..100)
                .map(|at| ("_sip._udp.example.com.", at, 1, 5060 + at, "_sip._udp.example.com."))
                .collect(),
            addresses: vec![("_sip._udp.example.com.", "192.0.2.1"), ("_sip._udp.example.com.", "192.0.2.1")],
            ..Zone::default()
        };
        let all = found(&zone, &host(None, None, false), &ALL).unwrap();
        assert_eq!(all.len(), MOST_SERVERS);
        let none = Zone { srv: vec![("_sip._udp.example.com", 0, 0, 5060, ".")], ..Zone::default() };
        assert!(found(&none, &host(None, None, false), &ALL).unwrap_err().contains("no address"));
    }

    #[test]
    fn rfc3263_a_service_that_srv_knows_is_not_looked_for_at_the_name_itself() {
        for srv in [
            vec![("_sip._udp.example.com", 0, 0, 0, ".")],
            vec![("_sip._udp.example.com", 1, 1, 5060, "lost.example.com.")],
        ] {
            let zone = Zone { srv, addresses: vec![("example.com", "192.0.2.9")], ..Zone::default() };
            let lost = found(&zone, &host(None, None, false), &ALL).unwrap_err();
            assert!(lost.contains("no address"), "{lost}");
        }
    }

    #[test]
    fn what_has_no_answer_costs_itself_alone() {
        let plain = host(None, None, false);
        let all = || Zone {
            srv: vec![
                ("_sip._udp.example.com", 1, 1, 5060, "a.example.com."),
                ("_sip._udp.example.com", 2, 1, 5060, "b.example.com."),
            ],
            addresses: vec![
                ("a.example.com.", "192.0.2.1"),
                ("b.example.com.", "192.0.2.2"),
                ("example.com", "192.0.2.9"),
            ],
            ..Zone::default()
        };
        let (a, b) = ("0:1:1 udp 192.0.2.1:5060", "0:2:1 udp 192.0.2.2:5060");
        let broken = |kind, name| Zone { broken: vec![(kind, name)], ..all() };
        assert_eq!(found(&broken("NAPTR", "example.com"), &plain, &ALL).unwrap(), [a, b], "refused by many");
        assert_eq!(found(&broken("SRV", "_sip._tcp.example.com"), &plain, &ALL).unwrap(), [a, b]);
        assert_eq!(found(&broken("A", "a.example.com."), &plain, &ALL).unwrap(), [b]);
        let silent = Zone { silent: vec![("AAAA", "a.example.com.")], ..all() };
        assert_eq!(found(&silent, &plain, &ALL).unwrap(), [a, b], "the other family is there");
        // Without SRV the name's own addresses are a guess, and where there is none, nobody has said no.
        let guess = broken("SRV", "_sip._udp.example.com");
        assert_eq!(found(&guess, &plain, &ALL).unwrap(), ["0:0:0 udp 192.0.2.9:5060"]);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let guessed = runtime.block_on(find(&guess, &plain, &ALL)).unwrap();
        assert_eq!((guessed.basis, guessed.lasts), (Basis::Guessed, UNSURE));
        let none = Zone { addresses: Vec::new(), ..guess };
        assert!(found(&none, &plain, &ALL).unwrap_err().contains("does not answer"));
    }

    #[test]
    fn a_server_with_many_addresses_hides_no_other() {
        let many: Vec<&'static str> =
            vec!["192.0.2.1", "192.0.2.2", "192.0.2.3", "192.0.2.4", "192.0.2.5", "192.0.2.6", "2001:db8::1"];
        let zone = Zone {
            srv: vec![
                ("_sip._udp.example.com", 1, 1, 5060, "a.example.com."),
                ("_sip._udp.example.com", 2, 1, 5060, "b.example.com."),
            ],
            addresses: many
                .into_iter()
                .map(|ip| ("a.example.com.", ip))
                .chain([("b.example.com.", "192.0.2.99")])
                .collect(),
            ..Zone::default()
        };
        let all = found(&zone, &host(None, None, false), &ALL).unwrap();
        let (last, first) = all.split_last().unwrap();
        assert_eq!(first.len(), MOST_PER_SERVER);
        assert!(first.iter().any(|one| one.contains("2001:db8::1")), "both families");
        assert_eq!(last, "0:2:1 udp 192.0.2.99:5060");
    }

    /// A server that loses each first question about these names and knows nothing.
    fn loses_first(lost: &'static str) -> SocketAddr {
        use hickory_resolver::proto::op::{Message, MessageType, OpCode};
        let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let addr = socket.local_addr().unwrap();
        std::thread::spawn(move || {
            let (mut buffer, mut seen) = ([0; 4096], std::collections::HashSet::new());
            while let Ok((length, from)) = socket.recv_from(&mut buffer) {
                let query = Message::from_vec(&buffer[..length]).unwrap();
                let name = query.queries[0].name().to_ascii();
                if name.ends_with(lost) && seen.insert(name) {
                    continue;
                }
                let mut reply = Message::new(query.metadata.id, MessageType::Response, OpCode::Query);
                reply.add_query(query.queries[0].clone());
                reply.metadata.response_code = ResponseCode::NXDomain;
                socket.send_to(&reply.to_vec().unwrap(), from).unwrap();
            }
        });
        addr
    }

    #[test]
    fn a_datagram_that_is_lost_costs_one_try_however_often_others_failed() {
        let resolver = Resolver::new(Some(loses_first("lost.test."))).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            for at in 0..40 {
                resolver.addresses(&format!("none{at}.test"), true).await.unwrap();
            }
            let began = Instant::now();
            assert!(resolver.addresses("lost.test", true).await.is_ok());
            assert!(began.elapsed() < 2 * PATIENCE, "{:?}", began.elapsed());
            assert!(resolver.answers().await);
        });
    }
}
