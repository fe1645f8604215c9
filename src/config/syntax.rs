//! What would be right where a file is no TOML.

/// What the TOML reader says of a key that stands twice.
pub(super) const DUPLICATE: &str = "duplicate key";

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
    ("string values must be quoted", "put the text in \"…\""),
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
    ("carriage return", "save the file with plain line ends"),
    ("cannot recurse", "write fewer lists and tables inside each other"),
    ("recursion limit", "write fewer lists and tables inside each other"),
];

/// What is wrong, where the TOML reader says this and the text goes on so: of a value that is not there it says that it
/// is not quoted.
pub(super) fn said<'a>(said: &'a str, rest: &str) -> &'a str {
    let unquoted = said.starts_with("string values must be quoted");
    let nothing =
        rest.lines().next().is_none_or(|line| line.is_empty() || line.trim_start().starts_with('#'));
    if unquoted && nothing { "missing value" } else { said }
}

/// What would be right where the TOML reader says this.
pub(super) fn remedy(said: &str) -> &'static str {
    let known = REMEDIES.iter().find(|(begins, _)| said.starts_with(begins));
    known.map_or("write key = value, one in a line, and texts in \"…\"", |(_, remedy)| remedy)
}
