//! What an operator writes, and every mistake in it with its place. Reads files and the environment, once, when
//! asked; knows no call and no socket. `routing` builds its table from a [`Config`]; a `Config` that exists has
//! passed every check.

mod agent;
mod body;
mod check;
mod choices;
mod credentials;
mod dids;
mod diff;
mod fields;
mod forms;
mod judge;
mod kept;
mod leads;
mod load;
mod net;
mod node;
mod number;
mod number_json;
mod numbers;
mod open;
mod overlay;
mod place;
mod pool;
mod render;
mod row;
mod schema;
mod served;
mod source;
mod syntax;
mod tables;
mod torn;
mod trunk;
mod uri;
mod walk;

pub use agent::Agent;
pub use body::{MAX_BODY, Origin, Sent, read_body, read_sent};
pub use choices::{
    Anchor, DidFrom, ForeignCallerId, ListenTransport, NumberFormat, Pai, Strangers, TrunkTransport,
    WhenExhausted,
};
pub use credentials::Credentials;
pub use dids::{AHEAD, Dids, Lengths};
pub use diff::{Counts, Diff, MAX_NAMED, Named, diff};
pub use judge::{Change, Judged, judge, judge_itself, judge_up_to};
pub use kept::Stamp;
pub use leads::Leads;
pub use load::{Checked, FilesAndFolders, Loaded, NODE_FILE, Progress, Reading, checked, files, load, parse};
pub use net::Net;
pub use node::{
    Admin, Capture, Collector, Limits, Listen, Media, Node, NodeSection, Ports, Public, Retention, Secret,
    Speech,
};
pub use number::{Dialled, Keys, Number, Overflow, Profile, Prompt, Voicemail, over_http};
pub use number_json::Told;
pub use numbers::{Listed, Numbers};
pub use overlay::{Entry, Overlay, Set};
pub use place::{At, Files, Finding, MAX_FINDINGS, Place};
pub use pool::{CallerId, Dial, Emergency, Pool};
pub use render::{Findings, may_be_more, plain, pretty};
pub use schema::{schema_of, schemas};
pub use trunk::{Auth, Gateway, Trunk};
pub use uri::SipUri;

/// A whole configuration that has passed every check.
#[derive(Debug)]
pub struct Config {
    pub node: Node,
    pub defaults: Keys,
    pub profiles: Vec<Profile>,
    pub trunks: Vec<Trunk>,
    pub agents: Vec<Agent>,
    pub numbers: Numbers,
    pub caller_ids: Vec<CallerId>,
    pub pools: Vec<Pool>,
    pub emergency: Emergency,
    pub dial: Dial,
    /// What every [`Place`] in it refers to.
    pub files: Files,
    /// The tables that its numbers are of, as they were when they were read.
    kept: kept::Kept,
}

impl Config {
    /// A number's keys with its profile and the defaults merged into them.
    pub fn merged(&self, keys: &Keys) -> Keys {
        let named = keys.profile.as_ref().or(self.defaults.profile.as_ref());
        match named.and_then(|at| at.value.as_deref()).and_then(|name| self.profile(name)) {
            Some(profile) => keys.over(&profile.keys).over(&self.defaults),
            None => keys.over(&self.defaults),
        }
    }

    pub fn profile(&self, name: &str) -> Option<&Profile> {
        self.profiles.iter().find(|profile| &**profile.name == name)
    }
}
