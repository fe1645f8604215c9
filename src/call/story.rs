//! What an operator sees of a call: the line in the list of live calls, its story, and the ladder of its
//! messages as a picture in columns.

use std::borrow::Cow;
use std::net::SocketAddr;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::cdr::{Direction, Role, Rtp, rfc3339};
use crate::sip::shown::printable;
use crate::time::Wall;

/// One call that is in progress.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct LiveCall {
    pub id: Box<str>,
    pub direction: Direction,
    /// The state of the call, by the name of its machine: `ringing`, `bridged` …
    pub state: Cow<'static, str>,
    /// The generation of the configuration that the call was planned with.
    pub generation: u64,
    pub account: Arc<str>,
    /// The agent who made it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent: Option<Arc<str>>,
    /// The trunk that it came in on; of an agent's call, the one by which it goes out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trunk: Option<Arc<str>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub did: Option<Box<str>>,
    pub dialled: Box<str>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub caller: Option<Box<str>>,
    #[serde(with = "rfc3339")]
    #[schemars(with = "rfc3339::Text")]
    pub started: Wall,
    #[serde(default, skip_serializing_if = "Option::is_none", with = "rfc3339::option")]
    #[schemars(with = "Option<rfc3339::Text>")]
    pub answered: Option<Wall>,
}

/// A call's place in the list of those in progress: in the order in which they began, and of one moment by id.
/// It does not change while the call lives, so a page goes on behind the last call of the one before, whoever
/// came or went since.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct CallPlace {
    pub started: Wall,
    pub id: Box<str>,
}

impl LiveCall {
    pub fn place(&self) -> CallPlace {
        CallPlace { started: self.started, id: self.id.clone() }
    }
}

/// All that is known of a call in progress.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct CallStory {
    pub call: LiveCall,
    /// `legs[0]` is the caller's.
    pub legs: Vec<StoryLeg>,
    /// What can still wake it, the next first.
    pub timers: Vec<StoryTimer>,
    /// Its messages and turns, in order.
    pub ladder: Vec<LadderLine>,
    /// How many lines were left out because a call keeps a bounded ladder.
    #[serde(default)]
    pub ladder_dropped: u32,
    /// The id of its recording at `/v1/recordings`, where it is once the call has ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recording: Option<Box<str>>,
    /// The id of the message that was left, at `/v1/voicemails`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub voicemail: Option<Box<str>>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct StoryLeg {
    /// Unique in its call; the caller's is 0.
    pub id: u16,
    pub role: Role,
    /// What its column is called: `caller`, an agent's name, a number.
    pub name: Arc<str>,
    /// The state of its dialog: `calling`, `ringing`, `answered`, `ended` …
    pub state: Cow<'static, str>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peer: Option<SocketAddr>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sip_call_id: Option<Box<str>>,
    /// What its audio was, and how it went, once the call has ended: as in its record.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub codec: Option<Cow<'static, str>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rtp: Option<Box<Rtp>>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct StoryTimer {
    /// As the machine names it: `RingTimeout` …
    pub name: Cow<'static, str>,
    /// The leg that it belongs to; absent for the call's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub leg: Option<u16>,
    /// Milliseconds until it fires.
    pub due_ms: u64,
}

/// One message of a call, or one turn that it took.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LadderLine {
    /// Milliseconds since the caller's INVITE arrived.
    pub at_ms: u64,
    pub way: Way,
    /// Whose column it touches: the `id` of a leg.
    pub leg: u16,
    /// `INVITE`, `200`, or for a turn of ours its name: `RingTimeout`.
    pub what: Cow<'static, str>,
    /// What deserves saying beside it: `INVITE: crossed`, `Reason: SIP;cause=200`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<Cow<'static, str>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Way {
    /// From the leg to us.
    In,
    /// From us to the leg.
    Out,
    /// No message: a timer or a decision of ours.
    Here,
}

impl CallStory {
    /// The JSON Schema of `GET /v1/calls/{id}`.
    pub fn json_schema() -> serde_json::Value {
        schemars::schema_for!(CallStory).to_value()
    }

    /// The ladder as a picture, one column for each leg and one for us.
    pub fn picture(&self, clock: Clock) -> String {
        let names: Vec<(u16, &str)> = self.legs.iter().map(|leg| (leg.id, &*leg.name)).collect();
        picture(&names, &self.ladder, clock)
    }
}

/// Draws a whole ladder. `legs`: id and name, the caller's first; lines of a leg that is not there touch
/// our own column alone.
pub fn picture(legs: &[(u16, &str)], lines: &[LadderLine], clock: Clock) -> String {
    let widest = lines.iter().map(|line| printable(&line.what).chars().count()).max().unwrap_or(0);
    let columns = Columns::new(legs, widest, clock);
    let mut out = columns.head();
    for line in lines {
        out.push('\n');
        out.push_str(&columns.draw(line));
    }
    out
}

/// Whether each line begins with its time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Clock {
    Shown,
    Hidden,
}

/// Where the columns of a ladder stand, so that it can be printed line by line as it happens.
pub struct Columns {
    /// In the order in which they stand: the caller, us, the legs called.
    posts: Vec<Post>,
    clock: Clock,
}

struct Post {
    /// `None` is us.
    leg: Option<u16>,
    name: String,
    /// The character that its line stands at.
    at: usize,
}

impl Columns {
    /// The place of us among the posts, after the caller.
    const US: usize = 1;
    /// Room between two lines, so that an arrow with a usual label fits.
    const GAP: usize = 13;
    /// What the arrow takes beside its label: two dashes, two spaces, one dash, the head, and one dash to spare.
    const ARROW: usize = 7;
    /// How long a name in the head may be.
    const NAME: usize = 16;

    /// `widest`: the length of the longest label that will come.
    pub fn new(legs: &[(u16, &str)], widest: usize, clock: Clock) -> Columns {
        let mut names: Vec<(Option<u16>, String)> = legs
            .iter()
            .map(|(id, name)| (Some(*id), printable(name).chars().take(Self::NAME).collect()))
            .collect();
        names.insert(Self::US.min(names.len()), (None, "us".to_owned()));
        let gap = Self::GAP.max(widest + Self::ARROW);
        let mut posts: Vec<Post> = Vec::new();
        for (leg, name) in names {
            let half = name.chars().count() / 2;
            let at = match posts.last() {
                None => half,
                Some(before) => {
                    // A name takes its room to both sides of its line, and a space between two of them.
                    let free = before.at + before.name.chars().count().div_ceil(2) + 1 + half;
                    free.max(before.at + gap)
                }
            };
            posts.push(Post { leg, name, at });
        }
        Columns { posts, clock }
    }

    /// The line of names.
    pub fn head(&self) -> String {
        let mut out = String::new();
        let mut at = 0;
        for post in &self.posts {
            let from = post.at - post.name.chars().count() / 2;
            out.extend(std::iter::repeat_n(' ', from - at));
            out.push_str(&post.name);
            at = from + post.name.chars().count();
        }
        self.timed(None, &out)
    }

    /// One line of the ladder.
    pub fn draw(&self, line: &LadderLine) -> String {
        let width = self.posts.last().map_or(0, |post| post.at + 1);
        let mut row = vec![' '; width];
        for post in &self.posts {
            row[post.at] = '│';
        }
        let us = self.posts.iter().position(|post| post.leg.is_none());
        let far = self.posts.iter().position(|post| post.leg == Some(line.leg));
        let mut aside = String::new();
        match (line.way, us, far) {
            (Way::In | Way::Out, Some(us), Some(far)) => self.arrow(&mut row, line, us, far),
            (Way::Here, Some(us), _) => {
                row[self.posts[us].at] = '●';
                aside.push_str(&printable(&line.what));
            }
            (Way::In | Way::Out, _, _) | (Way::Here, None, _) => aside.push_str(&printable(&line.what)),
        }
        if let Some(note) = &line.note {
            if !aside.is_empty() {
                aside.push_str(": ");
            }
            aside.push_str(&printable(note));
        }
        let mut text: String = row.into_iter().collect();
        if !aside.is_empty() {
            text.push_str("  ");
            text.push_str(&aside);
        }
        self.timed(Some(line.at_ms), &text)
    }

    /// Draws a message between two columns, over the columns that it passes.
    fn arrow(&self, row: &mut [char], line: &LadderLine, us: usize, far: usize) {
        let (from, to) = match line.way {
            Way::Out | Way::Here => (self.posts[us].at, self.posts[far].at),
            Way::In => (self.posts[far].at, self.posts[us].at),
        };
        let (left, right) = (from.min(to), from.max(to));
        row[left + 1..right].fill('─');
        if from < to {
            row[from] = '├';
            row[to - 1] = '▶';
        } else {
            row[from] = '┤';
            row[to + 1] = '◀';
        }
        let label: Vec<char> = format!(" {} ", printable(&line.what)).chars().collect();
        let room = (right - left).saturating_sub(2 + label.len());
        // A message out begins where it is sent; one that comes in from afar is read in its middle.
        let dashes = match line.way {
            Way::Out | Way::Here => room.min(2),
            Way::In => room.div_ceil(2),
        };
        let head = usize::from(from > to);
        for (place, letter) in row[left + 1 + head + dashes..right].iter_mut().zip(label) {
            *place = letter;
        }
    }

    fn timed(&self, at_ms: Option<u64>, text: &str) -> String {
        match (self.clock, at_ms) {
            (Clock::Hidden, _) => text.to_owned(),
            (Clock::Shown, None) => format!("{:>10}  {text}", ""),
            (Clock::Shown, Some(at)) => format!("{:>6}.{:03}  {text}", at / 1000, at % 1000),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(at_ms: u64, way: Way, leg: u16, what: &'static str, note: Option<&'static str>) -> LadderLine {
        LadderLine { at_ms, way, leg, what: what.into(), note: note.map(Cow::Borrowed) }
    }

    fn crossing() -> Vec<LadderLine> {
        vec![
            line(0, Way::In, 0, "INVITE", None),
            line(1, Way::Out, 1, "INVITE", None),
            line(1, Way::Out, 2, "INVITE", None),
            line(2_100, Way::In, 1, "200", None),
            line(2_100, Way::Out, 1, "ACK", None),
            line(2_101, Way::Out, 2, "CANCEL", None),
            line(2_101, Way::Out, 0, "200", None),
            line(2_103, Way::In, 2, "200", Some("INVITE: crossed")),
            line(2_103, Way::Out, 2, "ACK", None),
            line(2_104, Way::Out, 2, "BYE", Some("Reason: SIP;cause=200")),
            line(2_105, Way::Here, 0, "Bridged", Some("alice")),
        ]
    }

    #[test]
    fn a_ladder_is_a_picture_in_columns() {
        let drawn = picture(&[(0, "caller"), (1, "alice"), (2, "bob")], &crossing(), Clock::Hidden);
        insta::assert_snapshot!(drawn, @"
        caller          us           alice          bob
           ├── INVITE ──▶│             │             │
           │             ├── INVITE ──▶│             │
           │             ├── INVITE ────────────────▶│
           │             │◀──── 200 ───┤             │
           │             ├── ACK ─────▶│             │
           │             ├── CANCEL ────────────────▶│
           │◀── 200 ─────┤             │             │
           │             │◀─────────── 200 ──────────┤  INVITE: crossed
           │             ├── ACK ───────────────────▶│
           │             ├── BYE ───────────────────▶│  Reason: SIP;cause=200
           │             ●             │             │  Bridged: alice
        ");
    }

    #[test]
    fn what_is_from_outside_moves_no_cursor() {
        let lines = [line(0, Way::Here, 0, "Turned\u{9b}2J", Some("by \u{1b}]0;me\u{7}\u{202e}"))];
        let drawn = picture(&[(0, "a\u{1b}[2J"), (1, "b\n")], &lines, Clock::Shown);
        assert_eq!(drawn.lines().count(), 2, "{drawn:?}");
        assert!(
            !drawn.chars().any(|letter| letter != '\n' && crate::sip::shown::is_obeyed(letter)),
            "{drawn:?}"
        );
        assert!(drawn.ends_with("Turned\\u{9b}2J: by \\u{1b}]0;me\\u{7}\\u{202e}"), "{drawn}");
    }

    #[test]
    fn a_long_label_or_name_widens_the_columns_and_breaks_none() {
        let lines = [
            line(61_005, Way::In, 3, "SUBSCRIBE-LIKE-METHOD", None),
            line(61_005, Way::Out, 9, "200", Some("no such leg")),
        ];
        let drawn = picture(&[(0, "caller"), (3, "+12015550199 and more letters")], &lines, Clock::Shown);
        let rows: Vec<&str> = drawn.lines().collect();
        assert_eq!(
            rows[0],
            "            caller                        us                   +12015550199 and"
        );
        assert_eq!(rows[1], "    61.005     │                           │◀── SUBSCRIBE-LIKE-METHOD ─┤");
        assert_eq!(
            rows[2],
            "    61.005     │                           │                           │  200: no such leg"
        );
    }
}
