//! How a command speaks to the node that runs: where it is, and one request.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use ureq::http::{HeaderMap, StatusCode};

use crate::admin::BY;
use crate::admin::problem::Problem;
use crate::number::Country;
use crate::store::read_node;

/// How long a node may take.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long it may that reads millions of numbers.
const LONG_PATIENCE: Duration = Duration::from_secs(600);
/// The largest answer that is read.
const ANSWER: u64 = 256 << 20;

/// Why a command got no answer that it can show.
#[derive(Debug, thiserror::Error)]
pub enum Failed {
    /// Exit 3.
    #[error("{0}")]
    Unreachable(String),
    /// The node refused; exit 1.
    #[error("{}", refusal(.0))]
    Refused(Problem),
    /// Exit 1.
    #[error("{0}")]
    Wrong(String),
}

fn refusal(problem: &Problem) -> String {
    let mut text = if problem.detail.is_empty() { problem.title.clone() } else { problem.detail.clone() };
    for finding in &problem.errors {
        text.push('\n');
        text.push_str(&finding.to_string());
    }
    text
}

/// The keys of `strowger.toml` that lead to a node. Read leniently: a configuration that does not check must
/// not keep an operator from the node that runs.
#[derive(Default, Deserialize)]
struct Node {
    #[serde(default)]
    node: NodeSection,
    admin: Option<AdminSection>,
}

#[derive(Default, Deserialize)]
struct NodeSection {
    data_dir: Option<String>,
    country: Option<String>,
}

#[derive(Deserialize)]
struct AdminSection {
    addr: Option<String>,
    token_env: Option<String>,
}

/// What a node is asked.
pub struct Question<'q> {
    pub method: &'q str,
    pub path: &'q str,
    pub headers: &'q [(&'q str, &'q str)],
    /// Its type, and itself.
    pub body: Option<(&'q str, &'q str)>,
}

impl<'q> Question<'q> {
    pub fn get(path: &'q str) -> Question<'q> {
        Question { method: "GET", path, headers: &[], body: None }
    }
}

/// What it answered.
pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Vec<u8>,
}

impl Answer {
    pub fn json<T: DeserializeOwned>(&self) -> Result<T, Failed> {
        serde_json::from_slice(&self.body)
            .map_err(|error| Failed::Wrong(format!("the node's answer is not understood: {error}")))
    }

    /// One that is no success.
    pub fn refusal(&self) -> Failed {
        match serde_json::from_slice::<Problem>(&self.body) {
            Ok(problem) => Failed::Refused(problem),
            Err(_) => Failed::Wrong(format!("the node answered {}", self.status)),
        }
    }
}

/// The running node.
pub struct Client {
    addr: SocketAddr,
    token: Option<String>,
    /// Who asks.
    by: Option<String>,
    /// How national numbers are read there.
    pub country: Country,
    agent: ureq::Agent,
}

impl Client {
    /// Finds the node of a configuration: by `node.json` where one runs, else by `[admin]`.
    pub fn of(config: &Path, env: impl Fn(&str) -> Option<String>) -> Result<Client, Failed> {
        let path = config.join("strowger.toml");
        let text = match std::fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) => {
                return Err(Failed::Wrong(format!(
                    "{}: {error}; name the folder with --config",
                    path.display()
                )));
            }
        };
        let node: Node =
            toml::from_str(&text).map_err(|error| Failed::Wrong(format!("{}: {error}", path.display())))?;
        let country = node.node.country.as_deref().and_then(Country::parse).unwrap_or(Country::US);
        let Some(admin) = node.admin else {
            let said = format!("{} has no [admin]: this node cannot be asked anything", path.display());
            return Err(Failed::Unreachable(said));
        };
        let data_dir = node.node.data_dir.unwrap_or_else(|| "data".to_owned());
        let running = read_node(Path::new(&data_dir)).ok().flatten().and_then(|node| node.admin);
        let written = admin.addr.unwrap_or_else(|| "127.0.0.1:8060".to_owned());
        let addr = match running {
            Some(addr) => addr,
            None => written.parse().map_err(|_| {
                Failed::Wrong(format!(
                    "{}: [admin] addr = \"{written}\" is no address with a port",
                    path.display()
                ))
            })?,
        };
        let token = admin.token_env.and_then(|name| env(&name)).filter(|token| !token.is_empty());
        let agent = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .proxy(None)
            .max_redirects(0)
            .timeout_global(Some(PATIENCE))
            .build();
        let by = ["SUDO_USER", "USER", "LOGNAME"].into_iter().find_map(&env);
        let by = by
            .filter(|by| !by.is_empty())
            .unwrap_or_else(|| format!("user {}", rustix::process::getuid().as_raw()));
        // A header holds no other letters.
        let is_plain = by.bytes().all(|byte| byte == b' ' || byte.is_ascii_graphic());
        let by = Some(if is_plain { by } else { escaped(&by) });
        Ok(Client { addr: reachable(addr), token, by, country, agent: agent.into() })
    }

    pub fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, Failed> {
        self.ask_for(Question::get(path))?.json()
    }

    pub fn post<T: DeserializeOwned>(&self, path: &str) -> Result<T, Failed> {
        self.ask_for(Question { method: "POST", ..Question::get(path) })?.json()
    }

    /// An answer that is no JSON, and its headers.
    pub fn fetch(&self, path: &str) -> Result<(HeaderMap, Vec<u8>), Failed> {
        self.ask_for(Question::get(path)).map(|answer| (answer.headers, answer.body))
    }

    /// Asks, and takes any answer that is no refusal.
    pub fn ask_for(&self, question: Question<'_>) -> Result<Answer, Failed> {
        let answer = self.answer_to(question)?;
        if answer.status.is_success() { Ok(answer) } else { Err(answer.refusal()) }
    }

    /// Asks, and takes any answer.
    pub fn answer_to(&self, question: Question<'_>) -> Result<Answer, Failed> {
        let Question { method, path, headers, body } = question;
        let mut request =
            ureq::http::Request::builder().method(method).uri(format!("http://{}{path}", self.addr));
        if let Some(token) = &self.token {
            request = request.header("Authorization", format!("Bearer {token}"));
        }
        if let Some(by) = &self.by {
            request = request.header(BY, by);
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        if let Some((kind, _)) = body {
            request = request.header("Content-Type", kind);
        }
        let body = body.map_or("", |(_, text)| text).to_owned();
        let request = request.body(body).map_err(|error| Failed::Wrong(error.to_string()))?;
        let patience = if method == "POST" { LONG_PATIENCE } else { PATIENCE };
        let request = self.agent.configure_request(request).timeout_global(Some(patience)).build();
        let mut answer = self.agent.run(request).map_err(|error| self.unreachable(error))?;
        let body = answer.body_mut().with_config().limit(ANSWER).read_to_vec();
        let body = body.map_err(|error| self.unreachable(error))?;
        let headers = std::mem::take(answer.headers_mut());
        Ok(Answer { status: answer.status(), headers, body })
    }

    fn unreachable(&self, error: ureq::Error) -> Failed {
        let refused =
            matches!(&error, ureq::Error::Io(error) if error.kind() == io::ErrorKind::ConnectionRefused);
        let why = if refused { "nobody listens there".to_owned() } else { error.to_string() };
        Failed::Unreachable(format!("no node answers at {}: {why}; `strowger serve` starts one", self.addr))
    }
}

/// Where to connect to reach what is bound to `addr`.
fn reachable(addr: SocketAddr) -> SocketAddr {
    let ip = match addr.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        IpAddr::V4(_) | IpAddr::V6(_) => addr.ip(),
    };
    SocketAddr::new(ip, addr.port())
}

/// A text as one part of a path or a query (RFC 3986 §2.1).
pub fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => out.push(char::from(byte)),
            other => {
                out.push('%');
                for digit in [other >> 4, other & 15] {
                    out.push(char::from(b"0123456789ABCDEF"[usize::from(digit)]));
                }
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_escaped_in_a_path() {
        assert_eq!(escaped("+1201 5550101/ü"), "%2B1201%205550101%2F%C3%BC");
    }
}
