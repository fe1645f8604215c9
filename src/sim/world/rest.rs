//! Whether a world has come to rest, and what is left of it then.

use std::time::Duration;

use super::World;
use crate::sim::check::Breach;
use crate::time::Instant;

impl World {
    /// Runs until nothing is due any more. Within so much time the world must have come to rest.
    pub fn run_until_quiet(&mut self, at_most: Duration) {
        let until = self.now + at_most;
        while !self.is_quiet() && self.step(until) {}
        if self.broken.is_none() && !self.is_quiet() {
            let census = self.census();
            let calls = self.unrecorded();
            let waiting = || self.hosts.iter().find_map(|host| host.waits_in());
            let call_id = calls.first().cloned().or_else(waiting).unwrap_or_default();
            let awake: Vec<(&str, &Instant)> = self
                .hosts
                .iter()
                .zip(&self.alarms)
                .filter_map(|(host, alarm)| Some((host.name.as_str(), alarm.as_ref()?)))
                .collect();
            let sentence = format!(
                "after {at_most:?} it is not quiet: {census:?}, no record of {calls:?}, awake {awake:?}"
            );
            self.breaks("quiet", Breach { call_id, sentence });
        }
    }

    /// What calls still hold.
    pub fn held(&self) -> Vec<String> {
        self.cores.iter().flat_map(|core| core.held()).collect()
    }

    /// Nothing is left: no call, leg, transaction or timer of the server, no end that still talks.
    pub fn must_be_empty(&mut self) {
        if self.broken.is_some() {
            return;
        }
        let census = self.census();
        let talking = self.hosts.iter().find_map(|host| {
            let call = host.open_calls().first().map(|call_id| (*call_id).to_owned())?;
            Some((host.name.clone(), call))
        });
        let call_id = self.unrecorded().first().cloned().unwrap_or_default();
        let held = self.held();
        let timer = self.next_timer();
        if !census.is_empty() || !held.is_empty() || timer.is_some() {
            let sentence = format!("the server holds {census:?} and {held:?}, its next timer at {timer:?}");
            self.breaks("must_be_empty", Breach { call_id, sentence });
        } else if let Some((name, call_id)) = talking {
            let sentence = format!("{name} still believes in {call_id}");
            self.breaks("must_be_empty", Breach { call_id, sentence });
        }
        let mut checks = std::mem::take(&mut self.checks);
        for check in &mut checks {
            if let Err(breach) = check.at_end(self.now) {
                self.breaks(check.name(), breach);
            }
        }
        self.checks = checks;
    }

    /// When the server wants to be woken next, though nothing may be left to be woken for.
    pub fn next_timer(&self) -> Option<Instant> {
        self.cores.iter().filter_map(|core| core.next_deadline_of_calls()).min()
    }

    /// Nothing is under way, held or waited for.
    fn is_quiet(&self) -> bool {
        let nobody_waits = self.queue.is_empty() && self.alarms.iter().all(Option::is_none);
        nobody_waits && self.census().is_empty() && self.next_timer().is_none()
    }

    /// Calls that have no record yet.
    fn unrecorded(&self) -> Vec<String> {
        let open = self.open.iter().filter(|(_, began)| began.is_some());
        open.map(|(call_id, _)| call_id.clone()).collect()
    }
}
