//! Keys in the bodies of INFO requests: `application/dtmf-relay` and `application/dtmf`.
//!
//! No RFC describes them. The first is Cisco's and the one that is met (draft-kaplan-dispatch-info-dtmf-package), the
//! second holds the key and nothing else. We read what is in the field: any line end, blanks around `=`, names in any
//! case, `*` and `#` as 10 and 11, no duration at all.

use std::time::Duration;

use super::event::Digit;

/// Two lines and what some senders add. What is longer is no key.
const LONGEST_BODY: usize = 256;

/// A press lasts that long where nothing is said of it, and is brought within these bounds (Cisco's, all three).
pub const DURATION: Duration = Duration::from_millis(250);
pub const SHORTEST: Duration = Duration::from_millis(100);
pub const LONGEST: Duration = Duration::from_millis(5_000);

/// The two kinds of body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// `application/dtmf-relay`: a key and how long it was pressed.
    Relay,
    /// `application/dtmf`: a key.
    Plain,
}

impl Form {
    const ALL: [Form; 2] = [Form::Relay, Form::Plain];

    /// The form of a Content-Type, whatever its parameters. None: it is of neither.
    pub fn of(content_type: &str) -> Option<Form> {
        let essence = content_type.split(';').next().unwrap_or("").trim();
        Form::ALL.into_iter().find(|form| essence.eq_ignore_ascii_case(form.content_type()))
    }

    pub const fn content_type(self) -> &'static str {
        match self {
            Form::Relay => "application/dtmf-relay",
            Form::Plain => "application/dtmf",
        }
    }
}

/// A key that was pressed, as signalling says it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Press {
    pub digit: Digit,
    /// 100 to 5,000 ms.
    pub duration: Duration,
}

impl Press {
    pub fn new(digit: Digit, duration: Duration) -> Press {
        Press { digit, duration: duration.clamp(SHORTEST, LONGEST) }
    }

    /// Reads a body. None: it names no key (the hook flash is none), or more than one, or is no such body.
    pub fn read(form: Form, body: &[u8]) -> Option<Press> {
        if body.len() > LONGEST_BODY {
            return None;
        }
        let body = std::str::from_utf8(body).ok()?;
        match form {
            Form::Relay => Press::relayed(body),
            Form::Plain => Some(Press { digit: key(body.trim())?, duration: DURATION }),
        }
    }

    fn relayed(body: &str) -> Option<Press> {
        let (mut digit, mut duration) = (None, None);
        for line in body.split(['\r', '\n']).filter(|line| !line.trim().is_empty()) {
            let (name, value) = line.split_once('=')?;
            let (name, value) = (name.trim(), value.trim());
            if name.eq_ignore_ascii_case("Signal") {
                once(&mut digit, key(value)?)?;
            } else if name.eq_ignore_ascii_case("Duration") {
                once(&mut duration, millis(value)?)?;
            }
        }
        Some(Press::new(digit?, duration.unwrap_or(DURATION)))
    }

    /// Its body in that form.
    pub fn body(&self, form: Form) -> String {
        match form {
            Form::Relay => format!("Signal={}\r\nDuration={}\r\n", self.digit, self.duration.as_millis()),
            Form::Plain => self.digit.to_string(),
        }
    }
}

/// Sets what is not set.
fn once<T>(place: &mut Option<T>, value: T) -> Option<()> {
    place.is_none().then(|| *place = Some(value))
}

/// A key by its name, or one of the two that some write by their event codes. Of other figures nobody can say whether they
/// are one key or two.
fn key(value: &str) -> Option<Digit> {
    match value.as_bytes() {
        [name] => Digit::named(*name),
        b"10" => Digit::named(b'*'),
        b"11" => Digit::named(b'#'),
        _ => None,
    }
}

/// Figures alone; those that are too many say very long.
fn millis(value: &str) -> Option<Duration> {
    let figures = !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit());
    figures.then(|| Duration::from_millis(value.parse().unwrap_or(u64::MAX)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(content_type: &str, body: &str) -> Option<(char, u128)> {
        let press = Press::read(Form::of(content_type)?, body.as_bytes())?;
        Some((press.digit.name(), press.duration.as_millis()))
    }

    fn relay(body: &str) -> Option<(char, u128)> {
        read("application/dtmf-relay", body)
    }

    #[test]
    fn what_phones_and_gateways_send_is_read() {
        // Cisco's gateways, with and without the blank; baresip and Linphone; Asterisk; pjsua and Janus, without the last
        // line end; Mitel, with blanks before; SIP.js; and a sender of bare line feeds.
        assert_eq!(relay("Signal= 1\r\nDuration= 160\r\n"), Some(('1', 160)));
        assert_eq!(relay("Signal=5\r\nDuration=160\r\n"), Some(('5', 160)));
        assert_eq!(relay("Signal=#\r\nDuration=250\r\n"), Some(('#', 250)));
        assert_eq!(relay("Signal=*\r\nDuration=100\r\n"), Some(('*', 100)));
        assert_eq!(relay("Signal=0\r\nDuration=160"), Some(('0', 160)));
        assert_eq!(relay(" Signal=D\r\n Duration=100\r\n"), Some(('D', 100)));
        assert_eq!(relay("Signal=9\nDuration=2000\n"), Some(('9', 2_000)));
        assert_eq!(relay("signal = a\rDURATION = 300\r\r"), Some(('A', 300)));
        // By event code, as some write `*` and `#`.
        assert_eq!(relay("Signal=10\r\nDuration=160\r\n"), Some(('*', 160)));
        assert_eq!(relay("Signal=11\r\nDuration=160\r\n"), Some(('#', 160)));
        // In another order, with lines of others between.
        assert_eq!(relay("Duration=160\r\nVolume=10\r\nSignal=7\r\n"), Some(('7', 160)));
        assert_eq!(read("application/dtmf", "1"), Some(('1', 250)));
        assert_eq!(read("application/dtmf", "#\r\n"), Some(('#', 250)));
        assert_eq!(read("application/dtmf", "11"), Some(('#', 250)));
        assert_eq!(read("Application/DTMF-Relay; charset=utf-8", "Signal=1\r\n"), Some(('1', 250)));
    }

    #[test]
    fn how_long_it_lasted_stays_within_bounds() {
        assert_eq!(relay("Signal=1\r\nDuration=0\r\n"), Some(('1', 100)));
        assert_eq!(relay("Signal=1\r\nDuration=99999\r\n"), Some(('1', 5_000)));
        assert_eq!(relay("Signal=1\r\nDuration=99999999999999999999999\r\n"), Some(('1', 5_000)));
    }

    #[test]
    fn what_is_no_key_is_refused() {
        let bodies = [
            "",
            "\r\n",
            "1",
            "Signal=",
            "Signal=\r\nDuration=160\r\n",
            "Signal=!\r\nDuration=160\r\n",
            "Signal=12\r\n",
            "Signal=16\r\n",
            "Signal=12345\r\n",
            "Signal=01\r\n",
            "Signal=x\r\n",
            "Signal=é\r\n",
            "Signal=1\r\nSignal=2\r\n",
            "Signal=1\r\nDuration=-1\r\n",
            "Signal=1\r\nDuration=1e3\r\n",
            "Signal=1\r\nDuration=160\r\nDuration=160\r\n",
            "Signal 1\r\nDuration=160\r\n",
            "Duration=160\r\n",
            "v=0\r\no=- 1 1 IN IP4 192.0.2.1\r\n",
        ];
        for body in bodies {
            assert_eq!(relay(body), None, "{body:?}");
        }
        for body in ["", " ", "12", "!", "16", "1\r\n2", "Signal=1", "é", "\0"] {
            assert_eq!(read("application/dtmf", body), None, "{body:?}");
        }
        assert_eq!(Press::read(Form::Relay, b"Signal=1\r\nDuration=\xff\r\n"), None);
        assert_eq!(relay(&format!("Signal=1\r\n{}", "X=1\r\n".repeat(60))), None);
        for content_type in ["", "text/plain", "application/dtmf-relayed", "application/sdp", "dtmf", ";"] {
            assert_eq!(Form::of(content_type), None, "{content_type:?}");
        }
    }

    proptest! {
        #[test]
        fn whatever_comes_is_read_or_refused(body in proptest::collection::vec(any::<u8>(), 0..300)) {
            for form in Form::ALL {
                if let Some(press) = Press::read(form, &body) {
                    prop_assert!((SHORTEST..=LONGEST).contains(&press.duration));
                }
            }
        }

        #[test]
        fn what_we_write_is_read_as_the_same(code in 0u8..16, ms in 0u64..20_000) {
            let press = Press::new(Digit::of_event(code).unwrap(), Duration::from_millis(ms));
            prop_assert_eq!(Press::read(Form::Relay, press.body(Form::Relay).as_bytes()), Some(press));
            let plain = Press::read(Form::Plain, press.body(Form::Plain).as_bytes());
            prop_assert_eq!(plain.map(|plain| plain.digit), Some(press.digit));
        }
    }

    #[test]
    fn it_is_written_as_all_of_them_read_it() {
        let press = Press::new(Digit::HASH, Duration::from_millis(160));
        assert_eq!(press.body(Form::Relay), "Signal=#\r\nDuration=160\r\n");
        assert_eq!(press.body(Form::Plain), "#");
        assert_eq!(Form::Relay.content_type(), "application/dtmf-relay");
    }
}
