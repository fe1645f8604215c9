//! Why we refuse a request on our own account: status, phrase, source and metric label in one table.

macro_rules! refusals {
    ($($name:ident $code:literal $label:literal $cause:literal $why:literal;)*) => {
        /// A refusal of ours.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Refusal { $(#[doc = $why] $name),* }

        impl Refusal {
            pub const ALL: &'static [Refusal] = &[$(Refusal::$name),*];

            /// The status code of the response.
            pub const fn code(self) -> u16 {
                match self { $(Refusal::$name => $code),* }
            }

            /// The `reason` label of `strowger_rejected_total`.
            pub const fn label(self) -> &'static str {
                match self { $(Refusal::$name => $label),* }
            }

            /// The CDR's `cause`: in a word or two.
            pub const fn cause(self) -> &'static str {
                match self { $(Refusal::$name => $cause),* }
            }

            /// In words, for logs and ladders.
            pub const fn why(self) -> &'static str {
                match self { $(Refusal::$name => $why),* }
            }
        }
    };
}

refusals! {
    Malformed        400 "malformed"          "malformed request"          "the request does not parse (RFC 3261 §21.4.1)";
    InsecureContact  400 "insecure_contact"   "a sips: Contact without TLS" "the Contact is sips:, and its phone is not reached by TLS (RFC 5630)";
    OtherUri         400 "digest_uri"         "signed for another URI"     "the credentials are for another URI (RFC 7616 §3.4.6)";
    Unauthorized     401 "unauthorized"       "no credentials"             "every REGISTER is challenged (R1b)";
    WrongPassword    401 "wrong_password"     "wrong credentials"          "the credentials prove no password of ours (R1b)";
    OtherAgent       403 "other_agent"        "another's registration"     "an agent registers for itself alone (RFC 3261 §10.3)";
    Forbidden        403 "dial"               "forbidden by [dial]"        "`[dial]` forbids the number (R13)";
    NothingToShow    403 "nothing_to_show"    "no number to show"          "the agent has no number that a call out could show (R9)";
    ForeignContact   403 "foreign_contact"    "Contact of a gateway"       "the Contact is an address of ours, a gateway's, or of another agent's phone";
    TooManyContacts  403 "too_many_contacts"  "too many contacts"          "an agent has at most 10 bindings";
    TooManyTries     403 "too_many_tries"     "too many tries"             "the source tried too many passwords; it hears nothing (R1b)";
    Stranger         403 "stranger"           "unknown sender"             "no trunk's `from` names the sender (R1e)";
    UnknownNumber    404 "unknown_number"     "unknown number"             "the dialled number is not ours or is disabled (R2)";
    MethodNotAllowed 405 "method"             "method not allowed"         "the method is not served outside a dialog (R1)";
    ProxyUnauthorized 407 "proxy_unauthorized" "no credentials"            "an agent's requests are challenged (R1b)";
    Encoded          415 "encoded"            "encoded body"               "the body is encoded (RFC 3261 §8.2.3)";
    BodyType         415 "body_type"          "body of an unknown type"    "the body is none that we understand, and not optional (RFC 3261 §8.2.3)";
    Scheme           416 "scheme"             "URI scheme not served"      "the Request-URI is neither sip:, sips: nor tel: (RFC 3261 §8.2.2.1)";
    Extension        420 "extension"          "extension not supported"    "the request requires an extension that we do not have (RFC 3261 §8.2.2.3)";
    IntervalTooSmall 422 "interval_too_small" "session interval too small" "Session-Expires is below our Min-SE (RFC 4028 §9)";
    IntervalTooBrief 423 "interval_too_brief" "expires too early"          "Expires is below our Min-Expires (RFC 3261 §10.3)";
    NoBreadth        440 "no_breadth"         "Max-Breadth is 0"           "not even one leg may be called (RFC 5393 §5.3.3)";
    NoDialog         481 "no_dialog"          "no such dialog"             "no dialog or transaction of ours matches (RFC 3261 §12.2.2)";
    Loop             482 "loop"               "loop"                       "the dialled number diverted this call before, or it was diverted too often (R11)";
    Merged           482 "merged"             "merged request"             "the request came by two ways (RFC 3261 §8.2.2.2)";
    TooManyRinging   482 "too_many_ringing"   "max_ringing_per_caller"     "max_ringing_per_caller (R11)";
    TooManyHops      483 "too_many_hops"      "too many hops"              "Max-Forwards reached 0 (RFC 3261 §16.3)";
    NoAudio          488 "no_audio"           "no audio that we can carry" "the offer has no audio by RTP, or in no codec that the call needs (R4)";
    OutOfOrder       500 "out_of_order"       "an older registration"      "a later REGISTER has been seen (RFC 3261 §10.3)";
    Fault            500 "fault"              "a fault in this call"       "a bug of ours was caught before the call had begun (R12)";
    TrunkLimit       503 "trunk_limit"        "the trunk's limit"          "max_calls or max_cps of the trunk (R14)";
    Overload         503 "overload"           "overload"                   "our queues are full or stale, or the node drains (R14)";
    NoPort           503 "no_port"            "no port for audio"          "all of [media] ports are in use (R4)";
    Version          505 "version"            "not SIP/2.0"                "the message is not SIP/2.0 (RFC 3261 §21.5.6)";
}
