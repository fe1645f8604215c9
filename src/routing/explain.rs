//! What would happen to a call, in plain words: whom it rings, for how long, as whom, through which trunk, what
//! follows, and which file and line says so. It reads the very [`Plan`] that the call would take.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use schemars::JsonSchema;
use serde::Serialize;

use super::{NoPlan, Phones, Plan, Shows, Step, Table, Target, Trunk, Unrung, Who, Written};
use crate::config::{self, At, Config, Keys, Listed, Number, Overlay, Place};
use crate::number::{self, E164};

/// A call that was not made, told beforehand.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Explanation {
    /// The number, when what was dialled is one.
    pub did: Option<E164>,
    /// The caller, in E.164 when it is a number.
    pub from: Option<String>,
    /// The trunk that the call is taken to come in on.
    pub trunk: Option<String>,
    pub generation: u64,
    pub label: String,
    pub account: String,
    pub steps: Vec<ExplainedStep>,
    /// What a caller is answered when the call rings nobody at all, or is none of ours.
    pub refused: Option<u16>,
    /// Which lines decided, in the order in which the text speaks of them.
    pub because: Vec<Because>,
    /// The whole of it as sentences.
    pub text: String,
    /// How the number is called where it is set, if that is over HTTP.
    #[serde(skip)]
    over_http: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct ExplainedStep {
    pub timeout_ms: u64,
    pub targets: Vec<ExplainedTarget>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct ExplainedTarget {
    /// `agent` or `forward`, as a leg's role in the call record.
    pub role: &'static str,
    /// The agent's name, or the number.
    pub target: String,
    pub trunk: Option<String>,
    /// Where it is sent to, in the order of trying; nowhere: it is not rung.
    pub uris: Vec<String>,
    pub delay_ms: u64,
    /// Whose number it shows; none: it is not rung.
    pub shows: Option<String>,
}

/// A key that decided something, and where it is written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Because {
    pub key: &'static str,
    pub file: String,
    pub line: u32,
    pub column: u32,
}

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.text)?;
        for Because { key, file, line, column } in &self.because {
            writeln!(f, "  {file}:{line}:{column}: {key}")?;
        }
        Ok(())
    }
}

/// The schema of an [`Explanation`]: its file's name under `config/schema/`, and its text.
pub fn schema() -> (&'static str, String) {
    ("plan.json", config::schema_of::<Explanation>())
}

/// Explains a call to what was dialled, from that caller, in the words of the configuration that the table was
/// built of. It is taken to come in on the first trunk that sends calls in. `overlay`: what was set over HTTP.
pub fn explain(
    table: &Table,
    config: &Config,
    overlay: &Overlay,
    phones: &dyn Phones,
    dialled: &str,
    from: Option<&str>,
) -> Explanation {
    let trunk = table.trunks().iter().find(|trunk| !trunk.from.is_empty()).or(table.trunks().first());
    let caller = from.map(|from| match number::read(from, &table.country()) {
        Some(number) => number.to_string(),
        None => from.chars().filter(|c| !c.is_control()).take(64).collect(),
    });
    let mut told = Explanation {
        did: number::read(dialled, &table.country()),
        from: caller,
        trunk: trunk.map(|trunk| trunk.name.to_string()),
        generation: table.generation,
        label: String::new(),
        account: String::new(),
        steps: Vec::new(),
        refused: Some(404),
        because: Vec::new(),
        text: String::new(),
        over_http: None,
    };
    let (Some(did), Some(trunk)) = (told.did, trunk) else {
        told.text = match trunk {
            Some(_) => "What was dialled is no number: the caller gets 404.".into(),
            None => "No trunk sends calls in: write a [[trunk]] with `from`.".into(),
        };
        return told;
    };
    let number = table.serving(did).and_then(|(serving, written)| match written {
        Written::InFiles(place) => config.numbers.get(place).map(Listed::written),
        Written::OverHttp => overlay.number(serving).cloned(),
    });
    let number = number.as_ref();
    told.over_http = number.map(|number| config::over_http(number.did.value));
    match table.plan_for(trunk, did, 0) {
        Err(why) => told.refuse(why, config, number),
        Ok(plan) => told.plan(&plan, config, phones, number),
    }
    told
}

impl Explanation {
    fn refuse(&mut self, why: NoPlan, config: &Config, number: Option<&Number>) {
        let Some(did) = self.did else { return };
        self.text = match why {
            NoPlan::Disabled(_) => format!("{did} is disabled: the caller gets 404."),
            NoPlan::NotANumber | NoPlan::UnknownNumber(_) | NoPlan::Forbidden(_) | NoPlan::NothingToShow => {
                format!("{did} is none of our numbers: the caller gets 404.")
            }
        };
        if let Some(number) = number {
            let merged = config.merged(&number.keys);
            self.note(config, "did", Some(number.did.place));
            self.note(config, "enabled", place(&merged.enabled));
        }
    }

    fn plan(&mut self, plan: &Plan, config: &Config, phones: &dyn Phones, number: Option<&Number>) {
        self.label = plan.label.to_string();
        self.account = plan.account.to_string();
        // Without [media] nothing is said to anybody, and no message taken.
        let speaks = config.node.media.is_some();
        let takes_message = speaks && plan.voicemail.is_some();
        self.refused = plan.rings_nobody(phones).filter(|_| !takes_message);
        self.steps = plan.steps.iter().map(|step| self.step(plan, step, phones)).collect();
        let said = if speaks { said(plan) } else { String::new() };
        self.text = self.sentences(plan, phones, &said, takes_message);
        if let Some(number) = number {
            self.reasons(config, number, plan, phones);
            if speaks {
                self.reasons_to_speak(config, number, plan);
            }
        }
    }

    fn step(&self, plan: &Plan, step: &Step, phones: &dyn Phones) -> ExplainedStep {
        let targets = step.targets.iter().map(|target| {
            let (role, name, trunk, uris) = match &target.who {
                Who::Agent(agent) => {
                    let uris = phones.of(agent).iter().map(|contact| contact.uri.to_string()).collect();
                    ("agent", agent.name.to_string(), None, uris)
                }
                Who::Number { number, trunk } => {
                    let uris = trunk.gateways.iter().map(|gateway| gateway.uri.to_string()).collect();
                    ("forward", number.to_string(), Some(trunk.name.to_string()), uris)
                }
                Who::Unreachable(number) => ("forward", number.to_string(), None, Vec::new()),
            };
            let shows = self.shows(plan, target, phones);
            let uris = if shows.is_some() { uris } else { Vec::new() };
            ExplainedTarget {
                role,
                target: name,
                trunk,
                uris,
                delay_ms: millis(delay(step, target, phones)),
                shows,
            }
        });
        ExplainedStep { timeout_ms: millis(step.timeout), targets: targets.collect() }
    }

    /// `said`: what is said to whoever answers.
    fn sentences(&self, plan: &Plan, phones: &dyn Phones, said: &str, takes_message: bool) -> String {
        let from = self.from.as_ref().map(|from| format!(" from {from}")).unwrap_or_default();
        let label = if plan.label.is_empty() { String::new() } else { format!(" ({})", plan.label) };
        let did = self.did.map(|did| did.to_string()).unwrap_or_default();
        let mut text = format!("A call{from} to {did}{label}, sent by trunk {},", plan.origin.name());
        if let Some(code) = plan.rings_nobody(phones) {
            let not_rung = not_rung(plan, phones);
            return match takes_message {
                true => format!("{text} rings nobody: the caller leaves a message.{not_rung}"),
                false => format!("{text} rings nobody: the caller gets {code}.{not_rung}"),
            };
        }
        let ringing =
            plan.steps.iter().filter(|step| step.targets.iter().any(|target| is_rung(target, phones)));
        for (place, step) in ringing.enumerate() {
            text.push_str(if place == 0 { " rings " } else { " If nobody answers, it then rings " });
            text.push_str(&self.who_rings(plan, step, phones));
            text.push('.');
        }
        text.push_str(&not_rung(plan, phones));
        text.push_str(said);
        text.push_str(match takes_message {
            true => " If nobody answers, the caller leaves a message.",
            false => {
                " If nobody answers, the caller gets 486 when all were busy, 603 when all declined, otherwise 480."
            }
        });
        text
    }

    /// `alice (sip:…) and +1… through trunk carrier (sip:…) at once for 20 seconds, showing +1…`
    fn who_rings(&self, plan: &Plan, step: &Step, phones: &dyn Phones) -> String {
        let rung = step.targets.iter().filter(|target| is_rung(target, phones));
        let (first, later): (Vec<&Target>, Vec<&Target>) =
            rung.partition(|target| delay(step, target, phones).is_zero());
        let named = |targets: &[&Target]| {
            let shown: Vec<Option<String>> =
                targets.iter().map(|target| self.shows(plan, target, phones)).collect();
            let alike = shown.windows(2).all(|pair| pair[0] == pair[1]);
            let name = |(target, shows): (&&Target, &Option<String>)| match shows {
                Some(shows) if !alike => format!("{}, showing {shows}", who(target, phones)),
                Some(_) | None => who(target, phones),
            };
            let names: Vec<String> = targets.iter().zip(&shown).map(name).collect();
            let showing = match shown.first() {
                Some(Some(shows)) if alike => format!(", showing {shows}"),
                Some(_) | None => String::new(),
            };
            (listed(&names), showing)
        };
        let all = seconds(step.timeout);
        let (names, showing) = named(&first);
        let at_once = if first.len() > 1 { " at once" } else { "" };
        match later.first() {
            None => format!("{names}{at_once} for {all}{showing}"),
            Some(held) => {
                let (others, others_showing) = named(&later);
                format!(
                    "{names}{at_once} alone for {}{showing}, then {others} too{others_showing}, for {all} in all",
                    seconds(held.delay)
                )
            }
        }
    }

    /// Whose number a target shows. None: it is not rung.
    fn shows(&self, plan: &Plan, target: &Target, phones: &dyn Phones) -> Option<String> {
        let caller = || self.from.clone().unwrap_or_else(|| "the caller".into());
        let did = || self.did.map(|did| did.to_string()).unwrap_or_default();
        match &target.who {
            _ if !is_rung(target, phones) => None,
            Who::Agent(_) => Some(caller()),
            Who::Number { trunk, .. } => Some(match plan.shows_on(trunk) {
                Shows::Caller => caller(),
                Shows::Did => did(),
                Shows::CallerThenDid => {
                    format!("{} (and {}, should the carrier refuse that)", caller(), did())
                }
            }),
            Who::Unreachable(_) => None,
        }
    }

    /// The lines behind the plan: the number, then every key that had a say.
    fn reasons(&mut self, config: &Config, number: &Number, plan: &Plan, phones: &dyn Phones) {
        let keys: Keys = config.merged(&number.keys);
        let assigned = keys.assigned_to.as_ref().filter(|at| {
            let name = at.value.as_deref();
            plan.steps.first().is_some_and(|step| step.targets.iter().any(|target| is_agent(target, name)))
        });
        let reasons = [
            ("did", Some(number.did.place)),
            ("profile", place(&keys.profile)),
            ("assigned_to", assigned.map(|at| at.place)),
            (
                "assigned_head_start",
                keys.assigned_head_start.filter(|_| held(plan, phones)).map(|at| at.place),
            ),
            ("forward_to", place(&keys.forward_to)),
            ("ring", place(&keys.ring)),
            ("timeout", place(&keys.timeout)),
            ("pass_called_number", keys.pass_called_number.filter(|at| at.value).map(|at| at.place)),
            ("trunk", place(&keys.trunk)),
        ];
        for (key, place) in reasons {
            self.note(config, key, place);
        }
        for step in keys.overflow.iter().flat_map(|steps| &steps.value) {
            self.note(config, "overflow", Some(step.place));
        }
        for target in plan.steps.iter().flat_map(|step| &step.targets) {
            if let Who::Agent(agent) = &target.who
                && agent.unrung(phones).is_some()
            {
                let written = config.agents.iter().find(|written| **written.name == *agent.name);
                self.note(config, "agent", written.map(|written| written.name.place));
            }
        }
        let mut trunks: Vec<&Arc<Trunk>> = Vec::new();
        for target in plan.steps.iter().flat_map(|step| &step.targets) {
            if let Who::Number { trunk, .. } = &target.who
                && !trunks.iter().any(|known| Arc::ptr_eq(known, trunk))
            {
                trunks.push(trunk);
            }
        }
        for trunk in trunks {
            let written = config.trunks.iter().find(|written| **written.name == *trunk.name);
            self.note(config, "trunk", written.map(|written| written.name.place));
        }
    }

    /// The lines behind what is said to whoever answers, and to the caller.
    fn reasons_to_speak(&mut self, config: &Config, number: &Number, plan: &Plan) {
        let keys: Keys = config.merged(&number.keys);
        let reasons = [
            ("whisper", place(&keys.whisper).filter(|_| plan.whisper.is_some())),
            ("whisper_agents", place(&keys.whisper_agents).filter(|_| plan.whisper_agents)),
            ("call_connect", place(&keys.call_connect).filter(|_| plan.call_connect.is_some())),
            ("record", place(&keys.record).filter(|_| plan.record)),
            ("record_notice", place(&keys.record_notice).filter(|_| plan.record_notice.is_some())),
            ("voicemail", place(&keys.voicemail).filter(|_| plan.voicemail.is_some())),
        ];
        for (key, place) in reasons {
            self.note(config, key, place);
        }
    }

    fn note(&mut self, config: &Config, key: &'static str, place: Option<Place>) {
        if let Some(place) = place {
            let file = match &self.over_http {
                Some(name) if place.file == Place::OVER_HTTP => name.clone(),
                Some(_) | None => config.files.name(place).display().to_string(),
            };
            self.because.push(Because { key, file, line: place.line, column: place.column });
        }
    }
}

/// What whoever answers hears, and whether the call is recorded.
fn said(plan: &Plan) -> String {
    let forwards = plan.steps.iter().any(|step| {
        step.targets.iter().any(|target| matches!(target.who, Who::Number { .. } | Who::Unreachable(_)))
    });
    let mut text = String::new();
    match (plan.whisper.is_some(), plan.whisper_agents, plan.call_connect.filter(|_| forwards)) {
        (true, true, None) => text.push_str(" Whoever answers hears the whisper first."),
        (true, false, None) if forwards => text.push_str(" Whoever answers a forwarded call hears the whisper first."),
        (true, true, Some(window)) => text.push_str(&format!(
            " Whoever answers hears the whisper first, and must press 1 within {} where the call is forwarded.",
            seconds(window)
        )),
        (true, false, Some(window)) => text.push_str(&format!(
            " Whoever answers a forwarded call hears the whisper first, and must press 1 within {}.",
            seconds(window)
        )),
        (false, _, Some(window)) => text
            .push_str(&format!(" Whoever answers a forwarded call must press 1 within {}.", seconds(window))),
        (true | false, _, None) => {}
    }
    match (plan.record, plan.record_notice.is_some()) {
        (true, true) => text.push_str(" The call is recorded, and both are told so."),
        (true, false) => text.push_str(" The call is recorded."),
        (false, _) => {}
    }
    text
}

fn who(target: &Target, phones: &dyn Phones) -> String {
    match &target.who {
        Who::Agent(agent) => {
            let phones = phones.of(agent);
            let uris: Vec<&str> = phones.iter().map(|contact| &*contact.uri).collect();
            format!("{} ({})", agent.name, uris.join(" and "))
        }
        Who::Number { number, trunk } => {
            let uris: Vec<&str> = trunk.gateways.iter().map(|gateway| &*gateway.uri).collect();
            format!("{number} through trunk {} ({})", trunk.name, uris.join(", then "))
        }
        Who::Unreachable(number) => number.to_string(),
    }
}

fn is_rung(target: &Target, phones: &dyn Phones) -> bool {
    target.who.unrung(phones).is_none()
}

/// How long a target is held back: the head start is void when whom it favours is not rung (R3.2).
fn delay(step: &Step, target: &Target, phones: &dyn Phones) -> Duration {
    let favoured = step.targets.iter().any(|target| target.delay.is_zero() && is_rung(target, phones));
    if favoured { target.delay } else { Duration::ZERO }
}

/// ` Not rung: alice (do not disturb) and +1… (no trunk serves it).`
fn not_rung(plan: &Plan, phones: &dyn Phones) -> String {
    let mut names: Vec<String> = Vec::new();
    for target in plan.steps.iter().flat_map(|step| &step.targets) {
        let Some(why) = target.who.unrung(phones) else { continue };
        let name = match &target.who {
            Who::Agent(agent) => agent.name.to_string(),
            Who::Number { number, .. } | Who::Unreachable(number) => number.to_string(),
        };
        let why = match why {
            Unrung::DoNotDisturb => "do not disturb",
            Unrung::NoContact => match &target.who {
                Who::Agent(agent) if agent.secrets.is_none() => "no contact",
                Who::Agent(_) | Who::Number { .. } | Who::Unreachable(_) => "not registered",
            },
            Unrung::NoTrunk => "no trunk serves it",
            Unrung::NoGateway => "its trunk has no gateways",
        };
        let name = format!("{name} ({why})");
        if !names.contains(&name) {
            names.push(name);
        }
    }
    if names.is_empty() { String::new() } else { format!(" Not rung: {}.", listed(&names)) }
}

fn is_agent(target: &Target, name: Option<&str>) -> bool {
    match &target.who {
        Who::Agent(agent) => Some(&*agent.name) == name,
        Who::Number { .. } | Who::Unreachable(_) => false,
    }
}

/// Whether anybody is held back.
fn held(plan: &Plan, phones: &dyn Phones) -> bool {
    let is_held = |step: &Step| step.targets.iter().any(|target| !delay(step, target, phones).is_zero());
    plan.steps.iter().any(is_held)
}

fn place<T>(key: &Option<At<T>>) -> Option<Place> {
    key.as_ref().map(|at| at.place)
}

fn seconds(time: Duration) -> String {
    match time.as_secs() {
        1 => "1 second".into(),
        more => format!("{more} seconds"),
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// `a, b and c`
fn listed(names: &[String]) -> String {
    match names.split_last() {
        Some((last, [])) => last.clone(),
        Some((last, rest)) => format!("{} and {last}", rest.join(", ")),
        None => String::new(),
    }
}
