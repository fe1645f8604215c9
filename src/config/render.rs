//! Findings as people and programs read them.

use std::fmt::Write as _;
use std::path::Path;

use annotate_snippets::{AnnotationKind, Level, Renderer, Snippet};
use schemars::JsonSchema;
use serde::Serialize;

use super::{Finding, MAX_FINDINGS};

/// One line each: `file:line:column: what is wrong; what would be right`, warnings marked as such.
pub fn plain(errors: &[Finding], warnings: &[Finding]) -> String {
    let mut text = String::new();
    for finding in errors {
        let _ = writeln!(text, "{finding}");
    }
    for finding in warnings {
        let Finding { file, line, column, message, remedy } = finding;
        let _ = writeln!(text, "{file}:{line}:{column}: warning: {message}; {remedy}");
    }
    text.push_str(&beyond(errors, warnings));
    text
}

/// What is read out where so many are told that there may be others: behind the last mistake nothing is looked for.
pub fn may_be_more(told: usize, what: &str) -> Option<String> {
    (told >= MAX_FINDINGS).then(|| format!("these are the first {told} {what}: there may be more"))
}

fn beyond(errors: &[Finding], warnings: &[Finding]) -> String {
    let both = [may_be_more(errors.len(), "mistakes"), may_be_more(warnings.len(), "warnings")];
    both.into_iter().flatten().map(|line| line + "\n").collect()
}

/// For a terminal: each finding with the line it stands in, read again from its file.
pub fn pretty(errors: &[Finding], warnings: &[Finding]) -> String {
    let mut text = String::new();
    let marked = errors.iter().map(|error| (Level::ERROR, error));
    for (level, finding) in marked.chain(warnings.iter().map(|warning| (Level::WARNING, warning))) {
        match line_of(finding) {
            Some(line) => text.push_str(&snippet(level, finding, &line)),
            None => text.push_str(&plain(std::slice::from_ref(finding), &[])),
        }
        text.push('\n');
    }
    text.push_str(&beyond(errors, warnings));
    text
}

/// What `check` found.
#[derive(Clone, Copy, Debug, Serialize, JsonSchema)]
#[schemars(title = "Findings")]
pub struct Findings<'a> {
    /// At most 100, in the order of the files.
    pub errors: &'a [Finding],
    pub warnings: &'a [Finding],
    /// These are the first mistakes: there may be more.
    pub more_errors: bool,
    /// The same of the warnings.
    pub more_warnings: bool,
}

impl<'a> Findings<'a> {
    pub fn of(errors: &'a [Finding], warnings: &'a [Finding]) -> Findings<'a> {
        let [more_errors, more_warnings] =
            [errors, warnings].map(|told| may_be_more(told.len(), "").is_some());
        Findings { errors, warnings, more_errors, more_warnings }
    }
}

fn snippet(level: Level<'_>, finding: &Finding, line: &str) -> String {
    let begin =
        line.char_indices().nth(finding.column.saturating_sub(1) as usize).map_or(line.len(), |(at, _)| at);
    let end = begin + word(&line[begin..]);
    let source = Snippet::source(line)
        .line_start(finding.line as usize)
        .path(&*finding.file)
        .annotation(AnnotationKind::Primary.span(begin..end));
    let mut group = level.primary_title(&*finding.message).element(source);
    if !finding.remedy.is_empty() {
        group = group.element(Level::HELP.message(&*finding.remedy));
    }
    let mut text = Renderer::styled().render(&[group]);
    text.push('\n');
    text
}

/// How many bytes the written value takes, as well as its line shows.
fn word(text: &str) -> usize {
    match text.strip_prefix('"') {
        Some(rest) => rest.find('"').map_or(text.len(), |end| end + 2),
        None => text.find([',', ' ', ']', '}', '=']).unwrap_or(text.len()),
    }
}

/// The finding's line, unless it is no line that a terminal could show.
fn line_of(finding: &Finding) -> Option<String> {
    const LONGEST: usize = 500;
    let text = std::fs::read_to_string(Path::new(&finding.file)).ok()?;
    let line = text.lines().nth(finding.line.checked_sub(1)? as usize)?;
    let fits =
        line.len() <= LONGEST && !line.is_empty() && !line.chars().any(|c| c.is_control() && c != '\t');
    fits.then(|| line.to_owned())
}
