//! What would be right where a file is no TOML.

use std::borrow::Cow;

/// What the TOML reader says of a key that stands twice.
pub(super) const DUPLICATE: &str = "duplicate key";

/// What it says of a value that it cannot read.
const UNQUOTED: &str = "string values must be quoted";

/// What it says of one with a quote at its end alone.
const UNOPENED: &str = "missing opening quote";

/// What it says begins so, and what would be right. The first that fits counts.
const REMEDIES: &[(&str, &str)] = &[
    ("unclosed array table", "close it with ]], as [[number]]"),
    ("unclosed table", "close it with ], as [node]"),
    ("unclosed array", "close the list with ]"),
    ("unclosed inline table", "close it with }"),
    (
        "invalid basic string",
        "end the text with \" in the same line; write a \" or \\ inside it as \\\" or \\\\",
    ),
    ("invalid multi-line basic string", "end the text with \"\"\""),
    ("invalid literal string", "end the text with ' in the same line"),
    ("invalid multi-line literal string", "end the text with '''"),
    (UNOPENED, "put the text in \"…\""),
    (UNQUOTED, "put the text in \"…\""),
    ("missing escaped value", "write a \\ in a text as \\\\"),
    ("missing value", "write a value after the =: \"a text\", a number, true, false or a list"),
    ("key with no value", "write = and a value after the key"),
    ("missing assignment", "write key = value"),
    ("extra `=`", "write one ="),
    ("extra assignment", "write one ="),
    ("unexpected `=` in array", "write tables of a list as { key = value }"),
    ("missing comma", "put a comma between the two"),
    ("extra comma", "leave this comma out"),
    ("unexpected key or value", "begin a new line for it, or put # before a remark"),
    ("unexpected content", "begin a new line for it, or put # before a remark"),
    ("cannot extend value", "write all keys of this table in one place"),
    ("invalid unquoted key", "write a key of letters, digits, - and _"),
    ("unquoted keys cannot be empty", "write a key before the ="),
    ("missing key", "write a key before the ="),
    ("unexpected leading zero", "write the number without zeros before it, or a text in \"…\""),
    ("invalid float", "put it in \"…\" if it is a text; else write a number, as 20"),
    ("invalid boolean", "write true or false, or a text in \"…\""),
    ("carriage return", "save the file with plain line ends"),
    ("cannot recurse", "write fewer lists and tables inside each other"),
    ("recursion limit", "write fewer lists and tables inside each other"),
];

/// What a key counts that wants a whole number.
const COUNTED: &[(&str, &str)] = &[
    ("timeout", "seconds"),
    ("call_connect_seconds", "seconds"),
    ("assigned_head_start", "seconds"),
    ("max_seconds", "seconds"),
    ("min_seconds", "seconds"),
    ("options_interval", "seconds"),
    ("try_timeout", "seconds"),
    ("hold_seconds", "seconds"),
    ("max_call_seconds", "seconds"),
    ("rtp_timeout", "seconds"),
    ("drain_seconds", "seconds"),
    ("window_minutes", "minutes"),
    ("sticky_days", "days"),
    ("quarantine_days", "days"),
    ("cdr_days", "days"),
    ("recording_days", "days"),
    ("visitor_days", "days"),
    ("strip", "digits"),
    ("priority", "steps"),
    ("weight", "steps"),
    ("max_calls", "calls"),
    ("max_cps", "calls"),
    ("max_legs", "legs"),
    ("max_ringing_per_caller", "calls"),
    ("limit_code", "a status"),
    ("shards", "threads"),
];

/// Units that are written after a number, and how many seconds each is.
const UNITS: &[(&[&str], u64)] = &[
    (&["s", "sec", "secs", "second", "seconds"], 1),
    (&["m", "min", "mins", "minute", "minutes"], 60),
    (&["h", "hour", "hours"], 3600),
    (&["d", "day", "days"], 86_400),
];

/// Keys that are true or false.
const FLAGS: &[&str] = &[
    "pass_called_number",
    "call_connect",
    "whisper_agents",
    "record",
    "voicemail",
    "enabled",
    "dnd",
    "outbound",
    "register",
    "diversion",
    "history_info",
    "x_cid",
    "trusted_identity",
    "nat",
];

/// Keys that are lists of texts, which hold neither spaces nor quotes.
const LISTS: &[&str] = &["ring", "from", "prefixes", "carry", "allow", "deny", "origins", "trusted_proxies"];

/// Keys whose values are nobody's to read: findings are printed and logged.
const SECRETS: &[&str] = &["password", "ha1", "ha1_sha256", "password_env", "token_env"];

/// Keys that are tables, or lists of them, or of words, and how one is written.
const OTHERS: &[(&str, &str)] = &[
    ("overflow", "[{ ring = [\"alice\"], timeout = 20 }]"),
    ("gateways", "[{ uri = \"sip:192.0.2.1\" }]"),
    ("auth", "{ username = \"…\", password_env = \"…\" }"),
    ("command", "[\"program\", \"argument\"]"),
];

/// One mistake of syntax.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Slip {
    /// The byte of the text where it stands.
    pub at: usize,
    pub said: String,
    pub remedy: Cow<'static, str>,
}

/// What is wrong at this byte of a text, where the TOML reader says so, and what would be right.
pub(super) fn slip(text: &str, at: usize, said: &str) -> Slip {
    let rest = line(text.get(at..).unwrap_or_default());
    let before = text.get(line_start(text, at)..at).unwrap_or_default();
    let said = self::said(said, rest);
    let wanted = wanted(said, before, rest).map(Cow::Owned);
    Slip {
        at,
        said: said.replace('\n', ", "),
        remedy: wanted.unwrap_or_else(|| remedy(said, before, rest).into()),
    }
}

/// The first line of a text.
fn line(text: &str) -> &str {
    text.lines().next().unwrap_or_default()
}

fn line_start(text: &str, at: usize) -> usize {
    let before = text.as_bytes().get(..at).unwrap_or_default();
    memchr::memrchr(b'\n', before).map_or(0, |end| end + 1)
}

/// What is wrong, where the TOML reader says this and the line goes on so: of a value that is not there it says that it
/// is not quoted.
fn said<'a>(said: &'a str, rest: &str) -> &'a str {
    let nothing = rest.is_empty() || rest.trim_start().starts_with('#');
    if said.starts_with(UNQUOTED) && nothing { "missing value" } else { said }
}

/// What would be right where the TOML reader says this, after and before this in the line.
fn remedy(said: &str, before: &str, rest: &str) -> &'static str {
    if said.starts_with("unexpected key or value") && rest.starts_with([']', '}']) {
        return "leave it out, or open the list or table that it closes";
    }
    if said.starts_with("missing comma") && before.ends_with(['"', '\'']) {
        return "end the text before it with its quote, or put a comma between the two";
    }
    let known = REMEDIES.iter().find(|(begins, _)| said.starts_with(begins));
    known.map_or("write key = value, one in a line, and texts in \"…\"", |(_, remedy)| remedy)
}

/// What would be right where a number is wanted, or true or false, or a text that has no quotes. What stands there is written
/// right only where all of it is understood: whoever takes that over must not lose the rest.
fn wanted(said: &str, before: &str, rest: &str) -> Option<String> {
    let is_value = [UNQUOTED, UNOPENED, "invalid", "unexpected key or value", "extra comma", "missing comma"];
    // Nobody slips in a line that nobody can read.
    if before.len() + rest.len() > LONG || !is_value.iter().any(|begins| said.starts_with(begins)) {
        return None;
    }
    // Before it, in a table that began on a line before, there may be others.
    let is_opened = before.contains(['[', '{']) || has_next_key(before) && !before.contains(['"', '\'']);
    let is_inside = is_opened || ends_more_than_it_begins(rest);
    // `20 s` is a number, and something behind it.
    let (key, begun) = if is_inside { before.rsplit_once('=') } else { before.split_once('=') }?;
    let key = key.trim_end().rsplit(|c: char| !c.is_ascii_alphanumeric() && c != '_').next()?;
    let value = format!("{begun}{rest}");
    let (value, is_whole) = match is_inside {
        true => first_of(&value, is_opened),
        false => (value.trim().trim_end_matches(',').trim_end(), !has_next_key(rest)),
    };
    if key.is_empty() || value.is_empty() || value.starts_with(['[', '{']) || SECRETS.contains(&key) {
        return None;
    }
    if FLAGS.contains(&key) {
        return value
            .starts_with(char::is_alphabetic)
            .then(|| format!("write {key} = true or {key} = false"));
    }
    if let Some((_, counted)) = COUNTED.iter().find(|(known, _)| *known == key) {
        return number(key, counted, value);
    }
    let is_uri = |value: &str| {
        let transport = [";transport=udp", ";transport=tcp", ";transport=tls"];
        let plain = transport.iter().find_map(|end| value.strip_suffix(end)).unwrap_or(value);
        let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, ':' | '.' | '-' | '@' | '[' | ']');
        let is_sip = ["sip:", "sips:"].iter().any(|scheme| plain.starts_with(scheme));
        is_sip && plain.chars().all(is_plain) && value.len() <= MOST
    };
    if key == "gateways" && is_uri(value) {
        return Some(format!("write it as gateways = [{{ uri = \"{value}\" }}]"));
    }
    if let Some((_, like)) = OTHERS.iter().find(|(other, _)| *other == key) {
        return Some(format!("write it like {key} = {like}"));
    }
    let are_numbers = || value.starts_with(|c: char| c == '+' || c.is_ascii_digit());
    // How a trunk writes them is a word.
    if LISTS.contains(&key) || key == "numbers" && are_numbers() {
        return Some(list(key, value, is_inside));
    }
    text(key, value, is_whole)
}

/// Of a longer line nothing is written right.
const LONG: usize = 2_000;

/// What ends a value in a list or table.
const ENDS: [char; 3] = [',', ']', '}'];

/// Whether another key follows, as in a table that began on a line before.
fn has_next_key(rest: &str) -> bool {
    let is_key = |key: &str| {
        let key = key.trim();
        !key.is_empty() && key.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
    };
    rest.split(',').skip(1).any(|next| next.split_once('=').is_some_and(|(key, _)| is_key(key)))
}

fn ends_more_than_it_begins(rest: &str) -> bool {
    [('[', ']'), ('{', '}')]
        .into_iter()
        .any(|(begin, end)| rest.matches(end).count() > rest.matches(begin).count())
}

/// The value that a list or table goes on with, up to what may end it; whether that ends it for certain: a text may hold commas,
/// and brackets too where nobody sees where that began.
fn first_of(rest: &str, is_opened: bool) -> (&str, bool) {
    let (value, behind) = rest.split_at(rest.find(ENDS).unwrap_or(rest.len()));
    let is_end = match behind.strip_prefix(',') {
        Some(next) => has_next_key(&format!(",{}", next.split(',').next().unwrap_or_default())),
        None => is_opened,
    };
    (value.trim(), is_end)
}

/// A value without the remark behind it. `any`: one that nothing parts from its # too.
fn without_remark(value: &str, any: bool) -> &str {
    let begins = |at: usize| {
        let (before, behind) = (value[..at].chars().next_back(), value[at + 1..].chars().next());
        before.is_none_or(char::is_whitespace) && (any || behind.is_none_or(char::is_whitespace))
    };
    let at = value.match_indices('#').map(|(at, _)| at).find(|at| begins(*at));
    at.map_or(value, |at| value[..at].trim_end())
}

/// How a number with a unit is written right.
fn number(key: &str, counted: &str, value: &str) -> Option<String> {
    let value = without_remark(value, true);
    let digits = value.len() - value.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let (count, unit) = value.split_at(digits);
    let unit = unit.trim_start();
    // The number is right, and what is behind it is not.
    if value.starts_with(['"', '\'']) || digits == value.len() || digits > 0 && unit.starts_with(',') {
        return None;
    }
    let in_seconds =
        |name: &str| UNITS.iter().find(|(names, _)| names.contains(&name)).map(|(_, seconds)| *seconds);
    let each = in_seconds(counted);
    if digits == 0 || !unit.chars().all(|c| c.is_ascii_alphabetic()) || each.is_none() && unit != counted {
        let example = match (key, each) {
            ("limit_code", _) => 503,
            (_, Some(_)) => 20,
            (_, None) => 1,
        };
        return Some(format!("write a whole number of {counted}, as {key} = {example}"));
    }
    let what = format!("it is a number of {counted}, without a unit");
    let same = match each {
        None => count.parse().ok(),
        Some(each) => in_seconds(&unit.to_ascii_lowercase()).and_then(|unit| {
            let seconds = count.parse::<u64>().ok()?.checked_mul(unit)?;
            seconds.is_multiple_of(each).then(|| seconds / each)
        }),
    };
    Some(same.map_or_else(|| what.clone(), |same| format!("{what}: {key} = {same}")))
}

/// A longer value is not repeated.
const MOST: usize = 200;

/// How a list of texts is written right: of items that are parted as here, or in a table (.csv).
fn list(key: &str, value: &str, is_inside: bool) -> String {
    let value = without_remark(value, true);
    let item = |item: &str| {
        let item = item.trim();
        let quotes = ['"', '\''].into_iter().find_map(|quote| item.strip_prefix(quote)?.strip_suffix(quote));
        let item = quotes.unwrap_or(item);
        let is_one = !item.contains(['"', '\'', '#', '=', ';']) && !item.contains(char::is_whitespace);
        is_one.then(|| item.to_owned())
    };
    let items: Option<Vec<String>> = value.split([',', '|']).map(item).collect();
    let items = items.map(|items| items.into_iter().filter(|item| !item.is_empty()).collect::<Vec<_>>());
    // Of a list inside a table it is not known where it ends.
    match items.filter(|items| !items.is_empty() && !is_inside && value.len() <= MOST) {
        Some(items) => {
            let items: Vec<String> = items.into_iter().map(in_quotes).collect();
            format!("write a list of texts in quotes: {key} = [{}]", items.join(", "))
        }
        None => format!("write a list of texts in quotes, as {key} = [\"…\", \"…\"]"),
    }
}

/// How a text is written right.
fn text(key: &str, value: &str, is_all: bool) -> Option<String> {
    let whole = without_remark(value, false);
    // Its other quote was forgotten.
    let ends = |quote: &char| whole.ends_with(*quote) && whole.matches(['"', '\'']).count() == 1;
    let whole =
        ['"', '\''].iter().find(|quote| ends(quote)).map_or(whole, |quote| whole.trim_end_matches(*quote));
    // A # in quotes is none of a remark.
    let is_clear = !value.contains(" #") || !value.contains(['"', '\'']);
    let is_text = whole.parse::<f64>().is_err() && !whole.contains(char::is_control);
    let is_said = is_all && is_clear && is_text && !whole.is_empty() && whole.len() <= MOST;
    // Where its end alone is wrong, that is told.
    let is_begun = whole.starts_with(['"', '\'']);
    (is_said && !is_begun).then(|| format!("put the text in quotes: {key} = {}", in_quotes(whole.to_owned())))
}

fn in_quotes(text: String) -> String {
    toml::Value::from(text).to_string()
}
