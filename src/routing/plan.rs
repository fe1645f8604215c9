//! What one call takes with it. The R-rules are read from here alone; nothing in it holds the table.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use smallvec::SmallVec;

use super::{Called, ForeignCallerId, Host, NoWay, Outbound, Trunk, Urgency};
use crate::number::{Country, E164};
use crate::sip::digest::Algorithm;
use crate::sip::peer::{NameId, Peer, Transport};

/// A text that many calls share.
pub type Text = Arc<str>;

/// Everything that one call needs of the configuration, as it was when its INVITE came.
///
/// Building one costs reference counts and, past one step or two targets, one allocation each.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Of the table that it was taken from.
    pub generation: u64,
    /// The number's label in records, events and filters; empty when it has none.
    pub account: Text,
    /// What the operator calls the number; empty when it has no name.
    pub label: Text,
    /// Our number that it is about: the one that was dialled, in a block too; on a call out the one that it shows.
    /// None: one agent calls another by name.
    pub did: Option<E164>,
    pub country: Country,
    /// Whom the call came from.
    pub origin: Origin,
    /// The DID forwards the call: on a leg to an external number it is named as the diverting party (R9).
    pub diverts: bool,
    /// Who rings: the number's own step, then its `overflow` in order (R3). A step may have no target; a plan
    /// whose steps have none at all is nobody to ring (R3.5).
    pub steps: SmallVec<[Step; 1]>,
    /// The forwarded leg shows the DID, not the caller (R9).
    pub pass_called_number: bool,
    /// How long a forwarded leg may take to press 1, from the first "press 1" on (R6). None: no confirmation.
    pub call_connect: Option<Duration>,
    /// What a forwarded leg hears before it is bridged (R6).
    pub whisper: Option<Prompt>,
    /// Agents hear the whisper too.
    pub whisper_agents: bool,
    pub record: bool,
    /// Said to both sides before a recording begins (R7).
    pub record_notice: Option<Prompt>,
    /// Takes the call that nobody answered (R10).
    pub voicemail: Option<Arc<Voicemail>>,
    /// A verified external number, shown on outbound calls from this DID (R9).
    pub caller_id: Option<E164>,
    pub limits: CallLimits,
    pub urgency: Urgency,
    pub(super) ways: Arc<Outbound>,
    /// The number's own `trunk`, which serves all its calls to external numbers (R13).
    pub(super) forced: Option<Arc<Trunk>>,
}

impl Plan {
    /// The trunk for a call to an external number that the table does not name, such as a redirect's (R8, R13).
    ///
    /// The number's own trunk, else the `outbound` trunk with the longest prefix, then the lowest priority; among
    /// equals `draw` (any random number) chooses by weight. `[dial]` is asked first.
    pub fn outbound(&self, number: E164, draw: u32) -> Result<Arc<Trunk>, NoWay> {
        self.ways.choose(number, self.forced.as_ref(), draw)
    }

    /// The trunk of that name by which a call to the number may begin: the number's own, else one of those among which
    /// is drawn, and for an emergency the first (R13). None: it begins by another.
    pub fn may_begin_by(&self, called: &Called, trunk: &str) -> Option<&Arc<Trunk>> {
        let is_it = |way: &&Arc<Trunk>| *way.name == *trunk;
        match (called, &self.urgency) {
            (Called::Number(_), _) if self.forced.is_some() => self.forced.as_ref().filter(is_it),
            (Called::Number(number), _) => self.ways.equals(*number).find(is_it),
            (Called::Emergency(_), Urgency::Emergency(ways)) => ways.first().filter(is_it),
            (Called::Emergency(_), Urgency::Ordinary | Urgency::CallBack) => None,
        }
    }

    /// The trunk that is tried where the `tried` ones could not carry the call: none where the number has one of its
    /// own, the next `outbound` one otherwise, and for an emergency the next of all (R13). Among equals the first.
    pub fn next_way(&self, called: &Called, tried: &[&Trunk]) -> Option<Arc<Trunk>> {
        match (called, &self.urgency) {
            (Called::Number(_), _) if self.forced.is_some() => None,
            (Called::Number(number), _) => self.ways.way(*number, tried, 0).cloned(),
            (Called::Emergency(_), Urgency::Emergency(ways)) => {
                ways.iter().find(|way| !tried.iter().any(|trunk| trunk.name == way.name)).cloned()
            }
            (Called::Emergency(_), Urgency::Ordinary | Urgency::CallBack) => None,
        }
    }

    /// Whose number a leg to an external number shows on this trunk (R9). A caller that withholds its number
    /// stays withheld all the same.
    pub fn shows_on(&self, trunk: &Trunk) -> Shows {
        match trunk.foreign_caller_id {
            _ if self.pass_called_number => Shows::Did,
            ForeignCallerId::Pass => Shows::Caller,
            ForeignCallerId::Replace => Shows::Did,
            ForeignCallerId::Retry => Shows::CallerThenDid,
        }
    }
}

/// Whom a call comes from.
#[derive(Clone, Debug)]
pub enum Origin {
    Trunk(Arc<Trunk>),
    /// An agent's phone. `dials`: how what it sends is read.
    Agent {
        agent: Arc<Agent>,
        dials: Arc<Trunk>,
    },
}

impl Origin {
    /// The trunk that it came in on.
    pub fn trunk(&self) -> Option<&Arc<Trunk>> {
        match self {
            Origin::Trunk(trunk) => Some(trunk),
            Origin::Agent { .. } => None,
        }
    }

    /// The agent whose phone it came from.
    pub fn agent(&self) -> Option<&Arc<Agent>> {
        match self {
            Origin::Trunk(_) => None,
            Origin::Agent { agent, .. } => Some(agent),
        }
    }

    /// How the numbers in what it sends are read, and how far what it says of itself is believed.
    pub fn reads(&self) -> &Trunk {
        match self {
            Origin::Trunk(trunk) => trunk,
            Origin::Agent { dials, .. } => dials,
        }
    }

    /// Its name, for logs and lists.
    pub fn name(&self) -> &Text {
        match self {
            Origin::Trunk(trunk) => &trunk.name,
            Origin::Agent { agent, .. } => &agent.name,
        }
    }
}

/// Whose number a forwarded leg shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shows {
    Caller,
    Did,
    /// The caller, and once more with the DID after 403, 603, 606 or 608 before the first 18x.
    CallerThenDid,
}

/// Those that ring together.
#[derive(Clone, Debug, PartialEq)]
pub struct Step {
    /// How long they ring, from the step's first INVITE on (R8).
    pub timeout: Duration,
    pub targets: SmallVec<[Target; 2]>,
}

/// One that rings in a step.
#[derive(Clone, Debug, PartialEq)]
pub struct Target {
    /// How long after the step's begin: `assigned_head_start` holds back all but `assigned_to` (R3.2). It is void
    /// when the assigned agent is not rung.
    pub delay: Duration,
    pub who: Who,
}

/// Whom a target reaches.
#[derive(Clone, Debug, PartialEq)]
pub enum Who {
    Agent(Arc<Agent>),
    /// An external number, and the trunk that carries the call to it at first (R13).
    Number {
        number: Called,
        trunk: Arc<Trunk>,
    },
    /// An external number that no trunk serves: the leg ends as unreachable at once.
    Unreachable(Called),
}

/// Somebody with a phone of ours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Agent {
    pub name: Text,
    /// Where the phone always is, beside where it registers.
    pub contact: Option<Arc<Contact>>,
    /// Calls at once, at least 1; with so many the agent counts as busy (R3.3).
    pub max_calls: u32,
    /// Do not disturb: counts as busy.
    pub dnd: bool,
    /// The number that the agent's outbound calls show.
    pub number: Option<E164>,
    /// Empty when unset.
    pub account: Text,
    pub secrets: Secrets,
}

/// What an agent's password is known by: H(A1) in hexadecimal for each hash (RFC 7616 §3.4.2).
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Secrets {
    pub md5: Option<Text>,
    pub sha256: Option<Text>,
}

impl Secrets {
    /// Whether the agent has no password at all: its phones cannot register.
    pub fn is_none(&self) -> bool {
        self.md5.is_none() && self.sha256.is_none()
    }

    /// Tells other passwords from these when it is kept: 32 bits of a hash of them. Too few to find a password by, since
    /// of those that somebody might guess thousands have the same.
    pub fn mark(&self) -> u32 {
        let of = |secret: &Option<Text>| secret.as_deref().unwrap_or_default().to_owned();
        let hash = Algorithm::Sha256.ha1(of(&self.md5).as_bytes(), of(&self.sha256).as_bytes(), b"mark");
        let digits = hash.as_bytes().iter().take(8).filter_map(|digit| char::from(*digit).to_digit(16));
        digits.fold(0, |mark, digit| mark << 4 | digit)
    }

    /// `None`: with this hash the agent cannot prove who it is.
    pub fn ha1(&self, algorithm: Algorithm) -> Option<&str> {
        match algorithm {
            Algorithm::Md5 => self.md5.as_deref(),
            Algorithm::Sha256 => self.sha256.as_deref(),
        }
    }
}

/// They stand for passwords.
impl std::fmt::Debug for Secrets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secrets(…)")
    }
}

/// An address of a phone: fixed, or registered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Contact {
    /// As it was written; the Request-URI of the leg.
    pub uri: Text,
    /// Where it is sent, when the host is an IP literal.
    pub addr: Option<std::net::SocketAddr>,
    /// The host, when it is a name.
    pub host: Option<Arc<Host>>,
    /// What its certificate has to bear, when the host is a name.
    pub name: Option<NameId>,
    pub transport: Transport,
    /// Where a registered one is reached, and by nothing else.
    pub peer: Option<Peer>,
    /// The Route of calls to it (RFC 3327).
    pub route: Box<[Text]>,
    /// Another way to the same phone, tried when this one leads nowhere (RFC 5626 §7).
    pub other_flow: Option<Arc<Contact>>,
}

impl Contact {
    /// One that was registered, and is reached there.
    pub fn registered(uri: Text, peer: Peer, route: Box<[Text]>) -> Contact {
        Contact {
            uri,
            addr: Some(peer.addr),
            host: None,
            name: None,
            transport: peer.transport,
            peer: Some(peer),
            route,
            other_flow: None,
        }
    }
}

/// Bounds of one call, from `[limits]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CallLimits {
    /// From our 200 to the caller until the call is ended (R12).
    pub max_call: Duration,
    /// Legs in all, the caller's not counted (R3.6).
    pub max_legs: u8,
    /// Calls that may ring at once for one caller; 0: no limit (R11).
    pub max_ringing_per_caller: u32,
    /// Without RTP in both directions for so long, the call ends (R12).
    pub rtp_timeout: Duration,
}

/// Something to be said.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Prompt {
    Text(Text),
    /// A sound file, its path absolute or relative to the working directory.
    File(Arc<Path>),
}

/// How a message is taken (R10).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Voicemail {
    pub greeting: Option<Prompt>,
    /// Counted from the tone's end.
    pub max_message: Duration,
    /// A message with less sound is not kept.
    pub min_message: Duration,
}
