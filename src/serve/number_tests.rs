//! Numbers set one by one on a whole node, as far as it cannot be seen from outside.

use std::sync::Arc;

use super::Running;
use super::operations::Front;
use crate::admin::operations::{Changed, Condition, NotChanged, NotPublished, Operations, Versions, Wish};
use crate::config;
use crate::number::E164;

/// A node with numbers that are called "files", 0 to 3.
struct Node {
    running: Running,
    front: Arc<Front>,
    _folder: tempfile::TempDir,
}

fn node() -> Node {
    let folder = tempfile::tempdir().unwrap();
    let write = |file: &str, text: &str| std::fs::write(folder.path().join(file), text).unwrap();
    std::fs::create_dir(folder.path().join("routing")).unwrap();
    let node = format!("[node]\ndata_dir = {:?}\n", folder.path().join("data"));
    write("strowger.toml", &(node + "[[listen]]\ntransport = \"udp\"\naddr = \"127.0.0.1:0\"\n"));
    let number = |last: u32| format!("[[number]]\ndid = \"{}\"\nlabel = \"files\"\n", did(last));
    write("routing/all.toml", &(0..4).map(number).collect::<String>());
    let seen = super::Seen::of(folder.path());
    let config = config::load(folder.path(), &|_| None).unwrap().config;
    let running = Running::start_with((config, seen), folder.path().to_owned(), Arc::new(|_| None)).unwrap();
    let front = Arc::clone(&running.front);
    Node { running, front, _folder: folder }
}

fn did(last: u32) -> String {
    format!("+1201555{last:04}")
}

impl Node {
    fn try_to_change(&self, last: u32, wish: Wish) -> Result<Changed, NotChanged> {
        let any = self.front.number(&did(last)).ok().map(|_| Versions::Any);
        let condition = Condition { if_match: any, if_none_match: None };
        self.running.block_on(async { self.front.change(&did(last), wish, condition, "me").await })
    }

    fn change(&self, last: u32, wish: Wish) {
        self.try_to_change(last, wish).unwrap();
    }

    fn end(self) {
        let Node { running, front, _folder } = self;
        drop(front);
        running.stop();
    }

    fn label(&self, last: u32) -> String {
        let did = E164::parse_e164(&did(last)).unwrap();
        self.front.publisher.table().number(did).map_or("none".to_owned(), |found| found.label().to_owned())
    }
}

fn labelled(text: &str) -> Wish {
    Wish::Put(format!("{{\"label\": \"{text}\"}}"))
}

#[test]
fn numbers_that_were_set_one_by_one_are_found_as_before_once_they_are_among_all_others() {
    let node = node();
    // More than the newest layer holds, so that both have some.
    (2..600).for_each(|last| node.change(last, labelled("set")));
    node.change(1, Wish::Delete);
    node.change(2, Wish::ToFiles);
    let all = || [0, 1, 2, 3, 4, 300, 599, 600].map(|last| node.label(last));
    let expected = ["files", "none", "files", "set", "set", "set", "set", "none"].map(str::to_owned);
    let before = node.front.publisher.table();
    assert_eq!((all(), before.numbers(), before.set_apart()), (expected.clone(), 599, 600));
    let table = node.front.publisher.fold().unwrap();
    assert_eq!((all(), table.numbers(), table.generation), (expected, 599, before.generation));
    assert_eq!(table.set_apart(), 0);
    node.change(0, Wish::Delete);
    node.change(3, Wish::ToFiles);
    let all = [0, 1, 2, 3].map(|last| node.label(last));
    assert_eq!(all, ["none", "none", "files", "files"].map(str::to_owned));
    node.end();
}

/// What cannot be written down is not served either, and what was served still is.
#[test]
fn on_a_full_disk_nothing_is_set_and_all_goes_on() {
    let node = node();
    node.change(0, labelled("before"));
    let generation = || node.front.publisher.table().generation;
    node.front.publisher.state().ledger.has_room(Some(0));
    let before = generation();
    let mut done = 0;
    let refused = (10..1_000).find_map(|last| match node.try_to_change(last, labelled(&"x".repeat(2_000))) {
        Ok(_) => {
            done += 1;
            None
        }
        Err(why) => Some((last, why)),
    });
    let Some((last, NotChanged::Unwritten(why))) = refused else { panic!("{refused:?}") };
    assert!(why.contains("full") && why.contains("nothing was changed"), "{why}");
    assert_eq!((node.label(last), generation()), ("none".to_owned(), before + done));
    assert!(matches!(node.front.number(&did(last)), Err(NotChanged::Unknown)));
    assert_eq!(node.label(0), "before");
    // A reload neither.
    let refused = node.running.block_on(async { node.front.reload(false, "me").await });
    assert!(matches!(&refused, Ok(_) | Err(NotPublished::Unwritten(_))), "{refused:?}");
    let at = generation();
    assert_eq!(at, before + done + u64::from(refused.is_ok()));
    node.front.publisher.state().ledger.has_room(None);
    node.change(last, labelled("after"));
    assert_eq!((node.label(last), generation()), ("after".to_owned(), at + 1));
    node.end();
}
