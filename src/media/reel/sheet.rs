//! What stands beside a recording: `<call id>.json`.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::wav::Format;
use crate::time::{Wall, rfc3339};

/// So many gaps are told one by one; those behind them count as one that lasts to the end of the last.
pub const GAPS: usize = 256;

/// What a recording holds. It is written when the recording begins and again, whole, when it has ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Sheet {
    /// Version of this text: 1.
    pub v: u8,
    /// The call's id.
    pub call: Box<str>,
    /// The label of the number, or else of the agent; empty when it has none.
    #[serde(default)]
    pub account: Box<str>,
    /// The number that was dialled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub did: Option<Box<str>>,
    /// Who is on the left: a number, or as it was received. Absent where it was withheld.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub caller: Option<Box<str>>,
    /// Who is on the right: a number or an agent's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answered_by: Option<Box<str>>,
    /// When the first sample was heard.
    #[serde(with = "rfc3339")]
    #[schemars(with = "rfc3339::Text")]
    pub started: Wall,
    pub duration_ms: u64,
    /// When the notice that the call is recorded began to be said.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "rfc3339::option")]
    #[schemars(with = "Option<rfc3339::Text>")]
    pub notice_said: Option<Wall>,
    /// In Hz.
    pub sample_rate: u32,
    pub channels: u16,
    /// What the disk was too slow for: silence in its place.
    #[serde(default)]
    pub gaps: Vec<Gap>,
    pub end: Ending,
}

/// A stretch that was not written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Gap {
    /// Since the first sample.
    pub at_ms: u64,
    pub duration_ms: u64,
}

/// How a recording ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Ending {
    /// It has not.
    Running,
    /// With what was to be recorded.
    Whole,
    /// The node stopped in its midst.
    CutOff,
    /// The disk was full, or failed.
    Disk,
}

impl Sheet {
    /// Of a call that is recorded from that moment on.
    pub fn new(call: &str, format: Format, started: Wall) -> Sheet {
        Sheet {
            v: 1,
            call: call.into(),
            account: Box::default(),
            did: None,
            caller: None,
            answered_by: None,
            started,
            duration_ms: 0,
            notice_said: None,
            sample_rate: format.rate.hz(),
            channels: format.channels,
            gaps: Vec::new(),
            end: Ending::Running,
        }
    }

    /// It ended so, with so many frames.
    pub(super) fn cut(&mut self, format: Format, frames: u64, end: Ending) {
        (self.duration_ms, self.end) = (ms(format.lasts(frames)), end);
    }

    /// The frames of that range are not on disk.
    pub(super) fn misses(&mut self, format: Format, (from, until): (u64, u64)) {
        let [from, until] = [from, until].map(|frames| ms(format.lasts(frames)));
        let is_full = self.gaps.len() == GAPS;
        match self.gaps.last_mut() {
            Some(last) if is_full => last.duration_ms = until.saturating_sub(last.at_ms),
            Some(_) | None => self.gaps.push(Gap { at_ms: from, duration_ms: until - from }),
        }
    }

    pub(super) fn text(&self) -> Vec<u8> {
        let mut text = serde_json::to_vec_pretty(self).unwrap_or_default();
        text.push(b'\n');
        text
    }
}

fn ms(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
