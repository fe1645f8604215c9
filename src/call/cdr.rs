//! The call detail record, version 1: what is left of a call when it has ended.
//!
//! Exactly the keys of the contract; a value that is absent is left out. Built once per call on the shard
//! (moves and reference counts, few allocations), written as one line of JSON by the disk thread.

use std::borrow::Cow;
use std::net::SocketAddr;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::time::Wall;
pub use crate::time::rfc3339;

/// What one call was, written exactly once when it has ended (R12).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Cdr {
    /// Version of this record: 1.
    pub v: u8,
    /// The call's id, unique among all nodes.
    pub id: Box<str>,
    /// The node's name.
    pub node: Arc<str>,
    /// The generation of the configuration that the call was planned with.
    pub generation: u64,
    /// The label of the number, or else of the agent; empty when it has none.
    pub account: Arc<str>,
    pub direction: Direction,
    /// The trunk that the call came in by.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trunk: Option<Arc<str>>,
    /// Our number that was called, E.164 with `+`; absent when it is none of ours.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub did: Option<Box<str>>,
    /// What was dialled: E.164 with `+`, or as it was received when it is no number.
    pub dialled: Box<str>,
    /// The caller's number, E.164 with `+`, or as it was received when it is no number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub caller: Option<Box<str>>,
    /// The caller's display name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub caller_name: Option<Box<str>>,
    /// Whether the caller withheld the number (`Privacy: id`, anonymous).
    #[serde(default)]
    pub withheld: bool,
    /// The number that the called side was shown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub presented: Option<Box<str>>,
    /// Numbers that diverted the call before it reached us, the latest first.
    #[serde(default)]
    pub diversions: Vec<Box<str>>,
    /// The INVITE's arrival.
    #[serde(with = "rfc3339")]
    #[schemars(with = "rfc3339::Text")]
    pub started: Wall,
    /// Our first 180 or 183 to the caller.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "rfc3339::option")]
    #[schemars(with = "Option<rfc3339::Text>")]
    pub ringing: Option<Wall>,
    /// Our 200 to the caller.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "rfc3339::option")]
    #[schemars(with = "Option<rfc3339::Text>")]
    pub answered: Option<Wall>,
    /// The call's end. Its UTC day names the file.
    #[serde(with = "rfc3339")]
    #[schemars(with = "rfc3339::Text")]
    pub ended: Wall,
    /// Milliseconds from the first ringing to the answer, or to the end without one.
    pub ring_ms: u64,
    /// Milliseconds from our 200 to the end; 0 for voicemail.
    pub talk_ms: u64,
    pub outcome: Outcome,
    /// The final status that the caller got: 200, 404, 480, 487 …
    pub sip_code: u16,
    /// The Q.850 cause that goes with it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub q850: Option<u8>,
    /// Who ended it; absent for `lost` alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended_by: Option<EndedBy>,
    /// Why, in a word or two: "ring timeout", "unknown number" …
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cause: Option<Cow<'static, str>>,
    /// The `id` of the leg that was bridged.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub winner: Option<u16>,
    /// `legs[0]` is the caller's; each gateway tried is a leg of its own.
    pub legs: Vec<CdrLeg>,
    /// The recording's id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recording: Option<Box<str>>,
    /// The voicemail's id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub voicemail: Option<Box<str>>,
    /// The visit that the call is attributed to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attribution: Option<Box<serde_json::Value>>,
    /// The result of verifying the caller's identity.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verstat: Option<Box<str>>,
}

impl Cdr {
    /// The version of the record that this code writes.
    pub const VERSION: u8 = 1;

    /// The JSON Schema of one line of `cdr/*.jsonl` (`config/schema/cdr.json`).
    pub fn json_schema() -> serde_json::Value {
        schemars::schema_for!(Cdr).to_value()
    }
}

/// One dialog, or one try at one.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct CdrLeg {
    /// Unique in its call; the caller's is 0.
    pub id: u16,
    pub role: Role,
    /// Whom it rang: an agent's name, or a number in E.164 with `+`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<Arc<str>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trunk: Option<Arc<str>>,
    /// The Call-ID of its dialog.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sip_call_id: Option<Box<str>>,
    /// The address that it spoke with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peer: Option<SocketAddr>,
    /// The number that this leg was shown as the caller's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub presented: Option<Box<str>>,
    #[serde(with = "rfc3339")]
    #[schemars(with = "rfc3339::Text")]
    pub started: Wall,
    #[serde(default, skip_serializing_if = "Option::is_none", with = "rfc3339::option")]
    #[schemars(with = "Option<rfc3339::Text>")]
    pub ringing: Option<Wall>,
    #[serde(default, skip_serializing_if = "Option::is_none", with = "rfc3339::option")]
    #[schemars(with = "Option<rfc3339::Text>")]
    pub answered: Option<Wall>,
    /// The accepted call-connect prompt (R6).
    #[serde(default, skip_serializing_if = "Option::is_none", with = "rfc3339::option")]
    #[schemars(with = "Option<rfc3339::Text>")]
    pub confirmed: Option<Wall>,
    #[serde(with = "rfc3339")]
    #[schemars(with = "rfc3339::Text")]
    pub ended: Wall,
    /// The leg's final status; absent when none came.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sip_code: Option<u16>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub q850: Option<u8>,
    pub end: LegEnd,
    /// The attestation that we signed with: A, B or C.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attest: Option<Box<str>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attest_reason: Option<Box<str>>,
    /// What it spoke: `PCMU`, `opus` … Absent, like `rtp`, when its audio did not come through us.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub codec: Option<Cow<'static, str>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rtp: Option<Box<Rtp>>,
}

impl CdrLeg {
    /// A leg of which nothing is known but this.
    pub fn new(id: u16, role: Role, started: Wall, ended: Wall, end: LegEnd) -> CdrLeg {
        CdrLeg {
            id,
            role,
            target: None,
            trunk: None,
            sip_call_id: None,
            peer: None,
            presented: None,
            started,
            ringing: None,
            answered: None,
            confirmed: None,
            ended,
            sip_code: None,
            q850: None,
            end,
            attest: None,
            attest_reason: None,
            codec: None,
            rtp: None,
        }
    }
}

/// What is known of a call from its beginning, and stands in its journal entry and its record alike.
pub struct Beginning {
    pub id: Box<str>,
    pub node: Arc<str>,
    pub generation: u64,
    pub account: Arc<str>,
    pub direction: Direction,
    pub trunk: Option<Arc<str>>,
    pub did: Option<Box<str>>,
    pub dialled: Box<str>,
    pub caller: Option<Box<str>>,
    pub withheld: bool,
    pub started: Wall,
}

impl Beginning {
    /// Its record, when it ended so. Whatever else there is to say is left out.
    pub fn ended(self, ended: Wall, outcome: Outcome, sip_code: u16) -> Cdr {
        Cdr {
            v: Cdr::VERSION,
            id: self.id,
            node: self.node,
            generation: self.generation,
            account: self.account,
            direction: self.direction,
            trunk: self.trunk,
            did: self.did,
            dialled: self.dialled,
            caller: self.caller,
            caller_name: None,
            withheld: self.withheld,
            presented: None,
            diversions: Vec::new(),
            started: self.started,
            ringing: None,
            answered: None,
            ended,
            ring_ms: 0,
            talk_ms: 0,
            outcome,
            sip_code,
            q850: None,
            ended_by: None,
            cause: None,
            winner: None,
            legs: Vec::new(),
            recording: None,
            voicemail: None,
            attribution: None,
            verstat: None,
        }
    }

    /// What the journal keeps of it once it is answered.
    pub fn answered(self, answered: Wall) -> JournalEntry {
        JournalEntry {
            id: self.id,
            node: self.node,
            generation: self.generation,
            account: self.account,
            direction: self.direction,
            trunk: self.trunk,
            did: self.did,
            dialled: self.dialled,
            caller: self.caller,
            withheld: self.withheld,
            presented: None,
            sip_call_id: None,
            peer: None,
            started: self.started,
            ringing: None,
            answered,
        }
    }
}

/// What the journal keeps of an answered call: enough to write its record should the node die (R12).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct JournalEntry {
    pub id: Box<str>,
    pub node: Arc<str>,
    pub generation: u64,
    pub account: Arc<str>,
    pub direction: Direction,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trunk: Option<Arc<str>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub did: Option<Box<str>>,
    pub dialled: Box<str>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub caller: Option<Box<str>>,
    #[serde(default)]
    pub withheld: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub presented: Option<Box<str>>,
    /// The caller's Call-ID.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sip_call_id: Option<Box<str>>,
    /// The address that the call came from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peer: Option<SocketAddr>,
    #[serde(with = "rfc3339")]
    #[schemars(with = "rfc3339::Text")]
    pub started: Wall,
    #[serde(default, skip_serializing_if = "Option::is_none", with = "rfc3339::option")]
    #[schemars(with = "Option<rfc3339::Text>")]
    pub ringing: Option<Wall>,
    #[serde(with = "rfc3339")]
    #[schemars(with = "rfc3339::Text")]
    pub answered: Wall,
}

impl JournalEntry {
    /// The record of a call whose end nobody saw. `seen`: when the node was last known to live; the call
    /// counts as ended then, and never before its answer.
    pub fn lost(self, seen: Wall) -> Cdr {
        let ended = seen.max(self.answered);
        let rang = self.ringing.map_or(0, |ringing| self.answered.0.saturating_sub(ringing.0));
        let caller = CdrLeg {
            trunk: self.trunk.clone(),
            sip_call_id: self.sip_call_id,
            peer: self.peer,
            ringing: self.ringing,
            answered: Some(self.answered),
            sip_code: Some(200),
            ..CdrLeg::new(0, Role::Caller, self.started, ended, LegEnd::Normal)
        };
        let begun = Beginning {
            id: self.id,
            node: self.node,
            generation: self.generation,
            account: self.account,
            direction: self.direction,
            trunk: self.trunk,
            did: self.did,
            dialled: self.dialled,
            caller: self.caller,
            withheld: self.withheld,
            started: self.started,
        };
        Cdr {
            presented: self.presented,
            ringing: self.ringing,
            answered: Some(self.answered),
            ring_ms: rang,
            talk_ms: ended.0.saturating_sub(self.answered.0),
            cause: Some(Cow::Borrowed("the node stopped during the call")),
            legs: vec![caller],
            ..begun.ended(ended, Outcome::Lost, 200)
        }
    }
}

/// What the media plane counted on a leg.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Rtp {
    /// Packets that we sent to it.
    pub tx: u64,
    /// Packets that came from it, those that came twice included.
    pub rx: u64,
    /// Packets of its that never came.
    pub lost: u64,
    /// Interarrival jitter (RFC 3550 §6.4.1), in milliseconds.
    pub jitter_ms: f32,
    /// Estimated mean opinion score, 1.0 to 4.5 (ITU-T G.107, simplified); absent when nothing was received.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mos: Option<f32>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    Inbound,
    Outbound,
    Internal,
}

impl Direction {
    /// As the record and the metrics' labels write it.
    pub const fn label(self) -> &'static str {
        match self {
            Direction::Inbound => "inbound",
            Direction::Outbound => "outbound",
            Direction::Internal => "internal",
        }
    }
}

/// What became of the call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Bridged.
    Answered,
    /// Voicemail took it.
    Voicemail,
    /// A leg rang and nobody answered (480).
    NoAnswer,
    /// Every target was busy (486).
    Busy,
    /// Every target declined (603).
    Declined,
    /// The caller gave up (487).
    Cancelled,
    /// No leg ever rang (480).
    Unreachable,
    /// Somebody answered and only the confirmation lapsed (480).
    NotConfirmed,
    /// A limit, `[dial]` or screening refused it.
    Blocked,
    /// Our own refusal: 404, 420, 482, 483, 488; or a fault of ours.
    Failed,
    /// Answered, and the node died before its end was known.
    Lost,
}

impl Outcome {
    /// As the record and the metrics' labels write it.
    pub const fn label(self) -> &'static str {
        match self {
            Outcome::Answered => "answered",
            Outcome::Voicemail => "voicemail",
            Outcome::NoAnswer => "no_answer",
            Outcome::Busy => "busy",
            Outcome::Declined => "declined",
            Outcome::Cancelled => "cancelled",
            Outcome::Unreachable => "unreachable",
            Outcome::NotConfirmed => "not_confirmed",
            Outcome::Blocked => "blocked",
            Outcome::Failed => "failed",
            Outcome::Lost => "lost",
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum EndedBy {
    Caller,
    Callee,
    /// A timeout, a limit, an operator, or our own refusal.
    Us,
}

impl EndedBy {
    /// As the record writes it.
    pub const fn label(self) -> &'static str {
        match self {
            EndedBy::Caller => "caller",
            EndedBy::Callee => "callee",
            EndedBy::Us => "us",
        }
    }
}

/// Why a leg exists.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    Caller,
    Agent,
    Forward,
    Transfer,
}

impl Role {
    /// As the record writes it.
    pub const fn label(self) -> &'static str {
        match self {
            Role::Caller => "caller",
            Role::Agent => "agent",
            Role::Forward => "forward",
            Role::Transfer => "transfer",
        }
    }
}

/// How a leg ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum LegEnd {
    /// It was bridged.
    Won,
    /// Another leg of this call was bridged.
    Elsewhere,
    /// It rang until the ring timeout.
    Timeout,
    Busy,
    Declined,
    NotConfirmed,
    /// It never rang: no gateway answered, or a 4xx or 5xx did.
    Unreachable,
    /// The caller gave up.
    Cancelled,
    Failed,
    /// The caller's leg of a call that was bridged or took a message.
    Normal,
}

impl LegEnd {
    /// As the record writes it.
    pub const fn label(self) -> &'static str {
        match self {
            LegEnd::Won => "won",
            LegEnd::Elsewhere => "elsewhere",
            LegEnd::Timeout => "timeout",
            LegEnd::Busy => "busy",
            LegEnd::Declined => "declined",
            LegEnd::NotConfirmed => "not_confirmed",
            LegEnd::Unreachable => "unreachable",
            LegEnd::Cancelled => "cancelled",
            LegEnd::Failed => "failed",
            LegEnd::Normal => "normal",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_is_written_as_rfc_3339_with_milliseconds_and_read_back() {
        for (ms, text) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (951_782_400_001, "2000-02-29T00:00:00.001Z"),
            (1_793_527_200_999, "2026-11-01T10:00:00.999Z"),
            (4_107_542_399_999, "2100-02-28T23:59:59.999Z"),
        ] {
            assert_eq!(rfc3339::to_string(Wall(ms)), text);
            assert_eq!(rfc3339::read(text), Some(Wall(ms)));
        }
        assert_eq!(rfc3339::to_string(Wall(u64::MAX)), "9999-12-31T23:59:59.999Z");
        assert_eq!(rfc3339::read("1969-12-31T23:59:59.999Z"), None);
    }

    #[test]
    fn every_day_of_four_centuries_is_the_calendar_s() {
        for day in 0..146_097 {
            let wall = Wall(day * 86_400_000 + 43_200_000);
            assert_eq!(rfc3339::read(&rfc3339::to_string(wall)), Some(wall));
        }
    }

    #[test]
    fn the_record_has_the_contract_s_keys_and_no_other() {
        let keys = "v, id, node, generation, account, direction, trunk, did, dialled, caller, caller_name, \
            withheld, presented, diversions, started, ringing, answered, ended, ring_ms, talk_ms, outcome, \
            sip_code, q850, ended_by, cause, winner, legs, recording, voicemail, attribution, verstat";
        let of_leg = "id, role, target, trunk, sip_call_id, peer, presented, started, ringing, answered, \
            confirmed, ended, sip_code, q850, end, attest, attest_reason, codec, rtp";
        let schema = Cdr::json_schema();
        let named = |at: &serde_json::Value| {
            let mut names: Vec<String> = at["properties"].as_object().unwrap().keys().cloned().collect();
            names.sort();
            names
        };
        let sorted = |list: &str| {
            let mut names: Vec<String> = list.split(',').map(|name| name.trim().to_owned()).collect();
            names.sort();
            names
        };
        assert_eq!(named(&schema), sorted(keys));
        assert_eq!(named(&schema["$defs"]["CdrLeg"]), sorted(of_leg));
    }
}
