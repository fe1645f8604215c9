//! PURE. From the configuration to one call's plan: the table of numbers, trunks and agents of one generation,
//! and what a call copies out of it. Owns no call; reads no file, clock or socket. `call` and `engine` read
//! plans, `config` is read when a table is built and never after.

mod build;
mod emergency;
mod ends;
mod explain;
mod fixed;
mod hosts;
mod layers;
mod numbers;
mod outbound;
mod plan;
mod table;
mod trunk;

pub use build::BadTable;
pub use emergency::{Called, Emergency, Urgency, is_service};
pub use ends::{Fixed, Phones, Reached, TargetEnd, Unrung};
pub use explain::{Because, ExplainedStep, ExplainedTarget, Explanation, explain, schema};
pub use hosts::HostNames;
pub use numbers::{Found, Written};
pub use outbound::{NoWay, Outbound};
pub use plan::{
    Agent, CallLimits, Contact, Origin, Plan, Prompt, Secrets, Shows, Step, Target, Text, Voicemail, Who,
};
pub use table::{NoPlan, Table, Voices};
pub use trunk::{Auth, Gateway, Host, InTurn, Trunk};

pub use crate::config::{DidFrom, ForeignCallerId, Net, NumberFormat, Pai, TrunkTransport};

#[cfg(test)]
mod tests;
