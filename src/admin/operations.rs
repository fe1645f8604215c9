//! What operators may ask of a node, and what it answers. The node implements `Operations`; HTTP, and through
//! it the command line, speak these types.

use std::net::SocketAddr;

use futures::future::BoxFuture;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::call::cdr::rfc3339;
use crate::call::story::{CallPlace, CallStory, LiveCall};
use crate::media::reel::{Kind, Shelf};
use crate::store::Reader;
use crate::time::Wall;

/// A running node, seen from outside. Nothing here is called on the call path; a question that a shard must
/// answer is a future that ends when the shard has.
pub trait Operations: Send + Sync + 'static {
    /// Whether calls are taken.
    fn readiness(&self) -> Readiness;

    /// The first `most` calls in progress behind `after`, in the order in which they began.
    fn calls(&self, after: Option<CallPlace>, most: usize) -> BoxFuture<'_, Vec<LiveCall>>;

    /// One call, in progress or ended a moment ago.
    fn call<'a>(&'a self, id: &'a str) -> BoxFuture<'a, Option<CallStory>>;

    /// The messages of one call as a capture file.
    fn pcap<'a>(&'a self, id: &'a str) -> BoxFuture<'a, Result<Captured, NotCaptured>>;

    /// Ends a call as by `ended_by: us`. False: there is no such call.
    fn hang_up<'a>(&'a self, id: &'a str) -> BoxFuture<'a, bool>;

    /// Reads the configuration anew and publishes it, or with `dry_run` only says what would change. `by`: who asks for it, as
    /// they say.
    fn reload<'a>(&'a self, dry_run: bool, by: &'a str) -> BoxFuture<'a, Result<Published, NotPublished>>;

    /// Publishes what an earlier generation was, or with `dry_run` only says what would change. `to`: which; none: the one
    /// before.
    fn roll_back<'a>(
        &'a self,
        to: Option<u64>,
        dry_run: bool,
        by: &'a str,
    ) -> BoxFuture<'a, Result<Published, NotPublished>>;

    /// The first `most` generations before that one, the latest first; an error says why they cannot be read.
    fn generations(&self, before: Option<u64>, most: usize) -> Result<Vec<GenerationLine>, String>;

    /// Numbers: those that were set over HTTP first, then the files', each in their order. An error says why `after` leads
    /// nowhere.
    fn numbers(&self, asked: NumbersAsked) -> BoxFuture<'_, Result<NumberPage, String>>;

    /// One number, or block, as it is written.
    fn number(&self, did: &str) -> Result<NumberText, NotChanged>;

    /// Changes one number. `by`: who does, as they say. When it is done it is durable, and served.
    fn change<'a>(
        &'a self,
        did: &'a str,
        wish: Wish,
        condition: Condition,
        by: &'a str,
    ) -> BoxFuture<'a, Result<Changed, NotChanged>>;

    /// The first `most` agents whose names come behind `after`, by name, and where their phones are.
    fn agents(&self, after: Option<&str>, most: usize) -> Vec<AgentLine>;

    /// The first `most` trunks whose names come behind `after`, by name, and how their gateways are.
    fn trunks(&self, after: Option<&str>, most: usize) -> Vec<TrunkLine>;

    /// What a call to `did` from `from` would do now. Both as somebody wrote them.
    fn route<'a>(
        &'a self,
        did: &'a str,
        from: Option<&'a str>,
    ) -> BoxFuture<'a, Result<Explanation, NotRouted>>;

    /// The durable call records.
    fn records(&self) -> Reader;

    /// What was written down of calls.
    fn shelf(&self, kind: Kind) -> Shelf;

    /// Brings the gauges up to date that nobody keeps so all the time: asked before `/metrics` is rendered. What comes
    /// back stands there as well: gauges in the same format that come and go with the configuration.
    fn measure(&self) -> String;
}

/// Whether a node takes calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Readiness {
    Starting,
    Taking,
    /// Calls in progress go on, new ones are refused.
    Draining,
    /// No room is left for another call record: the disk is full or failing (R12).
    NoRoom,
    /// Calls are taken, by fewer threads that carry audio than there should be: so many of them have died.
    Lame {
        dead: usize,
        of: usize,
    },
    /// All of them have: a call whose audio comes through us is refused.
    NoAudio,
}

/// A call's messages as a capture file (pcap, link type RAW).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Captured {
    pub messages: usize,
    /// Why these are not all, in words; empty when they are.
    pub missing: String,
    pub file: Vec<u8>,
}

/// Why there are no messages of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotCaptured {
    /// `[capture]` is left out.
    Off,
    /// There is no such call.
    Unknown,
    /// They are no longer kept.
    Gone,
}

/// What a reload did, or would do.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Published {
    /// The generation that calls are planned with from now on; of a dry run, the one that is served.
    pub generation: u64,
    /// How many numbers, agents, trunks, caller IDs and pools were added; `[dial]`, `[emergency]` and sounds change …
    pub added: u64,
    pub changed: u64,
    pub removed: u64,
    pub unchanged: u64,
    #[serde(default)]
    pub warnings: Vec<Finding>,
    pub took_ms: u64,
    /// Calls in progress whose number, agent or trunk changed. They keep the plan that they began with.
    #[serde(default)]
    pub affects_calls: Vec<String>,
    /// Keys of `strowger.toml` that changed and wait for a restart.
    #[serde(default)]
    pub restart_needed: Vec<String>,
    /// The first hundred that were added, changed or removed.
    #[serde(default)]
    pub changes: Vec<ChangeLine>,
}

/// What became of a number, a trunk, an agent and the like.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ChangeLine {
    /// `number`, `trunk`, `agent`, `caller_id`, `pool`, `section` or `sound`.
    pub kind: String,
    /// Of a section as it is written: `[dial]`.
    pub name: String,
    /// `added`, `changed` or `removed`.
    pub change: String,
}

/// Why nothing was published; what was served before still is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NotPublished {
    /// The configuration does not check.
    Wrong(Vec<Finding>),
    /// Another reload runs.
    Busy,
    /// The node ends.
    Ending,
    /// It cannot be written down: what failed, and what would help.
    Unwritten(String),
    /// There is no such generation, or what it was read from is kept no more: in words.
    NoSuch(String),
    /// It is what is served already: in words.
    Nothing(String),
}

/// A number as it is told: JSON, and its version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NumberText {
    pub json: String,
    /// Another one whenever anything of it is; without quotes.
    pub etag: String,
}

/// A page of numbers, each JSON.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NumberPage {
    pub items: Vec<String>,
    /// `after` of the next page; none when there is none.
    pub next: Option<String>,
}

/// Which numbers are listed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NumbersAsked {
    /// `next` of an earlier page.
    pub after: Option<String>,
    pub most: usize,
    /// Digits of the number, or part of its label or account.
    pub q: Option<String>,
    /// Only what was set over HTTP, what was removed so too.
    pub over_http: bool,
}

/// What is wished of a number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wish {
    /// That it is this, a JSON text.
    Put(String),
    /// That this is merged into it (RFC 7396), a JSON text.
    Patch(String),
    /// That it is none of ours, whatever the files say.
    Delete,
    /// That what was set of it over HTTP is taken back: what the files say holds again.
    ToFiles,
}

/// The condition that a wish came with (RFC 9110 §13.1).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Condition {
    pub if_match: Option<Versions>,
    pub if_none_match: Option<Versions>,
}

/// Versions of a number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Versions {
    /// `*`
    Any,
    These(Vec<String>),
}

impl Versions {
    /// Whether that one is among them.
    pub fn hold(&self, etag: &str) -> bool {
        match self {
            Versions::Any => true,
            Versions::These(versions) => versions.iter().any(|version| version == etag),
        }
    }
}

/// A number that was changed: durable, and served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Changed {
    /// It was none of ours.
    pub created: bool,
    /// As it is now; none: it is none of ours.
    pub text: Option<NumberText>,
    /// The first that has it so.
    pub generation: u64,
    /// What wants a look in it.
    pub warnings: Vec<Finding>,
}

/// That a number was removed over HTTP, by whom and when. That has a version, which is named to take it back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Removal {
    pub etag: String,
    pub by: String,
    pub at: Wall,
}

/// What is to become of a number that was removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Anew {
    /// What is sent.
    Made,
    /// What the files say.
    FromFiles,
}

/// Why a number was not changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NotChanged {
    /// No number, or block of them; what would be right.
    BadNumber(String),
    /// It is none of ours.
    Unknown,
    /// Nor is it: it was removed over HTTP.
    Removed(Removal),
    /// Nothing was set of it over HTTP that could be taken back.
    NotSet,
    /// It is there, and the wish does not say which version it was made for. That which it has.
    Unconditional(String),
    /// It was removed over HTTP, and the wish does not say whether whoever wishes it knows that. To be made anew, or to be
    /// as the files have it.
    Unaware(Removal, Anew),
    /// It has another version than the wish was made for, this one if it is there at all.
    Stale(Option<String>),
    /// It was removed over HTTP, and the wish was made for what was there, whatever version or one of its own.
    Gone(Removal),
    /// It was to be made, and is there in this version.
    Exists(String),
    /// It does not check.
    Wrong(Vec<Finding>),
    /// There are so many already.
    Full(usize),
    /// It cannot be written down: what failed, and what would help.
    Unwritten(String),
    /// Too many changes wait, or the node is ending.
    Busy,
}

/// Why no route can be told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NotRouted {
    /// The number is none of ours, or disabled (R2): in words.
    UnknownNumber(String),
    /// `did` or `from` is no number; what would be right.
    BadNumber(String),
}

/// A mistake in the configuration and its place.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Finding {
    pub file: String,
    /// From 1.
    pub line: u32,
    /// From 1, in characters.
    pub column: u32,
    /// What is wrong.
    pub message: String,
    /// What would be right; may be empty.
    #[serde(default)]
    pub remedy: String,
}

impl std::fmt::Display for Finding {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}:{}: {}", self.file, self.line, self.column, self.message)?;
        if self.remedy.is_empty() { Ok(()) } else { write!(f, "; {}", self.remedy) }
    }
}

/// One publication of the configuration.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct GenerationLine {
    pub generation: u64,
    #[serde(with = "rfc3339")]
    #[schemars(with = "rfc3339::Text")]
    pub published: Wall,
    /// Who published it: what they say of themselves.
    pub by: String,
    /// What it changed, in words.
    pub what: String,
    /// How many numbers it has.
    pub numbers: u64,
    /// Whether it can be rolled back to: it is not served, its files are kept, and what numbers were then is known.
    #[serde(default)]
    pub can_roll_back: bool,
}

/// One agent, and where its phones are.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AgentLine {
    pub name: String,
    pub account: String,
    /// The number that the agent's outbound calls show.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub number: Option<String>,
    /// Do not disturb: counts as busy.
    pub dnd: bool,
    /// 0: no limit.
    pub max_calls: u32,
    /// Calls that it has now.
    pub calls: u32,
    /// The fixed contact.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub contact: Option<String>,
    /// Phones that have registered, the first to do so first.
    pub bindings: Vec<BindingLine>,
    /// Its last REGISTER, with the right password, that was refused, since the node started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_failure: Option<FailureLine>,
}

/// A phone that has registered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct BindingLine {
    /// Its Contact.
    pub contact: String,
    pub transport: String,
    /// Where calls to it are sent.
    pub peer: SocketAddr,
    /// Where its last REGISTER came from.
    pub from: SocketAddr,
    /// The proxies in front of it (RFC 3327).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub path: Vec<String>,
    pub user_agent: String,
    /// Behind a NAT, and three OPTIONS in a row had no answer. It is rung all the same, as long as it is bound.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub unreachable: bool,
    #[serde(with = "rfc3339")]
    #[schemars(with = "rfc3339::Text")]
    pub registered: Wall,
    pub expires_ms: u64,
}

/// One trunk, and how its gateways are.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TrunkLine {
    pub name: String,
    /// Serves calls to external numbers.
    pub outbound: bool,
    /// Calls that it carries now, both ways.
    pub calls: u32,
    /// 0: no limit.
    pub max_calls: u32,
    /// More or less; left out where there is no limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub calls_in_last_second: Option<u32>,
    /// Calls in one second; 0: no limit.
    pub max_cps: u32,
    /// Calls that these limits have refused, in and out, since the node knows the trunk.
    pub refused: u64,
    /// Between OPTIONS to each gateway; 0: off, and all count as up.
    pub options_interval_ms: u64,
    /// Ours at this carrier.
    pub registration: RegistrationLine,
    /// As they are written.
    pub gateways: Vec<GatewayLine>,
}

/// One gateway of a trunk.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct GatewayLine {
    /// Its place in the list, from 0: the label of its metric.
    pub gateway: u8,
    pub uri: String,
    pub transport: String,
    pub priority: u16,
    pub weight: u16,
    /// False: it is tried last.
    pub up: bool,
    /// When it came up or went down; left out while it has been up as long as the node knows it.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "rfc3339::option")]
    #[schemars(with = "Option<rfc3339::Text>")]
    pub since: Option<Wall>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_failure: Option<FailureLine>,
    /// Of the last OPTIONS that was answered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub round_trip_ms: Option<u64>,
}

/// What went wrong last.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct FailureLine {
    /// In words.
    pub what: String,
    #[serde(with = "rfc3339")]
    #[schemars(with = "rfc3339::Text")]
    pub at: Wall,
}

/// Our registration at a carrier.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RegistrationLine {
    pub state: RegistrationState,
    /// When it came to that.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "rfc3339::option")]
    #[schemars(with = "Option<rfc3339::Text>")]
    pub since: Option<Wall>,
    /// What is left of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_ms: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_failure: Option<FailureLine>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RegistrationState {
    /// `register = false`.
    Off,
    /// It is asked for.
    Trying,
    Registered,
}

/// What a call would do, for people and for programs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Explanation {
    /// In plain words, several lines.
    pub text: String,
    /// The same as data.
    pub plan: serde_json::Value,
}
