//! What is said when the call is over.

use std::path::PathBuf;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::carrier::Ending;
use super::ladder::CALLER;
use super::left::Hearing;
use super::play::Played;
use super::scene::Scene;
use crate::call::cdr::{Cdr, Outcome};
use crate::call::story::LadderLine;
use crate::sip::build::phrase;

/// The story of a call that was tried.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Told {
    /// The number that was called.
    pub did: String,
    /// The caller's number.
    pub from: String,
    pub node: Whose,
    /// The carrier's Call-ID.
    pub call_id: String,
    /// Whether somebody answered the caller; a message is taken by nobody.
    pub bridged: bool,
    /// By whom: an agent's name or a number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub with: Option<String>,
    /// Milliseconds from the INVITE to the answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answer_ms: Option<u64>,
    /// The caller ID that was shown to whoever answered, or else to the first phone that rang.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shown: Option<String>,
    /// The final response that the caller got.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sip_code: Option<u16>,
    /// The columns of the ladder.
    pub legs: Vec<Column>,
    /// What passed between us and the node; `in` is what the node received.
    pub ladder: Vec<LadderLine>,
    /// What the caller and whoever answered have heard.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub heard: Vec<Hearing>,
    /// The file that the node wrote down of the call: its recording, or the message.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub written_down: Option<PathBuf>,
    /// The node's own record, where it could be read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cdr: Option<Box<Cdr>>,
    /// All of it in a sentence.
    pub summary: String,
}

/// What is left of the call on the disk.
pub(super) struct Left {
    pub heard: Vec<Hearing>,
    pub written_down: Option<PathBuf>,
}

/// Which node took the call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Whose {
    /// One that ran.
    Running,
    /// One that was started for the call.
    Own,
}

/// A column of the ladder.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Column {
    pub id: u16,
    pub name: String,
}

impl Told {
    pub(super) fn of(
        scene: &Scene,
        from: &str,
        node: Whose,
        played: Played,
        cdr: Option<Cdr>,
        left: Left,
    ) -> Told {
        let columns = scene.columns();
        let caller = Column { id: CALLER, name: "caller".to_owned() };
        let legs: Vec<Column> = std::iter::once(caller)
            .chain(columns.iter().map(|(id, name)| Column { id: *id, name: name.to_string() }))
            .collect();
        let is_message = cdr.as_ref().is_some_and(|cdr| cdr.outcome == Outcome::Voicemail);
        let bridged = played.ending == Ending::Talked && !is_message;
        let seen = played.bridged.as_ref().map(|(column, _)| *column);
        let seen = legs.iter().find(|leg| Some(leg.id) == seen).map(|leg| leg.name.clone());
        let mut told = Told {
            did: scene.did.to_string(),
            from: from.to_owned(),
            node,
            call_id: played.call_id,
            bridged,
            with: if bridged { winner(cdr.as_ref()).or(seen) } else { None },
            answer_ms: played.waited.map(|waited| u64::try_from(waited.as_millis()).unwrap_or(u64::MAX)),
            shown: played.bridged.map(|(_, shown)| shown).or(played.shown),
            sip_code: match played.ending {
                Ending::Talked => Some(200),
                Ending::Refused(code) => Some(code),
                Ending::Silence | Ending::Endless | Ending::BrokenOff => None,
            },
            legs,
            ladder: played.ladder.into_lines(),
            heard: left.heard,
            written_down: left.written_down,
            cdr: cdr.map(Box::new),
            summary: String::new(),
        };
        told.summary = told.sentence(&played.ending, played.waited);
        told
    }

    /// The sentence, and what is left of the call.
    pub fn text(&self) -> String {
        let mut text = format!("{}\n", self.summary);
        for Hearing { by, file, duration_ms } in &self.heard {
            let seconds = Duration::from_millis(*duration_ms).as_secs_f64();
            text.push_str(&format!("heard by {by}: {} ({seconds:.1} s)\n", file.display()));
        }
        text
    }

    fn sentence(&self, ending: &Ending, waited: Option<Duration>) -> String {
        let waited_for = || waited.unwrap_or_default().as_secs_f64();
        let began = match ending {
            Ending::Talked if !self.bridged => format!("not bridged: voicemail after {:.3} s", waited_for()),
            Ending::Talked => {
                let with = self.with.as_deref().unwrap_or("somebody else's phone");
                let waited = waited_for();
                let shown = match &self.shown {
                    Some(shown) => format!(", who was shown {shown}"),
                    None => String::new(),
                };
                format!("bridged with {with} after {waited:.3} s{shown}")
            }
            Ending::Refused(code) => format!("not bridged: {code} {}", phrase(*code)),
            Ending::Silence => "not bridged: the node said nothing".to_owned(),
            Ending::Endless => {
                "not bridged: it rang for longer than the number's timeouts and the node did not end it"
                    .to_owned()
            }
            Ending::BrokenOff => "not bridged: the trial was broken off".to_owned(),
        };
        match &self.cdr {
            Some(cdr) => {
                let cause = cdr.cause.as_deref().map(|cause| format!(" ({cause})")).unwrap_or_default();
                let talk = Duration::from_millis(cdr.talk_ms).as_secs_f64();
                let talk = if self.bridged { format!(", {talk:.3} s of talk") } else { String::new() };
                format!("{began}; the call record says {}{cause}{talk}", cdr.outcome.label())
            }
            None => began,
        }
    }
}

/// Whom the node itself says that it bridged.
fn winner(cdr: Option<&Cdr>) -> Option<String> {
    let cdr = cdr?;
    let leg = cdr.legs.iter().find(|leg| Some(leg.id) == cdr.winner)?;
    leg.target.as_deref().map(str::to_owned)
}
