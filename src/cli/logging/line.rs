//! A line of the log as text: moment, level, room, what happened, and `name=value` for the rest.
//!
//! Three lines are written for each call, on its shard, so this takes a tenth of what a formatter for every
//! taste takes.

use std::borrow::Cow;
use std::fmt::{self, Write};
use std::time::{SystemTime, UNIX_EPOCH};

use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

use crate::call::cdr::rfc3339;
use crate::sip::shown::printable;
use crate::time::Wall;

/// Room for most lines.
const USUAL: usize = 256;
/// The field that has no name of its own.
const MESSAGE: &str = "message";

/// Writes a line as text.
pub(super) struct Text;

impl<S, N> FormatEvent<S, N> for Text
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        _: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let moment = rfc3339::write(Wall(u64::try_from(since.as_millis()).unwrap_or(u64::MAX)));
        let metadata = event.metadata();
        let mut line = String::with_capacity(USUAL);
        line.push_str(std::str::from_utf8(&moment).unwrap_or_default());
        line.push_str(match *metadata.level() {
            tracing::Level::ERROR => " ERROR ",
            tracing::Level::WARN => "  WARN ",
            tracing::Level::INFO => "  INFO ",
            tracing::Level::DEBUG => " DEBUG ",
            tracing::Level::TRACE => " TRACE ",
        });
        line.push_str(metadata.target());
        line.push(':');
        let mut fields = Fields { line, outcome: Ok(()) };
        event.record(&mut fields);
        fields.outcome?;
        let mut line = clean(fields.line);
        line.push('\n');
        writer.write_str(&line)
    }
}

/// Writes an event's fields.
struct Fields {
    line: String,
    outcome: fmt::Result,
}

impl Fields {
    /// Writes what stands before a value.
    fn name(&mut self, field: &Field) {
        self.line.push(' ');
        if field.name() != MESSAGE {
            self.line.push_str(field.name());
            self.line.push('=');
        }
    }
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.name(field);
        let outcome = write!(self.line, "{value:?}");
        self.outcome = self.outcome.and(outcome);
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        let is_word = |byte: u8| byte.is_ascii_graphic() & (byte != b'"');
        let plain = !value.is_empty() && value.bytes().fold(true, |word, byte| word & is_word(byte));
        if plain || field.name() == MESSAGE {
            self.name(field);
            self.line.push_str(value);
        } else {
            self.record_debug(field, &value);
        }
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.name(field);
        self.line.push_str(itoa::Buffer::new().format(value));
    }
}

/// Escapes control characters and the like: what a stranger sent can neither end a line nor move a terminal's cursor.
fn clean(line: String) -> String {
    // What begins a C1 control or bidirectional formatting in UTF-8; and much else, which `printable` lets be.
    let suspect = |byte: u8| (byte < b' ') | matches!(byte, 0x7f | 0xc2 | 0xd8 | 0xe2 | 0xef | 0xf3);
    if !line.bytes().fold(false, |before, byte| before | suspect(byte)) {
        return line;
    }
    match printable(&line) {
        Cow::Borrowed(_) => line,
        Cow::Owned(clean) => clean,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Clone, Default)]
    struct Seen(Arc<Mutex<Vec<u8>>>);

    impl std::io::Write for Seen {
        fn write(&mut self, text: &[u8]) -> std::io::Result<usize> {
            self.0.lock().expect("nobody panics").extend_from_slice(text);
            Ok(text.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    fn line(log: impl FnOnce()) -> String {
        let seen = Seen::default();
        let writer = seen.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_max_level(tracing::Level::TRACE)
            .with_writer(move || writer.clone())
            .event_format(Text)
            .finish();
        tracing::subscriber::with_default(subscriber, log);
        let text = String::from_utf8(seen.0.lock().expect("nobody panics").clone()).expect("UTF-8");
        let (moment, rest) = text.split_at(rfc3339::LEN);
        assert!(rfc3339::read(moment).is_some(), "{moment}");
        rest.to_owned()
    }

    #[test]
    fn a_line_has_level_room_message_and_fields() {
        let cause: Option<&str> = None;
        let text = line(|| {
            tracing::info!(target: "room", call = %"01h", outcome = "answered", ms = 1_050u64, code = 0u16, ok = true, less = -3, cause, "call ended");
        });
        assert_eq!(
            text,
            "  INFO room: call ended call=01h outcome=answered ms=1050 code=0 ok=true less=-3\n"
        );
        assert_eq!(line(|| tracing::error!(target: "room", "{} left", 2)), " ERROR room: 2 left\n");
    }

    #[test]
    fn what_strangers_send_ends_no_line() {
        let text = line(|| {
            tracing::warn!(target: "room", a = %"x\r\n ERROR y", b = "two words", c = "", d = "q\"\u{1b}[2J", e = %"\u{9b}é…\u{202e}", "m\n");
        });
        assert_eq!(
            text,
            "  WARN room: m\\u{a} a=x\\u{d}\\u{a} ERROR y b=\"two words\" c=\"\" d=\"q\\\"\\u{1b}[2J\" e=\\u{9b}é…\\u{202e}\n"
        );
    }
}
