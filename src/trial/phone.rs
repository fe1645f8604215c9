//! The called phones: they ring, and answer, or are busy, or ring on.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use rsip::{Method, Request, Response, SipMessage};

use super::ladder::in_dialog;
use super::message::{self, Answer, End, Fields, user_of};
use super::repeat::{Due, Repeat};

/// How much later than the one before it each further phone answers that rings at the same time: so one of a hunt
/// group wins, and the others see why they did not.
const APART: Duration = Duration::from_millis(500);
/// Legs that the phones take in one trial; the call rules allow a call 32.
const MOST_LEGS: usize = 64;

/// What a called phone does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Manner {
    /// Rings for so long and answers.
    Answers(Duration),
    /// 486 at once.
    Busy,
    /// Rings until the node gives up.
    Never,
}

enum State {
    Ringing {
        answer_at: Option<Instant>,
    },
    /// Our 200 is sent; ACK is waited for.
    Answered(Box<Repeat>),
    Talking,
    /// A final response other than 2xx is sent; ACK is waited for.
    Refused(Box<Repeat>),
    Over,
}

/// One call to one phone.
struct Leg {
    /// Its column in the ladder.
    column: u16,
    end: End,
    source: SocketAddr,
    invite: Request,
    tag: String,
    /// What a repeated INVITE gets again.
    last: Response,
    state: State,
    /// The version of our SDP.
    version: u32,
}

/// Something that a phone says, and in which column.
pub(super) struct Says {
    pub leg: u16,
    /// Which leg's line it goes out on.
    pub call_id: String,
    pub message: SipMessage,
    pub again: bool,
}

/// All phones that are played.
pub(super) struct Phones {
    manner: Manner,
    /// Of our call: INVITEs that name another in X-CID are another's.
    first_call_id: String,
    legs: Vec<Leg>,
}

impl Phones {
    pub fn new(manner: Manner, first_call_id: &str) -> Phones {
        Phones { manner, first_call_id: first_call_id.to_owned(), legs: Vec::new() }
    }

    pub fn deadline(&self) -> Option<Instant> {
        self.legs.iter().filter_map(Leg::deadline).min()
    }

    /// Whether no leg waits for anything.
    pub fn quiet(&self) -> bool {
        self.legs.iter().all(|leg| matches!(leg.state, State::Over))
    }

    /// Of the leg that talks: its column, and the caller that it was shown.
    pub fn talking(&self) -> Option<(u16, String)> {
        let talks = self.legs.iter().find(|leg| matches!(leg.state, State::Talking));
        let leg = talks.or_else(|| self.legs.iter().find(|leg| matches!(leg.state, State::Answered(_))))?;
        Some((leg.column, user_of(leg.invite.caller_value()).to_owned()))
    }

    /// Whether the phone in that call has answered, and nobody has hung up.
    pub fn talks(&self, call_id: &str) -> bool {
        let mut legs = self.legs.iter();
        legs.any(|leg| leg.invite.call_id() == call_id && matches!(leg.state, State::Talking))
    }

    /// Of the phone that was rung first: the caller that it was shown.
    pub fn shown(&self) -> Option<String> {
        self.legs.first().map(|leg| user_of(leg.invite.caller_value()).to_owned())
    }

    /// Time has come.
    pub fn due(&mut self, now: Instant) -> Vec<Says> {
        self.legs.iter_mut().filter_map(|leg| leg.due(now)).collect()
    }

    /// The leg that a message belongs to, by its Call-ID.
    pub fn column_of(&self, call_id: &str) -> Option<u16> {
        self.legs.iter().find(|leg| leg.invite.call_id() == call_id).map(|leg| leg.column)
    }

    /// Whether a new INVITE is our call's.
    pub fn is_ours(&self, invite: &Request) -> bool {
        invite.other("X-CID").is_none_or(|first| first == self.first_call_id)
    }

    /// A request of the node's, at one of our ends, for the phone in `column`.
    pub fn request(
        &mut self,
        now: Instant,
        request: &Request,
        column: u16,
        end: &End,
        source: SocketAddr,
    ) -> Vec<Says> {
        let call_id = request.call_id();
        if let Some(leg) = self.legs.iter_mut().find(|leg| leg.invite.call_id() == call_id) {
            return leg.request(now, request);
        }
        if request.method == Method::Invite && !in_dialog(request) && self.legs.len() < MOST_LEGS {
            return self.ring(now, request, column, end, source);
        }
        Vec::new()
    }

    /// The answer to a request that is no part of our call.
    pub fn aside(request: &Request, source: SocketAddr) -> Option<SipMessage> {
        let code = match request.method {
            Method::Ack => return None,
            Method::Options if !in_dialog(request) => 200,
            Method::Invite if !in_dialog(request) => 486,
            Method::Invite | Method::Bye | Method::Cancel | Method::Options => 481,
            Method::Info | Method::Update | Method::PRack => 481,
            Method::Message
            | Method::Notify
            | Method::Publish
            | Method::Refer
            | Method::Register
            | Method::Subscribe => 405,
        };
        let answer = Answer { source: Some(source), tag: Some("phone"), ..Answer::default() };
        Some(message::response(request, code, answer).into())
    }

    fn ring(
        &mut self,
        now: Instant,
        invite: &Request,
        column: u16,
        end: &End,
        source: SocketAddr,
    ) -> Vec<Says> {
        let ringing = self.legs.iter().filter(|leg| matches!(leg.state, State::Ringing { .. })).count();
        let apart = APART * u32::try_from(ringing).unwrap_or(u32::MAX);
        let answer_at = match self.manner {
            Manner::Answers(after) => now.checked_add(after + apart),
            Manner::Busy | Manner::Never => None,
        };
        let tag = format!("phone{column}-{}", self.legs.len());
        let trying = message::response(invite, 100, Answer { source: Some(source), ..Answer::default() });
        let mut leg = Leg {
            column,
            end: end.clone(),
            source,
            invite: invite.clone(),
            tag,
            last: trying.clone(),
            state: State::Ringing { answer_at },
            version: 1,
        };
        let trying = leg.says(trying, false);
        let next = match self.manner {
            Manner::Busy => leg.refuse(now, 486),
            Manner::Answers(_) | Manner::Never => {
                leg.last = leg.response(180, None);
                leg.says(leg.last.clone(), false)
            }
        };
        self.legs.push(leg);
        vec![trying, next]
    }
}

impl Leg {
    fn deadline(&self) -> Option<Instant> {
        match &self.state {
            State::Ringing { answer_at } => *answer_at,
            State::Answered(repeat) | State::Refused(repeat) => Some(repeat.deadline()),
            State::Talking | State::Over => None,
        }
    }

    fn due(&mut self, now: Instant) -> Option<Says> {
        match &mut self.state {
            State::Ringing { answer_at: Some(at) } if now >= *at => Some(self.answer(now)),
            State::Answered(repeat) | State::Refused(repeat) => match repeat.due(now) {
                Due::Nothing => None,
                Due::Again => Some(Says {
                    leg: self.column,
                    call_id: self.invite.call_id().to_owned(),
                    message: repeat.message.clone(),
                    again: true,
                }),
                Due::Expired => {
                    self.state = State::Over;
                    None
                }
            },
            State::Ringing { .. } | State::Talking | State::Over => None,
        }
    }

    fn answer(&mut self, now: Instant) -> Says {
        let sdp = message::sdp(&self.end, self.version);
        self.last = self.response(200, Some(&sdp));
        let message = SipMessage::Response(self.last.clone());
        self.state = State::Answered(Box::new(Repeat::sent(now, message, self.end.transport)));
        self.says(self.last.clone(), false)
    }

    fn refuse(&mut self, now: Instant, code: u16) -> Says {
        self.last = self.response(code, None);
        let message = SipMessage::Response(self.last.clone());
        self.state = State::Refused(Box::new(Repeat::sent(now, message, self.end.transport)));
        self.says(self.last.clone(), false)
    }

    /// A request with the Call-ID of this leg.
    fn request(&mut self, now: Instant, request: &Request) -> Vec<Says> {
        let same = request.cseq().map(|(seq, _)| seq) == self.invite.cseq().map(|(seq, _)| seq);
        match (request.method, &self.state) {
            (Method::Invite, _) if same => vec![self.says(self.last.clone(), true)],
            (Method::Ack, State::Answered(_)) => self.turn(State::Talking),
            (Method::Ack, State::Refused(_)) => self.turn(State::Over),
            (Method::Ack, State::Ringing { .. } | State::Talking | State::Over) => Vec::new(),
            (Method::Cancel, State::Ringing { .. }) if same => {
                let taken = self.says(self.plain(request, 200), false);
                vec![taken, self.refuse(now, 487)]
            }
            (Method::Cancel, _) if same => vec![self.says(self.plain(request, 200), false)],
            (Method::Bye, State::Over) => vec![self.says(self.plain(request, 481), false)],
            (Method::Bye, _) => {
                self.state = State::Over;
                vec![self.says(self.plain(request, 200), false)]
            }
            (Method::Invite | Method::Update, State::Talking) => vec![self.renegotiate(request)],
            (Method::Options | Method::Info | Method::PRack, State::Ringing { .. } | State::Talking) => {
                vec![self.says(self.plain(request, 200), false)]
            }
            (
                Method::Invite
                | Method::Update
                | Method::Options
                | Method::Info
                | Method::PRack
                | Method::Cancel,
                _,
            ) => vec![self.says(self.plain(request, 481), false)],
            (
                Method::Message
                | Method::Notify
                | Method::Publish
                | Method::Refer
                | Method::Register
                | Method::Subscribe,
                _,
            ) => vec![self.says(self.plain(request, 405), false)],
        }
    }

    fn turn(&mut self, state: State) -> Vec<Says> {
        self.state = state;
        Vec::new()
    }

    /// A new offer, or none (RFC 3261 §14.2, RFC 3311): the stream stays as it is.
    fn renegotiate(&mut self, request: &Request) -> Says {
        let sdp = message::sdp(&self.end, self.version);
        let offers = request.method == Method::Invite || !request.body.is_empty();
        let answer = Answer {
            source: Some(self.source),
            tag: None,
            contact: Some(self.contact()),
            sdp: offers.then_some(&*sdp),
        };
        self.says(message::response(request, 200, answer), false)
    }

    fn contact(&self) -> String {
        self.end.contact_of(self.invite.uri.user().unwrap_or("phone"))
    }

    /// A response to the INVITE that makes or ends the dialog.
    fn response(&self, code: u16, sdp: Option<&str>) -> Response {
        let contact = (code < 300).then(|| self.contact());
        let answer = Answer { source: Some(self.source), tag: Some(&self.tag), contact, sdp };
        message::response(&self.invite, code, answer)
    }

    /// A response to any other request.
    fn plain(&self, request: &Request, code: u16) -> Response {
        let answer = Answer { source: Some(self.source), tag: Some(&self.tag), ..Answer::default() };
        message::response(request, code, answer)
    }

    fn says(&self, response: Response, again: bool) -> Says {
        let call_id = self.invite.call_id().to_owned();
        Says { leg: self.column, call_id, message: response.into(), again }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sip::peer::Transport;
    use rsip::headers::Header;
    use rsip::message::HasHeaders;

    struct Phone {
        phones: Phones,
        now: Instant,
    }

    impl Phone {
        fn new(manner: Manner) -> Phone {
            Phone { phones: Phones::new(manner, "first"), now: Instant::now() }
        }

        fn hears(&mut self, method: Method, to: &str, cseq: u32) -> Vec<String> {
            let place = SocketAddr::from(([127, 0, 0, 1], 5090));
            let end =
                End { transport: Transport::Udp, contact: place, sent_by: place, audio: End::silent(place) };
            let says = self.phones.request(self.now, &request(method, to, cseq), 1, &end, place);
            words(&says)
        }

        fn waits(&mut self) -> Vec<String> {
            self.now = self.phones.deadline().unwrap();
            words(&self.phones.due(self.now))
        }
    }

    fn request(method: Method, to: &str, cseq: u32) -> Request {
        let opening = message::Opening {
            via: "SIP/2.0/UDP 127.0.0.1:5060;branch=z9hG4bK1".to_owned(),
            from: "<sip:+12025550123@127.0.0.1>;tag=node",
            to,
            call_id: "leg",
            cseq,
        };
        let uri = message::uri("sip:alice@127.0.0.1:5090").unwrap();
        message::request(method, uri, opening, Vec::new(), None)
    }

    fn words(says: &[Says]) -> Vec<String> {
        let word = |says: &Says| match &says.message {
            SipMessage::Response(response) => {
                format!("{}{}", response.status_code.code(), if says.again { " again" } else { "" })
            }
            SipMessage::Request(request) => request.method.to_string(),
        };
        says.iter().map(word).collect()
    }

    const NEW: &str = "<sip:alice@127.0.0.1:5090>";
    const KNOWN: &str = "<sip:alice@127.0.0.1:5090>;tag=phone1-0";

    #[test]
    fn a_phone_answers_talks_is_held_and_hung_up() {
        let mut phone = Phone::new(Manner::Answers(Duration::from_secs(1)));
        assert_eq!(phone.hears(Method::Invite, NEW, 1), ["100", "180"]);
        assert_eq!(phone.hears(Method::Invite, NEW, 1), ["180 again"]);
        assert_eq!(phone.waits(), ["200"]);
        assert_eq!(phone.waits(), ["200 again"]);
        assert!(phone.hears(Method::Ack, KNOWN, 1).is_empty());
        assert_eq!(phone.phones.talking(), Some((1, "+12025550123".to_owned())));
        assert_eq!(phone.hears(Method::Invite, KNOWN, 2), ["200"]);
        assert_eq!(phone.hears(Method::Options, KNOWN, 3), ["200"]);
        assert_eq!(phone.hears(Method::Bye, KNOWN, 4), ["200"]);
        assert!(phone.phones.quiet());
        assert_eq!(phone.hears(Method::Bye, KNOWN, 5), ["481"]);
    }

    #[test]
    fn a_cancelled_phone_stops_ringing_and_a_repeated_cancel_gets_its_200_again() {
        let mut phone = Phone::new(Manner::Never);
        phone.hears(Method::Invite, NEW, 1);
        assert!(phone.phones.deadline().is_none());
        assert_eq!(phone.hears(Method::Cancel, NEW, 1), ["200", "487"]);
        assert_eq!(phone.hears(Method::Cancel, NEW, 1), ["200"]);
        assert!(phone.hears(Method::Ack, KNOWN, 1).is_empty());
        assert!(phone.phones.quiet());
    }

    #[test]
    fn other_calls_of_the_node_are_told_busy_and_its_question_is_answered() {
        let phones = Phones::new(Manner::Busy, "first");
        let mut invite = request(Method::Invite, NEW, 1);
        assert!(phones.is_ours(&invite));
        invite.headers_mut().push(Header::Other("X-CID".into(), "another".into()));
        assert!(!phones.is_ours(&invite));
        let source = SocketAddr::from(([127, 0, 0, 1], 5060));
        let code = |method, to| match Phones::aside(&request(method, to, 1), source) {
            Some(SipMessage::Response(response)) => response.status_code.code(),
            Some(SipMessage::Request(_)) | None => 0,
        };
        assert_eq!(code(Method::Invite, NEW), 486);
        assert_eq!(code(Method::Options, NEW), 200);
        assert_eq!((code(Method::Bye, KNOWN), code(Method::Ack, KNOWN)), (481, 0));
    }
}
