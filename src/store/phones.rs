//! `store.sqlite`: the bindings of agents' phones, so that they survive a restart.

use std::path::Path;

use rusqlite::{Connection, params};

use super::database::{self, DatabaseError, millis, wall};
use crate::time::Wall;

/// A binding as it is stored: one that is reached at an address, since no connection outlives its process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredBinding {
    /// The Contact's URI.
    pub uri: String,
    /// The phone's own name and which of its flows it is; empty and 0 where it wants no outbound (RFC 5626).
    pub instance: (String, u32),
    /// Where calls are sent, …
    pub addr: String,
    /// … and by what, as a URI names it.
    pub transport: String,
    /// Where its REGISTER came from.
    pub source: String,
    /// The listener that its REGISTER came to, by its transport and address: those of the file may change places.
    pub listener: String,
    /// The Route of calls to it, one a line (RFC 3327).
    pub path: String,
    /// What else its Contact says, as it came.
    pub params: String,
    pub call_id: Vec<u8>,
    pub cseq: u32,
    pub expires: Wall,
    pub registered: Wall,
    pub user_agent: String,
    /// Of the password that it registered with.
    pub secret: u32,
}

/// The table of bindings. Its calls block: not for a shard.
pub struct Phones(Connection);

impl Phones {
    /// Opens the file of a data folder, and brings it to this version.
    pub fn open(folder: &Path) -> Result<Phones, DatabaseError> {
        Ok(Phones(database::open(folder)?))
    }

    /// Every agent's bindings that last at `now`; the others are deleted.
    pub fn all(&mut self, now: Wall) -> Result<Vec<(String, StoredBinding)>, DatabaseError> {
        self.0.execute("DELETE FROM binding WHERE expires <= ?1", [millis(now)])?;
        let mut query = self.0.prepare(
            "SELECT agent, uri, instance, flow, addr, source, path, call_id, cseq, expires, registered, user_agent,
             secret, transport, params, listener FROM binding ORDER BY agent, registered",
        )?;
        let rows = query.query_map([], |row| {
            let binding = StoredBinding {
                uri: row.get(1)?,
                instance: (row.get(2)?, row.get(3)?),
                addr: row.get(4)?,
                source: row.get(5)?,
                path: row.get(6)?,
                call_id: row.get(7)?,
                cseq: row.get(8)?,
                expires: wall(row, 9)?,
                registered: wall(row, 10)?,
                user_agent: row.get(11)?,
                secret: row.get(12)?,
                transport: row.get(13)?,
                params: row.get(14)?,
                listener: row.get(15)?,
            };
            Ok((row.get(0)?, binding))
        })?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// Replaces the bindings of these agents, all or nothing; on return they survive a power cut. Of two that are one the
    /// later is kept: one agent's phones hold nobody else's up.
    pub fn replace(&mut self, agents: &[(String, Vec<StoredBinding>)]) -> Result<(), DatabaseError> {
        let work = self.0.transaction()?;
        {
            let mut delete = work.prepare("DELETE FROM binding WHERE agent = ?1")?;
            let mut insert = work.prepare(
                "INSERT OR REPLACE INTO binding VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14,
                 ?15, ?16)",
            )?;
            for (agent, bindings) in agents {
                delete.execute([agent])?;
                for binding in bindings {
                    insert.execute(params![
                        agent,
                        binding.uri,
                        binding.instance.0,
                        binding.instance.1,
                        binding.addr,
                        binding.source,
                        binding.path,
                        binding.call_id,
                        binding.cseq,
                        millis(binding.expires),
                        millis(binding.registered),
                        binding.user_agent,
                        binding.secret,
                        binding.transport,
                        binding.params,
                        binding.listener,
                    ])?;
                }
            }
        }
        Ok(work.commit()?)
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn binding(uri: &str, expires: u64) -> StoredBinding {
        StoredBinding {
            uri: uri.to_owned(),
            instance: (String::new(), 0),
            addr: "192.0.2.1:5060".to_owned(),
            transport: "udp".to_owned(),
            source: "192.0.2.1:5060".to_owned(),
            listener: "udp 192.0.2.7:5060".to_owned(),
            path: "<sip:edge.example.com;lr>".to_owned(),
            params: ";q=0.5".to_owned(),
            call_id: b"a\xffb".to_vec(),
            cseq: 7,
            expires: Wall(expires),
            registered: Wall(1),
            user_agent: "phone".to_owned(),
            secret: 7,
        }
    }

    #[test]
    fn bindings_are_there_again_after_a_restart_but_for_those_whose_time_is_over() {
        let folder = tempfile::tempdir().unwrap();
        let (desk, pocket) = (binding("sip:a@192.0.2.1", 2_000), binding("sip:a@192.0.2.2", 1_000));
        {
            let mut phones = Phones::open(folder.path()).unwrap();
            let two = vec![desk.clone(), pocket.clone()];
            phones.replace(&[("alice".to_owned(), two), ("bob".to_owned(), vec![desk.clone()])]).unwrap();
            phones.replace(&[("bob".to_owned(), Vec::new())]).unwrap();
        }
        let mut phones = Phones::open(folder.path()).unwrap();
        assert_eq!(
            phones.all(Wall(500)).unwrap(),
            [("alice".to_owned(), desk.clone()), ("alice".to_owned(), pocket)]
        );
        assert_eq!(phones.all(Wall(1_000)).unwrap(), [("alice".to_owned(), desk)]);
        let mode = std::fs::metadata(folder.path().join("store.sqlite")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o640);
    }

    #[test]
    fn a_binding_that_stands_twice_is_kept_once_and_holds_up_nobody() {
        let folder = tempfile::tempdir().unwrap();
        let mut phones = Phones::open(folder.path()).unwrap();
        let twice = vec![binding("sip:a@b", 9), binding("sip:a@b", 8)];
        let bob = ("bob".to_owned(), vec![binding("sip:c@d", 9)]);
        phones.replace(&[("alice".to_owned(), twice), bob.clone()]).unwrap();
        assert_eq!(
            phones.all(Wall(0)).unwrap(),
            [("alice".to_owned(), binding("sip:a@b", 8)), ("bob".to_owned(), bob.1[0].clone())]
        );
    }

    #[test]
    fn two_contacts_of_one_uri_that_are_different_flows_are_both_kept() {
        let folder = tempfile::tempdir().unwrap();
        let mut phones = Phones::open(folder.path()).unwrap();
        let flows =
            [1, 2].map(|flow| StoredBinding { instance: ("x".to_owned(), flow), ..binding("sip:a@b", 9) });
        phones.replace(&[("alice".to_owned(), flows.to_vec())]).unwrap();
        assert_eq!(phones.all(Wall(0)).unwrap().len(), 2);
    }
}
