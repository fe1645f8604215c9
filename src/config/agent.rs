//! `[[agent]]`: somebody with a phone of ours.

use schemars::JsonSchema;
use serde::Serialize;

use super::fields::{Fields, shown};
use super::forms::{CONTACT, LINE, MD5, NAME, OrEmpty, SHA256, form};
use super::node::{Secret, value_or};
use super::place::{At, Place};
use super::trunk;
use super::uri::SipUri;
use crate::number::E164;

/// `[[agent]]`, the defaults filled in.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct Agent {
    #[schemars(transform = form(&NAME))]
    pub name: At<Box<str>>,
    /// The environment variable that holds the password.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(transform = form(&LINE))]
    pub password_env: Option<Box<str>>,
    /// In clear text: warned of.
    #[serde(skip_serializing)]
    #[schemars(with = "Option<String>", transform = form(&LINE))]
    pub password: Option<Secret>,
    /// MD5 of `name:realm:password`, in hexadecimal.
    #[serde(skip_serializing)]
    #[schemars(transform = form(&MD5))]
    pub ha1: Option<Box<str>>,
    /// SHA-256 of the same.
    #[serde(skip_serializing)]
    #[schemars(transform = form(&SHA256))]
    pub ha1_sha256: Option<Box<str>>,
    /// Where the phone always is, beside where it registers.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "contact_text")]
    #[schemars(with = "Option<String>", transform = form(&CONTACT))]
    pub contact: Option<SipUri>,
    /// Shown on the agent's outbound calls.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(transform = form(&OrEmpty))]
    pub number: Option<At<E164>>,
    /// Calls at once; with so many the agent counts as busy.
    #[schemars(extend("default" = 1), transform = form(&trunk::MAX_CALLS))]
    pub max_calls: u32,
    /// Do not disturb: counts as busy.
    #[schemars(extend("default" = false))]
    pub dnd: bool,
    #[schemars(extend("default" = ""), transform = form(&LINE))]
    pub account: Box<str>,
    #[serde(skip)]
    pub place: Place,
}

impl Agent {
    /// What it says, but for where it says it.
    pub(super) fn says(&self) -> Agent {
        Agent { place: Place::default(), ..self.clone() }
    }
}

pub(super) fn read(fields: &Fields<'_>, env: &dyn Fn(&str) -> Option<String>) -> Option<Agent> {
    if !fields.has("name") {
        fields.missing("name", "write name = \"alice\"");
    }
    let name = fields.name("name");
    let (password_env, password) = trunk::password(fields, env, "the agent cannot register");
    let number = fields.number("number").and_then(|at| Some(At { value: at.value?, place: at.place }));
    let [ha1, ha1_sha256] = [("ha1", 32), ("ha1_sha256", 64)].map(|(key, digits)| hash(fields, key, digits));
    let mut can_register = false;
    for key in ["password_env", "password", "ha1", "ha1_sha256"] {
        match fields.empty_text(key) {
            None => can_register |= fields.has(key),
            Some(place) => {
                let what = format!("{key} is empty: the agent cannot register by it");
                fields.report().warning(place, what, "write what it is to hold, or leave it out");
            }
        }
    }
    if !can_register && !fields.has("contact") {
        let what = "the agent has no password and no contact: the phone can never ring";
        fields.report().warning(
            fields.place,
            what,
            "add password_env, or contact = \"sip:alice@192.0.2.1:5060\"",
        );
    }
    let agent = Agent {
        password_env,
        password,
        ha1,
        ha1_sha256,
        contact: trunk::uri(fields, "contact").map(|at| at.value),
        number,
        max_calls: value_or(fields.whole("max_calls", &trunk::MAX_CALLS), 1),
        dnd: value_or(fields.flag("dnd"), false),
        account: value_or(fields.text("account"), "".into()),
        place: fields.place,
        name: fields.or_finish(name)?,
    };
    fields.finish();
    Some(agent)
}

fn hash(fields: &Fields<'_>, key: &'static str, digits: usize) -> Option<Box<str>> {
    let text = fields.some_text(key)?;
    let hash = text.value?;
    if hash.len() != digits || !hash.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        let what = format!("{key} = \"{}\" is no hash", shown(&hash));
        fields.refuse(text.place, what, format!("write its {digits} hexadecimal digits"));
        return None;
    }
    Some(hash.to_ascii_lowercase().into())
}

fn contact_text<S: serde::Serializer>(uri: &Option<SipUri>, serializer: S) -> Result<S::Ok, S::Error> {
    uri.as_ref().map(|uri| &uri.text).serialize(serializer)
}
