//! What was written down of calls: recordings and messages, heard, looked at and removed by the id of their call.
//!
//! A sound is sent as it lies on the disk, a piece at a time and at most one of them in memory; a range of it
//! (RFC 9110 §14) for players that seek and for downloads that go on.

use std::fs::File;
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::PathBuf;
use std::sync::Arc;

use axum::body::{Body, Bytes};
use axum::extract::{Path, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use futures::stream;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::api::Desk;
use super::problem::Problem;
use crate::media::reel::Kind;

/// What is read and sent at a time: four seconds of two channels.
const PIECE: u64 = 128 << 10;

/// No sheet of ours is longer: 256 gaps of 60 bytes, and a page beside them.
const LONGEST_SHEET: u64 = 1 << 20;

/// What stands behind an id to ask for its metadata.
const SHEET: &str = ".json";

const SOUND: &str = "audio/wav";

pub(super) fn router() -> OpenApiRouter<Desk> {
    OpenApiRouter::new()
        .routes(routes!(recording, remove_recording))
        .routes(routes!(voicemail, remove_voicemail))
}

/// The recording of a call: two channels, the caller left. With `.json` behind the id, what is known of it.
#[utoipa::path(method(get, head), path = "/v1/recordings/{id}", params(
    ("id" = String, Path, description = "the call's id, as `recording` in its record; with `.json` behind it: the metadata"),
    ("Range" = Option<String>, Header, description = "one range of bytes; more than one are answered by the whole"),
), responses(
    (status = 200, description = "the whole", content(
        (Vec<u8> = "audio/wav"), (ref("#/components/schemas/Sheet") = "application/json"))),
    (status = 206, description = "the range that was asked for", body = Vec<u8>, content_type = "audio/wav"),
    (status = 304, description = "it is the one that If-None-Match names"),
    (status = 404, description = "no such recording is kept, or its call is still in progress",
        body = ref("#/components/schemas/Problem"), content_type = "application/problem+json"),
    (status = 412, description = "it is not the one that If-Match names",
        body = ref("#/components/schemas/Problem"), content_type = "application/problem+json"),
    (status = 416, description = "the range lies behind its end",
        body = ref("#/components/schemas/Problem"), content_type = "application/problem+json"),
))]
async fn recording(
    State(desk): State<Desk>,
    Path(id): Path<String>,
    method: Method,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    deliver(&desk, Kind::Recording, id, &method, headers).await
}

/// Removes the recording of a call, and its metadata.
#[utoipa::path(delete, path = "/v1/recordings/{id}", params(
    ("id" = String, Path, description = "the call's id"),
), responses(
    (status = 204, description = "it is removed, for good"),
    (status = 404, description = "no such recording is kept, or its call is still in progress",
        body = ref("#/components/schemas/Problem"), content_type = "application/problem+json"),
))]
async fn remove_recording(State(desk): State<Desk>, Path(id): Path<String>) -> Result<Response, Problem> {
    remove(&desk, Kind::Recording, id).await
}

/// The message that a caller has left. With `.json` behind the id, what is known of it.
#[utoipa::path(method(get, head), path = "/v1/voicemails/{id}", params(
    ("id" = String, Path, description = "the call's id, as `voicemail` in its record; with `.json` behind it: the metadata"),
    ("Range" = Option<String>, Header, description = "one range of bytes; more than one are answered by the whole"),
), responses(
    (status = 200, description = "the whole", content(
        (Vec<u8> = "audio/wav"), (ref("#/components/schemas/Sheet") = "application/json"))),
    (status = 206, description = "the range that was asked for", body = Vec<u8>, content_type = "audio/wav"),
    (status = 304, description = "it is the one that If-None-Match names"),
    (status = 404, description = "no such message is kept, or its call is still in progress",
        body = ref("#/components/schemas/Problem"), content_type = "application/problem+json"),
    (status = 412, description = "it is not the one that If-Match names",
        body = ref("#/components/schemas/Problem"), content_type = "application/problem+json"),
    (status = 416, description = "the range lies behind its end",
        body = ref("#/components/schemas/Problem"), content_type = "application/problem+json"),
))]
async fn voicemail(
    State(desk): State<Desk>,
    Path(id): Path<String>,
    method: Method,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    deliver(&desk, Kind::Message, id, &method, headers).await
}

/// Removes the message of a caller, and its metadata.
#[utoipa::path(delete, path = "/v1/voicemails/{id}", params(
    ("id" = String, Path, description = "the call's id"),
), responses(
    (status = 204, description = "it is removed, for good"),
    (status = 404, description = "no such message is kept, or its call is still in progress",
        body = ref("#/components/schemas/Problem"), content_type = "application/problem+json"),
))]
async fn remove_voicemail(State(desk): State<Desk>, Path(id): Path<String>) -> Result<Response, Problem> {
    remove(&desk, Kind::Message, id).await
}

async fn deliver(
    desk: &Desk,
    kind: Kind,
    id: String,
    method: &Method,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let shelf = desk.node.shelf(kind);
    let (call, is_sheet) = match id.strip_suffix(SHEET) {
        Some(call) => (call.to_owned(), true),
        None => (id, false),
    };
    let wanted = call.clone();
    let found = off_the_thread(move || {
        let Some(path) = shelf.find(&wanted) else { return Ok(None) };
        Kept::open(if is_sheet { path.with_extension("json") } else { path })
    });
    let kept = found.await?.ok_or_else(|| not_kept(kind, &call))?;
    let tag = kept.tag();
    let said = |name| headers.get(name).and_then(|value: &HeaderValue| value.to_str().ok());
    if said(header::IF_MATCH).is_some_and(|asked| !names(asked, &tag)) {
        return Err(Problem::new(StatusCode::PRECONDITION_FAILED, "it is another one than If-Match names"));
    }
    // Here a weak one of the same text will do (RFC 9110 §13.1.2).
    if said(header::IF_NONE_MATCH).is_some_and(|asked| names(&asked.replace("W/", ""), &tag)) {
        return Ok((StatusCode::NOT_MODIFIED, [(header::ETAG, tag)]).into_response());
    }
    if is_sheet {
        let sheet = off_the_thread(move || kept.read(0, kept.length.min(LONGEST_SHEET))).await?;
        let json = HeaderValue::from_static("application/json");
        return Ok(([(header::CONTENT_TYPE, json), (header::ETAG, tag)], sheet).into_response());
    }
    // A range is one of GET's (RFC 9110 §14.2), and of this sound, if If-Range names one.
    let is_asked = *method == Method::GET && said(header::IF_RANGE).is_none_or(|asked| tag == asked);
    let range =
        said(header::RANGE).filter(|_| is_asked).map_or(Range::Whole, |text| Range::read(text, kept.length));
    let length = kept.length;
    let (status, from, until) = match range {
        Range::Whole => (StatusCode::OK, 0, length),
        Range::Part { from, until } => (StatusCode::PARTIAL_CONTENT, from, until),
        Range::Beyond => {
            let detail = format!("it has {length} bytes; ask for a range that begins before its end");
            let problem = Problem::new(StatusCode::RANGE_NOT_SATISFIABLE, detail);
            return Ok(([(header::CONTENT_RANGE, format!("bytes */{length}"))], problem).into_response());
        }
    };
    let body = if *method == Method::HEAD { Body::empty() } else { kept.body(from, until) };
    let mut answer = (status, body).into_response();
    let mut say = |name: HeaderName, value: HeaderValue| drop(answer.headers_mut().insert(name, value));
    say(header::CONTENT_TYPE, HeaderValue::from_static(SOUND));
    say(header::CONTENT_LENGTH, HeaderValue::from(until - from));
    say(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    say(header::ETAG, tag);
    // Of a call that others must not hear: no cache on the way keeps it.
    say(header::CACHE_CONTROL, HeaderValue::from_static("private"));
    if status == StatusCode::PARTIAL_CONTENT
        && let Ok(value) = HeaderValue::try_from(format!("bytes {from}-{}/{length}", until - 1))
    {
        say(header::CONTENT_RANGE, value);
    }
    Ok(answer)
}

async fn remove(desk: &Desk, kind: Kind, id: String) -> Result<Response, Problem> {
    if id.ends_with(SHEET) {
        let detail = "metadata is removed with what it belongs to: leave .json out";
        let problem = Problem::new(StatusCode::METHOD_NOT_ALLOWED, detail);
        return Ok(([(header::ALLOW, "GET, HEAD")], problem).into_response());
    }
    let (shelf, call) = (desk.node.shelf(kind), id.clone());
    match off_the_thread(move || shelf.remove(&call)).await? {
        true => {
            tracing::info!(call = &*id, "{} removed by an operator", kind.noun());
            Ok(StatusCode::NO_CONTENT.into_response())
        }
        false => Err(not_kept(kind, &id)),
    }
}

fn not_kept(kind: Kind, id: &str) -> Problem {
    // Foreign text goes back shortened.
    let id: String = id.chars().take(64).collect();
    let detail =
        format!("no {} {id} is kept; that of a call in progress is there once it has ended", kind.noun());
    Problem::new(StatusCode::NOT_FOUND, detail)
}

/// The disk is not waited for by a thread that answers others too.
async fn off_the_thread<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> Result<T, Problem> {
    let failed = |detail: String| Problem::new(StatusCode::INTERNAL_SERVER_ERROR, detail);
    match tokio::task::spawn_blocking(work).await {
        Ok(Ok(done)) => Ok(done),
        Ok(Err(error)) => Err(failed(format!("the disk fails: {error}"))),
        Err(_) => Err(failed("the disk could not be asked".to_owned())),
    }
}

/// An open file. Whoever removes it meanwhile does not cut it off.
struct Kept {
    file: File,
    length: u64,
    /// Which file this is, and as of when.
    mark: (u64, i64, i64),
}

impl Kept {
    /// None: it is not there.
    fn open(path: PathBuf) -> io::Result<Option<Kept>> {
        let file = match File::open(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            opened => opened?,
        };
        let meta = file.metadata()?;
        Ok(Some(Kept { file, length: meta.len(), mark: (meta.ino(), meta.mtime(), meta.mtime_nsec()) }))
    }

    /// A strong one (RFC 9110 §8.8.3): what is whole is never written again.
    fn tag(&self) -> HeaderValue {
        let (inode, seconds, nanos) = self.mark;
        let text = format!("\"{inode:x}-{seconds:x}.{nanos:x}-{:x}\"", self.length);
        HeaderValue::try_from(text).unwrap_or(HeaderValue::from_static("\"\""))
    }

    fn read(&self, from: u64, until: u64) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; usize::try_from(until - from).map_err(io::Error::other)?];
        self.file.read_exact_at(&mut bytes, from)?;
        Ok(bytes)
    }

    /// Reads on when what was read has left.
    fn body(self, from: u64, until: u64) -> Body {
        let kept = Arc::new(self);
        Body::from_stream(stream::try_unfold(from, move |at| {
            let kept = Arc::clone(&kept);
            async move {
                if at >= until {
                    return Ok::<_, io::Error>(None);
                }
                let next = until.min(at + PIECE);
                let bytes = tokio::task::spawn_blocking(move || kept.read(at, next)).await;
                Ok(Some((Bytes::from(bytes.map_err(io::Error::other)??), next)))
            }
        }))
    }
}

/// Whether a list of tags names this one, by the strong comparison (RFC 9110 §8.8.3.2).
fn names(asked: &str, tag: &HeaderValue) -> bool {
    asked.split(',').map(str::trim).any(|one| one == "*" || *tag == one)
}

/// What of a sound is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Range {
    Whole,
    /// From that byte up to before the other; never empty.
    Part {
        from: u64,
        until: u64,
    },
    /// Nothing of it is there (416).
    Beyond,
}

impl Range {
    /// A `Range` (RFC 9110 §14.2) of something so long. One that is wrong, of another unit, or of several ranges is as if it
    /// were not there.
    fn read(text: &str, length: u64) -> Range {
        let Some((unit, set)) = text.split_once('=') else { return Range::Whole };
        let Some((first, last)) = set.trim().split_once('-') else { return Range::Whole };
        if !unit.trim().eq_ignore_ascii_case("bytes") {
            return Range::Whole;
        }
        let part = |from: u64, until: u64| match from < until.min(length) {
            true => Range::Part { from, until: until.min(length) },
            false => Range::Beyond,
        };
        match (position(first), position(last)) {
            (Position::Byte(first), Position::Byte(last)) if first <= last => {
                part(first, last.saturating_add(1))
            }
            (Position::Byte(first), Position::None) => part(first, length),
            (Position::None, Position::Byte(last)) => part(length.saturating_sub(last), length),
            (Position::Byte(_) | Position::None | Position::Wrong, _) => Range::Whole,
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Position {
    None,
    Byte(u64),
    Wrong,
}

fn position(text: &str) -> Position {
    match text.bytes().all(|byte| byte.is_ascii_digit()) {
        true if text.is_empty() => Position::None,
        // Beyond 2⁶⁴ everything is behind the end.
        true => Position::Byte(text.parse().unwrap_or(u64::MAX)),
        false => Position::Wrong,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_is_one_of_bytes_or_none() {
        let part = |from, until| Range::Part { from, until };
        for (text, range) in [
            ("bytes=0-0", part(0, 1)),
            ("bytes=0-99", part(0, 100)),
            ("bytes=10-19", part(10, 20)),
            ("Bytes= 10-", part(10, 100)),
            ("bytes=90-1000", part(90, 100)),
            ("bytes=99-18446744073709551615", part(99, 100)),
            ("bytes=0-99999999999999999999999", part(0, 100)),
            ("bytes=-1", part(99, 100)),
            ("bytes=-1000", part(0, 100)),
            ("bytes=100-", Range::Beyond),
            ("bytes=99999999999999999999999-", Range::Beyond),
            ("bytes=-0", Range::Beyond),
            ("bytes=20-10", Range::Whole),
            ("bytes=-", Range::Whole),
            ("bytes=a-b", Range::Whole),
            ("bytes=1-2,4-5", Range::Whole),
            ("bytes=+1-2", Range::Whole),
            ("items=0-1", Range::Whole),
            ("bytes", Range::Whole),
            ("", Range::Whole),
        ] {
            assert_eq!(Range::read(text, 100), range, "{text}");
        }
        assert_eq!([Range::read("bytes=0-", 0), Range::read("bytes=-1", 0)], [Range::Beyond; 2]);
    }

    #[test]
    fn a_tag_is_named_among_others_or_by_a_star() {
        let tag = HeaderValue::from_static("\"a\"");
        for (asked, is_named) in [
            ("\"a\"", true),
            ("\"b\", \"a\"", true),
            ("W/\"a\"", false),
            ("*", true),
            ("\"b\"", false),
            ("a", false),
            ("", false),
        ] {
            assert_eq!(names(asked, &tag), is_named, "{asked}");
        }
    }
}
