//! R2 and R3 as plans, and what a table does beyond them.

mod generations;
mod layers;
mod r02_dialled;
mod r03_who_rings;
mod r13_way_out;
mod r14_in_turn;
mod table;

use std::sync::Arc;

use super::*;

/// A carrier that sends calls in and takes them out, and four agents.
const CARRIER: &str = r#"
[[trunk]]
name = "carrier"
from = ["127.0.0.1/32"]
gateways = [{ uri = "sip:127.0.0.1:5080" }]
outbound = true
[[agent]]
name = "alice"
contact = "sip:alice@127.0.0.1:5090"
[[agent]]
name = "bob"
contact = "sip:bob@127.0.0.1:5091"
[[agent]]
name = "carol"
[[agent]]
name = "dave"
"#;

/// The table of the carrier's configuration with this behind it.
fn table(more: &str) -> Table {
    read(&format!("{CARRIER}{more}"))
}

fn read(text: &str) -> Table {
    match Table::from_toml(text) {
        Ok(table) => table,
        Err(bad) => panic!("{bad}"),
    }
}

fn carrier(table: &Table) -> Arc<Trunk> {
    Arc::clone(table.trunk("carrier").unwrap())
}

/// The plan of a call from the carrier to this number.
fn plan(table: &Table, dialled: &str) -> Result<Plan, NoPlan> {
    table.plan(&carrier(table), dialled, 0)
}

/// A step as one reads it: `20s: alice, +12015550199@carrier after 5s`.
fn step(step: &Step) -> String {
    let targets: Vec<String> = step
        .targets
        .iter()
        .map(|target| {
            let who = match &target.who {
                Who::Agent(agent) => agent.name.to_string(),
                Who::Number { number, trunk } => format!("{number}@{}", trunk.name),
                Who::Unreachable(number) => format!("{number} unreachable"),
            };
            match target.delay.as_secs() {
                0 => who,
                delay => format!("{who} after {delay}s"),
            }
        })
        .collect();
    format!("{}s: {}", step.timeout.as_secs(), targets.join(", "))
}

/// All steps of the plan for this number.
fn rings(table: &Table, dialled: &str) -> Vec<String> {
    plan(table, dialled).unwrap().steps.iter().map(step).collect()
}
