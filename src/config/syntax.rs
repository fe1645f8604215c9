//! What would be right where a file is no TOML.

use std::borrow::Cow;

/// What the TOML reader says of a key that stands twice.
pub(super) const DUPLICATE: &str = "duplicate key";

/// What it says of a value that it cannot read.
const UNQUOTED: &str = "string values must be quoted";

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
    ("missing opening quote", "put the text in \"…\""),
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

/// Keys that are lists of texts.
const LISTS: &[&str] =
    &["ring", "from", "prefixes", "carry", "allow", "deny", "origins", "trusted_proxies", "command"];

/// Keys that are tables, or lists of them, as one would be.
const TABLES: &[(&str, &str)] = &[
    ("overflow", "[{ ring = [\"alice\"], timeout = 20 }]"),
    ("gateways", "[{ uri = \"sip:192.0.2.1\" }]"),
    ("auth", "{ username = \"…\", password = \"…\" }"),
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

/// What would be right where a number is wanted, or true or false, or a text that has no quotes.
fn wanted(said: &str, before: &str, rest: &str) -> Option<String> {
    let is_value =
        [UNQUOTED, "invalid", "unexpected key or value"].iter().any(|begins| said.starts_with(begins));
    if !is_value {
        return None;
    }
    let is_inside = before.contains(['[', '{']) || ends_what_it_is_in(rest);
    // `20 s` is a number, and something behind it.
    let (key, number) = if is_inside { before.rsplit_once('=') } else { before.split_once('=') }?;
    let key = key.trim_end().rsplit(|c: char| !c.is_ascii_alphanumeric() && c != '_').next()?;
    let value = format!("{}{rest}", number.trim_start());
    let digits = value.len() - value.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let (count, unit) = value.split_at(digits);
    let unit = unit.trim_start().split(|c: char| !c.is_ascii_alphabetic()).next()?;
    if FLAGS.contains(&key) && digits == 0 && !unit.is_empty() {
        return Some(format!("write {key} = true or {key} = false"));
    }
    let Some((_, counted)) = COUNTED.iter().find(|(known, _)| *known == key) else {
        return quoted(key, &value, is_inside);
    };
    if digits == 0 {
        return Some(format!("write a whole number of {counted}, as {key} = 20"));
    }
    if unit.is_empty() {
        return None;
    }
    let what = format!("it is a number of {counted}, without a unit");
    let in_seconds =
        |name: &str| UNITS.iter().find(|(names, _)| names.contains(&name)).map(|(_, seconds)| *seconds);
    let same = in_seconds(&unit.to_ascii_lowercase()).zip(in_seconds(counted)).and_then(|(unit, counted)| {
        let seconds = count.parse::<u64>().ok()?.checked_mul(unit)?;
        seconds.is_multiple_of(counted).then(|| seconds / counted)
    });
    Some(same.map_or_else(|| what.clone(), |same| format!("{what}: {key} = {same}")))
}

/// Whether the rest of a line ends a list or table that began before it, or an entry of one.
fn ends_what_it_is_in(rest: &str) -> bool {
    let count = |marks: [char; 2]| rest.matches(marks).count();
    count([']', '}']) > count(['[', '{']) || rest.trim_end().ends_with(',')
}

/// How a text without quotes is written right, or a list of such: `value` is the rest of its line. `is_inside`: of a list or
/// table, whose commas and ends are not its own.
fn quoted(key: &str, value: &str, is_inside: bool) -> Option<String> {
    /// A longer one is not repeated.
    const MOST: usize = 200;
    let text = value.split(" # ").next()?;
    let text = if is_inside { text.split([',', ']', '}']).next()? } else { text }.trim();
    let is_text =
        !text.is_empty() && !text.starts_with(['"', '\'', '[', '{']) && text.parse::<f64>().is_err();
    if !is_text || key.is_empty() || text.len() > MOST {
        return None;
    }
    if let Some((_, like)) = TABLES.iter().find(|(table, _)| *table == key) {
        return Some(format!("write {key} = {like}, or leave it out"));
    }
    let in_quotes = |text: &str| toml::Value::from(text.trim()).to_string();
    if !LISTS.contains(&key) {
        return Some(format!("put the text in quotes: {key} = {}", in_quotes(text)));
    }
    let items: Vec<String> = text.split(',').map(in_quotes).collect();
    Some(format!("write a list of texts in quotes: {key} = [{}]", items.join(", ")))
}
