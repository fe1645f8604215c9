//! Single numbers over HTTP: told with their version, and changed by whoever names the version that they know, so that two who
//! change the same number cannot overwrite each other unseen (RFC 9110 §13).

use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use utoipa::IntoParams;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::api::{Desk, Limit, bad_request};
use super::by::by;
use super::operations::{
    Anew, Changed, Condition, Finding, NotChanged, NumberPage, NumberText, NumbersAsked, Removal, Versions,
    Wish,
};
use super::problem::{Asked, Problem};
use crate::time::rfc3339;

/// Items of a page when the request names no limit, and at most.
const NUMBERS: Limit = Limit { usual: 100, most: 10_000 };
/// The generation in which a number is first as it was changed.
const GENERATION: &str = "strowger-generation";
/// What wants a look in it, one header each.
pub const WARNING: &str = "strowger-warning";
/// Bodies of these types are read, and one that names none.
const PUT_TYPES: [&str; 1] = ["application/json"];
const PATCH_TYPES: [&str; 2] = ["application/merge-patch+json", "application/json"];

pub(super) fn router() -> OpenApiRouter<Desk> {
    OpenApiRouter::new().routes(routes!(numbers)).routes(routes!(number, put, patch, delete))
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct NumbersQuery {
    /// The `next` of an earlier answer; left out, the list begins at its beginning.
    after: Option<String>,
    /// How many items at most.
    limit: Option<usize>,
    /// Digits of the number, or part of its label or account.
    q: Option<String>,
    /// `http`: only what was set, or removed, over HTTP.
    source: Option<String>,
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct DeleteQuery {
    /// `files`: what was set over HTTP is taken back, and what the files say holds again. Left out: it is none of ours,
    /// whatever the files say.
    to: Option<String>,
}

/// Numbers: those that were set over HTTP first, then the files'.
#[utoipa::path(get, path = "/v1/numbers", params(NumbersQuery), responses(
    (status = 200, description = "numbers as they are written, without what profile and defaults bring",
        body = ref("#/components/schemas/NumberList")),
    (status = 400, description = "a parameter is wrong",
        body = ref("#/components/schemas/Problem"), content_type = "application/problem+json"),
))]
async fn numbers(State(desk): State<Desk>, Asked(asked): Asked<NumbersQuery>) -> Result<Response, Problem> {
    let over_http = match asked.source.as_deref() {
        None => false,
        Some("http") => true,
        Some(_) => return Err(bad_request("`source` is http, or left out")),
    };
    let most = NUMBERS.of(asked.limit)?;
    let asked = NumbersAsked { after: asked.after, most, q: asked.q, over_http };
    let NumberPage { items, next } = desk.node.numbers(asked).await.map_err(bad_request)?;
    let next = next.map_or("null".to_owned(), |next| format!("\"{next}\""));
    let body = format!("{{\"items\":[{}],\"next\":{next}}}", items.join(","));
    Ok(([(header::CONTENT_TYPE, "application/json")], body).into_response())
}

/// One number, or block, as it is written.
#[utoipa::path(get, path = "/v1/numbers/{did}",
    params(("did" = String, Path, description = "`%2B1201…`, its bare digits, or a block: `%2B1201*`")), responses(
    (status = 200, description = "the number; its ETag is the version to name when it is changed",
        body = ref("#/components/schemas/ToldNumber")),
    (status = 304, description = "it still has the version that If-None-Match names"),
    (status = 400, description = "no number",
        body = ref("#/components/schemas/Problem"), content_type = "application/problem+json"),
    (status = 404, description = "none of ours; with an ETag: removed over HTTP, which DELETE with ?to=files takes back",
        body = ref("#/components/schemas/Problem"), content_type = "application/problem+json"),
))]
async fn number(
    State(desk): State<Desk>,
    Path(did): Path<String>,
    headers: HeaderMap,
) -> Result<Response, Response> {
    let text = desk.node.number(&did).map_err(|why| answered(why, &did))?;
    let known = versions(&headers, &header::IF_NONE_MATCH).map_err(IntoResponse::into_response)?;
    if known.is_some_and(|known| known.hold(&text.etag)) {
        return Ok((StatusCode::NOT_MODIFIED, [(header::ETAG, quoted(&text.etag))]).into_response());
    }
    Ok(told(StatusCode::OK, text))
}

/// Makes a number, or says anew all that it says.
#[utoipa::path(put, path = "/v1/numbers/{did}",
    params(("did" = String, Path, description = "`%2B1201…`, its bare digits, or a block: `%2B1201*`"),
        ("If-Match" = Option<String>, Header, description = "the ETag of the version that is replaced, or of its removal"),
        ("If-None-Match" = Option<String>, Header, description = "`*`: only if it is not there"),
        ("Strowger-By" = Option<String>, Header, description = "who does it, for the list of generations")),
    request_body(content = ref("#/components/schemas/Number"), description = "the keys of [[number]]; `did` may be left out"),
    responses(
    (status = 200, description = "it is so: durable, and so for the next call", body = ref("#/components/schemas/ToldNumber")),
    (status = 201, description = "the same, and it was none of ours", body = ref("#/components/schemas/ToldNumber")),
    (status = 412, description = "it has another version, its ETag, or was removed; or it is there and was to be made",
        body = ref("#/components/schemas/Problem"), content_type = "application/problem+json"),
    (status = 422, description = "it does not check; nothing was changed",
        body = ref("#/components/schemas/Problem"), content_type = "application/problem+json"),
    (status = 428, description = "it is there, or was removed over HTTP: name the version of that with If-Match, or make it anew with If-None-Match",
        body = ref("#/components/schemas/Problem"), content_type = "application/problem+json"),
))]
async fn put(
    State(desk): State<Desk>,
    Path(did): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, Response> {
    let body = text(&headers, body, &PUT_TYPES).map_err(IntoResponse::into_response)?;
    change(&desk, &did, Wish::Put(body), &headers).await
}

/// Changes some of what a number says (RFC 7396).
#[utoipa::path(patch, path = "/v1/numbers/{did}",
    params(("did" = String, Path, description = "`%2B1201…`, its bare digits, or a block: `%2B1201*`"),
        ("If-Match" = String, Header, description = "the ETag of the version that is changed"),
        ("Strowger-By" = Option<String>, Header, description = "who does it, for the list of generations")),
    request_body(content = ref("#/components/schemas/Number"), content_type = "application/merge-patch+json",
        description = "the keys that change; null: no longer written"),
    responses(
    (status = 200, description = "it is so: durable, and so for the next call", body = ref("#/components/schemas/ToldNumber")),
    (status = 404, description = "none of ours",
        body = ref("#/components/schemas/Problem"), content_type = "application/problem+json"),
    (status = 412, description = "it has another version, its ETag",
        body = ref("#/components/schemas/Problem"), content_type = "application/problem+json"),
    (status = 422, description = "it does not check; nothing was changed",
        body = ref("#/components/schemas/Problem"), content_type = "application/problem+json"),
    (status = 428, description = "name its version with If-Match",
        body = ref("#/components/schemas/Problem"), content_type = "application/problem+json"),
))]
async fn patch(
    State(desk): State<Desk>,
    Path(did): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, Response> {
    let body = text(&headers, body, &PATCH_TYPES).map_err(IntoResponse::into_response)?;
    change(&desk, &did, Wish::Patch(body), &headers).await
}

/// Removes a number, or takes back what was set of it over HTTP.
#[utoipa::path(delete, path = "/v1/numbers/{did}",
    params(("did" = String, Path, description = "`%2B1201…`, its bare digits, or a block: `%2B1201*`"), DeleteQuery,
        ("If-Match" = String, Header, description = "the ETag of the version that is removed"),
        ("Strowger-By" = Option<String>, Header, description = "who does it, for the list of generations")),
    responses(
    (status = 200, description = "what the files say of it holds again", body = ref("#/components/schemas/ToldNumber")),
    (status = 204, description = "it is none of ours: durable, and so for the next call"),
    (status = 404, description = "none of ours, or not set over HTTP",
        body = ref("#/components/schemas/Problem"), content_type = "application/problem+json"),
    (status = 412, description = "it has another version, its ETag",
        body = ref("#/components/schemas/Problem"), content_type = "application/problem+json"),
    (status = 422, description = "something else needs it; nothing was changed",
        body = ref("#/components/schemas/Problem"), content_type = "application/problem+json"),
    (status = 428, description = "name its version with If-Match",
        body = ref("#/components/schemas/Problem"), content_type = "application/problem+json"),
))]
async fn delete(
    State(desk): State<Desk>,
    Path(did): Path<String>,
    Asked(asked): Asked<DeleteQuery>,
    headers: HeaderMap,
) -> Result<Response, Response> {
    let wish = match asked.to.as_deref() {
        None => Wish::Delete,
        Some("files") => Wish::ToFiles,
        Some(_) => return Err(bad_request("`to` is files, or left out").into_response()),
    };
    change(&desk, &did, wish, &headers).await
}

async fn change(desk: &Desk, did: &str, wish: Wish, headers: &HeaderMap) -> Result<Response, Response> {
    let condition = condition(headers).map_err(IntoResponse::into_response)?;
    let by = by(headers);
    match desk.node.change(did, wish, condition, &by).await {
        Ok(Changed { created, text, generation, warnings }) => {
            let status = if created { StatusCode::CREATED } else { StatusCode::OK };
            let mut answer = match text {
                Some(text) => told(status, text),
                None => StatusCode::NO_CONTENT.into_response(),
            };
            answer.headers_mut().insert(HeaderName::from_static(GENERATION), generation.into());
            for Finding { message, remedy, .. } in warnings {
                // A header holds no other letters.
                let said = format!("{message}; {remedy}")
                    .replace(|letter: char| !(' '..='~').contains(&letter), "?");
                if let Ok(said) = HeaderValue::from_str(&said) {
                    answer.headers_mut().append(HeaderName::from_static(WARNING), said);
                }
            }
            Ok(answer)
        }
        Err(why) => Err(answered(why, did)),
    }
}

/// As a problem, with the version that the number has.
fn answered(why: NotChanged, did: &str) -> Response {
    let (problem, etag) = refused(why, did);
    let mut answer = problem.into_response();
    if let Some(etag) = etag.and_then(|etag| quoted(&etag).parse().ok()) {
        answer.headers_mut().insert(header::ETAG, etag);
    }
    answer
}

/// As a problem, and the version that the number has, if it is there or was removed.
fn refused(why: NotChanged, did: &str) -> (Problem, Option<String>) {
    let did: String = did.chars().take(32).collect();
    let problem = |status, detail: String| Problem::new(status, detail);
    match why {
        NotChanged::BadNumber(detail) => (bad_request(detail), None),
        NotChanged::Unknown => {
            (problem(StatusCode::NOT_FOUND, format!("{did} is none of our numbers as it is written")), None)
        }
        NotChanged::Removed(removal) => {
            let help = "`strowger numbers unset`, or DELETE with ?to=files and its ETag in If-Match, takes that back";
            (
                problem(StatusCode::NOT_FOUND, format!("{}; {help}", removed(&did, &removal))),
                Some(removal.etag),
            )
        }
        NotChanged::Unaware(removal, anew) => {
            let help = match anew {
                Anew::Made => "to make it anew, send If-None-Match: *, or the ETag of that in If-Match",
                Anew::FromFiles => "to take that back, name its ETag with If-Match",
            };
            let detail = format!("{}; {help}", removed(&did, &removal));
            (problem(StatusCode::PRECONDITION_REQUIRED, detail), Some(removal.etag))
        }
        NotChanged::Gone(removal) => {
            let help = "so no version of it is there to match; to make it anew, send If-None-Match: *, or the ETag of \
                        that in If-Match";
            let detail = format!("{}, {help}", removed(&did, &removal));
            (problem(StatusCode::PRECONDITION_FAILED, detail), Some(removal.etag))
        }
        NotChanged::NotSet => {
            let detail = format!("nothing was set of {did} over HTTP: the files say what it does");
            (problem(StatusCode::NOT_FOUND, detail), None)
        }
        NotChanged::Unconditional(etag) => {
            let detail = format!("{did} is there: name the version that you know with If-Match (its ETag)");
            (problem(StatusCode::PRECONDITION_REQUIRED, detail), Some(etag))
        }
        NotChanged::Stale(etag) => {
            let detail = match etag {
                Some(_) => format!("somebody has changed {did} since: look at it anew, and name its ETag"),
                None => format!("{did} is none of our numbers, so it has no version to match"),
            };
            (problem(StatusCode::PRECONDITION_FAILED, detail), etag)
        }
        NotChanged::Exists(etag) => {
            let detail = format!("{did} is there already; to replace it, name its ETag with If-Match");
            (problem(StatusCode::PRECONDITION_FAILED, detail), Some(etag))
        }
        NotChanged::Wrong(errors) => {
            let detail = "the number does not check; what was served before still is".to_owned();
            (Problem { errors, ..problem(StatusCode::UNPROCESSABLE_ENTITY, detail) }, None)
        }
        NotChanged::Full(most) => {
            let detail = format!(
                "{most} numbers are set over HTTP: write some into files (`strowger numbers export`)"
            );
            (problem(StatusCode::INSUFFICIENT_STORAGE, detail), None)
        }
        NotChanged::Unwritten(detail) => (problem(StatusCode::INSUFFICIENT_STORAGE, detail), None),
        NotChanged::Busy => {
            let detail = "too many changes wait; try again in a moment".to_owned();
            (problem(StatusCode::SERVICE_UNAVAILABLE, detail), None)
        }
    }
}

fn removed(did: &str, Removal { by, at, .. }: &Removal) -> String {
    format!("{did} was removed over HTTP by {by}, {}", rfc3339::to_string(*at))
}

fn told(status: StatusCode, text: NumberText) -> Response {
    let NumberText { json, etag } = text;
    let headers = [(header::CONTENT_TYPE, "application/json".to_owned()), (header::ETAG, quoted(&etag))];
    (status, headers, json + "\n").into_response()
}

fn quoted(etag: &str) -> String {
    format!("\"{etag}\"")
}

/// A body as text, if it is of one of these types.
fn text(headers: &HeaderMap, body: Bytes, types: &[&str]) -> Result<String, Problem> {
    if let Some(kind) = headers.get(header::CONTENT_TYPE) {
        let kind = kind.to_str().unwrap_or_default();
        let kind = kind.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
        if !types.contains(&kind.as_str()) {
            let detail = format!("send Content-Type: {}", types[0]);
            return Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, detail));
        }
    }
    String::from_utf8(body.into()).map_err(|_| bad_request("the body is not UTF-8"))
}

fn condition(headers: &HeaderMap) -> Result<Condition, Problem> {
    Ok(Condition {
        if_match: versions(headers, &header::IF_MATCH)?,
        if_none_match: versions(headers, &header::IF_NONE_MATCH)?,
    })
}

/// `*`, or versions in quotes, separated by commas (RFC 9110 §13.1; §5.6.1: empty members count for nothing). A weak one
/// (`W/"…"`) is none that If-Match could name, and to If-None-Match the same as another.
fn versions(headers: &HeaderMap, name: &HeaderName) -> Result<Option<Versions>, Problem> {
    let bad = || bad_request(format!("{name} is * or an ETag in its quotes, like \"0123456789abcdef\""));
    if !headers.contains_key(name) {
        return Ok(None);
    }
    let mut members = Vec::new();
    for value in headers.get_all(name) {
        let mut rest = value.to_str().map_err(|_| bad())?.trim();
        while !rest.is_empty() {
            if let Some(behind) = rest.strip_prefix(',') {
                rest = behind.trim_start();
                continue;
            }
            let (member, behind) = member(rest).ok_or_else(bad)?;
            members.push(member);
            rest = behind.trim_start();
            if !rest.is_empty() && !rest.starts_with(',') {
                return Err(bad());
            }
        }
    }
    let is_any = |member: &Member<'_>| matches!(member, Member::Any);
    match &members[..] {
        [Member::Any] => Ok(Some(Versions::Any)),
        all if all.is_empty() || all.iter().any(is_any) => Err(bad()),
        all => {
            let these = all.iter().filter_map(|member| match member {
                Member::Weak(version) if *name == header::IF_NONE_MATCH => Some((*version).to_owned()),
                Member::Strong(version) => Some((*version).to_owned()),
                Member::Weak(_) | Member::Any => None,
            });
            Ok(Some(Versions::These(these.collect())))
        }
    }
}

/// One of a list of versions.
enum Member<'v> {
    Any,
    Weak(&'v str),
    Strong(&'v str),
}

/// The first of a list, and what is behind it; commas in its quotes are its own.
fn member(list: &str) -> Option<(Member<'_>, &str)> {
    if let Some(behind) = list.strip_prefix('*') {
        return Some((Member::Any, behind));
    }
    let (opaque, is_weak) = list.strip_prefix("W/").map_or((list, false), |opaque| (opaque, true));
    let (version, behind) = opaque.strip_prefix('"')?.split_once('"')?;
    Some((if is_weak { Member::Weak(version) } else { Member::Strong(version) }, behind))
}
