//! Who asks, as they say: for the list of generations.

use axum::http::HeaderMap;

/// The header that says so.
pub const BY: &str = "strowger-by";
/// Of so many characters at most.
const MOST: usize = 64;

pub(super) fn by(headers: &HeaderMap) -> String {
    let said = headers.get(BY).and_then(|by| by.to_str().ok()).unwrap_or_default();
    let said: String = said.chars().filter(|letter| !letter.is_control()).take(MOST).collect();
    if said.trim().is_empty() { "HTTP".to_owned() } else { said }
}
