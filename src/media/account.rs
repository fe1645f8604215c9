//! What is left of a side when it is closed.

use std::borrow::Cow;
use std::time::Duration;

/// What did not go on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Refused {
    /// It is no RTP.
    pub garbage: u64,
    /// From somebody else.
    pub strangers: u64,
    /// In no format that was agreed on.
    pub formats: u64,
}

/// How a side was heard, and what was sent to it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Quality {
    /// What it spoke last, or would have spoken: `PCMU`, `opus`. None: nothing was agreed on.
    pub codec: Option<Cow<'static, str>>,
    pub received: u64,
    /// Packets that never came.
    pub lost: u64,
    pub jitter: Duration,
    /// 1.0 to 4.5. None: nothing came.
    pub mos: Option<f64>,
    pub sent: u64,
    pub refused: Refused,
}
