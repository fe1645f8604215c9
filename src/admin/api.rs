//! The paths of `[admin]` and what each answers.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{AppendHeaders, IntoResponse, Response};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use utoipa::IntoParams;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::by::by;
use super::metrics::Metrics;
use super::operations::{
    AgentLine, Captured, Explanation, GenerationLine, NotCaptured, NotPublished, NotRouted, Operations,
    Published, Readiness, TrunkLine,
};
use super::problem::{Asked, Problem};
use crate::call::cdr::Cdr;
use crate::call::story::{CallPlace, CallStory, LiveCall};
use crate::config::{Number, Told, may_be_more};
use crate::media::reel::Sheet;
use crate::store::{Cursor, ReadError};
use crate::time::Wall;

/// What every path works with.
#[derive(Clone)]
pub(super) struct Desk {
    pub node: Arc<dyn Operations>,
    pub metrics: Metrics,
    pub openapi: Arc<std::sync::OnceLock<String>>,
}

/// Items of a page when the request names no limit, and at most.
const CDRS: Limit = Limit { usual: 100, most: 1_000 };
const CALLS: Limit = Limit { usual: 1_000, most: 10_000 };
const AGENTS: Limit = Limit { usual: 1_000, most: 10_000 };
const TRUNKS: Limit = Limit { usual: 1_000, most: 10_000 };
const GENERATIONS: Limit = Limit { usual: 100, most: 1_000 };

/// How many items a page has.
pub(super) struct Limit {
    pub usual: usize,
    pub most: usize,
}

impl Limit {
    pub fn of(&self, asked: Option<usize>) -> Result<usize, Problem> {
        match asked {
            None => Ok(self.usual),
            Some(limit) if (1..=self.most).contains(&limit) => Ok(limit),
            Some(_) => Err(bad_request(format!("`limit` is 1 to {}", self.most))),
        }
    }
}

pub(super) fn bad_request(detail: impl Into<String>) -> Problem {
    Problem::new(StatusCode::BAD_REQUEST, detail)
}

fn no_such_call(id: &str) -> Problem {
    // Foreign text goes back shortened.
    let id: String = id.chars().take(64).collect();
    Problem::new(StatusCode::NOT_FOUND, format!("no call {id} is in progress or ended a moment ago"))
}

pub(super) fn router() -> OpenApiRouter<Desk> {
    OpenApiRouter::new()
        .routes(routes!(healthz))
        .routes(routes!(readyz))
        .routes(routes!(metrics))
        .routes(routes!(openapi))
        .routes(routes!(calls))
        .routes(routes!(call, hang_up))
        .routes(routes!(pcap))
        .routes(routes!(cdrs))
        .routes(routes!(generations))
        .routes(routes!(agents))
        .routes(routes!(trunks))
        .routes(routes!(route))
}

/// What reads a whole configuration, and so may take long.
pub(super) fn publications() -> OpenApiRouter<Desk> {
    OpenApiRouter::new().routes(routes!(reload)).routes(routes!(rollback))
}

/// The schemas that the paths refer to, by name. They come from the types that are sent, as those in
/// `config/schema/` do.
pub(super) fn schemas() -> serde_json::Map<String, serde_json::Value> {
    let settings = schemars::generate::SchemaSettings::draft2020_12()
        .for_serialize()
        .with(|settings| settings.definitions_path = "/components/schemas".into());
    let mut generator = settings.into_generator();
    generator.subschema_for::<Problem>();
    generator.subschema_for::<CallList>();
    generator.subschema_for::<CallStory>();
    generator.subschema_for::<CdrList>();
    generator.subschema_for::<Published>();
    generator.subschema_for::<GenerationList>();
    generator.subschema_for::<AgentList>();
    generator.subschema_for::<TrunkList>();
    generator.subschema_for::<Explanation>();
    generator.subschema_for::<Sheet>();
    generator.subschema_for::<Number>();
    generator.subschema_for::<NumberList>();
    generator.take_definitions(true)
}

/// Calls in progress, in the order in which they began.
#[derive(Serialize, Deserialize, JsonSchema)]
pub struct CallList {
    pub items: Vec<LiveCall>,
    /// `after` of the next page; null when there is none.
    pub next: Option<String>,
}

/// Call records, in the order in which they were written.
#[derive(Serialize, Deserialize, JsonSchema)]
pub struct CdrList {
    pub items: Vec<Cdr>,
    /// `after` of the next page; null when nothing follows yet: keep the one that led here.
    pub next: Option<String>,
}

/// Generations, the latest first.
#[derive(Serialize, Deserialize, JsonSchema)]
pub struct GenerationList {
    pub items: Vec<GenerationLine>,
    /// `after` of the next page; null when there is none.
    pub next: Option<String>,
}

/// Numbers as they are written.
#[derive(JsonSchema)]
#[expect(dead_code, reason = "only its shape is used")]
pub struct NumberList {
    items: Vec<Told<'static>>,
    /// `after` of the next page; null when there is none.
    next: Option<String>,
}

/// Agents by name.
#[derive(Serialize, Deserialize, JsonSchema)]
pub struct AgentList {
    pub items: Vec<AgentLine>,
    /// `after` of the next page; null when there is none.
    pub next: Option<String>,
}

/// Trunks by name.
#[derive(Serialize, Deserialize, JsonSchema)]
pub struct TrunkList {
    pub items: Vec<TrunkLine>,
    /// `after` of the next page; null when there is none.
    pub next: Option<String>,
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct PageQuery {
    /// The `next` of an earlier answer; left out, the list begins at its beginning.
    after: Option<String>,
    /// How many items at most.
    limit: Option<usize>,
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct ReloadQuery {
    /// `1` or `true`: only say what would change.
    dry_run: Option<String>,
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct RollbackQuery {
    /// The generation that is to be served again; left out: the one before.
    to: Option<u64>,
    /// `1` or `true`: only say what would change.
    dry_run: Option<String>,
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct RouteQuery {
    /// The caller's number.
    from: Option<String>,
}

/// The process lives.
#[utoipa::path(get, path = "/healthz", responses((status = 200, description = "the process lives")))]
async fn healthz() -> &'static str {
    "ok\n"
}

/// Whether calls are taken.
#[utoipa::path(get, path = "/readyz", responses(
    (status = 200, description = "calls are taken"),
    (status = 503, description = "starting, draining, no room for call records, or no thread that carries audio",
        body = ref("#/components/schemas/Problem"), content_type = "application/problem+json"),
))]
async fn readyz(State(desk): State<Desk>) -> Response {
    let reason = match desk.node.readiness() {
        Readiness::Taking => return "ready\n".into_response(),
        Readiness::Lame { dead, of } => {
            let told = format!(
                "ready, though {dead} of {of} threads that carry audio have died; restart the node\n"
            );
            return told.into_response();
        }
        Readiness::NoAudio => "the threads that carry audio have died: restart the node",
        Readiness::Starting => "the node is starting",
        Readiness::Draining => "the node is draining: calls in progress go on, new ones are refused",
        Readiness::NoRoom => {
            "no room is left for call records: the disk is full or failing, or too many calls are in progress"
        }
    };
    Problem::new(StatusCode::SERVICE_UNAVAILABLE, reason).into_response()
}

/// Metrics in Prometheus' text format.
#[utoipa::path(get, path = "/metrics", responses((status = 200, description = "metrics", body = String)))]
async fn metrics(State(desk): State<Desk>) -> Response {
    let measured = desk.node.measure();
    let text = desk.metrics.render() + &measured;
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text).into_response()
}

/// This description.
#[utoipa::path(get, path = "/openapi.json", responses((status = 200, description = "OpenAPI 3.1")))]
async fn openapi(State(desk): State<Desk>) -> Response {
    let text = desk.openapi.get().cloned().unwrap_or_default();
    ([(header::CONTENT_TYPE, "application/json")], text).into_response()
}

/// Calls in progress.
#[utoipa::path(get, path = "/v1/calls", params(PageQuery), responses(
    (status = 200, description = "calls in progress", body = ref("#/components/schemas/CallList")),
    (status = 400, description = "a parameter is wrong",
        body = ref("#/components/schemas/Problem"), content_type = "application/problem+json"),
))]
async fn calls(State(desk): State<Desk>, Asked(page): Asked<PageQuery>) -> Result<Json<CallList>, Problem> {
    let limit = CALLS.of(page.limit)?;
    let after = page.after.as_deref().map(call_cursor).transpose()?;
    // One more, to know whether there is a next page.
    let mut items = desk.node.calls(after, limit + 1).await;
    let more = items.len() > limit;
    items.truncate(limit);
    let next = items.last().filter(|_| more).map(|last| format!("{}-{}", last.started.0, last.id));
    Ok(Json(CallList { items, next }))
}

/// Where a page of calls ended: `<started, ms>-<id>`.
fn call_cursor(text: &str) -> Result<CallPlace, Problem> {
    let parts = text.split_once('-');
    let place = parts
        .and_then(|(started, id)| Some(CallPlace { started: Wall(started.parse().ok()?), id: id.into() }));
    place.ok_or_else(|| bad_request(crate::store::BadCursor.to_string()))
}

/// One call: its legs, timers, and the ladder of its messages.
#[utoipa::path(get, path = "/v1/calls/{id}", params(("id" = String, Path, description = "the call's id")), responses(
    (status = 200, description = "the call", body = ref("#/components/schemas/CallStory")),
    (status = 404, description = "no such call",
        body = ref("#/components/schemas/Problem"), content_type = "application/problem+json"),
))]
async fn call(State(desk): State<Desk>, Path(id): Path<String>) -> Result<Json<CallStory>, Problem> {
    desk.node.call(&id).await.map(Json).ok_or_else(|| no_such_call(&id))
}

/// The media type of a capture file.
const PCAP: &str = "application/vnd.tcpdump.pcap";
/// How many messages the file has.
pub const MESSAGES: &str = "strowger-messages";
/// Why these are not all; left out when they are.
pub const MISSING: &str = "strowger-missing";

/// The messages of one call, sent and received, as a capture file.
#[utoipa::path(get, path = "/v1/calls/{id}/pcap", params(("id" = String, Path, description = "the call's id")), responses(
    (status = 200, description = "the messages in order, link type RAW, those of TLS in the clear as TCP",
        body = Vec<u8>, content_type = "application/vnd.tcpdump.pcap", headers(
            ("Strowger-Messages" = u64, description = "how many messages the file has"),
            ("Strowger-Missing" = String, description = "why these are not all; left out when they are"))),
    (status = 404, description = "no such call",
        body = ref("#/components/schemas/Problem"), content_type = "application/problem+json"),
    (status = 409, description = "`[capture]` is left out: no messages are kept",
        body = ref("#/components/schemas/Problem"), content_type = "application/problem+json"),
    (status = 410, description = "the call's messages are no longer kept",
        body = ref("#/components/schemas/Problem"), content_type = "application/problem+json"),
))]
async fn pcap(State(desk): State<Desk>, Path(id): Path<String>) -> Result<Response, Problem> {
    let Captured { messages, missing, file } = match desk.node.pcap(&id).await {
        Ok(captured) => captured,
        Err(NotCaptured::Unknown) => return Err(no_such_call(&id)),
        Err(NotCaptured::Off) => {
            let detail = "no messages are kept: strowger.toml has no [capture]";
            return Err(Problem::new(StatusCode::CONFLICT, detail));
        }
        Err(NotCaptured::Gone) => {
            let detail = "the messages of this call are no longer kept: others needed the room";
            return Err(Problem::new(StatusCode::GONE, detail));
        }
    };
    let said = [(header::CONTENT_TYPE.as_str(), PCAP.to_owned()), (MESSAGES, messages.to_string())];
    let missing = Some((MISSING, missing)).filter(|(_, missing)| !missing.is_empty());
    Ok((said, missing.map(|missing| AppendHeaders([missing])), file).into_response())
}

/// Hangs up.
#[utoipa::path(delete, path = "/v1/calls/{id}", params(("id" = String, Path, description = "the call's id")), responses(
    (status = 204, description = "the call is being ended"),
    (status = 404, description = "no such call",
        body = ref("#/components/schemas/Problem"), content_type = "application/problem+json"),
))]
async fn hang_up(State(desk): State<Desk>, Path(id): Path<String>) -> Result<StatusCode, Problem> {
    if desk.node.hang_up(&id).await { Ok(StatusCode::NO_CONTENT) } else { Err(no_such_call(&id)) }
}

/// Call records.
#[utoipa::path(get, path = "/v1/cdrs", params(PageQuery), responses(
    (status = 200, description = "call records that are safely on disk", body = ref("#/components/schemas/CdrList")),
    (status = 400, description = "a parameter is wrong",
        body = ref("#/components/schemas/Problem"), content_type = "application/problem+json"),
))]
async fn cdrs(State(desk): State<Desk>, Asked(page): Asked<PageQuery>) -> Result<Response, Problem> {
    let limit = CDRS.of(page.limit)?;
    let after: Cursor = match &page.after {
        None => Cursor::default(),
        Some(text) => {
            text.parse().map_err(|error: crate::store::BadCursor| bad_request(error.to_string()))?
        }
    };
    let records = desk.node.records();
    let failed = |detail: String| Problem::new(StatusCode::INTERNAL_SERVER_ERROR, detail);
    let page = tokio::task::spawn_blocking(move || records.page(after, limit)).await;
    let page = match page {
        Ok(Ok(page)) => page,
        Ok(Err(ReadError::BadCursor(error))) => return Err(bad_request(error.to_string())),
        Ok(Err(ReadError::Io(error))) => return Err(failed(format!("the records cannot be read: {error}"))),
        Err(_) => return Err(failed("reading the records failed".to_owned())),
    };
    // The lines are JSON already, and were checked when they were read.
    let next = if page.lines.is_empty() { "null".to_owned() } else { format!("\"{}\"", page.next) };
    let body = format!("{{\"items\":[{}],\"next\":{next}}}", page.lines.join(","));
    Ok(([(header::CONTENT_TYPE, "application/json")], body).into_response())
}

/// Reads the configuration anew and publishes it, all or nothing.
#[utoipa::path(post, path = "/v1/reload", params(ReloadQuery), responses(
    (status = 200, description = "published, or what would be", body = ref("#/components/schemas/Published")),
    (status = 409, description = "another reload runs",
        body = ref("#/components/schemas/Problem"), content_type = "application/problem+json"),
    (status = 422, description = "the configuration does not check; what was served still is",
        body = ref("#/components/schemas/Problem"), content_type = "application/problem+json"),
    (status = 503, description = "the node ends",
        body = ref("#/components/schemas/Problem"), content_type = "application/problem+json"),
    (status = 507, description = "the generation cannot be written down: nothing is published",
        body = ref("#/components/schemas/Problem"), content_type = "application/problem+json"),
))]
async fn reload(
    State(desk): State<Desk>,
    Asked(asked): Asked<ReloadQuery>,
    headers: HeaderMap,
) -> Result<Json<Published>, Problem> {
    let dry_run = is_dry(asked.dry_run.as_deref())?;
    desk.node.reload(dry_run, &by(&headers)).await.map(Json).map_err(not_published)
}

/// Publishes what an earlier generation was: its files as they were read, and what was set over HTTP then.
#[utoipa::path(post, path = "/v1/rollback", params(RollbackQuery), responses(
    (status = 200, description = "published, or what would be", body = ref("#/components/schemas/Published")),
    (status = 404, description = "no such generation, or it can no longer be had: `detail` says which can",
        body = ref("#/components/schemas/Problem"), content_type = "application/problem+json"),
    (status = 409, description = "a reload runs",
        body = ref("#/components/schemas/Problem"), content_type = "application/problem+json"),
    (status = 422, description = "it does not check any more: `errors` says why; without these there is nothing to undo. \
        What was served still is",
        body = ref("#/components/schemas/Problem"), content_type = "application/problem+json"),
    (status = 503, description = "the node ends",
        body = ref("#/components/schemas/Problem"), content_type = "application/problem+json"),
    (status = 507, description = "the generation cannot be written down: nothing is published",
        body = ref("#/components/schemas/Problem"), content_type = "application/problem+json"),
))]
async fn rollback(
    State(desk): State<Desk>,
    Asked(asked): Asked<RollbackQuery>,
    headers: HeaderMap,
) -> Result<Json<Published>, Problem> {
    let dry_run = is_dry(asked.dry_run.as_deref())?;
    desk.node.roll_back(asked.to, dry_run, &by(&headers)).await.map(Json).map_err(not_published)
}

fn is_dry(asked: Option<&str>) -> Result<bool, Problem> {
    match asked {
        Some("1" | "true") => Ok(true),
        None | Some("0" | "false") => Ok(false),
        Some(_) => Err(bad_request("`dry_run` is 1 or 0")),
    }
}

fn not_published(why: NotPublished) -> Problem {
    match why {
        NotPublished::Busy => Problem::new(StatusCode::CONFLICT, "another reload runs; try again"),
        NotPublished::Ending => Problem::new(StatusCode::SERVICE_UNAVAILABLE, "the node ends"),
        NotPublished::Wrong(errors) => {
            let detail = "the configuration does not check; what was served before still is";
            let more = may_be_more(errors.len(), "mistakes").map(|more| format!("; {more}"));
            let detail = format!("{detail}{}", more.unwrap_or_default());
            Problem { errors, ..Problem::new(StatusCode::UNPROCESSABLE_ENTITY, detail) }
        }
        NotPublished::NoSuch(detail) => Problem::new(StatusCode::NOT_FOUND, detail),
        NotPublished::Nothing(detail) => Problem::new(StatusCode::UNPROCESSABLE_ENTITY, detail),
        NotPublished::Unwritten(detail) => Problem::new(StatusCode::INSUFFICIENT_STORAGE, detail),
    }
}

/// The generations of the configuration, the latest first.
#[utoipa::path(get, path = "/v1/generations", params(PageQuery), responses(
    (status = 200, description = "generations", body = ref("#/components/schemas/GenerationList")),
    (status = 400, description = "a parameter is wrong",
        body = ref("#/components/schemas/Problem"), content_type = "application/problem+json"),
))]
async fn generations(
    State(desk): State<Desk>,
    Asked(page): Asked<PageQuery>,
) -> Result<Json<GenerationList>, Problem> {
    let limit = GENERATIONS.of(page.limit)?;
    let after = page.after.as_deref().map(str::parse).transpose();
    let after = after.map_err(|_| bad_request("`after` is the `next` of an earlier page"))?;
    // One more, to know whether there is a next page.
    let items = desk.node.generations(after, limit + 1);
    let mut items = items.map_err(|error| Problem::new(StatusCode::INTERNAL_SERVER_ERROR, error))?;
    let more = items.len() > limit;
    items.truncate(limit);
    let next = items.last().filter(|_| more).map(|last| last.generation.to_string());
    Ok(Json(GenerationList { items, next }))
}

/// Agents, and where their phones are.
#[utoipa::path(get, path = "/v1/agents", params(PageQuery), responses(
    (status = 200, description = "agents by name", body = ref("#/components/schemas/AgentList")),
    (status = 400, description = "a parameter is wrong",
        body = ref("#/components/schemas/Problem"), content_type = "application/problem+json"),
))]
async fn agents(State(desk): State<Desk>, Asked(page): Asked<PageQuery>) -> Result<Json<AgentList>, Problem> {
    let limit = AGENTS.of(page.limit)?;
    // One more, to know whether there is a next page.
    let mut items = desk.node.agents(page.after.as_deref(), limit + 1);
    let more = items.len() > limit;
    items.truncate(limit);
    let next = items.last().filter(|_| more).map(|last| last.name.clone());
    Ok(Json(AgentList { items, next }))
}

/// Trunks, and how their gateways are.
#[utoipa::path(get, path = "/v1/trunks", params(PageQuery), responses(
    (status = 200, description = "trunks by name", body = ref("#/components/schemas/TrunkList")),
    (status = 400, description = "a parameter is wrong",
        body = ref("#/components/schemas/Problem"), content_type = "application/problem+json"),
))]
async fn trunks(State(desk): State<Desk>, Asked(page): Asked<PageQuery>) -> Result<Json<TrunkList>, Problem> {
    let limit = TRUNKS.of(page.limit)?;
    // One more, to know whether there is a next page.
    let mut items = desk.node.trunks(page.after.as_deref(), limit + 1);
    let more = items.len() > limit;
    items.truncate(limit);
    let next = items.last().filter(|_| more).map(|last| last.name.clone());
    Ok(Json(TrunkList { items, next }))
}

/// What a call to a number would do now.
#[utoipa::path(get, path = "/v1/numbers/{did}/route",
    params(("did" = String, Path, description = "`%2B1201…` or its bare digits"), RouteQuery), responses(
    (status = 200, description = "whom it rings, for how long, as whom", body = ref("#/components/schemas/Explanation")),
    (status = 400, description = "no number",
        body = ref("#/components/schemas/Problem"), content_type = "application/problem+json"),
    (status = 404, description = "the number is none of ours, or disabled",
        body = ref("#/components/schemas/Problem"), content_type = "application/problem+json"),
))]
async fn route(
    State(desk): State<Desk>,
    Path(did): Path<String>,
    Asked(asked): Asked<RouteQuery>,
) -> Result<Json<Explanation>, Problem> {
    let is_bare = did.bytes().all(|byte| byte.is_ascii_digit());
    let did = if is_bare { format!("+{did}") } else { did };
    match desk.node.route(&did, asked.from.as_deref()).await {
        Ok(explanation) => Ok(Json(explanation)),
        Err(NotRouted::UnknownNumber(detail)) => Err(Problem::new(StatusCode::NOT_FOUND, detail)),
        Err(NotRouted::BadNumber(detail)) => Err(bad_request(detail)),
    }
}
