//! What this version does not serve yet. A setting written out that asks for one of these is a warning, not a
//! mistake, so that a configuration may be written ahead.

/// Section, key, and what becomes of it. A value that asks for nothing (false, 0, an empty text) is no warning.
const NOT_YET: &[(&str, &str, &str)] = &[
    ("the file", "public", "nothing is served to strangers over HTTP: leave it out"),
    ("[retention]", "visitor_days", "numbers are not leased yet: leave it out"),
    ("the file", "pool", "numbers are not leased yet: leave it out"),
    (NUMBER, "pool", "numbers are not leased yet: leave it out"),
];

/// Stands for `[[number]]`, `[[profile]]` and `[defaults]`, whose keys are the same.
const NUMBER: &str = "[[number]]";
pub(super) const NO_WEB: &str = "only udp, tcp and tls are served";

/// Why this key of this section is not served, when it is not.
pub(super) fn not_yet(section: &str, key: &str) -> Option<&'static str> {
    let section = if matches!(section, "[[profile]]" | "[defaults]") { NUMBER } else { section };
    NOT_YET.iter().find(|(of, name, _)| *of == section && *name == key).map(|(.., why)| *why)
}
