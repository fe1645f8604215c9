//! `strowger.toml`: the node. Restart to change.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Serialize, Serializer};

use super::choices::{Anchor, ListenTransport, Strangers};
use super::credentials::{self, Credentials, Written};
use super::fields::{Fields, shown};
use super::forms::{COLLECTOR, IP, LINE, List, MAX_LIST, NAME, NAMES, PORTS, REALM, SOCKET, Whole, form};
use super::net::number_in;
use super::place::{At, Place};
use super::served;
use crate::number::Country;

/// The most listeners of a node: a peer names its listener in one byte.
const MAX_LISTENERS: usize = 64;
/// A shard is a thread; more than this is a slip.
const SHARDS: Whole = Whole::of("threads", 0, 256);
const LISTENERS: List = List::up_to(MAX_LISTENERS);
const PROXIES: List = List::up_to(MAX_LIST);
/// A day, and a week: what is longer is a slip.
const DAY: Whole = Whole::of("seconds", 1, 86_400);
const WEEK: Whole = Whole::of("seconds", 1, 7 * 86_400);
const DRAIN: Whole = Whole::of("seconds", 0, WEEK.most);
const LEGS: Whole = Whole::of("legs", 1, 100);
const RINGING: Whole = Whole::of("calls", 0, 1_000_000);
/// A hundred years.
const DAYS: Whole = Whole::of("days", 0, 36_500);

/// Where a `[[listen]]` listens that does not say.
const LISTEN: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 5060);

/// Everything of `strowger.toml`, the defaults filled in.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct Node {
    #[schemars(default)]
    pub node: NodeSection,
    #[schemars(default, transform = form(&LISTENERS))]
    pub listen: Vec<Listen>,
    /// Left out: signalling only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub media: Option<Media>,
    /// Left out: off.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub admin: Option<Admin>,
    /// The only thing that strangers may reach over HTTP. Left out: off.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub public: Option<Public>,
    #[schemars(default)]
    pub speech: Speech,
    #[schemars(default)]
    pub limits: Limits,
    /// Left out: off.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub capture: Option<Capture>,
    #[schemars(default)]
    pub retention: Retention,
}

/// `[node]`
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct NodeSection {
    /// Stands in records, events and headers.
    #[schemars(extend("default" = "edge-1"), transform = form(&NAME))]
    pub name: Box<str>,
    /// Relative to the working directory.
    #[schemars(extend("default" = "data"), transform = form(&LINE))]
    pub data_dir: Box<str>,
    /// How national numbers are read: an ISO 3166 code.
    #[serde(serialize_with = "iso")]
    #[schemars(with = "String", extend("default" = "US", "pattern" = "^[A-Za-z]{2}$"))]
    pub country: Country,
    /// Of digest authentication.
    #[schemars(extend("default" = "strowger"), transform = form(&REALM))]
    pub realm: Box<str>,
    /// Signalling threads; 0: one per core.
    #[schemars(extend("default" = 1), transform = form(&SHARDS))]
    pub shards: u32,
    #[schemars(extend("default" = "reject"))]
    pub strangers: Strangers,
}

/// `[[listen]]`
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct Listen {
    #[schemars(extend("default" = "udp"))]
    pub transport: ListenTransport,
    #[schemars(with = "String", extend("default" = "127.0.0.1:5060"), transform = form(&SOCKET))]
    pub addr: SocketAddr,
    /// What Via and Contact say.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>", transform = form(&SOCKET))]
    pub advertise: Option<SocketAddr>,
    /// TLS: the certificate chain, our own first; PEM, relative to this file.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(transform = form(&LINE))]
    pub cert: Option<Box<str>>,
    /// TLS: its private key; PEM (PKCS#8, PKCS#1 or SEC1), relative to this file.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(transform = form(&LINE))]
    pub key: Option<Box<str>>,
    /// TLS: whoever connects has to show a certificate that one of these signed; PEM, relative to this file.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(transform = form(&LINE))]
    pub client_ca: Option<Box<str>>,
    /// What those files hold.
    #[serde(skip)]
    pub credentials: Option<Arc<Credentials>>,
    #[serde(skip)]
    pub place: Place,
}

/// `[media]`
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct Media {
    #[schemars(with = "String", extend("default" = "127.0.0.1"), transform = form(&IP))]
    pub addr: IpAddr,
    /// What SDP says.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>", transform = form(&IP))]
    pub advertise: Option<IpAddr>,
    #[schemars(extend("default" = "20000-29999"))]
    pub ports: Ports,
    #[schemars(extend("default" = "always"))]
    pub anchor: Anchor,
}

/// First and last port of a range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ports(pub u16, pub u16);

/// `[admin]`
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct Admin {
    #[schemars(with = "String", extend("default" = "127.0.0.1:8060"), transform = form(&SOCKET))]
    pub addr: SocketAddr,
    /// The environment variable that holds the bearer token. Required when `addr` is not loopback.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(transform = form(&LINE))]
    pub token_env: Option<Box<str>>,
    /// What the environment held. None with `token_env` set: nobody may come in.
    #[serde(skip)]
    pub token: Option<Secret>,
}

/// `[public]`
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct Public {
    #[schemars(with = "String", extend("default" = "127.0.0.1:8061"), transform = form(&SOCKET))]
    pub addr: SocketAddr,
    #[schemars(default, transform = form(&PROXIES))]
    pub trusted_proxies: Vec<super::Net>,
}

/// `[speech]`
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct Speech {
    /// Turns `{text}` into the sound file `{wav}`.
    #[schemars(transform = form(&NAMES))]
    pub command: Vec<Box<str>>,
}

/// `[limits]`
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct Limits {
    #[serde(serialize_with = "seconds")]
    #[schemars(with = "u32", extend("default" = 14400), transform = form(&WEEK))]
    pub max_call_seconds: Duration,
    #[serde(serialize_with = "seconds")]
    #[schemars(with = "u32", extend("default" = 60), transform = form(&DAY))]
    pub rtp_timeout: Duration,
    #[serde(serialize_with = "seconds")]
    #[schemars(with = "u32", extend("default" = 3600), transform = form(&DRAIN))]
    pub drain_seconds: Duration,
    #[schemars(extend("default" = 32), transform = form(&LEGS))]
    pub max_legs: u8,
    #[schemars(extend("default" = 0), transform = form(&RINGING))]
    pub max_ringing_per_caller: u32,
}

/// `[capture]`: the messages of calls are kept for a while, for `call <id> --pcap`.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct Capture {
    /// host:port of a HEP3 collector, which gets every message; empty: none.
    #[schemars(with = "String", extend("default" = ""), transform = form(&COLLECTOR))]
    pub hep: Option<Collector>,
}

/// Where a HEP3 collector is: a name or an address, and its port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Collector {
    pub host: Box<str>,
    pub port: u16,
}

impl Collector {
    /// Reads `homer.example.com:9060`, `192.0.2.1:9060` or `[2001:db8::1]:9060`.
    fn parse(text: &str) -> Option<Collector> {
        let (host, port) = text.rsplit_once(':')?;
        let port = number_in(port).filter(|port| *port > 0)?;
        let host = match host.strip_prefix('[') {
            Some(rest) => rest.strip_suffix(']').filter(|ip| ip.parse::<Ipv6Addr>().is_ok())?,
            None => Some(host).filter(|name| is_host(name))?,
        };
        Some(Collector { host: host.into(), port })
    }
}

/// An IPv4 address or a name (RFC 1123 §2.1), at most 253 characters.
fn is_host(name: &str) -> bool {
    let is_label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    // A name's last label has a letter in it.
    let is_number =
        name.rsplit('.').next().is_some_and(|last| last.bytes().all(|byte| byte.is_ascii_digit()));
    let is_name = name.len() <= 253 && name.split('.').all(is_label) && !is_number;
    is_name || name.parse::<Ipv4Addr>().is_ok()
}

impl Serialize for Collector {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let is_v6 = self.host.contains(':');
        let [open, close] = if is_v6 { ["[", "]"] } else { ["", ""] };
        serializer.collect_str(&format_args!("{open}{}{close}:{}", self.host, self.port))
    }
}

/// `[retention]`, in days.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct Retention {
    /// Of call records; 0 = for ever.
    #[schemars(extend("default" = 400), transform = form(&DAYS))]
    pub cdr_days: u32,
    /// Of recordings and messages; 0 = for ever.
    #[schemars(extend("default" = 90), transform = form(&DAYS))]
    pub recording_days: u32,
    #[schemars(extend("default" = 90), transform = form(&DAYS))]
    pub visitor_days: u32,
}

/// A password or token. Never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Box<str>);

impl Secret {
    pub(super) fn new(text: &str) -> Secret {
        Secret(text.into())
    }

    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret(…)")
    }
}

impl Default for NodeSection {
    fn default() -> NodeSection {
        NodeSection {
            name: "edge-1".into(),
            data_dir: "data".into(),
            country: Country::US,
            realm: "strowger".into(),
            shards: 1,
            strangers: Strangers::Reject,
        }
    }
}

impl Default for Listen {
    fn default() -> Listen {
        Listen {
            transport: ListenTransport::Udp,
            addr: LISTEN,
            advertise: None,
            cert: None,
            key: None,
            client_ca: None,
            credentials: None,
            place: Place::default(),
        }
    }
}

impl Default for Speech {
    fn default() -> Speech {
        let command = ["flite", "-voice", "slt", "-t", "{text}", "-o", "{wav}"];
        Speech { command: command.map(Into::into).to_vec() }
    }
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            max_call_seconds: Duration::from_secs(14_400),
            rtp_timeout: Duration::from_secs(60),
            drain_seconds: Duration::from_secs(3_600),
            max_legs: 32,
            max_ringing_per_caller: 0,
        }
    }
}

impl Default for Retention {
    fn default() -> Retention {
        Retention { cdr_days: 400, recording_days: 90, visitor_days: 90 }
    }
}

/// Reads the node's sections. `file` is the whole document, `folder` where it lies; the caller finishes it.
pub(super) fn read(file: &Fields<'_>, folder: &Path, env: &dyn Fn(&str) -> Option<String>) -> Node {
    let listen = file
        .tables("listen", "[[listen]]", "[[listen]], once for each")
        .map(|list| list.value)
        .unwrap_or_default();
    if listen.len() > MAX_LISTENERS {
        let what = format!("there are more than {MAX_LISTENERS} [[listen]]");
        file.refuse(listen[MAX_LISTENERS].place, what, "leave some out");
    }
    let mut listeners: Vec<Listen> =
        listen.iter().take(MAX_LISTENERS).filter_map(|fields| read_listen(fields, folder)).collect();
    if listen.is_empty() {
        listeners.push(Listen::default());
    }
    Node {
        node: file.inner("node", "[node]").map(|fields| node_section(&fields)).unwrap_or_default(),
        listen: twice_bound(file, listeners),
        media: file.inner("media", "[media]").map(|fields| media(&fields)),
        admin: file.inner("admin", "[admin]").map(|fields| admin(&fields, env)),
        public: file.inner("public", "[public]").map(|fields| public(&fields)),
        speech: file.inner("speech", "[speech]").map(|fields| speech(&fields)).unwrap_or_default(),
        limits: file.inner("limits", "[limits]").map(|fields| limits(&fields)).unwrap_or_default(),
        capture: file.inner("capture", "[capture]").map(|fields| capture(&fields)),
        retention: file
            .inner("retention", "[retention]")
            .map(|fields| retention(&fields))
            .unwrap_or_default(),
    }
}

fn node_section(fields: &Fields<'_>) -> NodeSection {
    let default = NodeSection::default();
    let section = NodeSection {
        name: value_or(fields.name("name"), default.name),
        data_dir: value_or(fields.text("data_dir"), default.data_dir),
        country: country(fields).unwrap_or(default.country),
        realm: realm(fields).unwrap_or(default.realm),
        shards: value_or(fields.whole("shards", &SHARDS), default.shards),
        strangers: value_or(fields.choice("strangers"), default.strangers),
    };
    fields.finish();
    section
}

/// It stands between quotes in every challenge, and phones hash what they read there (RFC 3261 §25.1).
fn realm(fields: &Fields<'_>) -> Option<Box<str>> {
    let realm = fields.text("realm")?;
    let fits = |c: char| !c.is_control() && !matches!(c, '"' | '\\');
    if realm.is_empty() || realm.chars().count() > REALM.most || !realm.chars().all(fits) {
        let what = format!("realm = \"{}\" is no realm", shown(&realm));
        fields.refuse(
            realm.place,
            what,
            "write 1 to 128 characters without quotes, backslashes and line ends",
        );
        return None;
    }
    Some(realm.value)
}

fn country(fields: &Fields<'_>) -> Option<Country> {
    let code = fields.text("country")?;
    let country = Country::parse(&code);
    if country.is_none() {
        let what = format!("country = \"{}\" is no country", shown(&code));
        fields.refuse(code.place, what, "write its two-letter ISO 3166 code, like \"US\"");
    }
    country
}

fn read_listen(fields: &Fields<'_>, folder: &Path) -> Option<Listen> {
    let transport = fields.choice::<ListenTransport>("transport");
    let addr = match (address(fields, "addr"), fields.has("addr")) {
        (Some(at), _) => Some(at.value),
        (None, true) => None,
        (None, false) => Some(LISTEN),
    };
    let advertise = address(fields, "advertise");
    if let Some(at) = advertise.filter(|at| at.ip().is_unspecified()) {
        let what = format!("advertise = \"{}\" names no address", at.value);
        fields.refuse(at.place, what, "write the address that others reach us at, or leave it out");
    }
    let [cert, key, client_ca] = ["cert", "key", "client_ca"].map(|key| fields.text(key));
    let transport_place = transport.map_or(fields.place, |at| at.place);
    let transport = value_or(transport, ListenTransport::Udp);
    let mut found = None;
    match transport {
        ListenTransport::Udp | ListenTransport::Tcp => {
            for at in [&cert, &key, &client_ca].into_iter().flatten() {
                let what = format!("a certificate is of no use with transport = \"{}\"", transport.word());
                fields.report().warning(at.place, what, "write transport = \"tls\", or leave it out");
            }
        }
        ListenTransport::Tls => {
            let written = Written { cert: cert.as_ref(), key: key.as_ref(), client_ca: client_ca.as_ref() };
            found = credentials::read(fields, folder, &written);
        }
        ListenTransport::Ws | ListenTransport::Wss => {
            let what = format!("transport = \"{}\" is not served yet", transport.word());
            fields.report().warning(transport_place, what, served::NO_WEB);
        }
    }
    if matches!(transport, ListenTransport::Tls | ListenTransport::Wss) {
        for (name, written) in [("cert", &cert), ("key", &key)] {
            if written.is_none() {
                fields.missing(name, "name the file, relative to this one");
            }
        }
    }
    fields.finish();
    let [cert, key, client_ca] = [cert, key, client_ca].map(|at| at.map(|at| at.value));
    Some(Listen {
        transport,
        addr: addr?,
        advertise: advertise.map(|at| at.value),
        cert,
        key,
        client_ca,
        credentials: found.map(Arc::new),
        place: fields.place,
    })
}

/// Two listeners cannot have one port; `tcp`, `tls`, `ws` and `wss` are all TCP underneath.
fn twice_bound(file: &Fields<'_>, listeners: Vec<Listen>) -> Vec<Listen> {
    let is_udp = |listen: &Listen| listen.transport == ListenTransport::Udp;
    for (place, listen) in listeners.iter().enumerate() {
        let same = |other: &&Listen| {
            listen.addr.port() != 0 && other.addr == listen.addr && is_udp(other) == is_udp(listen)
        };
        if let Some(first) = listeners[..place].iter().find(same) {
            let what =
                format!("{} is listened on twice, first at {}", listen.addr, file.report().at(first.place));
            file.refuse(listen.place, what, "give it another port");
        }
    }
    listeners
}

fn media(fields: &Fields<'_>) -> Media {
    let media = Media {
        addr: value_or(ip(fields, "addr"), IpAddr::V4(Ipv4Addr::LOCALHOST)),
        advertise: ip(fields, "advertise").map(|at| at.value),
        ports: ports(fields).unwrap_or(Ports(20_000, 29_999)),
        anchor: value_or(fields.choice("anchor"), Anchor::Always),
    };
    fields.finish();
    media
}

fn ports(fields: &Fields<'_>) -> Option<Ports> {
    let text = fields.text("ports")?;
    let range = text.split_once('-').and_then(|(first, last)| Some((number_in(first)?, number_in(last)?)));
    match range {
        Some((first, last)) if first >= 1024 && last > first => {
            let pairs = (u32::from(last) + 1 - u32::from(first + first % 2)) / 2;
            if pairs < 2 {
                let what = format!(
                    "ports = \"{}\" holds less than two pairs, an even port and the next",
                    shown(&text)
                );
                fields.refuse(
                    text.place,
                    what,
                    "write more, like \"20000-29999\": a call takes a pair for each side",
                );
            }
            Some(Ports(first, last))
        }
        Some(_) | None => {
            let what = format!("ports = \"{}\" is no range of ports", shown(&text));
            fields.refuse(text.place, what, "write first-last, from 1024 to 65535, like \"20000-29999\"");
            None
        }
    }
}

fn admin(fields: &Fields<'_>, env: &dyn Fn(&str) -> Option<String>) -> Admin {
    let addr = address(fields, "addr");
    let token_env = fields.some_text("token_env");
    let place = addr.map_or(fields.place, |at| at.place);
    let addr = value_or(addr, SocketAddr::from((Ipv4Addr::LOCALHOST, 8060)));
    let name = token_env.as_ref().and_then(|at| at.value.clone());
    if name.is_none() && !addr.ip().is_loopback() {
        let what = format!("[admin] listens on {addr}, which is not loopback, without a token");
        fields.refuse(place, what, "add token_env = \"STROWGER_ADMIN_TOKEN\", or listen on 127.0.0.1");
    }
    let token =
        name.as_deref().and_then(env).filter(|token| !token.is_empty()).map(|token| Secret::new(&token));
    if let (Some(name), None, Some(at)) = (&name, &token, &token_env)
        && !addr.ip().is_loopback()
    {
        let what = format!("the environment has no {}", shown(name));
        fields.report().warning(at.place, what, "set it, or nobody can use [admin]");
    }
    fields.finish();
    Admin { addr, token_env: name, token }
}

fn public(fields: &Fields<'_>) -> Public {
    let addr = value_or(address(fields, "addr"), SocketAddr::from((Ipv4Addr::LOCALHOST, 8061)));
    let proxies = super::net::nets(fields, "trusted_proxies").unwrap_or_default();
    fields.finish();
    Public { addr, trusted_proxies: proxies.iter().map(|net| net.value).collect() }
}

fn speech(fields: &Fields<'_>) -> Speech {
    let command = fields.list("command").map(|list| list.value.into_iter().map(|at| at.value).collect());
    fields.finish();
    command.map_or_else(Speech::default, |command| Speech { command })
}

fn limits(fields: &Fields<'_>) -> Limits {
    let default = Limits::default();
    let time = |key, form, default| {
        fields.whole(key, form).map_or(default, |at| Duration::from_secs(at.value.into()))
    };
    let legs = fields.whole("max_legs", &LEGS).and_then(|at| u8::try_from(at.value).ok());
    let limits = Limits {
        max_call_seconds: time("max_call_seconds", &WEEK, default.max_call_seconds),
        rtp_timeout: time("rtp_timeout", &DAY, default.rtp_timeout),
        drain_seconds: time("drain_seconds", &DRAIN, default.drain_seconds),
        max_legs: legs.unwrap_or(default.max_legs),
        max_ringing_per_caller: value_or(fields.whole("max_ringing_per_caller", &RINGING), 0),
    };
    fields.finish();
    limits
}

fn capture(fields: &Fields<'_>) -> Capture {
    let written = fields.some_text("hep").and_then(|at| at.value.map(|text| (text, at.place)));
    let hep = written.and_then(|(text, place)| {
        let read = Collector::parse(&text);
        if read.is_none() {
            let what = format!("hep = \"{}\" is no host with a port", shown(&text));
            fields.refuse(place, what, "write it like \"homer.example.com:9060\" or \"192.0.2.1:9060\"");
        }
        read
    });
    fields.finish();
    Capture { hep }
}

fn retention(fields: &Fields<'_>) -> Retention {
    let days = |key, default| value_or(fields.whole(key, &DAYS), default);
    let default = Retention::default();
    let retention = Retention {
        cdr_days: days("cdr_days", default.cdr_days),
        recording_days: days("recording_days", default.recording_days),
        visitor_days: days("visitor_days", default.visitor_days),
    };
    fields.finish();
    retention
}

fn address(fields: &Fields<'_>, key: &'static str) -> Option<At<SocketAddr>> {
    let remedy = "write it like \"127.0.0.1:5060\" or \"[::1]:5060\"";
    parsed(fields, key, "no address with a port", remedy)
}

fn ip(fields: &Fields<'_>, key: &'static str) -> Option<At<IpAddr>> {
    parsed(fields, key, "no IP address", "write it like \"192.0.2.1\" or \"2001:db8::1\"")
}

fn parsed<T: FromStr>(fields: &Fields<'_>, key: &'static str, is: &str, remedy: &str) -> Option<At<T>> {
    let text = fields.text(key)?;
    match text.parse() {
        Ok(value) => Some(At { value, place: text.place }),
        Err(_) => {
            fields.refuse(text.place, format!("{key} = \"{}\" is {is}", shown(&text)), remedy);
            None
        }
    }
}

pub(super) fn value_or<T>(at: Option<At<T>>, default: T) -> T {
    at.map_or(default, |at| at.value)
}

/// Whole seconds, as the configuration writes durations.
pub(super) fn seconds<S: Serializer>(time: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u64(time.as_secs())
}

fn iso<S: Serializer>(country: &Country, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(country.iso())
}

impl Serialize for Ports {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!("{}-{}", self.0, self.1))
    }
}

impl JsonSchema for Ports {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Ports".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        PORTS.schema()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_collector_is_a_host_and_a_port() {
        for good in ["homer:9060", "a-b.example.com:1", "192.0.2.1:9060", "[2001:db8::1]:65535"] {
            let read = Collector::parse(good).unwrap();
            assert_eq!(serde_json::to_value(read).unwrap(), good);
        }
        for bad in [
            "",
            "homer",
            ":9060",
            "homer:0",
            "homer:65536",
            "homer:x",
            "192.0.2:9060",
            "192.0.2.256:9060",
            "2001:db8::1:9060",
            "[homer]:9060",
            "a..b:9060",
            "-a:9060",
            "a b:9060",
            "udp:homer:9060",
        ] {
            assert_eq!(Collector::parse(bad), None, "{bad}");
        }
    }
}
