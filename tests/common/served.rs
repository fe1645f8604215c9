//! A running `[admin]` in front of a node that is made up: three calls and one number.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use futures::FutureExt;
use futures::future::BoxFuture;
use serde_json::json;
use strowger::admin::Admin;
use strowger::admin::metrics::Metrics;
use strowger::admin::operations::{
    AgentLine, BindingLine, Captured, Changed, Condition, Explanation, FailureLine, Finding, GatewayLine,
    GenerationLine, NotCaptured, NotChanged, NotPublished, NotRouted, NumberPage, NumberText, NumbersAsked,
    Operations, Published, Readiness, RegistrationLine, RegistrationState, TrunkLine, Wish,
};
use strowger::call::cdr::{Direction, Role};
use strowger::call::story::{CallPlace, CallStory, LadderLine, LiveCall, StoryLeg, StoryTimer, Way};
use strowger::media::reel::{Kind, Shelf};
use strowger::store::{Reader, Settings, Store};
use strowger::time::Wall;

use crate::common::{NOON, PATIENCE, fast_folder, wait_until};

/// Its number, as it is told.
pub const NUMBER: &str = r#"{"did": "+12015550101", "ring": ["alice"], "source": "files"}"#;

/// A running `[admin]` in front of a made-up node.
pub struct Served {
    pub addr: SocketAddr,
    pub node: Arc<MadeUp>,
    pub store: Store,
    stop: Option<tokio::sync::oneshot::Sender<()>>,
    thread: Option<std::thread::JoinHandle<()>>,
    _folder: tempfile::TempDir,
}

pub fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

pub fn served() -> Served {
    served_on("127.0.0.1:0", None)
}

pub fn served_on(addr: &str, token: Option<&str>) -> Served {
    let folder = fast_folder();
    let store = Store::open(folder.path(), Settings::new("edge-1", 0)).unwrap();
    let node = Arc::new(MadeUp {
        readiness: Mutex::new(Readiness::Taking),
        reloads: Mutex::new(None),
        hung_up: Mutex::new(Vec::new()),
        by: Mutex::default(),
        wishes: Mutex::default(),
        changes: Mutex::default(),
        records: store.reader(),
        data_dir: folder.path().to_owned(),
    });
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let (tell, told) = std::sync::mpsc::channel();
    let (addr, token, behind) = (addr.parse().unwrap(), token.map(str::to_owned), node.clone());
    let thread = std::thread::spawn(move || {
        runtime().block_on(async move {
            let admin = Admin::bind(addr, token).await.unwrap();
            tell.send(admin.addr().port()).unwrap();
            admin.serve(behind, Metrics::install(), stopped.map(drop)).await.unwrap();
        });
    });
    let addr = SocketAddr::from(([127, 0, 0, 1], told.recv_timeout(PATIENCE).unwrap()));
    Served { addr, node, store, stop: Some(stop), thread: Some(thread), _folder: folder }
}

impl Drop for Served {
    fn drop(&mut self) {
        drop(self.stop.take());
        let thread = self.thread.take().unwrap();
        if !std::thread::panicking() {
            wait_until(|| thread.is_finished());
            thread.join().unwrap();
        }
    }
}

/// A node with three calls and one number.
pub struct MadeUp {
    pub readiness: Mutex<Readiness>,
    pub reloads: Mutex<Option<NotPublished>>,
    pub hung_up: Mutex<Vec<String>>,
    /// Who last asked for something that is written down.
    pub by: Mutex<String>,
    pub wishes: Mutex<Vec<(Wish, Condition)>>,
    pub changes: Mutex<Option<NotChanged>>,
    records: Reader,
    pub data_dir: std::path::PathBuf,
}

impl Operations for MadeUp {
    fn readiness(&self) -> Readiness {
        *self.readiness.lock().unwrap()
    }

    fn calls(&self, after: Option<CallPlace>, most: usize) -> BoxFuture<'_, Vec<LiveCall>> {
        let calls = ["c1", "c2", "c3"].map(live).into_iter();
        let behind = |call: &LiveCall| after.as_ref().is_none_or(|after| call.place() > *after);
        let page = calls.filter(behind).take(most).collect();
        async { page }.boxed()
    }

    fn call<'a>(&'a self, id: &'a str) -> BoxFuture<'a, Option<CallStory>> {
        async move { id.starts_with('c').then(|| story_of(id)) }.boxed()
    }

    fn pcap<'a>(&'a self, id: &'a str) -> BoxFuture<'a, Result<Captured, NotCaptured>> {
        async move {
            let missing = if id == "c2" { "the first messages are no longer kept" } else { "" };
            match id {
                "c1" | "c2" => {
                    Ok(Captured { messages: 14, missing: missing.to_owned(), file: b"a file".to_vec() })
                }
                "c3" => Err(NotCaptured::Gone),
                "off" => Err(NotCaptured::Off),
                _ => Err(NotCaptured::Unknown),
            }
        }
        .boxed()
    }

    fn hang_up<'a>(&'a self, id: &'a str) -> BoxFuture<'a, bool> {
        async move {
            self.hung_up.lock().unwrap().push(id.to_owned());
            id.starts_with('c')
        }
        .boxed()
    }

    fn reload<'a>(&'a self, dry_run: bool, by: &'a str) -> BoxFuture<'a, Result<Published, NotPublished>> {
        async move {
            *self.by.lock().unwrap() = by.to_owned();
            match self.reloads.lock().unwrap().clone() {
                Some(refused) => Err(refused),
                None => Ok(Published { generation: if dry_run { 1 } else { 2 }, ..Published::default() }),
            }
        }
        .boxed()
    }

    fn roll_back<'a>(
        &'a self,
        to: Option<u64>,
        dry_run: bool,
        by: &'a str,
    ) -> BoxFuture<'a, Result<Published, NotPublished>> {
        async move {
            let published = self.reload(dry_run, by).await?;
            Ok(Published { changed: to.unwrap_or(0), ..published })
        }
        .boxed()
    }

    fn agents(&self, after: Option<&str>, most: usize) -> Vec<AgentLine> {
        let names =
            ["alice", "bob", "carol"].into_iter().filter(|name| after.is_none_or(|after| *name > after));
        names.take(most).map(agent).collect()
    }

    fn generations(&self, before: Option<u64>, most: usize) -> Result<Vec<GenerationLine>, String> {
        let line = |generation| GenerationLine {
            generation,
            published: Wall(NOON),
            by: "alice".to_owned(),
            what: "the node started".to_owned(),
            numbers: 3,
            can_roll_back: generation < 3,
        };
        Ok([3, 2, 1]
            .into_iter()
            .filter(|one| before.is_none_or(|before| *one < before))
            .take(most)
            .map(line)
            .collect())
    }

    fn numbers(&self, asked: NumbersAsked) -> BoxFuture<'_, Result<NumberPage, String>> {
        async move {
            if asked.after.as_deref() == Some("nowhere") {
                return Err("`after` is the `next` of an earlier page".to_owned());
            }
            Ok(NumberPage { items: vec![NUMBER.to_owned()], next: Some("files:+12015550101".to_owned()) })
        }
        .boxed()
    }

    fn number(&self, did: &str) -> Result<NumberText, NotChanged> {
        match did.trim_start_matches('+') {
            "12015550101" => Ok(NumberText { json: NUMBER.to_owned(), etag: "v1".to_owned() }),
            "12015559999" => Err(NotChanged::Unknown),
            _ => Err(NotChanged::BadNumber("a number is + and 7 to 15 digits".to_owned())),
        }
    }

    fn change<'a>(
        &'a self,
        did: &'a str,
        wish: Wish,
        condition: Condition,
        by: &'a str,
    ) -> BoxFuture<'a, Result<Changed, NotChanged>> {
        async move {
            let text = self.number(did).ok();
            *self.by.lock().unwrap() = by.to_owned();
            self.wishes.lock().unwrap().push((wish, condition));
            match self.changes.lock().unwrap().clone() {
                Some(refused) => Err(refused),
                None => {
                    Ok(Changed { created: text.is_none(), text, generation: 7, warnings: vec![misspelt()] })
                }
            }
        }
        .boxed()
    }

    fn route<'a>(
        &'a self,
        did: &'a str,
        from: Option<&'a str>,
    ) -> BoxFuture<'a, Result<Explanation, NotRouted>> {
        async move {
            match did {
                "+12015550101" => {
                    let text = format!("{did} from {} rings alice", from.unwrap_or("nobody"));
                    Ok(Explanation { text, plan: json!({}) })
                }
                "abc" => Err(NotRouted::BadNumber("a number is + and 7 to 15 digits".to_owned())),
                _ => Err(NotRouted::UnknownNumber("none of our numbers: 404".to_owned())),
            }
        }
        .boxed()
    }

    fn records(&self) -> Reader {
        self.records.clone()
    }

    fn shelf(&self, kind: Kind) -> Shelf {
        Shelf::new(&self.data_dir, kind)
    }

    fn trunks(&self, after: Option<&str>, most: usize) -> Vec<TrunkLine> {
        let names = ["carrier", "mobile"].into_iter().filter(|name| after.is_none_or(|after| *name > after));
        names.take(most).map(trunk).collect()
    }

    fn measure(&self) -> String {
        metrics::gauge!("strowger_trunk_calls_active", "trunk" => "carrier").set(3.0);
        "strowger_trunk_up{trunk=\"carrier\",gateway=\"0\"} 1\n".to_owned()
    }
}

/// What a check finds of an agent's name that nobody has.
pub fn misspelt() -> Finding {
    Finding {
        file: "config/routing/numbers.toml".to_owned(),
        line: 14,
        column: 9,
        message: "agent \"bobb\" does not exist".to_owned(),
        remedy: "did you mean \"bob\"?".to_owned(),
    }
}

fn live(id: &str) -> LiveCall {
    LiveCall {
        id: id.into(),
        direction: Direction::Inbound,
        state: "ringing".into(),
        generation: 1,
        account: "".into(),
        agent: None,
        trunk: Some("carrier".into()),
        did: Some("+12015550101".into()),
        dialled: "+12015550101".into(),
        caller: Some("+12025550123".into()),
        started: Wall(NOON + u64::from(id.as_bytes()[1])),
        answered: None,
    }
}

pub fn story_of(id: &str) -> CallStory {
    let leg = |id, role, name: &str| StoryLeg {
        id,
        role,
        name: name.into(),
        state: "ringing".into(),
        peer: Some("127.0.0.1:5080".parse().unwrap()),
        sip_call_id: Some("x@y".into()),
        codec: None,
        rtp: None,
    };
    CallStory {
        call: live(id),
        legs: vec![leg(0, Role::Caller, "caller"), leg(1, Role::Agent, "alice")],
        timers: vec![StoryTimer { name: "RingTimeout".into(), leg: None, due_ms: 19_000 }],
        ladder: vec![LadderLine { at_ms: 0, way: Way::In, leg: 0, what: "INVITE".into(), note: None }],
        ladder_dropped: 0,
        recording: None,
        voicemail: None,
    }
}

fn trunk(name: &str) -> TrunkLine {
    let failure = FailureLine { what: "no answer to OPTIONS".to_owned(), at: Wall(NOON) };
    TrunkLine {
        name: name.to_owned(),
        outbound: true,
        calls: 3,
        max_calls: 0,
        calls_in_last_second: Some(2),
        max_cps: 10,
        refused: 7,
        options_interval_ms: 30_000,
        registration: RegistrationLine {
            state: RegistrationState::Registered,
            since: Some(Wall(NOON)),
            expires_ms: Some(299_000),
            last_failure: None,
        },
        gateways: vec![GatewayLine {
            gateway: 0,
            uri: "sip:192.0.2.7".to_owned(),
            transport: "udp".to_owned(),
            priority: 10,
            weight: 1,
            up: false,
            since: Some(Wall(NOON)),
            last_failure: Some(failure),
            round_trip_ms: Some(12),
        }],
    }
}

fn agent(name: &str) -> AgentLine {
    AgentLine {
        name: name.to_owned(),
        account: "office".to_owned(),
        number: Some("+12015550101".to_owned()),
        dnd: false,
        max_calls: 1,
        calls: 0,
        contact: None,
        bindings: vec![BindingLine {
            contact: format!("sip:{name}@192.168.1.7"),
            transport: "udp".to_owned(),
            peer: ([192, 0, 2, 7], 5060).into(),
            from: ([192, 0, 2, 7], 5060).into(),
            path: Vec::new(),
            user_agent: "phone".to_owned(),
            unreachable: false,
            registered: Wall(1_795_000_000_000),
            expires_ms: 3_599_000,
        }],
        last_failure: (name == "alice")
            .then(|| FailureLine { what: "403 Forbidden".to_owned(), at: Wall(NOON) }),
    }
}
