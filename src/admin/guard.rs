//! Who may speak to `[admin]`: bearers of the token, and where there is none, programs on this machine that
//! no web page has sent.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::problem::Problem;

/// What every request is measured by.
pub(super) struct Guard {
    /// Only loopback names are believed in Host and Origin.
    loopback: bool,
    token: Option<Box<[u8]>>,
}

impl Guard {
    pub fn new(addr: SocketAddr, token: Option<&str>) -> Guard {
        Guard { loopback: addr.ip().is_loopback(), token: token.map(|token| token.as_bytes().into()) }
    }

    /// A web page that a browser on this machine shows can reach us too: by a name that it lets point to
    /// 127.0.0.1 (DNS rebinding; the Host gives it away), or by a request across sites (the Origin does).
    fn refuses(&self, path: &str, headers: &HeaderMap) -> Option<Problem> {
        if self.loopback {
            let host = headers.get(header::HOST).map(|host| host.to_str().unwrap_or_default());
            if host.is_some_and(|host| !names_loopback(host)) {
                let detail = "Host is no loopback name; this address serves its own machine alone";
                return Some(Problem::new(StatusCode::MISDIRECTED_REQUEST, detail));
            }
        }
        if let Some(origin) = headers.get(header::ORIGIN).map(|origin| origin.to_str().unwrap_or_default()) {
            let authority = origin.split_once("://").map_or("", |(_, authority)| authority);
            if !(self.loopback && names_loopback(authority)) {
                let detail = "requests from other sites' pages are not served";
                return Some(Problem::new(StatusCode::FORBIDDEN, detail));
            }
        }
        match &self.token {
            Some(token) if !is_open(path) && !bears(headers, token) => {
                let detail = if has_several(headers) {
                    "send one `Authorization: Bearer` header with one token, the node's ([admin] token_env)"
                } else {
                    "send `Authorization: Bearer` with the node's token ([admin] token_env)"
                };
                Some(Problem::new(StatusCode::UNAUTHORIZED, detail))
            }
            Some(_) | None => None,
        }
    }
}

pub(super) async fn check(State(guard): State<Arc<Guard>>, request: Request, next: Next) -> Response {
    match guard.refuses(request.uri().path(), request.headers()) {
        None => next.run(request).await,
        Some(problem) if problem.status == StatusCode::UNAUTHORIZED.as_u16() => {
            ([(header::WWW_AUTHENTICATE, "Bearer")], problem).into_response()
        }
        Some(problem) => problem.into_response(),
    }
}

/// Load balancers ask these, and they give nothing away.
fn is_open(path: &str) -> bool {
    matches!(path, "/healthz" | "/readyz")
}

/// Whether `host[:port]` is `localhost` or a loopback address.
fn names_loopback(authority: &str) -> bool {
    let host = match authority.strip_prefix('[') {
        Some(rest) => rest.split_once(']').map_or("", |(host, _)| host),
        None => authority.split_once(':').map_or(authority, |(host, _)| host),
    };
    let host = host.strip_suffix('.').unwrap_or(host);
    host.eq_ignore_ascii_case("localhost") || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

/// Whether it has more than one token: whoever stands before us may have read the other one.
fn has_several(headers: &HeaderMap) -> bool {
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    let first = values.next().is_some_and(|value| value.as_bytes().contains(&b','));
    first || values.next().is_some()
}

fn bears(headers: &HeaderMap, token: &[u8]) -> bool {
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    let (Some(value), None) = (values.next().map(|value| value.as_bytes()), values.next()) else {
        return false;
    };
    let scheme = value.get(..7).unwrap_or_default();
    scheme.eq_ignore_ascii_case(b"bearer ") && is_same(value.get(7..).unwrap_or_default(), token)
}

/// Takes the same time wherever the two differ, so that a token cannot be guessed letter by letter.
fn is_same(given: &[u8], right: &[u8]) -> bool {
    let differing = given.iter().zip(right).fold(0, |differing, (a, b)| differing | (a ^ b));
    std::hint::black_box(differing) == 0 && given.len() == right.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_loopback_by_name_or_address_and_by_nothing_that_only_begins_so() {
        for host in ["localhost", "LOCALHOST:8060", "127.0.0.1:8060", "127.9.9.9", "[::1]:8060", "localhost."]
        {
            assert!(names_loopback(host), "{host}");
        }
        for host in
            ["", "evil.example", "localhost.evil.example", "127.0.0.1.evil.example:80", "[::1", "10.0.0.1"]
        {
            assert!(!names_loopback(host), "{host}");
        }
    }

    #[test]
    fn a_token_is_right_whole_and_not_in_part() {
        assert!(is_same(b"secret", b"secret"));
        for wrong in [&b""[..], b"secre", b"secret!", b"Secret"] {
            assert!(!is_same(wrong, b"secret"));
        }
    }
}
