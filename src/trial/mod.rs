//! `strowger try`: the first call without any other program. It plays the carrier and, where nobody else does,
//! the called phones, against the node that runs or one that it starts for the call. It never leaves the machine.
//!
//! Carrier and phones are on `rsip`'s types, so that what the node sends is read by a parser that is not ours.

mod carrier;
mod ladder;
mod left;
mod lines;
mod message;
mod phone;
mod play;
mod record;
mod repeat;
mod scene;
mod sound;
mod told;
mod voice;

use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use rsip::headers::Header;

use crate::config::{self, Config, DidFrom, Loaded, Overlay};
use crate::engine::node::StartError as NodeError;
use crate::media::reel::Kind;
use crate::number::E164;
use crate::routing::{Plan, Table};
use crate::serve::{Env, Running, Seen, StartError};
use crate::sip::peer::Transport;
use crate::store::OpenError;
use carrier::{Carrier, Ending, MARGIN, Wanted};
use ladder::{CALLER, Ladder};
use lines::Lines;
use message::End;
use phone::Phones;
use play::{Between, Play, Played, take_phones};
use record::Records;
use scene::Scene;
use sound::{Known, Sound};
use told::Left;
use voice::Voices;

pub use left::Hearing;
pub use phone::Manner;
pub use play::Watcher;
pub use told::{Column, Told, Whose};

/// A call to try.
pub struct Trial {
    /// The folder of the configuration.
    pub folder: PathBuf,
    pub did: String,
    pub from: String,
    pub manner: Manner,
    /// Whether whoever answers is to press 1.
    pub press: bool,
    /// How long the caller stays on the line. None: long enough to hear what is to be heard.
    pub hold: Option<Duration>,
    /// The folder of what was heard; empty: the working directory.
    pub out: PathBuf,
}

/// How long the caller stays where nothing is heard, and, once what the node says is over, where something is: so long
/// that each hears the other's sentence, and a message is one.
const STAYS: Duration = Duration::from_secs(1);
const TALKS: Duration = Duration::from_secs(6);

/// Why there was no call.
#[derive(Debug, thiserror::Error)]
pub enum Failed {
    #[error("{0}")]
    Wrong(String),
    #[error("{0}")]
    Unreachable(String),
}

fn wrong(error: impl ToString) -> Failed {
    Failed::Wrong(error.to_string())
}

impl Trial {
    /// Makes the call.
    pub fn run(&self, env: Env, watcher: &mut dyn Watcher) -> Result<Told, Failed> {
        let seen = Seen::of(&self.folder);
        let loaded = config::load(&self.folder, &*env);
        let Loaded { config, .. } =
            loaded.map_err(|findings| wrong(config::plain(&findings, &[]).trim_end()))?;
        let table = Table::new(&config, 0, None);
        let from = scene::read_number(&table, &self.from).map_err(wrong)?;
        // What cannot be tried is said before a node is started for it.
        let listening = listening(&config);
        let scene = Scene::find(&table, &self.did, &listening).map_err(wrong)?;
        let data_dir = PathBuf::from(&*config.node.node.data_dir);
        let media = config.node.media.clone();
        let voices = crate::serve::voices::voices(&config, &Overlay::default(), &self.folder);
        let voices = voices.map_err(|findings| wrong(config::plain(&findings, &[]).trim_end()))?;
        let runs = listening.iter().any(|(transport, addr)| is_taken(*transport, *addr));
        let (own, scene) = match runs {
            true => (None, scene),
            false => {
                let own = self.start((config, seen), env)?;
                let scene = Scene::find(&table, &self.did, own.listening()).map_err(wrong)?;
                (Some(own), scene)
            }
        };
        let whose = if own.is_some() { Whose::Own } else { Whose::Running };
        let sound = media
            .as_ref()
            .zip(scene.plan.as_ref())
            .map(|(media, plan)| Voices::new(Known::of(plan, &voices), (media.advertise, media.addr)));
        self.remark(&scene, whose, sound.is_some(), watcher);
        let records = Records::mark(&data_dir);
        let played = self.play(&scene, from, sound, watcher);
        if let Some(own) = own {
            own.stop();
        }
        let mut played = played?;
        if played.ending == Ending::Silence {
            return Err(Failed::Unreachable(format!(
                "whoever listens on {} answers no INVITE; is it a node of this configuration?",
                shown(scene.node)
            )));
        }
        let cdr = records.wait_for(&played.call_id);
        let written_down = cdr.as_ref().and_then(|cdr| left::written_down(&data_dir, cdr));
        if let Some((kind, path)) = &written_down {
            let what = match kind {
                Kind::Recording => "recorded",
                Kind::Message => "message",
            };
            watcher.line(&played.ladder.note(Instant::now(), CALLER, what, path.display().to_string()));
        }
        let heard = left::write(&played, &self.out, |column| scene.name(column));
        let heard = heard.unwrap_or_else(|error| {
            watcher.remark(&format!("what was heard cannot be written: {error}"));
            Vec::new()
        });
        let left = Left { heard, written_down: written_down.map(|(_, path)| path) };
        Ok(Told::of(&scene, &from.to_string(), whose, played, cdr, left))
    }

    /// A node for this call alone.
    fn start(&self, (mut config, seen): (Config, Seen), env: Env) -> Result<Running, Failed> {
        // Nobody will ask it anything.
        config.node.admin = None;
        let listening = listening(&config);
        Running::start_with((config, seen), self.folder.clone(), env).map_err(|error| match error {
            StartError::Store(locked @ OpenError::Locked { .. }) => {
                let listening: Vec<String> = listening.into_iter().map(shown).collect();
                Failed::Unreachable(format!(
                    "nobody listens on {}, but {locked}; was [[listen]] changed since it was started?",
                    listening.join(", ")
                ))
            }
            StartError::Store(error @ (OpenError::Unusable { .. } | OpenError::Broken { .. })) => {
                wrong(error)
            }
            StartError::Node(error @ NodeError::Listen { .. }) => Failed::Unreachable(error.to_string()),
            error @ (StartError::Config(_)
            | StartError::Node(_)
            | StartError::Admin(_)
            | StartError::NodeFile(_)
            | StartError::Certificates(_)
            | StartError::Database(_)
            | StartError::Random(_)) => wrong(error),
        })
    }

    fn remark(&self, scene: &Scene, whose: Whose, has_sound: bool, watcher: &mut dyn Watcher) {
        let node = shown(scene.node);
        match whose {
            Whose::Running => watcher.remark(&format!("the node on {node} is called")),
            Whose::Own => watcher.remark(&format!("no node runs on {node}: one is started for this call")),
        }
        let asks = scene.plan.as_ref().is_some_and(|plan| plan.call_connect.is_some());
        let remark = match (self.press, asks, has_sound) {
            (true, true, true) | (false, false, _) | (false, true, false) => return,
            (true, false, _) => "without call_connect there is nothing to press",
            (true, true, false) => "without [media] nobody is asked to press 1, and nothing is pressed",
            (false, true, true) => "whoever takes a forwarded call must press 1: --press 1 does so",
        };
        watcher.remark(&format!("{}: {remark}", scene.did));
    }

    fn play(
        &self,
        scene: &Scene,
        from: E164,
        mut voices: Option<Voices>,
        watcher: &mut dyn Watcher,
    ) -> Result<Played, Failed> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(wrong)?;
        runtime.block_on(async {
            let mut lines = Lines::new();
            take_phones(scene, &mut lines, watcher).await;
            let (transport, node) = scene.node;
            let reached = lines.reach(transport, scene.source, node).await;
            let (route, sent_by) = reached.map_err(|error| unreached(scene, &error))?;
            let contact = match transport {
                Transport::Udp => sent_by,
                // A stream's own end cannot be connected to.
                Transport::Tcp | Transport::Tls | Transport::Ws | Transport::Wss => {
                    lines.open(transport, SocketAddr::new(sent_by.ip(), 0)).await.map_err(wrong)?
                }
            };
            let mut end = End { transport, contact, sent_by, audio: End::silent(contact) };
            let wanted = self.wanted(scene, from, &end, voices.as_ref().map(Voices::known))?;
            if let Some(voices) = &mut voices {
                let open = voices.open(&wanted.call_id(&end), CALLER, sent_by.ip(), Sound::Caller);
                end.audio =
                    open.map_err(|error| wrong(format!("the caller has no ports for audio: {error}")))?;
            }
            let (carrier, invite) = Carrier::call(Instant::now(), end, wanted);
            let phones = Phones::new(self.manner, carrier.call_id());
            let columns = scene.columns();
            let mut legs = vec![(CALLER, "caller")];
            legs.extend(columns.iter().map(|(column, name)| (*column, &**name)));
            let play = Play {
                scene,
                lines,
                carrier,
                route,
                phones,
                ladder: Ladder::new(&legs),
                watcher,
                routes: HashMap::new(),
                seen: HashSet::new(),
                bridged: None,
                voices,
                between: Between::Nobody,
                press: self.press,
            };
            Ok(play.run(invite).await)
        })
    }

    fn wanted(&self, scene: &Scene, from: E164, end: &End, known: Option<&Known>) -> Result<Wanted, Failed> {
        let mut random = [0; 12];
        getrandom::fill(&mut random).map_err(wrong)?;
        let token: String = random.iter().map(|byte| format!("{byte:02x}")).collect();
        let dialled = scene.dialled();
        let caller = scene.trunk.write_number(from);
        let (transport, node) = scene.node;
        let uri = message::uri(&message::address(&dialled, node, transport)).map_err(wrong)?;
        let to = format!("<sip:{dialled}@{node}>");
        let more = match scene.trunk.did_from {
            DidFrom::PCalledPartyId => vec![Header::Other("P-Called-Party-ID".to_owned(), to.clone())],
            DidFrom::RequestUri | DidFrom::To => Vec::new(),
        };
        Ok(Wanted {
            uri,
            to,
            from: format!("<sip:{caller}@{}>", end.sent_by),
            user: caller,
            more,
            hold: self.hold.unwrap_or(match known {
                Some(known) => TALKS + known.notice.max(known.greeting),
                None => STAYS,
            }),
            patience: scene.plan.as_ref().map_or(Duration::ZERO, |plan| rings_for(plan, known)) + MARGIN,
            token,
        })
    }
}

/// How long all steps of a plan may ring, and whoever answers hears the node before the caller hears it.
fn rings_for(plan: &Plan, known: Option<&Known>) -> Duration {
    let before = known.map_or(Duration::ZERO, |known| known.whisper + plan.call_connect.unwrap_or_default());
    plan.steps.iter().map(|step| step.timeout + before).sum()
}

fn unreached(scene: &Scene, error: &std::io::Error) -> Failed {
    use std::io::ErrorKind::{AddrInUse, AddrNotAvailable};
    if matches!(error.kind(), AddrInUse | AddrNotAvailable) {
        let (source, trunk) = (scene.source, &scene.trunk.name);
        return wrong(format!("the carrier cannot send from {source}, which trunk {trunk} names: {error}"));
    }
    Failed::Unreachable(format!("no node answers on {}: {error}", shown(scene.node)))
}

/// What the files say that is listened on.
fn listening(config: &Config) -> Vec<(Transport, SocketAddr)> {
    config.node.listen.iter().map(|listen| (listen.transport.transport(), listen.addr)).collect()
}

/// Whether somebody listens there.
fn is_taken(transport: Transport, addr: SocketAddr) -> bool {
    let bound = match transport {
        Transport::Udp => std::net::UdpSocket::bind(addr).map(drop),
        Transport::Tcp => std::net::TcpListener::bind(addr).map(drop),
        Transport::Tls | Transport::Ws | Transport::Wss => Ok(()),
    };
    bound.is_err_and(|error| error.kind() == std::io::ErrorKind::AddrInUse)
}

fn shown((transport, addr): (Transport, SocketAddr)) -> String {
    format!("{}:{addr}", transport.uri_token())
}
