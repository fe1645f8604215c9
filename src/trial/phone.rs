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
        let sdp = message::sdp(self.end.contact, self.version);
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
        let sdp = message::sdp(self.end.contact, self.version);
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
