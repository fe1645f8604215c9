//! Sending again what UDP may have lost (RFC 3261 §17.1.1.2, §17.1.2.2, §13.3.1.4).

use std::time::{Duration, Instant};

use rsip::SipMessage;

use crate::sip::peer::Transport;

/// Timer T1.
const T1: Duration = Duration::from_millis(500);
/// Timer T2.
const T2: Duration = Duration::from_secs(4);
/// How long an end waits for what must answer it. On loopback nothing takes as long as 64·T1.
pub(super) const PATIENCE: Duration = Duration::from_secs(5);

/// A message that was sent and wants an answer.
#[derive(Clone, Debug)]
pub(super) struct Repeat {
    pub message: SipMessage,
    /// When it is sent again; never over TCP.
    at: Option<Instant>,
    interval: Duration,
    /// When nobody waits for the answer any more.
    until: Instant,
}

/// What a moment brings.
pub(super) enum Due {
    Nothing,
    /// The message is to be sent again.
    Again,
    Expired,
}

impl Repeat {
    pub fn sent(now: Instant, message: SipMessage, transport: Transport) -> Repeat {
        let at = (!transport.is_reliable()).then(|| now + T1);
        Repeat { message, at, interval: T1, until: now + PATIENCE }
    }

    pub fn deadline(&self) -> Instant {
        self.at.map_or(self.until, |at| at.min(self.until))
    }

    pub fn due(&mut self, now: Instant) -> Due {
        if now >= self.until {
            return Due::Expired;
        }
        match self.at {
            Some(at) if now >= at => {
                self.interval = (self.interval * 2).min(T2);
                self.at = Some(now + self.interval);
                Due::Again
            }
            Some(_) | None => Due::Nothing,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_sent_again_at_doubling_intervals_over_udp_alone() {
        let began = Instant::now();
        let message = SipMessage::Response(rsip::Response::default());
        let mut repeat = Repeat::sent(began, message.clone(), Transport::Udp);
        let mut times = Vec::new();
        let end = loop {
            let at = repeat.deadline();
            match repeat.due(at) {
                Due::Again => times.push((at - began).as_millis()),
                Due::Expired => break (at - began).as_millis(),
                Due::Nothing => unreachable!("it was due"),
            }
        };
        assert_eq!((times, end), (vec![500, 1_500, 3_500], 5_000));
        assert_eq!(Repeat::sent(began, message, Transport::Tcp).deadline(), began + PATIENCE);
    }
}
