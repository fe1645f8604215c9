//! The carrier's side of the call: it calls, holds the line a while, and hangs up.

use std::time::{Duration, Instant};

use rsip::headers::{self, Header, UntypedHeader};
use rsip::message::HeadersExt;
use rsip::{Method, Request, Response, SipMessage, Uri};

use super::message::{self, Answer, End, Fields, Opening, tag_of, uri_within};
use super::repeat::{Due, PATIENCE, Repeat};

/// Who is called, as whom, and for how long.
pub(super) struct Wanted {
    pub uri: Uri,
    /// The value of To, without a tag.
    pub to: String,
    /// The value of From, without a tag.
    pub from: String,
    /// Our user part in Contact.
    pub user: String,
    /// Fields beyond those that every INVITE has.
    pub more: Vec<Header>,
    pub hold: Duration,
    /// How long it may ring.
    pub patience: Duration,
    /// Unguessable, and unique to this call.
    pub token: String,
}

impl Wanted {
    pub fn call_id(&self, end: &End) -> String {
        format!("{}@{}", self.token, end.sent_by.ip())
    }
}

/// How the call ended for the carrier.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Ending {
    /// It was answered.
    Talked,
    /// A final response other than 2xx.
    Refused(u16),
    /// Not one response came to the INVITE.
    Silence,
    /// It rang for longer than it may, and even CANCEL did not end it.
    Endless,
    /// Whoever watched broke it off before an answer.
    BrokenOff,
}

enum State {
    /// The INVITE is sent, nothing is heard.
    Calling(Box<Repeat>),
    /// A provisional response came; a final one is waited for.
    Ringing {
        until: Instant,
    },
    /// CANCEL is sent; the final response is waited for.
    Cancelling {
        why: Ending,
        cancel: Box<Repeat>,
    },
    Talking {
        remote: Remote,
        until: Instant,
    },
    /// BYE is sent.
    Leaving {
        bye: Box<Repeat>,
    },
    Over(Ending),
}

/// The other side of the dialog.
#[derive(Clone)]
struct Remote {
    target: Uri,
    /// The value of To, its tag included.
    to: String,
}

pub(super) struct Carrier {
    end: End,
    wanted: Wanted,
    call_id: String,
    from: String,
    cseq: u32,
    state: State,
    began: Instant,
    answered: Option<Instant>,
}

impl Carrier {
    /// The carrier, and the INVITE that it begins with.
    pub fn call(now: Instant, end: End, wanted: Wanted) -> (Carrier, SipMessage) {
        let call_id = wanted.call_id(&end);
        let from = format!("{};tag={}", wanted.from, tag(&wanted.token));
        let opening = Opening {
            via: end.via(&format!("{}i", wanted.token)),
            from: &from,
            to: &wanted.to,
            call_id: &call_id,
            cseq: 1,
        };
        let mut more = wanted.more.clone();
        more.push(headers::Contact::new(end.contact_of(&wanted.user)).into());
        more.push(headers::Allow::new(message::ALLOW).into());
        let sdp = message::sdp(&end, 1);
        let invite = message::request(Method::Invite, wanted.uri.clone(), opening, more, Some(&sdp));
        let invite = SipMessage::Request(invite);
        let state = State::Calling(Box::new(Repeat::sent(now, invite.clone(), end.transport)));
        let carrier = Carrier { end, wanted, call_id, from, cseq: 1, state, began: now, answered: None };
        (carrier, invite)
    }

    pub fn call_id(&self) -> &str {
        &self.call_id
    }

    pub fn ending(&self) -> Option<&Ending> {
        match &self.state {
            State::Over(ending) => Some(ending),
            State::Calling(_)
            | State::Ringing { .. }
            | State::Cancelling { .. }
            | State::Talking { .. }
            | State::Leaving { .. } => None,
        }
    }

    /// Whether the call is answered and nobody has hung up.
    pub fn talks(&self) -> bool {
        matches!(self.state, State::Talking { .. })
    }

    /// How long it took until the answer.
    pub fn waited(&self) -> Option<Duration> {
        self.answered.map(|answered| answered - self.began)
    }

    pub fn deadline(&self) -> Option<Instant> {
        match &self.state {
            State::Calling(invite) => Some(invite.deadline()),
            State::Ringing { until } | State::Talking { until, .. } => Some(*until),
            State::Cancelling { cancel, .. } => Some(cancel.deadline()),
            State::Leaving { bye } => Some(bye.deadline()),
            State::Over(_) => None,
        }
    }

    /// Time has come. What it sends.
    pub fn due(&mut self, now: Instant) -> Vec<SipMessage> {
        match &mut self.state {
            State::Calling(invite) => match invite.due(now) {
                Due::Nothing => Vec::new(),
                Due::Again => vec![invite.message.clone()],
                Due::Expired => self.over(Ending::Silence),
            },
            State::Ringing { until } if now >= *until => self.cancel(now, Ending::Endless),
            State::Cancelling { why, cancel } => match cancel.due(now) {
                Due::Nothing => Vec::new(),
                Due::Again => vec![cancel.message.clone()],
                Due::Expired => {
                    let why = why.clone();
                    self.over(why)
                }
            },
            State::Talking { remote, until } if now >= *until => {
                let remote = remote.clone();
                self.leave(now, &remote)
            }
            State::Leaving { bye } => match bye.due(now) {
                Due::Nothing => Vec::new(),
                Due::Again => vec![bye.message.clone()],
                Due::Expired => self.over(Ending::Talked),
            },
            State::Ringing { .. } | State::Talking { .. } | State::Over(_) => Vec::new(),
        }
    }

    /// Whoever watches has seen enough.
    pub fn break_off(&mut self, now: Instant) -> Vec<SipMessage> {
        match &self.state {
            // Without a provisional response there is nothing to cancel (RFC 3261 §9.1).
            State::Calling(_) => self.over(Ending::BrokenOff),
            State::Ringing { .. } => self.cancel(now, Ending::BrokenOff),
            State::Talking { remote, .. } => {
                let remote = remote.clone();
                self.leave(now, &remote)
            }
            State::Cancelling { why, .. } => {
                let why = why.clone();
                self.over(why)
            }
            State::Leaving { .. } => self.over(Ending::Talked),
            State::Over(_) => Vec::new(),
        }
    }

    /// A response of the node's. What it sends.
    pub fn response(&mut self, now: Instant, response: &Response) -> Vec<SipMessage> {
        let code = response.status_code.code();
        match response.cseq() {
            Some((1, Method::Invite)) => match code {
                100..200 => self.provisional(now),
                200..300 => self.answer(now, response),
                _ => self.refused(code, response),
            },
            Some((_, Method::Bye)) if code >= 200 => match self.state {
                State::Leaving { .. } => self.over(Ending::Talked),
                State::Calling(_)
                | State::Ringing { .. }
                | State::Cancelling { .. }
                | State::Talking { .. }
                | State::Over(_) => Vec::new(),
            },
            Some(_) | None => Vec::new(),
        }
    }

    fn provisional(&mut self, now: Instant) -> Vec<SipMessage> {
        if let State::Calling(_) = self.state {
            self.state = State::Ringing { until: now + self.wanted.patience };
        }
        Vec::new()
    }

    fn answer(&mut self, now: Instant, response: &Response) -> Vec<SipMessage> {
        let contact = response.contact_header().map(UntypedHeader::value).unwrap_or_default();
        let target = message::uri(uri_within(contact)).unwrap_or_else(|_| self.wanted.uri.clone());
        let remote = Remote { target, to: response.called_value().to_owned() };
        let ack = self.within(Method::Ack, 1, "a", &remote);
        let mut says = vec![ack];
        match self.state {
            State::Calling(_) | State::Ringing { .. } => {
                self.answered = Some(now);
                self.state = State::Talking { remote, until: now + self.wanted.hold };
            }
            // The answer crossed CANCEL.
            State::Cancelling { .. } => {
                self.answered = Some(now);
                says.extend(self.leave(now, &remote));
            }
            // The 200 came again: the ACK was lost.
            State::Talking { .. } | State::Leaving { .. } | State::Over(_) => {}
        }
        says
    }

    fn refused(&mut self, code: u16, response: &Response) -> Vec<SipMessage> {
        let opening = Opening {
            via: self.end.via(&format!("{}i", self.wanted.token)),
            from: &self.from,
            to: response.called_value(),
            call_id: &self.call_id,
            cseq: 1,
        };
        let ack = message::request(Method::Ack, self.wanted.uri.clone(), opening, Vec::new(), None);
        match &self.state {
            State::Calling(_) | State::Ringing { .. } => self.state = State::Over(Ending::Refused(code)),
            State::Cancelling { why, .. } if code == 487 => self.state = State::Over(why.clone()),
            // The node's own end of the call crossed CANCEL.
            State::Cancelling { .. } => self.state = State::Over(Ending::Refused(code)),
            State::Talking { .. } | State::Leaving { .. } | State::Over(_) => {}
        }
        vec![SipMessage::Request(ack)]
    }

    /// A request of the node's in our dialog. What it answers.
    pub fn request(&mut self, request: &Request) -> Vec<SipMessage> {
        let talks = matches!(self.state, State::Talking { .. } | State::Leaving { .. });
        let ours = tag_of(request.called_value()) == Some(tag(&self.wanted.token));
        let sdp = message::sdp(&self.end, 1);
        let plain = Answer { contact: Some(self.end.contact_of(&self.wanted.user)), ..Answer::default() };
        let (code, answer) = match request.method {
            Method::Ack => return Vec::new(),
            Method::Bye if talks && ours => {
                self.state = State::Over(Ending::Talked);
                (200, Answer::default())
            }
            Method::Invite | Method::Update if talks && ours => {
                let sdp = (request.method == Method::Invite || !request.body.is_empty()).then_some(&*sdp);
                (200, Answer { sdp, ..plain })
            }
            Method::Options | Method::Info if talks && ours => (200, plain),
            Method::Bye | Method::Invite | Method::Update | Method::Options | Method::Info => {
                (481, Answer::default())
            }
            Method::Cancel => (481, Answer::default()),
            Method::Message
            | Method::Notify
            | Method::PRack
            | Method::Publish
            | Method::Refer
            | Method::Register
            | Method::Subscribe => (405, Answer::default()),
        };
        vec![SipMessage::Response(message::response(request, code, answer))]
    }

    fn cancel(&mut self, now: Instant, why: Ending) -> Vec<SipMessage> {
        let opening = Opening {
            via: self.end.via(&format!("{}i", self.wanted.token)),
            from: &self.from,
            to: &self.wanted.to,
            call_id: &self.call_id,
            cseq: 1,
        };
        let cancel = message::request(Method::Cancel, self.wanted.uri.clone(), opening, Vec::new(), None);
        let cancel = SipMessage::Request(cancel);
        let repeat = Repeat::sent(now, cancel.clone(), self.end.transport);
        self.state = State::Cancelling { why, cancel: Box::new(repeat) };
        vec![cancel]
    }

    fn leave(&mut self, now: Instant, remote: &Remote) -> Vec<SipMessage> {
        self.cseq += 1;
        let bye = self.within(Method::Bye, self.cseq, "b", remote);
        let repeat = Repeat::sent(now, bye.clone(), self.end.transport);
        self.state = State::Leaving { bye: Box::new(repeat) };
        vec![bye]
    }

    /// A request in our dialog. `branch` sets its transaction apart.
    fn within(&self, method: Method, cseq: u32, branch: &str, remote: &Remote) -> SipMessage {
        let opening = Opening {
            via: self.end.via(&format!("{}{branch}", self.wanted.token)),
            from: &self.from,
            to: &remote.to,
            call_id: &self.call_id,
            cseq,
        };
        SipMessage::Request(message::request(method, remote.target.clone(), opening, Vec::new(), None))
    }

    fn over(&mut self, ending: Ending) -> Vec<SipMessage> {
        self.state = State::Over(ending);
        Vec::new()
    }
}

/// Our From tag.
fn tag(token: &str) -> &str {
    &token[..token.len().min(8)]
}

/// How long a carrier waits beyond what the phones may ring: for CANCELs and 487s on the far side.
pub(super) const MARGIN: Duration = PATIENCE;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sip::peer::Transport;

    const OK: Answer<'_> = Answer { source: None, tag: Some("node"), contact: None, sdp: None };

    fn called() -> (Carrier, Request, Instant) {
        let place = std::net::SocketAddr::from(([127, 0, 0, 1], 5070));
        let end =
            End { transport: Transport::Udp, contact: place, sent_by: place, audio: End::silent(place) };
        let wanted = Wanted {
            uri: message::uri("sip:+12015550101@127.0.0.1:5060").unwrap(),
            to: "<sip:+12015550101@127.0.0.1:5060>".to_owned(),
            from: "<sip:+12025550123@127.0.0.1:5070>".to_owned(),
            user: "+12025550123".to_owned(),
            more: Vec::new(),
            hold: Duration::from_secs(1),
            patience: Duration::from_secs(20),
            token: "0123456789abcdef".to_owned(),
        };
        let now = Instant::now();
        let (carrier, invite) = Carrier::call(now, end, wanted);
        (carrier, Request::try_from(invite).unwrap(), now)
    }

    fn methods(says: &[SipMessage]) -> Vec<String> {
        let word = |message: &SipMessage| match message {
            SipMessage::Request(request) => request.method.to_string(),
            SipMessage::Response(response) => response.status_code.code().to_string(),
        };
        says.iter().map(word).collect()
    }

    #[test]
    fn an_answered_call_is_held_and_hung_up_and_a_repeated_200_acknowledged_again() {
        let (mut carrier, invite, now) = called();
        let ok = message::response(&invite, 200, OK);
        assert_eq!(methods(&carrier.response(now, &ok)), ["ACK"]);
        assert_eq!(methods(&carrier.response(now, &ok)), ["ACK"]);
        let end = carrier.deadline().unwrap();
        assert_eq!(end - now, Duration::from_secs(1));
        let bye = carrier.due(end);
        assert_eq!(methods(&bye), ["BYE"]);
        let bye = Request::try_from(bye[0].clone()).unwrap();
        carrier.response(end, &message::response(&bye, 200, OK));
        assert_eq!(carrier.ending(), Some(&Ending::Talked));
    }

    #[test]
    fn an_answer_that_crosses_cancel_is_acknowledged_and_ended() {
        let (mut carrier, invite, now) = called();
        carrier.response(now, &message::response(&invite, 180, OK));
        assert_eq!(methods(&carrier.break_off(now)), ["CANCEL"]);
        let ok = message::response(&invite, 200, OK);
        assert_eq!(methods(&carrier.response(now, &ok)), ["ACK", "BYE"]);
    }

    #[test]
    fn a_call_that_rings_too_long_is_cancelled() {
        let (mut carrier, invite, now) = called();
        carrier.response(now, &message::response(&invite, 180, OK));
        let late = carrier.deadline().unwrap();
        assert_eq!(
            (late - now, methods(&carrier.due(late))),
            (Duration::from_secs(20), vec!["CANCEL".into()])
        );
        let gone = message::response(&invite, 487, OK);
        assert_eq!(methods(&carrier.response(late, &gone)), ["ACK"]);
        assert_eq!(carrier.ending(), Some(&Ending::Endless));
    }

    #[test]
    fn a_node_that_says_nothing_is_asked_again_and_then_given_up() {
        let (mut carrier, _, now) = called();
        let mut sent = 0;
        while let Some(at) = carrier.deadline() {
            assert!(at - now <= PATIENCE);
            sent += carrier.due(at).len();
        }
        assert_eq!((sent, carrier.ending()), (3, Some(&Ending::Silence)));
    }

    #[test]
    fn the_far_side_hangs_up() {
        let (mut carrier, invite, now) = called();
        carrier.response(now, &message::response(&invite, 200, OK));
        let from_node = |to: &str| {
            let opening = Opening { via: String::new(), from: "<sip:x>;tag=node", to, call_id: "x", cseq: 1 };
            message::request(Method::Bye, invite.uri.clone(), opening, Vec::new(), None)
        };
        assert_eq!(methods(&carrier.request(&from_node("<sip:y>;tag=other"))), ["481"]);
        assert_eq!(methods(&carrier.request(&from_node(invite.caller_value()))), ["200"]);
        assert_eq!(carrier.ending(), Some(&Ending::Talked));
    }
}
