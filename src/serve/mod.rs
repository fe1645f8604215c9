//! One whole node: configuration, store, shards and `[admin]` put together, started and stopped as one.
//!
//! `serve` and `try` start one, and tests do. It decides nothing about calls.

mod affected;
mod audio;
mod catalogue;
mod changes;
mod desk;
mod files;
mod generations;
mod hosts;
mod notices;
mod operations;
mod phones;
mod planes;
mod publish;
mod reading;
pub mod replay;
mod retired;
mod settled;
mod tls;
mod trunks;
pub(crate) mod voices;
mod written;

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use crate::admin::metrics::Metrics;
use crate::admin::operations::{NotPublished, Operations, Published};
use crate::admin::{Admin, BindError};
use crate::config::{self, Anchor, Config, Dialled, Finding, Loaded, Media, Progress, Reading, Strangers};
use crate::engine::booth::Booth;
use crate::engine::capture::Wanted;
use crate::engine::clock::Clock;
use crate::engine::core::Metered;
use crate::engine::desk::SharedDesk;
use crate::engine::exchange::{Anchoring, Effects, Exchange, Input, LineTokens, Listener, Router, Settings};
use crate::engine::node::{Berth, Listen, Node, Options, Shards, StartError as NodeError};
use crate::engine::shard::Core;
use crate::media::ports::Ports;
use crate::number::E164;
use crate::routing::Table;
use crate::sip::digest::Nonces;
use crate::sip::peer::Transport;
use crate::store::kept::KeptFiles;
use crate::store::ledger::Ledger;
use crate::store::phones::{Phones, StoredBinding};
use crate::store::{DataDir, DatabaseError, OpenError, Recorder, Store, has_database};
use audio::Audio;
use desk::StoredDesk;
use generations::Files;
use notices::{Guesses, Teller};
pub use operations::route;
use operations::{Front, Life};
use phones::Left;
use publish::{First, Found, NotServed, Publisher};
pub use reading::{Env, Seen};
use reading::{RealTime, Steady, is_moving, mistakes, steadily};

/// How long a node that ends at once waits for its BYEs and records.
const LAST_WORDS: Duration = Duration::from_secs(2);
/// How often that is looked at.
const LOOK: Duration = Duration::from_millis(20);

/// Why a node does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error("{}", config::plain(.0, &[]).trim_end())]
    Config(Vec<Finding>),
    #[error(transparent)]
    Store(#[from] OpenError),
    #[error(transparent)]
    Node(#[from] NodeError),
    #[error(transparent)]
    Admin(#[from] BindError),
    #[error("the certificates cannot be used: {0}")]
    Certificates(#[from] rustls::Error),
    #[error("node.json cannot be written: {0}")]
    NodeFile(std::io::Error),
    #[error("{0}; mend or remove the file")]
    Database(#[from] DatabaseError),
    #[error("the system gives no random bytes: {0}")]
    Random(getrandom::Error),
}

impl From<NotServed> for StartError {
    fn from(why: NotServed) -> StartError {
        match why {
            NotServed::Database(error) => error.into(),
            NotServed::Wrong(findings) => StartError::Config(findings),
        }
    }
}

/// A running node.
pub struct Running {
    node: Node<Metered>,
    front: Arc<Front>,
    admin: Option<SocketAddr>,
    drain: Duration,
    store: Store,
    /// Where the bindings of phones are written down.
    phones: Arc<Mutex<Phones>>,
    /// Who writes down what is said.
    audio: Option<Audio>,
}

impl Running {
    /// Reads the configuration of a folder and starts the node. When it returns, all sockets are bound.
    pub fn start(folder: &Path, env: Env) -> Result<Running, StartError> {
        Running::start_told(folder, env, reading::says_how_far())
    }

    /// The same, for who hears by other means than the log how far the reading has come. `told` is dropped when it is over.
    pub fn start_told(
        folder: &Path,
        env: Env,
        mut told: impl FnMut(Progress),
    ) -> Result<Running, StartError> {
        let read = || Reading::of(folder, &*env).load(&mut told);
        let Steady { read, seen, moved } = steadily(folder, &RealTime, read);
        drop(told);
        let (node, found) = match read {
            Ok(Loaded { config, mut warnings, .. }) => {
                if let Some(file) = moved {
                    // No call at all would be worse than one that goes by half of a change.
                    let moving = is_moving(&file, "reload");
                    let message = format!("{}; what was read is served until then", moving.message);
                    warnings.insert(0, Finding { message, ..moving });
                }
                (config.node.clone(), Ok((config, warnings)))
            }
            Err(errors) => {
                let errors = mistakes(moved.as_deref(), errors, "start again");
                // What was rolled back to may be served in their place.
                match Reading::of(folder, &*env).node_alone().load(&mut |_| {}) {
                    Ok(Loaded { config, .. }) if has_database(Path::new(&*config.node.node.data_dir)) => {
                        (config.node, Err(errors))
                    }
                    Ok(_) | Err(_) => return Err(StartError::Config(errors)),
                }
            }
        };
        files::raise_limit(options(&node).most_connections());
        Running::start_of(&node, (found, seen), folder.to_owned(), env)
    }

    /// Starts the node of a configuration that was read already, and of the files as they were before. `folder` is what a
    /// reload reads.
    pub fn start_with(
        (config, seen): (Config, Seen),
        folder: PathBuf,
        env: Env,
    ) -> Result<Running, StartError> {
        let node = config.node.clone();
        Running::start_of(&node, (Ok((config, Vec::new())), seen), folder, env)
    }

    fn start_of(
        section: &config::Node,
        (found, seen): (Found, Seen),
        folder: PathBuf,
        env: Env,
    ) -> Result<Running, StartError> {
        // Shards fetch their counters when they start.
        let metrics = Metrics::install();
        let settings = crate::store::Settings::new(&section.node.name, section.retention.cdr_days);
        let store = Store::open(Path::new(&*section.node.data_dir), settings)?;
        let (drain, recording_days) = (section.limits.drain_seconds, section.retention.recording_days);
        let options = options(section);
        let admin = section
            .admin
            .as_ref()
            .map(|admin| (admin.addr, admin.token.as_ref().map(|token| token.reveal().to_owned())));
        let mut phones = Phones::open(store.dir().path())?;
        let left = phones.all(Clock::start().read().now.wall)?;
        let audio = section.media.as_ref().map(|_| Audio::open(store.dir().path()));
        let audio = audio.transpose().map_err(StartError::NodeFile)?;
        let lines = line_tokens(&store.dir())?;
        let maker = Maker::new(section, options.shards, store.recorder(), lines, left, audio.as_ref())?;
        let sides = tls::sides(section)?;
        let ledger = Ledger::open(store.dir().path())?;
        let last = store.dir().node().generation;
        let kept = KeptFiles::of(store.dir().path(), Arc::new(crate::volume::Disk));
        let files = Files::of(folder, kept);
        let publisher =
            Publisher::first(First { files, env, node: section, found, seen, ledger, sides }, last)?;
        let node = maker.start(options, &publisher)?;
        node.back().spawn(metrics.clone().upkeep());
        let front = Front::new(&node, publisher, &store);
        node.back().block_on(front.finder.prepare(&front.publisher.table()));
        node.back().spawn(keep_hosts(Arc::downgrade(&front)));
        node.back().spawn(keep_planes(Arc::downgrade(&front)));
        let phones = Arc::new(Mutex::new(phones));
        node.back().spawn(keep_phones(Arc::downgrade(&front), Arc::downgrade(&phones)));
        let data_dir = store.dir().path().into();
        node.back().spawn(audio::give_up_old_ones(data_dir, recording_days, node.clock()));
        let mut running = Running { node, front, admin: None, drain, store, phones, audio };
        if let Some((addr, token)) = admin {
            running.admin = Some(running.serve_admin(addr, token, metrics)?);
        }
        running.front.enter(Life::Serving);
        Ok(running)
    }

    fn serve_admin(
        &self,
        addr: SocketAddr,
        token: Option<String>,
        metrics: Metrics,
    ) -> Result<SocketAddr, StartError> {
        let back = self.node.back();
        let admin = back.block_on(Admin::bind(addr, token))?;
        let addr = admin.addr();
        self.store.dir().update_node(|node| node.admin = Some(addr)).map_err(StartError::NodeFile)?;
        let front: Arc<dyn Operations> = Arc::clone(&self.front) as Arc<dyn Operations>;
        back.spawn(async move {
            if let Err(error) = admin.serve(front, metrics, std::future::pending()).await {
                tracing::error!(%error, "[admin] is not served any more");
            }
        });
        Ok(addr)
    }

    /// What calls come in on.
    pub fn listening(&self) -> &[(Transport, SocketAddr)] {
        self.node.listening()
    }

    /// Where `[admin]` is served.
    pub fn admin(&self) -> Option<SocketAddr> {
        self.admin
    }

    /// How many calls were found that an earlier process had lost.
    pub fn lost(&self) -> usize {
        self.store.lost()
    }

    /// The first number that is written out and enabled: what can be tried. Those of a table (.csv), which
    /// are many and mostly a machine's, come after those that somebody wrote by hand.
    pub fn first_number(&self) -> Option<E164> {
        let config = self.front.publisher.config();
        let table = self.table();
        let trunk = table.trunks().first()?;
        let tried = |of_a_table: bool| {
            config.numbers.iter().find_map(|number| match number.did().value {
                Dialled::Number(did) if config.files.is_csv(number.did().place) == of_a_table => {
                    table.plan_for(trunk, did, 0).is_ok().then_some(did)
                }
                Dialled::Number(_) | Dialled::Block(_) => None,
            })
        };
        tried(false).or_else(|| tried(true))
    }

    /// Whether whoever answers a call to that number is to press 1.
    pub fn asks_to_press(&self, did: E164) -> bool {
        let table = self.table();
        let plan = table.trunks().first().and_then(|trunk| table.plan_for(trunk, did, 0).ok());
        self.audio.is_some() && plan.is_some_and(|plan| plan.call_connect.is_some())
    }

    /// The table that calls are planned with now.
    pub fn table(&self) -> Arc<Table> {
        self.front.publisher.table()
    }

    /// The node as operators see it.
    pub fn operations(&self) -> Arc<dyn Operations> {
        Arc::clone(&self.front) as Arc<dyn Operations>
    }

    /// Runs something on the `back` runtime and waits for it.
    pub fn block_on<F: Future>(&self, work: F) -> F::Output {
        self.node.back().block_on(work)
    }

    /// Reads the configuration anew and publishes it.
    pub async fn reload(&self) -> Result<Published, NotPublished> {
        self.front.reload(false, "SIGHUP").await
    }

    /// Ends when a shard has ended that nobody stopped.
    pub async fn broken(&self) {
        self.node.broken().await;
    }

    /// Takes no more calls and waits until those in progress are over, at most `drain_seconds`. True: they are.
    pub async fn drain(&self) -> bool {
        self.front.enter(Life::Draining);
        let begin = |core: &mut Metered, now, out: &mut _| core.handle(now, Input::Drain, out);
        let shards = self.node.shards();
        let over = shards.drain(begin, |core| core.exchange.load().calls == 0, self.drain).await;
        if over {
            // A BYE that was lost is repeated for a moment yet; a far end that is gone is not waited for.
            shards.drain(begin, |core| core.exchange.load().slots == 0, LAST_WORDS).await;
        }
        over
    }

    /// Ends our registrations at carriers, as far as they answer in a moment.
    async fn leave_carriers(shards: &Shards<Metered>) {
        let leave = |core: &mut Metered, now, out: &mut Effects| core.exchange.leave_carriers(now, out);
        if shards.ask_all(leave).await.is_err() {
            return;
        }
        let until = Instant::now() + LAST_WORDS;
        while Instant::now() < until {
            let left = shards.ask_all(|core, _, _| core.exchange.leaving()).await.unwrap_or_default();
            if left.iter().sum::<usize>() == 0 {
                break;
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Ends the node: calls in progress are hung up, and every record is written.
    pub fn stop(self) {
        let Running { node, front, store, phones, audio, .. } = self;
        front.enter(Life::Ending);
        let shards = node.shards();
        node.back().block_on(async {
            front.hang_up_all().await;
            Running::leave_carriers(&shards).await;
            let until = Instant::now() + LAST_WORDS;
            while Instant::now() < until {
                let calls = shards.ask_all(|core, _, _| core.exchange.load().calls).await.unwrap_or_default();
                if calls.iter().sum::<usize>() == 0 {
                    break;
                }
                tokio::time::sleep(LOOK).await;
            }
        });
        drop(shards);
        // What was bound or ended within the last second, too.
        front.write_phones(&mut lock(&phones));
        let reloading = Arc::clone(&front.reloading);
        drop(front);
        node.stop();
        if reloading.try_lock().is_err() {
            tracing::info!("a reload that is still reading is given up: the node ends");
        }
        // What was said is written whole.
        drop(audio);
        drop(store);
    }
}

/// Keeps up to date where the hosts of whatever table is served are, as long as the node runs.
async fn keep_hosts(front: Weak<Front>) {
    let mut every = tokio::time::interval(hosts::LOOK);
    loop {
        every.tick().await;
        let Some(front) = front.upgrade() else { return };
        front.finder.update(&front.publisher.table());
    }
}

/// Has every shard end the calls of a thread of audio that has died, as long as the node runs: its calls may have no
/// other traffic that would make a shard look.
async fn keep_planes(front: Weak<Front>) {
    let (mut every, mut known) = (tokio::time::interval(Duration::from_secs(1)), 0);
    loop {
        every.tick().await;
        let Some(front) = front.upgrade() else { return };
        let (dead, _) = front.planes.dead();
        if dead > std::mem::replace(&mut known, dead) {
            let look = |core: &mut Metered, now, out: &mut _| core.handle(now, Input::Due, out);
            // A shard that has ended has no calls either.
            let _ended = front.shards.ask_all(look).await;
        }
    }
}

/// Takes out expired bindings and writes down what has changed, as long as the node runs. What was bound in the last
/// second before a crash is lost, and bound again when the phone says so again.
async fn keep_phones(front: Weak<Front>, phones: Weak<Mutex<Phones>>) {
    let mut every = tokio::time::interval(Duration::from_secs(1));
    loop {
        every.tick().await;
        let (Some(front), Some(phones)) = (front.upgrade(), phones.upgrade()) else { return };
        front.expire_bindings();
        tokio::task::block_in_place(|| front.write_phones(&mut lock(&phones)));
    }
}

fn lock(phones: &Mutex<Phones>) -> MutexGuard<'_, Phones> {
    phones.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What the node's edge is made of.
fn options(node: &config::Node) -> Options {
    let listeners = tls::served(node).map(|listen| Listen {
        transport: listen.transport.transport(),
        addr: listen.addr,
        advertise: listen.advertise,
    });
    let listeners = listeners.collect();
    let shards = match node.node.shards {
        0 => std::thread::available_parallelism().map_or(1, usize::from),
        shards => shards as usize,
    };
    let shards = shards.min(crate::engine::node::MOST_SHARDS - 1);
    let capture = node.capture.as_ref().map(|capture| Wanted {
        node: (&*node.node.name).into(),
        collector: capture.hep.as_ref().map(|hep| (hep.host.clone(), hep.port)),
    });
    let planes = node.media.as_ref().map(|_| {
        let half = std::thread::available_parallelism().map_or(1, |cores| cores.get().div_ceil(2));
        (half.min(MOST_PLANES), Arc::from(&*node.node.name))
    });
    Options { shards, capture, planes, ..Options::new(listeners) }
}

/// Made with a secret that is drawn once and stays in `node.json`: a carrier keeps our Contact across a restart.
fn line_tokens(dir: &DataDir) -> Result<LineTokens, StartError> {
    let kept = |text: Option<String>| text.and_then(|text| <[u8; 64]>::try_from(text.into_bytes()).ok());
    if let Some(secret) = kept(dir.node().line_secret) {
        return Ok(LineTokens::new(secret));
    }
    let mut drawn = [0; 32];
    getrandom::fill(&mut drawn).map_err(StartError::Random)?;
    let mut text = String::with_capacity(64);
    for byte in drawn {
        // Writing to memory cannot fail.
        let _ = write!(text, "{byte:02x}");
    }
    dir.update_node(|node| node.line_secret = Some(text.clone())).map_err(StartError::NodeFile)?;
    Ok(LineTokens::new(kept(Some(text)).unwrap_or([0; 64])))
}

/// Audio is light work: more threads than this carry more than the signalling of one node can set up.
const MOST_PLANES: usize = 8;

/// Makes the shards' exchanges.
struct Maker {
    name: Arc<str>,
    country: crate::number::Country,
    answer_strangers: bool,
    router: Router,
    seed: [u8; 16],
    realm: Arc<str>,
    nonces: Nonces,
    lines: LineTokens,
    recorder: Recorder,
    left: Left,
    media: Option<(Media, crate::media::reel::Recorder, crate::media::reel::Recorder)>,
}

impl Maker {
    fn new(
        node: &config::Node,
        shards: usize,
        recorder: Recorder,
        lines: LineTokens,
        left: Vec<(String, StoredBinding)>,
        audio: Option<&Audio>,
    ) -> Result<Maker, StartError> {
        let mut seed = [0; 16];
        getrandom::fill(&mut seed).map_err(StartError::Random)?;
        let mut secret = [0; 64];
        getrandom::fill(&mut secret).map_err(StartError::Random)?;
        let section = &node.node;
        Ok(Maker {
            name: (&*section.name).into(),
            country: section.country,
            answer_strangers: section.strangers == Strangers::Reject,
            router: Router::new(u8::try_from(shards).unwrap_or(u8::MAX), seed),
            seed,
            realm: (&*section.realm).into(),
            nonces: Nonces::new(secret),
            lines,
            recorder,
            left: Left::new(left),
            media: node
                .media
                .clone()
                .zip(audio)
                .map(|(media, audio)| (media, audio.recordings(), audio.messages())),
        })
    }

    fn start(self, mut options: Options, publisher: &Publisher) -> Result<Node<Metered>, StartError> {
        let (served, current) = (publisher.current(), publisher.current());
        options.known = Box::new(move |ip| current.load().knows(ip));
        options.tls = publisher.tls();
        let listens: Vec<(Transport, Option<Box<str>>)> = options
            .listeners
            .iter()
            .map(|listen| (listen.transport, listen.advertise.map(|addr| addr.to_string().into())))
            .collect();
        let (router, recorder) = (self.router, self.recorder.clone());
        // Nobody keeps the first table longer than it is served.
        let make = move |berth: Berth| self.exchange(berth, &listens, &served.load_full());
        let clock = Clock::start();
        let guesses = Arc::<Guesses>::default();
        let teller = |_| Box::new(Teller::new(recorder.clone(), clock, Arc::clone(&guesses))) as _;
        Ok(Node::start(options, router, make, teller)?)
    }

    fn exchange(
        &self,
        berth: Berth,
        listens: &[(Transport, Option<Box<str>>)],
        table: &Arc<Table>,
    ) -> Metered {
        let listening: Vec<(Transport, SocketAddr)> =
            listens.iter().zip(&berth.bound).map(|((transport, _), addr)| (*transport, *addr)).collect();
        let (desk, now) = (&berth.desk, berth.clock.read().now);
        phones::restore(&self.left, &desk.registrations, table, &listening, now);
        let listeners = listens.iter().zip(&berth.bound).map(|((transport, advertise), addr)| Listener {
            transport: *transport,
            addr: *addr,
            advertise: advertise.clone(),
        });
        let shard = u8::try_from(berth.shard).unwrap_or(u8::MAX);
        let mut seed = self.seed;
        // Every shard draws its own numbers.
        seed[0] ^= shard;
        let settings = Settings {
            node: Arc::clone(&self.name),
            country: self.country,
            listeners: listeners.collect(),
            answer_strangers: self.answer_strangers,
            shard,
            router: self.router,
            seed,
            realm: Arc::clone(&self.realm),
            nonces: self.nonces.clone(),
            lines: self.lines.clone(),
        };
        let shared: Arc<SharedDesk> = Arc::clone(&berth.desk);
        let desk = StoredDesk { shared, recorder: self.recorder.clone() };
        let mut exchange = Exchange::new(settings, Arc::clone(table), Arc::new(desk));
        if let Some((media, recordings, messages)) = &self.media {
            let when_needed = media.anchor == Anchor::WhenNeeded;
            let anchoring = Anchoring { when_needed };
            let range = media.ports.0..=media.ports.1;
            let ports = Ports::new(media.addr, range, berth.shard, berth.shards);
            let (recordings, messages) = (recordings.clone(), messages.clone());
            let booth = Booth::new(ports, media.advertise, berth.planes, recordings, messages);
            exchange = exchange.with_audio(anchoring, Box::new(booth));
        }
        Metered::new(exchange, berth.clock)
    }
}

#[cfg(test)]
mod number_tests;
#[cfg(test)]
mod rollback_tests;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::Wall;

    #[test]
    fn the_phones_of_before_are_known_when_a_shard_takes_its_first_message() {
        let folder = tempfile::tempdir().unwrap();
        let ours = std::net::UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let listen = format!("[[listen]]\ntransport = \"udp\"\naddr = \"{ours}\"\n");
        std::fs::create_dir(folder.path().join("routing")).unwrap();
        std::fs::write(folder.path().join("strowger.toml"), listen).unwrap();
        let alice = "[[agent]]\nname = \"alice\"\npassword = \"swordfish\"\n";
        std::fs::write(folder.path().join("routing/all.toml"), alice).unwrap();
        let config = config::load(folder.path(), &|_| None).unwrap().config;
        let store =
            Store::open(&folder.path().join("data"), crate::store::Settings::new("edge-1", 0)).unwrap();
        let table = Table::new(&config, 1, None);
        let row = StoredBinding {
            uri: "sip:alice@127.0.0.1".to_owned(),
            instance: (String::new(), 0),
            addr: "127.0.0.1:5062".to_owned(),
            transport: "udp".to_owned(),
            source: "127.0.0.1:5062".to_owned(),
            listener: format!("udp {ours}"),
            path: String::new(),
            params: String::new(),
            call_id: b"1".to_vec(),
            cseq: 1,
            expires: Wall(Clock::start().read().now.wall.0 + 60_000),
            registered: Wall(1),
            user_agent: String::new(),
            secret: table.agent("alice").unwrap().secrets.mark(),
        };
        let left = vec![("alice".to_owned(), row)];
        let options = Options { shards: 2, ..options(&config.node) };
        let maker =
            Maker::new(&config.node, 2, store.recorder(), LineTokens::new([0; 64]), left, None).unwrap();
        let folder = folder.path().to_owned();
        let ledger = Ledger::open(store.dir().path()).unwrap();
        let kept = KeptFiles::of(store.dir().path(), Arc::new(crate::volume::Disk));
        let files = Files::of(folder, kept);
        let seen = Seen::of(&files.folder);
        let node = config.node.clone();
        let found = Ok((config, Vec::new()));
        let first = First { files, env: Arc::new(|_| None), node: &node, found, seen, ledger, sides: None };
        let publisher = Publisher::first(first, 0).map_err(StartError::from).unwrap();
        let node = maker.start(options, &publisher).unwrap();
        let desk = Arc::clone(node.desk());
        // Whichever of them answers first.
        let known = move |_: &mut Metered, _, _: &mut _| desk.registrations.len();
        assert_eq!(node.back().block_on(node.shards().ask_all(known)).unwrap(), [1, 1]);
        node.stop();
    }
}
