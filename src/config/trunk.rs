//! `[[trunk]]`: a carrier's side.

use std::time::Duration;

use schemars::JsonSchema;
use serde::Serialize;

use super::choices::{DidFrom, ForeignCallerId, NumberFormat, Pai, TrunkTransport};
use super::fields::{Fields, shown};
use super::forms::{DIGITS, GATEWAY, HEADER, LINE, List, MAX_LIST, NAME, PREFIXES, SOMETHING, Whole, form};
use super::net::{Net, nets};
use super::node::{Secret, seconds, value_or};
use super::place::{At, Place};
use super::uri::SipUri;
use crate::number::{MAX_DIGITS, Prefix};
use crate::sip::header::{Fate, Name, chars};

/// The most gateways of a trunk.
const MAX_GATEWAYS: usize = 32;
const GATEWAYS: List = List::up_to(MAX_GATEWAYS);
/// The nets that it sends from.
const NETS: List = List::up_to(MAX_LIST);
const CARRY: List = List::of(HEADER);
/// Which comes first, and how large a share one has.
const STEPS: Whole = Whole::of("steps", 0, u16::MAX as u32);
const WEIGHT: Whole = Whole::of("steps", 1, u16::MAX as u32);
const OPTIONS_INTERVAL: Whole = Whole::of("seconds", 0, 86_400);
/// At most 64·T1: then the transaction ends by itself (RFC 3261 §17.1.1.2).
const TRY_TIMEOUT: Whole = Whole::of("seconds", 1, 32);
pub(super) const MAX_CALLS: Whole = Whole::of("calls, 0 for no limit", 0, 1_000_000);
const STRIP: Whole = Whole::of("digits", 0, MAX_DIGITS as u32);
const LIMIT_CODE: Whole = Whole::of("a status", 400, 699);

/// `[[trunk]]`, the defaults filled in.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct Trunk {
    #[schemars(transform = form(&NAME))]
    pub name: At<Box<str>>,
    /// Who sends calls in on it: nets, with or without a port.
    #[schemars(default, transform = form(&NETS))]
    pub from: Vec<At<Net>>,
    #[schemars(default, transform = form(&GATEWAYS))]
    pub gateways: Vec<Gateway>,
    /// Serves calls to external numbers that name no trunk.
    #[schemars(extend("default" = false))]
    pub outbound: bool,
    /// Of the numbers that it serves.
    #[schemars(with = "Vec<String>", extend("default" = ["+"]), transform = form(&PREFIXES))]
    #[serde(serialize_with = "texts")]
    pub prefixes: Vec<Prefix>,
    /// Among outbound trunks; the lowest is taken.
    #[schemars(extend("default" = 10), transform = form(&STEPS))]
    pub priority: u16,
    #[schemars(extend("default" = "auto"))]
    pub transport: TrunkTransport,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub auth: Option<Auth>,
    /// We register at the first gateway that answers, as `auth` says.
    #[schemars(extend("default" = false))]
    pub register: bool,
    /// Seconds between OPTIONS to each gateway; 0: off, and every gateway counts as up.
    #[serde(serialize_with = "seconds")]
    #[schemars(with = "u32", extend("default" = 30), transform = form(&OPTIONS_INTERVAL))]
    pub options_interval: Duration,
    /// Seconds that a gateway may take for its first 1xx while another one is left.
    #[serde(serialize_with = "seconds")]
    #[schemars(with = "u32", extend("default" = 4), transform = form(&TRY_TIMEOUT))]
    pub try_timeout: Duration,
    /// Calls at once; 0: no limit.
    #[schemars(extend("default" = 0), transform = form(&MAX_CALLS))]
    pub max_calls: u32,
    /// Calls in one second; 0: no limit.
    #[schemars(extend("default" = 0), transform = form(&MAX_CALLS))]
    pub max_cps: u32,
    /// What a call above these limits is answered: 503 or 486.
    #[schemars(extend("default" = 503, "enum" = [503, 486]))]
    pub limit_code: u16,
    #[schemars(extend("default" = "request-uri"))]
    pub did_from: DidFrom,
    #[schemars(extend("default" = "e164"))]
    pub numbers: NumberFormat,
    /// Digits taken off the front of the number dialled on calls in.
    #[schemars(extend("default" = 0), transform = form(&STRIP))]
    pub strip: u8,
    /// Put before what `strip` left.
    #[schemars(extend("default" = ""), transform = form(&DIGITS))]
    pub prefix: Box<str>,
    #[schemars(extend("default" = "pass"))]
    pub foreign_caller_id: ForeignCallerId,
    #[schemars(extend("default" = "caller"))]
    pub pai: Pai,
    #[schemars(extend("default" = true))]
    pub diversion: bool,
    #[schemars(extend("default" = true))]
    pub history_info: bool,
    /// Names of further headers that are carried between legs.
    #[schemars(default, transform = form(&CARRY))]
    pub carry: Vec<Box<str>>,
    /// The first leg's Call-ID on INVITEs that we send.
    #[schemars(extend("default" = true))]
    pub x_cid: bool,
    #[schemars(extend("default" = false))]
    pub trusted_identity: bool,
    #[schemars(extend("default" = false))]
    pub nat: bool,
    /// Gateways are written, and none of them can be read.
    #[serde(skip)]
    pub(super) gateways_unread: bool,
    #[serde(skip)]
    pub place: Place,
}

/// One of a trunk's `gateways`.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct Gateway {
    #[serde(serialize_with = "uri_text")]
    #[schemars(with = "String", transform = form(&GATEWAY))]
    pub uri: SipUri,
    /// The lowest is tried first.
    #[schemars(extend("default" = 10), transform = form(&STEPS))]
    pub priority: u16,
    /// Among gateways of one priority: its share of the calls.
    #[schemars(extend("default" = 1), transform = form(&WEIGHT))]
    pub weight: u16,
}

/// A trunk's `auth`.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct Auth {
    #[schemars(transform = form(&SOMETHING))]
    pub username: Box<str>,
    /// The environment variable that holds the password.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(transform = form(&LINE))]
    pub password_env: Option<Box<str>>,
    /// In clear text: warned of.
    #[serde(skip_serializing)]
    #[schemars(with = "Option<String>", transform = form(&LINE))]
    pub password: Option<Secret>,
}

impl Trunk {
    /// What it says, but for where it says it.
    pub(super) fn says(&self) -> Trunk {
        Trunk { place: Place::default(), ..self.clone() }
    }
}

pub(super) fn read(fields: &Fields<'_>, env: &dyn Fn(&str) -> Option<String>) -> Option<Trunk> {
    if !fields.has("name") {
        fields.missing("name", "write name = \"carrier\"");
    }
    let name = fields.name("name");
    let transport = fields.choice("transport");
    let gateways = gateways(fields);
    let outbound = fields.flag("outbound");
    if let Some(at) = outbound.filter(|at| at.value && gateways.is_empty() && !fields.has("gateways")) {
        fields.refuse(
            at.place,
            "an outbound trunk has no gateways".into(),
            "add gateways = [{ uri = \"sip:192.0.2.1:5060\" }]",
        );
    }
    let register = fields.flag("register");
    let auth = fields.inner("auth", "auth").and_then(|inner| auth(&inner, env));
    let did_from = fields.choice("did_from");
    if let Some(at) = register.filter(|at| at.value) {
        if !fields.has("gateways") || fields.is_empty_list("gateways") {
            let remedy = "add gateways = [{ uri = \"sip:192.0.2.1:5060\" }]";
            fields.refuse(at.place, "a trunk that registers has no gateways".into(), remedy);
        }
        if let Some(auth) = &auth
            && auth.password_env.is_none()
            && auth.password.is_none()
        {
            let what = "a trunk that registers has no password".into();
            fields.refuse(at.place, what, "add password_env = \"CARRIER_PASSWORD\" to its auth");
        }
        if !fields.has("auth") {
            let remedy = "add auth = { username = \"…\", password_env = \"CARRIER_PASSWORD\" }";
            fields.refuse(at.place, "a trunk that registers has no account".into(), remedy);
        }
    }
    called_as_we_register(fields, register, did_from, auth.as_ref());
    secure_by_udp(fields, transport, &gateways);
    let small = |key, default: u16| {
        let read = fields.whole(key, &STEPS);
        read.and_then(|at| u16::try_from(at.value).ok()).unwrap_or(default)
    };
    let time = |key, form, default: u64| {
        let read = fields.whole(key, form);
        Duration::from_secs(read.map_or(default, |at| at.value.into()))
    };
    let limit = |key| value_or(fields.whole(key, &MAX_CALLS), 0);
    let prefixes = fields.prefixes("prefixes");
    if let Some(list) =
        prefixes.as_ref().filter(|_| fields.is_empty_list("prefixes") && value_or(outbound, false))
    {
        let remedy = "write prefixes = [\"+\"] for every number, or leave outbound out";
        fields.report().warning(
            list.place,
            "an outbound trunk serves no prefix: nothing goes out by it",
            remedy,
        );
    }
    let prefixes = prefixes.map(|list| list.value.iter().map(|at| at.value).collect());
    let trunk = Trunk {
        from: nets(fields, "from").unwrap_or_default(),
        gateways_unread: gateways.is_empty() && fields.has("gateways") && !fields.is_empty_list("gateways"),
        gateways,
        outbound: value_or(outbound, false),
        prefixes: prefixes.unwrap_or_else(|| vec![Prefix::EVERY]),
        priority: small("priority", 10),
        transport: value_or(transport, TrunkTransport::Auto),
        auth,
        register: value_or(register, false),
        options_interval: time("options_interval", &OPTIONS_INTERVAL, 30),
        try_timeout: time("try_timeout", &TRY_TIMEOUT, 4),
        max_calls: limit("max_calls"),
        max_cps: limit("max_cps"),
        limit_code: limit_code(fields),
        did_from: value_or(did_from, DidFrom::RequestUri),
        numbers: value_or(fields.choice("numbers"), NumberFormat::E164),
        strip: fields.whole("strip", &STRIP).and_then(|at| u8::try_from(at.value).ok()).unwrap_or(0),
        prefix: digits(fields, "prefix"),
        foreign_caller_id: value_or(fields.choice("foreign_caller_id"), ForeignCallerId::Pass),
        pai: value_or(fields.choice("pai"), Pai::Caller),
        diversion: value_or(fields.flag("diversion"), true),
        history_info: value_or(fields.flag("history_info"), true),
        carry: carry(fields),
        x_cid: value_or(fields.flag("x_cid"), true),
        trusted_identity: value_or(fields.flag("trusted_identity"), false),
        nat: value_or(fields.flag("nat"), false),
        place: fields.place,
        name: fields.or_finish(name)?,
    };
    fields.finish();
    Some(trunk)
}

fn gateways(fields: &Fields<'_>) -> Vec<Gateway> {
    let form = "gateways = [{ uri = \"sip:192.0.2.1:5060\" }]";
    let Some(list) = fields.tables("gateways", "a gateway", form) else {
        return Vec::new();
    };
    if list.len() > MAX_GATEWAYS {
        let what = format!("a trunk has more than {MAX_GATEWAYS} gateways");
        fields.refuse(list.place, what, "make two trunks of it");
    }
    let mut gateways: Vec<Gateway> = Vec::new();
    for (fields, read) in list.iter().take(MAX_GATEWAYS).filter_map(|fields| Some((fields, gateway(fields)?)))
    {
        let is_same = |known: &Gateway| known.uri.leads_where(&read.uri);
        match gateways.iter().find(|known| is_same(known)) {
            Some(known) => {
                let what = format!("the gateway \"{}\" is written twice", known.uri.text);
                fields.refuse(fields.place, what, "keep one of them, and say by weight how much it carries");
            }
            None => gateways.push(read),
        }
    }
    gateways
}

/// The calls of a carrier that we have registered at come to our Contact, whose user is the account's name.
fn called_as_we_register(
    fields: &Fields<'_>,
    register: Option<At<bool>>,
    did_from: Option<At<DidFrom>>,
    auth: Option<&Auth>,
) {
    let by_uri = did_from.as_ref().is_none_or(|at| at.value == DidFrom::RequestUri);
    let Some(register) = register.filter(|at| at.value && by_uri) else { return };
    let Some(auth) = auth.filter(|auth| !is_number(&auth.username)) else { return };
    let place = did_from.map_or(register.place, |at| at.place);
    let what =
        format!("every call of this carrier is dialled to \"{}\", the account's name", shown(&auth.username));
    fields.report().warning(place, what, "write did_from = \"to\" or \"p-called-party-id\"");
}

/// What may be dialled: an account that is named by its number.
fn is_number(username: &str) -> bool {
    let digits = username.strip_prefix('+').unwrap_or(username);
    (7..=15).contains(&digits.len()) && digits.bytes().all(|byte| byte.is_ascii_digit())
}

/// `sips:` goes by TLS or not at all (RFC 3261 §26.2.2).
fn secure_by_udp(fields: &Fields<'_>, transport: Option<At<TrunkTransport>>, gateways: &[Gateway]) {
    let Some(at) = transport.filter(|at| at.value == TrunkTransport::Udp) else { return };
    if let Some(gateway) = gateways.iter().find(|gateway| gateway.uri.secure) {
        let what = format!("transport = \"udp\" beside the gateway \"{}\"", gateway.uri.text);
        fields.refuse(at.place, what, "write sip: in the gateway's uri, or leave transport out");
    }
}

fn gateway(fields: &Fields<'_>) -> Option<Gateway> {
    if !fields.has("uri") {
        fields.missing("uri", "write { uri = \"sip:192.0.2.1:5060\" }");
    }
    if let Some(place) = fields.empty_text("uri") {
        fields.refuse(place, "uri is empty".into(), "write uri = \"sip:192.0.2.1:5060\"");
    }
    let uri = uri(fields, "uri");
    if let Some(at) = uri.as_ref().filter(|at| at.user.is_some()) {
        let what = format!("the gateway \"{}\" has a user part", at.text);
        fields.refuse(at.place, what, "write the host alone, like \"sip:192.0.2.1:5060\"");
    }
    let small = |key, form, default: u16| {
        let read = fields.whole(key, form);
        read.and_then(|at| u16::try_from(at.value).ok()).unwrap_or(default)
    };
    let (priority, weight) = (small("priority", &STEPS, 10), small("weight", &WEIGHT, 1));
    fields.finish();
    Some(Gateway { uri: uri?.value, priority, weight })
}

/// Reads a SIP URI.
pub(super) fn uri(fields: &Fields<'_>, key: &'static str) -> Option<At<SipUri>> {
    let text = fields.some_text(key)?;
    let uri = match SipUri::parse(text.value.as_deref()?) {
        Ok(uri) => uri,
        Err(remedy) => {
            let what = format!("{key} = \"{}\" is no SIP URI", shown(text.value.as_deref()?));
            fields.refuse(text.place, what, remedy);
            return None;
        }
    };
    Some(At { value: uri, place: text.place })
}

fn limit_code(fields: &Fields<'_>) -> u16 {
    match fields.whole("limit_code", &LIMIT_CODE) {
        Some(At { value: 486, .. }) => 486,
        Some(At { value: 503, .. }) | None => 503,
        Some(At { value, place }) => {
            fields.refuse(place, format!("limit_code = {value} is not selectable"), "write 503 or 486");
            503
        }
    }
}

/// A few digits, with or without a `+` before them.
fn digits(fields: &Fields<'_>, key: &'static str) -> Box<str> {
    let Some(text) = fields.text(key) else { return "".into() };
    let digits = text.strip_prefix('+').unwrap_or(&text);
    if digits.len() > MAX_DIGITS || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        let what = format!("{key} = \"{}\" is not made of digits", shown(&text));
        fields.refuse(text.place, what, "write at most 15 digits, with or without a + before them");
        return "".into();
    }
    text.value
}

/// Names of headers that no INVITE of ours has anyhow, each once.
fn carry(fields: &Fields<'_>) -> Vec<Box<str>> {
    let Some(list) = fields.list("carry") else { return Vec::new() };
    let mut carried: Vec<Box<str>> = Vec::new();
    for name in &list.value {
        let token = name.len() <= HEADER.most && chars::is_token(name.as_bytes());
        let shown = shown(name);
        let (what, remedy) = match Fate::of(name.as_bytes()) {
            _ if !token => {
                (format!("\"{shown}\" in carry is no header's name"), "write it like \"X-Twilio-CallToken\"")
            }
            Fate::Rewritten => (format!("the header {shown} is written anew on each leg"), "leave it out"),
            Fate::GoesAlong | Fate::GoesWithTheBody => {
                (format!("the header {shown} is carried in any case"), "leave it out")
            }
            Fate::EndsHere => (format!("the header {shown} is never carried between legs"), "leave it out"),
            Fate::GoesIfNamed if carried.iter().any(|other| is_same_header(other, name)) => {
                (format!("the header {shown} stands in carry twice"), "keep one of them")
            }
            Fate::GoesIfNamed => {
                carried.push(name.value.clone());
                continue;
            }
        };
        fields.refuse(name.place, what, remedy);
    }
    carried
}

/// One header has several spellings: cases, and for some a compact form.
fn is_same_header(one: &str, other: &str) -> bool {
    match (Name::parse(one.as_bytes()), Name::parse(other.as_bytes())) {
        (Name::Other, Name::Other) => one.eq_ignore_ascii_case(other),
        (one, other) => one == other,
    }
}

fn auth(fields: &Fields<'_>, env: &dyn Fn(&str) -> Option<String>) -> Option<Auth> {
    if !fields.has("username") {
        fields.missing("username", "write { username = \"…\", password_env = \"CARRIER_PASSWORD\" }");
    }
    let username = fields.text("username");
    if let Some(at) = username.as_ref().filter(|at| at.is_empty()) {
        fields.refuse(
            at.place,
            "the username is empty".into(),
            "write the account's name as the carrier has it",
        );
    }
    let (password_env, password) = password(fields, env, "the carrier will refuse our calls");
    fields.finish();
    Some(Auth { username: username?.value, password_env, password })
}

/// `password_env` (resolved) or a clear-text `password` (warned of). `so`: what follows when it is not set.
pub(super) fn password(
    fields: &Fields<'_>,
    env: &dyn Fn(&str) -> Option<String>,
    so: &str,
) -> (Option<Box<str>>, Option<Secret>) {
    let named = fields.some_text("password_env");
    let clear = fields.some_text("password");
    if let Some(At { value: Some(_), place }) = &clear {
        let what = "a password stands here in clear text";
        fields.report().warning(*place, what, "name the environment variable that holds it in password_env");
    }
    let clear = clear.and_then(|at| at.value);
    let Some(At { value: Some(name), place }) = named else {
        return (None, clear.as_deref().map(Secret::new));
    };
    let held = env(&name).filter(|held| !held.is_empty());
    if held.is_none() {
        let what = format!("the environment has no {}", shown(&name));
        fields.report().warning(place, what, format!("set it before the start: without it {so}"));
    }
    (Some(name), held.as_deref().or(clear.as_deref()).map(Secret::new))
}

fn uri_text<S: serde::Serializer>(uri: &SipUri, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&uri.text)
}

fn texts<S: serde::Serializer>(prefixes: &[Prefix], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(prefixes.iter().map(ToString::to_string))
}
