//! The running node as operators see it: questions to the shards, reload, the records.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak, mpsc};

use futures::FutureExt;
use futures::channel::oneshot;
use futures::future::BoxFuture;

use super::changes::{ANEW, TOGETHER, Undone, WAITING, Waiting};
use super::hosts::{DNS, Finder};
use super::notices::Leavers;
use super::phones;
use super::planes::Planes;
use super::publish::{Publisher, Wanted, behind_all_others, give_way};
use super::trunks;
use crate::admin::operations::{
    AgentLine, BindingLine, Captured, Changed, Condition, Explanation, FailureLine, GenerationLine,
    NotCaptured, NotChanged, NotPublished, NotRouted, NumberPage, NumberText, NumbersAsked, Operations,
    Published, Readiness, TrunkLine, Wish,
};
use crate::call::story::{CallPlace, CallStory, LiveCall};
use crate::config::{Config, Dialled, Overlay};
use crate::engine::capture::Asker;
use crate::engine::clock::Clock;
use crate::engine::core::Metered;
use crate::engine::desk::SharedDesk;
use crate::engine::exchange::Input;
use crate::engine::exchange::binding::{Binding, Directory as _, Known};
use crate::engine::node::{Node, Shards};
use crate::engine::shard::Core;
use crate::media::reel::{Kind, Shelf};
use crate::number;
use crate::routing::{self, Agent, Phones, Table, Text};
use crate::sip::peer::Transport;
use crate::store::phones::Phones as StoredPhones;
use crate::store::{Reader, Recorder, Store};
use crate::time::Instant;

/// Where in its life the node is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Life {
    Starting = 0,
    Serving = 1,
    Draining = 2,
    /// Its shards end: nothing is published any more.
    Ending = 3,
}

/// What `[admin]`, signals and `try` work with.
pub(super) struct Front {
    /// Itself: what must not end with whoever asked for it runs in a task of its own.
    me: Weak<Front>,
    pub shards: Shards<Metered>,
    pub desk: Arc<SharedDesk>,
    pub clock: Clock,
    pub publisher: Publisher,
    pub recorder: Recorder,
    pub reader: Reader,
    data_dir: Box<Path>,
    capture: Option<Asker>,
    told: ToldTrunks,
    /// What the threads that carry audio do.
    pub planes: Planes,
    /// A [`Life`].
    life: AtomicU8,
    /// Who asks where the hosts are that have names.
    pub finder: Arc<Finder>,
    /// What the node listens on, in the order of its listeners.
    listening: Box<[(Transport, SocketAddr)]>,
    gone: Leavers,
    /// Held while a reload runs: a second one is refused.
    pub reloading: Arc<tokio::sync::Mutex<()>>,
    /// Held while a table is built: one waits for another.
    building: Arc<tokio::sync::Mutex<()>>,
    /// Held while numbers are listed.
    listing: tokio::sync::Mutex<()>,
    /// Where changes of single numbers wait.
    orders: mpsc::SyncSender<Waiting>,
}

impl Front {
    pub fn new(node: &Node<Metered>, publisher: Publisher, store: &Store) -> Arc<Front> {
        let desk = Arc::clone(node.desk());
        let finder = Arc::new(Finder::new(publisher.environment(DNS), node.listening(), desk));
        let (orders, receiver) = mpsc::sync_channel(WAITING);
        let front = Arc::new_cyclic(|me| Front {
            me: Weak::clone(me),
            shards: node.shards(),
            desk: Arc::clone(node.desk()),
            clock: node.clock(),
            publisher,
            recorder: store.recorder(),
            reader: store.reader(),
            data_dir: store.dir().path().into(),
            capture: node.capture(),
            told: ToldTrunks::default(),
            planes: Planes::new(node.media().iter().cloned()),
            life: AtomicU8::new(Life::Starting as u8),
            finder,
            listening: node.listening().into(),
            gone: Leavers::default(),
            reloading: Arc::default(),
            building: Arc::default(),
            listing: tokio::sync::Mutex::new(()),
            orders,
        });
        let me = Arc::downgrade(&front);
        let carry_out = move || {
            give_way();
            while carry_out(&me, &receiver) {}
        };
        if let Err(error) = std::thread::Builder::new().name("numbers".to_owned()).spawn(carry_out) {
            tracing::error!(%error, "numbers cannot be set over HTTP");
        }
        front
    }

    pub fn enter(&self, life: Life) {
        self.life.store(life as u8, Ordering::Release);
    }

    fn is_ending(&self) -> bool {
        self.life.load(Ordering::Acquire) == Life::Ending as u8
    }

    /// Every call in progress, in any order.
    async fn all_calls(&self) -> Vec<LiveCall> {
        let all = |core: &mut Metered, _, _: &mut _| core.exchange.live_calls().collect::<Vec<_>>();
        self.shards.ask_all(all).await.unwrap_or_default().into_iter().flatten().collect()
    }

    /// Ends every call in progress.
    pub async fn hang_up_all(&self) {
        for call in self.all_calls().await {
            self.hang_up(&call.id).await;
        }
    }

    /// Who is no agent of the table loses its bindings, and who has another password there those that were made with
    /// the one before; its calls go on.
    fn bar_agents(&self, table: &Table) {
        let secrets = |name: &str| table.agent(name).map(|agent| &agent.secrets);
        self.gone.tell(&self.desk.registrations.bar(secrets), self.clock.read().now.mono);
    }

    /// Takes out the bindings that have expired.
    pub fn expire_bindings(&self) {
        let now = self.clock.read().now.mono;
        self.gone.tell(&self.desk.registrations.expire(now), now);
    }

    fn agent(&self, agent: &Agent, now: Instant) -> AgentLine {
        let bindings = self.desk.registrations.bindings(&agent.name, now);
        let line = |binding: &Arc<Binding>| BindingLine {
            contact: binding.contact.uri.to_string(),
            transport: binding.contact.transport.uri_token().to_owned(),
            peer: binding.contact.addr.unwrap_or(binding.from.addr),
            from: binding.from.addr,
            path: binding.contact.route.iter().map(Text::to_string).collect(),
            user_agent: binding.user_agent.to_string(),
            unreachable: binding.silence.is_long(),
            registered: binding.registered,
            expires_ms: u64::try_from(binding.expires.since(now).as_millis()).unwrap_or(u64::MAX),
        };
        AgentLine {
            name: agent.name.to_string(),
            account: agent.account.to_string(),
            number: agent.number.map(|number| number.to_string()),
            dnd: agent.dnd,
            max_calls: agent.max_calls,
            calls: self.desk.agent_calls(&agent.name),
            contact: agent.contact.as_ref().map(|contact| contact.uri.to_string()),
            bindings: bindings.iter().map(line).collect(),
            last_failure: self.desk.registrations.refused(&agent.name).map(|refused| FailureLine {
                what: format!("{} to {}: {}", refused.why.code(), refused.from, refused.why.why()),
                at: refused.at,
            }),
        }
    }

    /// Writes down which phones are where.
    pub fn write_phones(&self, phones: &mut StoredPhones) {
        phones::write(phones, &self.desk.registrations, &self.listening, self.clock.read().now);
    }

    /// Reads, checks and publishes, or only judges.
    async fn publish(&self, wanted: Wanted, dry_run: bool, by: &str) -> Result<Published, NotPublished> {
        let Ok(_alone) = self.reloading.try_lock() else { return Err(NotPublished::Busy) };
        let _built = self.building.lock().await;
        // A large configuration takes seconds; the other thread of `back` goes on meanwhile.
        let candidate = tokio::task::block_in_place(|| self.publisher.candidate(wanted))?;
        if dry_run {
            let calls = self.all_calls().await;
            return Ok(tokio::task::block_in_place(|| self.publisher.judge(candidate, &calls)));
        }
        // Nothing is served by halves: what is waited for, is waited for before.
        self.finder.prepare(candidate.table()).await;
        let calls = self.all_calls().await;
        if self.is_ending() {
            return Err(NotPublished::Ending);
        }
        let (published, table) =
            tokio::task::block_in_place(|| self.publisher.publish(candidate, &calls, by))?;
        self.tell_of(&table).await;
        Ok(published)
    }

    /// The same, to its end though nobody waits for it any more.
    fn publish_by_itself(
        &self,
        wanted: Wanted,
        dry_run: bool,
        by: &str,
    ) -> BoxFuture<'static, Result<Published, NotPublished>> {
        let (front, by) = (self.me.upgrade(), by.to_owned());
        async move {
            let Some(front) = front else { return Err(NotPublished::Ending) };
            let task = tokio::spawn(async move {
                let mut outcome = Outcome { by: &by, is_told: false };
                let done = front.publish(wanted, dry_run, &by).await;
                told(&done, dry_run, &by);
                outcome.is_told = true;
                done
            });
            match task.await {
                Ok(done) => done,
                Err(ended) => match ended.try_into_panic() {
                    Ok(panic) => std::panic::resume_unwind(panic),
                    Err(_) => Err(NotPublished::Ending),
                },
            }
        }
        .boxed()
    }

    /// Has every shard take a table in which only numbers are others.
    fn tell_of_numbers(&self, table: &Arc<Table>) {
        let told = Arc::clone(table);
        let tell = move |core: &mut Metered, now, out: &mut _| {
            core.handle(now, Input::Published(Arc::clone(&told)), out);
        };
        if futures::executor::block_on(self.shards.ask_all(tell)).is_err() && !self.is_ending() {
            tracing::error!("a shard has ended and was not told of numbers that were set");
        }
    }

    /// One try: what was read and judged is handed to who publishes.
    async fn try_to_change(
        &self,
        did: Dialled,
        wish: &Wish,
        condition: &Condition,
        by: &str,
    ) -> Result<Changed, Undone> {
        let order = tokio::task::block_in_place(|| self.publisher.order(did, wish, condition, by));
        let (sender, outcome) = oneshot::channel();
        let busy = || Undone::Not(NotChanged::Busy);
        let order = (order.map_err(Undone::Not)?, sender);
        self.orders.try_send(order).map_err(|_| {
            metrics::counter!("strowger_queue_full_total", "queue" => "numbers").increment(1);
            busy()
        })?;
        outcome.await.map_err(|_| busy())?
    }

    /// Has every shard take a table that was published.
    async fn tell_of(&self, table: &Arc<Table>) {
        self.bar_agents(table);
        let told = Arc::clone(table);
        let tell = move |core: &mut Metered, now, out: &mut _| {
            core.handle(now, Input::Published(Arc::clone(&told)), out);
        };
        if self.shards.ask_all(tell).await.is_err() && !self.is_ending() {
            tracing::error!("a shard has ended and was not told of the new configuration");
        }
        // Who was let in meanwhile by a shard that had not been told. Who registered anew at one that had been, stays.
        self.bar_agents(table);
    }
}

/// What came of a publication is one line of the log, before which each warning is one.
fn told(done: &Result<Published, NotPublished>, dry_run: bool, by: &str) {
    match done {
        Ok(_) if dry_run => tracing::debug!(by, "what a publication would change was told"),
        Ok(done) => {
            for warning in &done.warnings {
                tracing::warn!("{warning}");
            }
            tracing::info!(
                by,
                generation = done.generation,
                added = done.added,
                changed = done.changed,
                removed = done.removed,
                took_ms = done.took_ms,
                warnings = done.warnings.len(),
                restart_needed = done.restart_needed.join(","),
                "the configuration was published"
            )
        }
        Err(NotPublished::Busy) => tracing::warn!(by, "another reload runs; this one was not begun"),
        Err(NotPublished::Ending) => tracing::info!(by, "nothing was published: the node ends"),
        Err(NotPublished::Nothing(why)) => tracing::info!(by, why, "nothing was published"),
        Err(NotPublished::Unwritten(why) | NotPublished::NoSuch(why)) => {
            tracing::error!(by, why, "nothing was published");
        }
        Err(NotPublished::Wrong(errors)) => {
            let first = errors.first().map(ToString::to_string).unwrap_or_default();
            let errors = errors.len();
            tracing::error!(by, errors, first, "the configuration does not check; what was served still is");
        }
    }
}

/// What came of a reload: where nobody has told by the time that this is dropped, the node has ended meanwhile.
struct Outcome<'b> {
    by: &'b str,
    is_told: bool,
}

impl Drop for Outcome<'_> {
    fn drop(&mut self) {
        if !self.is_told && !std::thread::panicking() {
            tracing::info!(by = self.by, "a reload that was under way is given up: the node ends");
        }
    }
}

/// Builds the table anew where much was set one by one, beside who sets more, unless a table is being built.
fn fold_in_time(front: &Arc<Front>, table: &Table) {
    if !table.is_changed_a_lot() {
        return;
    }
    let Ok(built) = Arc::clone(&front.building).try_lock_owned() else { return };
    let front = Arc::clone(front);
    let fold = move || {
        if let Some(table) = front.publisher.fold() {
            front.tell_of_numbers(&table);
            tracing::info!(
                generation = table.generation,
                "numbers that were set over HTTP are among all others"
            );
        }
        drop(built);
    };
    if let Err(error) = std::thread::Builder::new().name("fold".to_owned()).spawn(fold) {
        tracing::warn!(%error, "numbers that were set over HTTP stay apart");
    }
}

/// Carries out what waits, behind calls, their audio and their records. False: nobody is left who could wish anything.
fn carry_out(front: &Weak<Front>, orders: &mpsc::Receiver<Waiting>) -> bool {
    let Ok(first) = orders.recv() else { return false };
    let Some(front) = front.upgrade() else { return false };
    let waiting: Vec<Waiting> = std::iter::once(first).chain(orders.try_iter().take(TOGETHER - 1)).collect();
    let (orders, waiting): (Vec<_>, Vec<_>) = waiting.into_iter().unzip();
    let (outcomes, table) = front.publisher.apply(orders);
    if let Some(table) = &table {
        front.tell_of_numbers(table);
    }
    for (waiting, outcome) in waiting.into_iter().zip(outcomes) {
        // Who gave up waiting finds it done.
        waiting.send(outcome).ok();
    }
    if let Some(table) = table {
        fold_in_time(&front, &table);
    }
    true
}

impl Operations for Front {
    fn readiness(&self) -> Readiness {
        let (dead, of) = self.planes.dead();
        match self.life.load(Ordering::Acquire) {
            life if life == Life::Starting as u8 => Readiness::Starting,
            life if life == Life::Draining as u8 || life == Life::Ending as u8 => Readiness::Draining,
            _ if !self.recorder.slots().any_free() => Readiness::NoRoom,
            _ if dead == 0 => Readiness::Taking,
            _ if dead < of => Readiness::Lame { dead, of },
            _ => Readiness::NoAudio,
        }
    }

    fn calls(&self, after: Option<CallPlace>, most: usize) -> BoxFuture<'_, Vec<LiveCall>> {
        async move {
            let page = move |core: &mut Metered, _, _: &mut _| core.exchange.live_page(after.as_ref(), most);
            let pages = self.shards.ask_all(page).await.unwrap_or_default();
            let mut calls: Vec<LiveCall> = pages.into_iter().flatten().collect();
            calls.sort_by_cached_key(LiveCall::place);
            calls.truncate(most);
            calls
        }
        .boxed()
    }

    fn call<'a>(&'a self, id: &'a str) -> BoxFuture<'a, Option<CallStory>> {
        async {
            let id: Arc<str> = id.into();
            let question = move |core: &mut Metered, now, _: &mut _| core.exchange.story(now, &id);
            self.shards.ask_all(question).await.unwrap_or_default().into_iter().flatten().next()
        }
        .boxed()
    }

    fn pcap<'a>(&'a self, id: &'a str) -> BoxFuture<'a, Result<Captured, NotCaptured>> {
        async move {
            let Some(capture) = &self.capture else { return Err(NotCaptured::Off) };
            let kept = capture.transcript(id).await.filter(|kept| !kept.said.is_empty());
            let Some(kept) = kept else {
                let known = self.call(id).await.is_some();
                return Err(if known { NotCaptured::Gone } else { NotCaptured::Unknown });
            };
            let missing: Vec<String> = kept.missing.iter().map(ToString::to_string).collect();
            Ok(Captured { messages: kept.said.len(), missing: missing.join("; "), file: kept.pcap() })
        }
        .boxed()
    }

    fn hang_up<'a>(&'a self, id: &'a str) -> BoxFuture<'a, bool> {
        async {
            let id: Arc<str> = id.into();
            let question = move |core: &mut Metered, now, out: &mut _| {
                let found = core.exchange.find(&id).is_some();
                if found {
                    core.handle(now, Input::HangUp { call: &id }, out);
                }
                found
            };
            self.shards.ask_all(question).await.unwrap_or_default().into_iter().any(|found| found)
        }
        .boxed()
    }

    fn reload<'a>(&'a self, dry_run: bool, by: &'a str) -> BoxFuture<'a, Result<Published, NotPublished>> {
        self.publish_by_itself(Wanted::Files, dry_run, by)
    }

    fn roll_back<'a>(
        &'a self,
        to: Option<u64>,
        dry_run: bool,
        by: &'a str,
    ) -> BoxFuture<'a, Result<Published, NotPublished>> {
        self.publish_by_itself(Wanted::Earlier(to), dry_run, by)
    }

    fn generations(&self, before: Option<u64>, most: usize) -> Result<Vec<GenerationLine>, String> {
        tokio::task::block_in_place(|| self.publisher.generations(before, most))
            .map_err(|error| error.to_string())
    }

    fn numbers(&self, asked: NumbersAsked) -> BoxFuture<'_, Result<NumberPage, String>> {
        async move {
            // Millions may be looked at: one after another, and behind all that cannot wait.
            let _alone = self.listing.lock().await;
            tokio::task::block_in_place(|| behind_all_others(|| self.publisher.page(&asked)))
        }
        .boxed()
    }

    fn number(&self, did: &str) -> Result<NumberText, NotChanged> {
        let did = did.parse().map_err(NotChanged::BadNumber)?;
        self.publisher.number(did)
    }

    fn change<'a>(
        &'a self,
        did: &'a str,
        wish: Wish,
        condition: Condition,
        by: &'a str,
    ) -> BoxFuture<'a, Result<Changed, NotChanged>> {
        async move {
            let did = did.parse().map_err(NotChanged::BadNumber)?;
            for _ in 0..ANEW {
                match self.try_to_change(did, &wish, &condition, by).await {
                    Ok(changed) => return Ok(changed),
                    Err(Undone::Moved) => {}
                    Err(Undone::Not(why)) => return Err(why),
                }
            }
            Err(NotChanged::Busy)
        }
        .boxed()
    }

    fn agents(&self, after: Option<&str>, most: usize) -> Vec<AgentLine> {
        let table = self.publisher.table();
        let now = self.clock.read().now.mono;
        let behind =
            table.agents().iter().skip_while(|agent| after.is_some_and(|after| *agent.name <= *after));
        behind.take(most).map(|agent| self.agent(agent, now)).collect()
    }

    fn trunks(&self, after: Option<&str>, most: usize) -> Vec<TrunkLine> {
        let now = self.clock.read().now;
        trunks::lines(&self.publisher.table(), &self.desk, now, after, most)
    }

    fn route<'a>(
        &'a self,
        did: &'a str,
        from: Option<&'a str>,
    ) -> BoxFuture<'a, Result<Explanation, NotRouted>> {
        async move {
            let now = self.clock.read().now.mono;
            let phones = Known { directory: &self.desk.registrations, hosts: &self.desk.hosts, now };
            let (table, config, overlay) = self.publisher.served();
            route(&table, &config, &overlay, &phones, did, from)
        }
        .boxed()
    }

    fn records(&self) -> Reader {
        self.reader.clone()
    }

    fn shelf(&self, kind: Kind) -> Shelf {
        Shelf::new(&self.data_dir, kind)
    }

    fn measure(&self) -> String {
        metrics::gauge!("strowger_registrations").set(self.desk.registrations.len() as f64);
        for (trunk, calls) in self.told.calls(&self.publisher.table(), &self.desk) {
            metrics::gauge!("strowger_trunk_calls_active", "trunk" => trunk.to_string())
                .set(f64::from(calls));
        }
        trunks::gauges(&self.publisher.table(), &self.desk) + &self.planes.measure()
    }
}

/// The trunks whose calls a metric tells: the table's, and those that it had when it was last read and that still
/// carried some then. What once was told is told until it is 0.
#[derive(Default)]
struct ToldTrunks(Mutex<BTreeSet<Text>>);

impl ToldTrunks {
    fn calls(&self, table: &Table, desk: &SharedDesk) -> Vec<(Text, u32)> {
        let mut told = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        told.extend(table.trunks().iter().map(|trunk| Arc::clone(&trunk.name)));
        let calls: Vec<_> = told.iter().map(|name| (Arc::clone(name), desk.trunk_calls(name))).collect();
        let over = |name: &Text, calls: u32| calls == 0 && table.trunk(name).is_none();
        for (name, _) in calls.iter().filter(|(name, calls)| over(name, *calls)) {
            told.remove(name);
        }
        calls
    }
}

/// What a call would do, by a table and the configuration that it was built of.
pub fn route(
    table: &Table,
    config: &Config,
    overlay: &Overlay,
    phones: &dyn Phones,
    did: &str,
    from: Option<&str>,
) -> Result<Explanation, NotRouted> {
    let told = routing::explain(table, config, overlay, phones, did, from);
    let Some(number) = told.did else {
        let remedy = "a number is + and 7 to 15 digits, or as it is dialled in the node's country";
        return Err(NotRouted::BadNumber(format!("{} ({remedy})", told.text)));
    };
    // Digits without a plus may be a national number as well.
    if let Some(digits) = did.strip_prefix('+')
        && !table.is_ours(number)
        && number::read(digits, &table.country()).is_some_and(|national| table.is_ours(national))
    {
        return route(table, config, overlay, phones, digits, from);
    }
    if told.refused == Some(404) {
        return Err(NotRouted::UnknownNumber(told.text));
    }
    let plan = serde_json::to_value(&told).unwrap_or_default();
    Ok(Explanation { text: told.to_string(), plan })
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::time::Duration;

    use super::*;
    use crate::config;
    use crate::routing::Secrets;
    use crate::serve::Running;
    use crate::sip::peer::{ListenerId, Peer};

    /// A phone that has registered with this password from its own port.
    fn registers(front: &Front, secrets: &Secrets, port: u16) {
        let now = front.clock.read().now.mono;
        let peer = Peer::at(([192, 0, 2, 1], port).into(), Transport::Udp, ListenerId(0));
        let bound = Binding::at(peer, &format!("sip:alice@192.0.2.1:{port}"), now + Duration::from_secs(60));
        let bound = Arc::new(Binding { secrets: secrets.clone(), ..bound });
        front.desk.registrations.change(&"alice".into(), now, &mut |all| all.push(Arc::clone(&bound)));
    }

    #[test]
    fn r01_b_while_a_shard_has_the_old_table_who_has_the_new_password_stays_bound_and_only_he() {
        let folder = tempfile::tempdir().unwrap();
        let write = |file: &str, text: &str| std::fs::write(folder.path().join(file), text).unwrap();
        std::fs::create_dir(folder.path().join("routing")).unwrap();
        let data = folder.path().join("data");
        let node = format!("[node]\nshards = 2\ndata_dir = {data:?}\n");
        write("strowger.toml", &(node + "[[listen]]\ntransport = \"udp\"\naddr = \"127.0.0.1:0\"\n"));
        let password = |word: &str| {
            write("routing/all.toml", &format!("[[agent]]\nname = \"alice\"\npassword = \"{word}\"\n"));
        };
        password("swordfish");
        let seen = crate::serve::Seen::of(folder.path());
        let config = config::load(folder.path(), &|_| None).unwrap().config;
        let running =
            Running::start_with((config, seen), folder.path().to_owned(), Arc::new(|_| None)).unwrap();
        let front = Arc::clone(&running.front);
        let secrets = || front.publisher.table().agent("alice").unwrap().secrets.clone();
        let old = secrets();
        registers(&front, &old, 1);

        password("marlin");
        let table =
            front.publisher.publish(front.publisher.candidate(Wanted::Files).unwrap(), &[], "me").unwrap().1;
        let new = secrets();
        running.block_on(async {
            // The second shard is busy when the others are told.
            let (go_on, until) = mpsc::channel::<()>();
            let (is_busy, busy) = tokio::sync::oneshot::channel();
            let shards = front.shards.clone();
            let wait = move |_: &mut Metered, _, _: &mut _| {
                is_busy.send(()).unwrap();
                let _over = until.recv();
            };
            let waiting = tokio::spawn(async move { shards.ask(1, wait).await });
            busy.await.unwrap();
            let telling = {
                let front = Arc::clone(&front);
                tokio::spawn(async move { front.tell_of(&table).await })
            };
            while !front.desk.registrations.is_empty() {
                tokio::task::yield_now().await;
            }
            registers(&front, &new, 2);
            registers(&front, &old, 3);
            go_on.send(()).unwrap();
            waiting.await.unwrap().unwrap();
            telling.await.unwrap();
        });
        let lines = front.agents(None, 1);
        let left: Vec<_> = lines[0].bindings.iter().map(|phone| phone.peer.port()).collect();
        assert_eq!(left, [2]);
        drop(front);
        running.stop();
    }

    #[test]
    fn the_calls_of_a_trunk_that_a_reload_removed_are_told_until_there_are_none() {
        let table = |trunks: &[&str]| {
            let text: String = trunks
                .iter()
                .map(|name| format!("[[trunk]]\nname = \"{name}\"\nfrom = [\"192.0.2.{}/32\"]\n", name.len()))
                .collect();
            Table::from_toml(&text).unwrap()
        };
        let (both, one) = (table(&["carrier", "mobile"]), table(&["carrier"]));
        let desk = SharedDesk::new(1, Vec::new());
        let told = ToldTrunks::default();
        let tells = |table: &Table| {
            let calls = told.calls(table, &desk);
            calls.iter().map(|(name, calls)| format!("{name} {calls}")).collect::<Vec<_>>()
        };
        assert!(desk.take_trunk("mobile", Instant::ZERO, 0, 0).is_ok());
        assert_eq!(tells(&both), ["carrier 0", "mobile 1"]);
        assert_eq!(tells(&one), ["carrier 0", "mobile 1"]);
        desk.free_trunk("mobile");
        assert_eq!(tells(&one), ["carrier 0", "mobile 0"]);
        assert_eq!(tells(&one), ["carrier 0"]);
        assert_eq!(tells(&both), ["carrier 0", "mobile 0"]);
    }
}
