//! Session timers (RFC 4028): who refreshes a dialog, and how often.

use std::time::Duration;

use super::build::Writer;
use super::header::Name;
use super::wire::Message;

/// The interval that we ask for, in seconds (RFC 4028 §4 recommends 30 minutes).
pub const SESSION_EXPIRES: u32 = 1800;
/// The smallest interval that we accept, in seconds (RFC 4028 §5: at least 90).
pub const MIN_SE: u32 = 90;
/// The largest interval that we keep: a day.
const MAX_SE: u32 = 86_400;

/// A session timer of one dialog.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Session {
    /// In seconds.
    interval: u32,
    /// The least that the far side takes in a refresh, in seconds; 0: nothing was said of it.
    least: u32,
    who: Refresher,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refresher {
    We,
    They,
}

/// The request's interval is below [`MIN_SE`]: 422.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IntervalTooSmall;

impl Session {
    /// What we answer to a request that came (RFC 4028 §9): `None` when its sender knows no session timers.
    ///
    /// # Errors
    /// When it asks for an interval below [`MIN_SE`].
    pub fn of_request(request: &Message<'_>) -> Result<Option<Session>, IntervalTooSmall> {
        let supported =
            request.has_token(Name::Supported, "timer") || request.has_token(Name::Require, "timer");
        match request.get(Name::SessionExpires).and_then(parse) {
            Some((interval, _)) if interval < MIN_SE => Err(IntervalTooSmall),
            // A proxy may have asked for it on behalf of a phone that cannot refresh.
            Some((interval, who)) => {
                let theirs = supported && who.is_some_and(|who| who.eq_ignore_ascii_case(b"uac"));
                let who = if theirs { Refresher::They } else { Refresher::We };
                Ok(Some(Session { interval, least: 0, who }))
            }
            None if supported => {
                let wanted = request.get(Name::MinSe).and_then(parse).map_or(0, |(least, _)| least);
                let interval = SESSION_EXPIRES.max(wanted);
                Ok(Some(Session { interval, least: 0, who: Refresher::We }))
            }
            None => Ok(None),
        }
    }

    /// What a 2xx to our own request settled (RFC 4028 §7.2): `None` when the far side knows no session timers.
    pub fn of_response(response: &Message<'_>) -> Option<Session> {
        let (interval, who) = response.get(Name::SessionExpires).and_then(parse)?;
        let theirs = who.is_some_and(|who| who.eq_ignore_ascii_case(b"uas"));
        let who = if theirs { Refresher::They } else { Refresher::We };
        Some(Session { interval: interval.max(MIN_SE), least: 0, who })
    }

    /// The interval that a 422 asks for (RFC 4028 §7.4).
    pub fn wanted(response: &Message<'_>) -> Option<u32> {
        response.get(Name::MinSe).and_then(parse).map(|(least, _)| least)
    }

    /// The same, whose next refresh asks for a longer interval, where the far side wants one (RFC 4028 §7.4). Until
    /// that is answered it ends when it would have ended.
    pub fn at_least(self, seconds: u32) -> Session {
        Session { least: seconds.min(MAX_SE), ..self }
    }

    pub fn we_refresh(self) -> bool {
        self.who == Refresher::We
    }

    /// How long after the last 2xx something is due: our refresh at half the interval, or else the end.
    pub fn due(self) -> Duration {
        match self.who {
            Refresher::We => Duration::from_secs(u64::from(self.interval / 2)),
            Refresher::They => self.lasts(),
        }
    }

    /// How long after the last 2xx we end it: when it expires, or where they refresh it, 32 s or a third of the
    /// interval before (RFC 4028 §10).
    pub fn lasts(self) -> Duration {
        let seconds = match self.who {
            Refresher::We => self.interval,
            Refresher::They => self.interval - (self.interval / 3).min(32),
        };
        Duration::from_secs(u64::from(seconds))
    }

    /// Into the 2xx to a request that came; `refresher` is named from the sender's view.
    pub fn write_answer(self, w: &mut Writer<'_>) {
        let mut digits = [0u8; 10];
        let interval = decimal(self.interval, &mut digits);
        match self.who {
            Refresher::They => {
                w.header(Name::Require, b"timer");
                w.header_parts(Name::SessionExpires, &[interval, b";refresher=uac"]);
            }
            Refresher::We => {
                w.header_parts(Name::SessionExpires, &[interval, b";refresher=uas"]);
            }
        }
    }

    /// Into a refresh of ours within the dialog: the roles stay as they are.
    pub fn write_refresh(self, w: &mut Writer<'_>) {
        let mut digits = [0u8; 10];
        let interval = decimal(self.interval.max(self.least), &mut digits);
        let who: &[u8] = match self.who {
            Refresher::We => b";refresher=uac",
            Refresher::They => b";refresher=uas",
        };
        w.header_parts(Name::SessionExpires, &[interval, who]);
    }
}

fn parse(value: &[u8]) -> Option<(u32, Option<&[u8]>)> {
    let end = value.iter().position(|byte| !byte.is_ascii_digit()).unwrap_or(value.len());
    let seconds = std::str::from_utf8(&value[..end]).ok()?.parse::<u32>().ok()?;
    let refresher = value[end..].split(|byte| *byte == b';').find_map(|param| {
        let param = param.trim_ascii();
        let at = param.iter().position(|byte| *byte == b'=')?;
        param[..at].trim_ascii().eq_ignore_ascii_case(b"refresher").then(|| param[at + 1..].trim_ascii())
    });
    Some((seconds.min(MAX_SE), refresher))
}

fn decimal(number: u32, into: &mut [u8; 10]) -> &[u8] {
    let mut rest = number;
    let mut at = into.len();
    loop {
        at -= 1;
        into[at] = b'0' + (rest % 10) as u8;
        rest /= 10;
        if rest == 0 {
            return &into[at..];
        }
    }
}
