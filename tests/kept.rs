//! Recordings and messages over HTTP, read by a client that is not ours: Python's own library.

#![expect(clippy::unwrap_used, reason = "in a test a panic is the report")]

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::Command;

use common::NOON;
use schema::violations;
use serde_json::{Value, json};
use served::{Served, served};
use strowger::media::reel::{Format, Kind, Sheet, path_of};
use strowger::media::tape::Rate;
use strowger::time::Wall;

#[expect(dead_code, reason = "shared with tests that ask for more")]
mod common;
#[path = "common/schema.rs"]
mod schema;
#[expect(dead_code, reason = "shared with tests that ask for more")]
#[path = "common/served.rs"]
mod served;

const STEREO: Format = Format { channels: 2, rate: Rate::Narrow };

/// Asks for a sound in all the ways that there are, as JSON.
const READER: &str = r#"
import io, json, sys, urllib.error, urllib.request, wave
url = sys.argv[1]

def ask(path="", method="GET", **headers):
    headers = {name.replace("_", "-"): value for name, value in headers.items()}
    request = urllib.request.Request(url + path, method=method, headers=headers)
    try:
        with urllib.request.urlopen(request) as answer:
            return answer.status, answer.headers, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.headers, error.read()

told = {}
status, headers, whole = ask()
with wave.open(io.BytesIO(whole)) as sound:
    told["whole"] = [status, headers["Content-Type"], headers["Accept-Ranges"], sound.getnchannels(),
                     sound.getframerate(), sound.getsampwidth(), sound.getnframes()]
tag = headers["ETag"]
status, headers, body = ask(method="HEAD")
told["head"] = [status, int(headers["Content-Length"]) == len(whole), headers["ETag"] == tag, len(body)]
status, headers, body = ask(method="HEAD", Range="bytes=0-3")
told["head_range"] = [status, int(headers["Content-Length"]) == len(whole)]

def part(wanted, **more):
    status, headers, body = ask(Range=wanted, **more)
    if status in (200, 206):
        first = 0 if status == 200 else int(headers["Content-Range"].split(" ")[1].split("-")[0])
        same = body == whole[first:first + len(body)] and int(headers["Content-Length"]) == len(body)
        return [status, headers["Content-Range"], same]
    return [status, headers["Content-Range"], headers["Content-Type"]]

told["parts"] = [part(wanted) for wanted in
                 ("bytes=0-43", "bytes=100000-", "bytes=-10", "bytes=0-0,2-2", "bytes=x", "bytes=192044-")]
told["if_range"] = [part("bytes=0-3", If_Range=tag)[0], part("bytes=0-3", If_Range='"other"')[0]]
status, headers, body = ask(If_None_Match=tag)
told["not_modified"] = [status, headers["ETag"] == tag, len(body)]
told["weak"] = [ask(If_None_Match="W/" + tag)[0], ask(If_Match="W/" + tag)[0]]
told["if_match"] = [ask(If_Match='"other"')[0], ask(If_Match=tag)[0]]
status, headers, body = ask(".json")
told["sheet"] = [status, headers["Content-Type"], json.loads(body)]
status, headers, body = ask(".json", method="DELETE")
told["sheet_alone"] = [status, headers["Allow"]]
told["removed"] = [ask(method="DELETE")[0], ask(method="DELETE")[0], ask()[0], ask(".json")[0]]
status, headers, body = ask()
told["gone"] = [headers["Content-Type"], json.loads(body)["detail"]]
print(json.dumps(told))
"#;

#[test]
fn python_hears_a_recording_whole_and_in_part_looks_at_its_metadata_and_removes_it() {
    let admin = served();
    for (kind, path) in [(Kind::Recording, "recordings"), (Kind::Message, "voicemails")] {
        let file = keep(&admin, kind, "c-1", 48_000);
        let other = keep(&admin, kind, "c-2", 10);
        let url = format!("http://{}/v1/{path}/c-1", admin.addr);
        let ran = Command::new("python3").args(["-c", READER, &url]).output().unwrap();
        assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
        let told: Value = serde_json::from_slice(&ran.stdout).unwrap();
        assert_eq!(told["whole"], json!([200, "audio/wav", "bytes", 2, 8_000, 2, 48_000]), "{told:#}");
        assert_eq!(told["head"], json!([200, true, true, 0]));
        assert_eq!(told["head_range"], json!([200, true]), "a range is one of GET's");
        assert_eq!(
            told["parts"],
            json!([
                [206, "bytes 0-43/192044", true],
                [206, "bytes 100000-192043/192044", true],
                [206, "bytes 192034-192043/192044", true],
                [200, null, true],
                [200, null, true],
                [416, "bytes */192044", "application/problem+json"],
            ])
        );
        assert_eq!(told["if_range"], json!([206, 200]));
        assert_eq!(told["not_modified"], json!([304, true, 0]));
        assert_eq!(told["if_match"], json!([412, 200]));
        assert_eq!(told["weak"], json!([304, 412]));
        assert_eq!((&told["sheet"][0], &told["sheet"][1]), (&json!(200), &json!("application/json")));
        let schema = serde_json::to_value(schemars::schema_for!(Sheet)).unwrap();
        assert_eq!(violations(&schema, &told["sheet"][2]), Vec::<String>::new());
        assert_eq!(told["sheet"][2]["call"], "c-1");
        assert_eq!(told["sheet_alone"], json!([405, "GET, HEAD"]));
        assert_eq!(told["removed"], json!([204, 404, 404, 404]));
        let gone = told["gone"][1].as_str().unwrap();
        assert!(told["gone"][0] == "application/problem+json" && gone.contains(" c-1 is kept"), "{told:#}");
        assert!(!file.exists() && !file.with_extension("json").exists() && other.exists());
    }
}

#[test]
fn no_id_leads_out_of_its_shelf_or_to_what_is_not_whole() {
    let admin = served();
    keep(&admin, Kind::Message, "m-1", 10);
    let file = keep(&admin, Kind::Recording, "c-1", 10);
    fs::rename(&file, file.with_extension("wav.part")).unwrap();
    fs::write(admin.node.data_dir.join("secret.wav"), b"secret").unwrap();
    fs::write(admin.node.data_dir.join("secret.json"), b"secret").unwrap();
    let long = "c".repeat(5_000);
    for id in [
        "c-1",
        "c-1.json",
        "c-1.wav.part",
        "m-1",
        "..%2Fsecret",
        "..%2F..%2F..%2F..%2Fsecret.json",
        "%2e%2e%2fsecret",
        "../secret",
        "2026%2F11%2F01%2Fc-1",
        "%00",
        "c%0d%0aX-Evil:%201",
        &long,
    ] {
        for method in ["GET", "HEAD", "DELETE"] {
            let (status, said) = asked(&admin, method, &format!("/v1/recordings/{id}"), "");
            let refused =
                matches!(status, 404 | 405) && !said.contains("secret\n") && !said.contains("\nX-Evil");
            assert!(refused && said.len() < 2_000, "{method} {id}: {status} {said}");
        }
    }
    assert!(file.with_extension("wav.part").exists() && file.with_extension("json").exists());
    assert_eq!(asked(&admin, "GET", "/v1/voicemails/m-1", "").0, 200);
}

#[test]
fn a_large_recording_is_sent_piece_by_piece() {
    /// 512 MB, which take no room on the disk.
    const LENGTH: u64 = 512 << 20;
    let admin = served();
    let path = keep(&admin, Kind::Recording, "long", 0);
    fs::File::options().write(true).open(path).unwrap().set_len(LENGTH).unwrap();
    let before = resident();
    let mut stream = TcpStream::connect(admin.addr).unwrap();
    let request = "GET /v1/recordings/long HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    stream.write_all(request.as_bytes()).unwrap();
    let (mut buffer, mut all, mut most) = (vec![0; 1 << 20], 0, 0);
    loop {
        let length = stream.read(&mut buffer).unwrap();
        if length == 0 {
            break;
        }
        all += length as u64;
        most = most.max(resident());
    }
    assert!((LENGTH..LENGTH + 1_000).contains(&all), "{all}");
    let grown = most.saturating_sub(before);
    assert!(grown < 64 << 20, "{} MB in memory", grown >> 20);
}

/// Puts a recording of so many frames where the node keeps them.
fn keep(admin: &Served, kind: Kind, call: &str, frames: u64) -> PathBuf {
    let path = path_of(&admin.node.data_dir.join(kind.folder()), call, Wall(NOON));
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    let sheet = serde_json::to_vec(&Sheet::new(call, STEREO, Wall(NOON))).unwrap();
    fs::write(path.with_extension("json"), sheet).unwrap();
    let samples = (0..frames * 4).map(|at| (at % 251) as u8).collect::<Vec<_>>();
    fs::write(&path, [&STEREO.header(frames)[..], &samples].concat()).unwrap();
    path
}

/// The status, and the whole answer as text.
fn asked(admin: &Served, method: &str, path: &str, more: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(admin.addr).unwrap();
    let request = format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{more}\r\n");
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    let answer = String::from_utf8_lossy(&answer).into_owned();
    (answer.split(' ').nth(1).unwrap().parse().unwrap(), answer)
}

/// What this process holds in memory, in bytes.
fn resident() -> u64 {
    let status = fs::read_to_string("/proc/self/statm").unwrap();
    status.split(' ').nth(1).unwrap().parse::<u64>().unwrap() * 4_096
}
