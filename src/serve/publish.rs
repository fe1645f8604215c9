//! Which configuration is served: the first, and each that a reload puts in its place, all or nothing.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use arc_swap::ArcSwap;

use super::tls;
use super::voices::voices;
use crate::admin::operations::{Finding, GenerationLine, NotPublished, Published};
use crate::call::story::LiveCall;
use crate::config::{self, Config, Loaded, Progress, Reading};
use crate::number::E164;
use crate::routing::{NoPlan, Plan, Table, Voices};
use crate::sip::peer::NameId;
use crate::store::DataDir;
use crate::time::Wall;
use crate::transport::tls::{Sides, Tls};

/// How many generations are remembered.
const REMEMBERED: usize = 100;

/// What a variable of the environment holds.
pub type Env = Arc<dyn Fn(&str) -> Option<String> + Send + Sync>;

/// What is served now.
pub(super) struct Publisher {
    folder: PathBuf,
    env: Env,
    dir: Arc<DataDir>,
    config: Mutex<Arc<Config>>,
    table: Arc<ArcSwap<Table>>,
    tls: Option<Arc<Tls>>,
    generations: Mutex<VecDeque<GenerationLine>>,
}

/// A configuration that checked, and what it would change.
pub(super) struct Candidate {
    config: Arc<Config>,
    /// As it will be served.
    table: Arc<Table>,
    certificates: Certificates,
    outcome: Published,
    began: Instant,
}

impl Candidate {
    /// The table as it will be served.
    pub fn table(&self) -> &Table {
        &self.table
    }
}

/// What handshakes take once a candidate is published.
enum Certificates {
    Same(Option<Sides>),
    New(Option<Sides>),
}

impl Publisher {
    /// Publishes the first configuration of this process. `voices`: what it says. `sides`: what its listeners show.
    pub fn first(
        folder: PathBuf,
        env: Env,
        dir: Arc<DataDir>,
        config: Config,
        voices: Voices,
        sides: Option<Sides>,
    ) -> std::io::Result<Publisher> {
        let generation = dir.node().generation + 1;
        dir.update_node(|node| node.generation = generation)?;
        let table = Arc::new(Table::new(&config, generation, None).with_voices(voices));
        let current = Arc::new(ArcSwap::new(Arc::clone(&table)));
        let names = Arc::clone(&current);
        let name = move |id: NameId| names.load().host_name(id).cloned();
        let publisher = Publisher {
            folder,
            env,
            dir,
            config: Mutex::new(Arc::new(config)),
            table: current,
            tls: sides.map(|sides| Arc::new(Tls::new(sides, Box::new(name)))),
            generations: Mutex::default(),
        };
        publisher.remember(&table);
        Ok(publisher)
    }

    /// What a variable of the environment holds.
    pub fn environment(&self, name: &str) -> Option<String> {
        (self.env)(name)
    }

    pub fn table(&self) -> Arc<Table> {
        self.table.load_full()
    }

    /// The table as it will be whenever it is looked at.
    pub fn current(&self) -> Arc<ArcSwap<Table>> {
        Arc::clone(&self.table)
    }

    /// What the listeners of TLS show; every publication exchanges it.
    pub fn tls(&self) -> Option<Arc<Tls>> {
        self.tls.clone()
    }

    pub fn config(&self) -> Arc<Config> {
        Arc::clone(&lock(&self.config))
    }

    pub fn generations(&self) -> Vec<GenerationLine> {
        lock(&self.generations).iter().rev().cloned().collect()
    }

    /// Reads the files anew, checks them and builds their table, behind all that cannot wait. Blocks on the disk. One candidate
    /// is under way at once.
    pub fn candidate(&self) -> Result<Candidate, NotPublished> {
        behind_all_others(|| self.read())
    }

    fn read(&self) -> Result<Candidate, NotPublished> {
        let began = Instant::now();
        let env = Arc::clone(&self.env);
        let old = self.config();
        let loaded = Reading::of(&self.folder, &*env)
            .after(&old)
            .load(&mut says_how_far())
            .map_err(|errors| NotPublished::Wrong(findings(errors)))?;
        let Loaded { config: mut new, warnings, read, taken } = loaded;
        tracing::info!(read, taken, "tables were read, or taken as they were");
        let diff = config::diff(&old, &new);
        let counts = diff.total();
        let outcome = Published {
            generation: self.table.load().generation,
            added: counts.added as u64,
            changed: counts.changed as u64,
            removed: counts.removed as u64,
            unchanged: counts.unchanged as u64,
            warnings: findings(warnings),
            took_ms: 0,
            affects_calls: Vec::new(),
            restart_needed: diff.restart,
        };
        // What stands in strowger.toml waits for a restart, so what is built from it stays as it was; but the files
        // of certificates are read anew.
        let read = std::mem::replace(&mut new.node, old.node.clone());
        let renewed = tls::renew(&mut new.node, &read);
        let sides = tls::sides(&new.node).map_err(|error| {
            let file = self.folder.join("strowger.toml").display().to_string();
            let message = format!("the certificates cannot be used: {error}");
            NotPublished::Wrong(vec![Finding { file, line: 1, column: 1, message, remedy: String::new() }])
        })?;
        let certificates = if renewed { Certificates::New(sides) } else { Certificates::Same(sides) };
        let served = self.table();
        let voices = voices(&new, &self.folder).map_err(|errors| NotPublished::Wrong(findings(errors)))?;
        let table = Table::new(&new, served.generation + 1, Some(&served)).with_voices(voices);
        let table = Arc::new(table);
        Ok(Candidate { config: Arc::new(new), table, certificates, outcome, began })
    }

    /// Says what a candidate would do to the calls in progress, and nothing more.
    pub fn judge(&self, candidate: Candidate, calls: &[LiveCall]) -> Published {
        done(candidate.outcome, candidate.began, affected(calls, &self.table(), &candidate.table))
    }

    /// Publishes a candidate. The shards are told by the caller. Blocks on the disk: the generation is safe
    /// there before anything is planned with it.
    pub fn publish(
        &self,
        candidate: Candidate,
        calls: &[LiveCall],
    ) -> Result<(Published, Arc<Table>), NotPublished> {
        let (old, table) = (self.table(), candidate.table);
        let generation = table.generation;
        self.dir.update_node(|node| node.generation = generation).map_err(|error| {
            let file = self.dir.path().join("node.json").display().to_string();
            let message = format!("the new generation cannot be written: {error}");
            NotPublished::Wrong(vec![Finding { file, line: 1, column: 1, message, remedy: String::new() }])
        })?;
        *lock(&self.config) = candidate.config;
        self.table.store(Arc::clone(&table));
        retire(Arc::clone(&old));
        let sides = match candidate.certificates {
            Certificates::Same(sides) => sides,
            Certificates::New(sides) => {
                tracing::info!("connections by TLS that begin from now on see new certificates");
                sides
            }
        };
        // The system's roots may be others, whoever else is the same.
        if let (Some(tls), Some(sides)) = (&self.tls, sides) {
            tls.replace(sides);
        }
        self.remember(&table);
        let mut outcome = done(candidate.outcome, candidate.began, affected(calls, &old, &table));
        outcome.generation = generation;
        Ok((outcome, table))
    }

    fn remember(&self, table: &Table) {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let published = Wall(u64::try_from(since.as_millis()).unwrap_or(u64::MAX));
        let numbers = table.numbers() as u64;
        metrics::gauge!("strowger_config_generation").set(table.generation as f64);
        metrics::gauge!("strowger_config_numbers").set(numbers as f64);
        let mut generations = lock(&self.generations);
        generations.push_back(GenerationLine { generation: table.generation, published, numbers });
        if generations.len() > REMEMBERED {
            generations.pop_front();
        }
    }
}

/// Says in the log how far the reading of large tables has come, now and then.
pub(super) fn says_how_far() -> impl FnMut(Progress) {
    const EVERY: Duration = Duration::from_secs(2);
    let mut next = Instant::now() + EVERY;
    move |Progress { numbers, all, read }| {
        if Instant::now() >= next {
            next = Instant::now() + EVERY;
            let percent = read * 100 / all.max(1);
            tracing::info!(numbers, percent, "the configuration is being read");
        }
    }
}

/// Works on a thread of its own that calls, their audio and their records do not wait for.
fn behind_all_others<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    /// As a nice value, of which 19 is the most.
    const BEHIND: i32 = 10;
    let work = || {
        if let Err(error) = rustix::process::setpriority_process(Some(rustix::thread::gettid()), BEHIND) {
            tracing::debug!(%error, "a reload takes its turn like all others");
        }
        work()
    };
    let done = std::thread::scope(|scope| scope.spawn(work).join());
    done.unwrap_or_else(|bug| std::panic::resume_unwind(bug))
}

/// Frees a table that is served no more once nobody has it: to free millions of numbers takes longer than a shard has.
fn retire(table: Arc<Table>) {
    /// How often it is looked whether somebody has it; shards let go when they are told.
    const LOOK: Duration = Duration::from_millis(100);
    let last = move || {
        while Arc::strong_count(&table) > 1 {
            std::thread::sleep(LOOK);
        }
    };
    if let Err(error) = std::thread::Builder::new().name("retired".to_owned()).spawn(last) {
        tracing::warn!(%error, "a table is freed by whoever has it last");
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn done(outcome: Published, began: Instant, affects_calls: Vec<String>) -> Published {
    let took_ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
    Published { took_ms, affects_calls, ..outcome }
}

/// The calls in progress whose trunk, agent or number would now be treated otherwise.
fn affected(calls: &[LiveCall], old: &Table, new: &Table) -> Vec<String> {
    let changed = |call: &&LiveCall| match call.agent.as_deref() {
        Some(agent) => is_agents_call_affected(call, agent, old, new),
        None => is_trunks_call_affected(call, old, new),
    };
    calls.iter().filter(changed).map(|call| call.id.to_string()).collect()
}

// The draw only chooses among trunks of equal rank; the same one for both tables.

fn is_trunks_call_affected(call: &LiveCall, old: &Table, new: &Table) -> bool {
    let Some(name) = call.trunk.as_deref() else { return false };
    let (Some(was), Some(is)) = (old.trunk(name), new.trunk(name)) else { return true };
    let Some(did) = call.did.as_deref().and_then(|did| E164::parse_e164(did).ok()) else {
        return was != is;
    };
    was != is || !goes_alike(&old.plan_for(was, did, 0), &new.plan_for(is, did, 0))
}

fn is_agents_call_affected(call: &LiveCall, agent: &str, old: &Table, new: &Table) -> bool {
    let (Some(was), Some(is)) = (old.agent(agent), new.agent(agent)) else { return true };
    let goes_otherwise = call.trunk.as_deref().is_some_and(|name| old.trunk(name) != new.trunk(name));
    was != is
        || goes_otherwise
        || !goes_alike(&old.plan_of(was, &call.dialled, 0), &new.plan_of(is, &call.dialled, 0))
}

/// Whether a call that was dialled again would go as before.
fn goes_alike(before: &Result<Plan, NoPlan>, after: &Result<Plan, NoPlan>) -> bool {
    match (before, after) {
        (Ok(before), Ok(after)) => is_alike(before, after),
        (Err(_), Err(_)) => true,
        (Ok(_), Err(_)) | (Err(_), Ok(_)) => false,
    }
}

/// Whether two plans do the same.
fn is_alike(a: &Plan, b: &Plan) -> bool {
    a.steps == b.steps
        && a.account == b.account
        && a.pass_called_number == b.pass_called_number
        && a.call_connect == b.call_connect
        && (&a.whisper, a.whisper_agents) == (&b.whisper, b.whisper_agents)
        && (a.record, &a.record_notice) == (b.record, &b.record_notice)
        && (&a.voicemail, a.caller_id) == (&b.voicemail, b.caller_id)
}

pub(super) fn findings(found: Vec<config::Finding>) -> Vec<Finding> {
    let convert = |config::Finding { file, line, column, message, remedy }| Finding {
        file,
        line,
        column,
        message,
        remedy,
    };
    found.into_iter().map(convert).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::call::cdr::Direction;

    const TRUNKS: &str = "[[trunk]]\nname = \"carrier\"\nfrom = [\"192.0.2.1/32\"]\n\
        gateways = [{ uri = \"sip:192.0.2.1\" }]\noutbound = true\n\
        [[trunk]]\nname = \"other\"\ngateways = [{ uri = \"sip:192.0.2.9\" }]\n";
    const AGENTS: &str = "[[agent]]\nname = \"alice\"\nnumber = \"+12015550101\"\n[[agent]]\nname = \"bob\"\n\
        contact = \"sip:bob@192.0.2.20\"\n";
    const NUMBERS: &str = "[[number]]\ndid = \"+12015550101\"\nring = [\"bob\"]\n\
        [[number]]\ndid = \"+12015550102\"\nring = [\"bob\"]\n";

    fn live(id: &str, agent: Option<&str>, trunk: Option<&str>, did: &str, dialled: &str) -> LiveCall {
        LiveCall {
            id: id.into(),
            direction: Direction::Outbound,
            state: "bridged".into(),
            generation: 1,
            account: "".into(),
            agent: agent.map(Into::into),
            trunk: trunk.map(Into::into),
            did: Some(did.into()),
            dialled: dialled.into(),
            caller: None,
            started: Wall(0),
            answered: None,
        }
    }

    /// Who is affected by a change of a text: a call in, one of alice's out, one of hers to a DID, one to an agent.
    fn affected_by(from: &str, to: &str) -> Vec<String> {
        let text = format!("{TRUNKS}{AGENTS}{NUMBERS}");
        assert!(text.contains(from), "{from}");
        let table = |text: &str| Table::new(&config::parse(text, &|_| None).unwrap().config, 1, None);
        let (alice, own) = (Some("alice"), "+12015550101");
        let calls = [
            live("in", None, Some("carrier"), "+12015550102", "+12015550102"),
            live("out", alice, Some("carrier"), own, "+12125550188"),
            live("did", alice, None, "+12015550102", "+12015550102"),
            live("agent", alice, None, own, "bob"),
            live("help", alice, Some("carrier"), own, "911"),
        ];
        affected(&calls, &table(&text), &table(&text.replace(from, to)))
    }

    #[test]
    fn a_reload_names_the_calls_whose_number_agent_or_trunk_changed() {
        assert_eq!(affected_by("192.0.2.9", "192.0.2.9"), [""; 0]);
        assert_eq!(
            affected_by(
                "gateways = [{ uri = \"sip:192.0.2.1\" }]",
                "gateways = [{ uri = \"sip:192.0.2.7\" }]"
            ),
            ["in", "out", "help"]
        );
        let alice = "[[agent]]\nname = \"alice\"\nnumber = \"+12015550101\"\n";
        assert_eq!(affected_by(alice, ""), ["out", "did", "agent", "help"]);
        assert_eq!(
            affected_by("name = \"alice\"\n", "name = \"alice\"\ndnd = true\n"),
            ["out", "did", "agent", "help"]
        );
        assert_eq!(affected_by("sip:bob@192.0.2.20", "sip:bob@192.0.2.21"), ["in", "did", "agent"]);
        assert_eq!(
            affected_by("did = \"+12015550102\"\n", "did = \"+12015550102\"\ntimeout = 9\n"),
            ["in", "did"]
        );
    }
}
