//! Numbers that are set and removed one by one: found as if they had been written so from the beginning.

use std::collections::BTreeMap;
use std::path::Path;

use proptest::prelude::*;

use crate::config::{self, Dialled, Keys, Overlay};
use crate::number::{E164, Prefix};
use crate::routing::{Table, Voices, Written};

fn number(last: u32) -> E164 {
    E164::parse_e164(&format!("+1201555{last:04}")).unwrap()
}

/// One of some: a number, or a block of 8 to 10 digits that holds some of them.
fn did() -> impl Strategy<Value = Dialled> {
    let block = |(last, len): (u32, usize)| Dialled::Block(Prefix::of(number(last), len));
    prop_oneof![
        4 => (0u32..40).prop_map(|last| Dialled::Number(number(last))),
        1 => (0u32..40, 8usize..11).prop_map(block),
    ]
}

fn keys(did: Dialled, label: u32) -> Keys {
    let (read, errors) = config::read_body("", &format!("{{\"label\": \"{label}\"}}"), did, Path::new(""));
    assert!(errors.is_empty());
    read.unwrap().keys
}

/// By the longest match.
fn serving(all: &BTreeMap<Dialled, u32>, asked: E164) -> Option<u32> {
    let lengths = (1..15).rev().map(|len| Dialled::Block(Prefix::of(asked, len)));
    std::iter::once(Dialled::Number(asked)).chain(lengths).find_map(|did| all.get(&did).copied())
}

proptest! {
    #[test]
    fn what_is_set_one_by_one_is_found_as_if_it_had_been_written_so(
        files in proptest::collection::btree_map(did(), 0u32..1000, 0..20),
        changes in proptest::collection::vec((did(), proptest::option::of(0u32..1000)), 0..40),
        many in any::<bool>(),
    ) {
        let written = |(did, label): (&Dialled, &u32)| format!("[[number]]\ndid = \"{did}\"\nlabel = \"{label}\"\n");
        let text: String = files.iter().map(written).collect();
        let config = config::parse(&text, &|_| None).unwrap().config;
        let mut table = Table::with_overlay(&config, &Overlay::default(), 1, None);
        let mut all = files.clone();
        if many {
            // So many that those before them move into the layer behind.
            let one = |n: u32| Dialled::Number(E164::parse_e164(&format!("+1301{n:07}")).unwrap());
            let keys: Vec<(Dialled, Keys)> = (0..600).map(|n| (one(n), keys(one(n), n))).collect();
            let set: Vec<_> = keys.iter().map(|(did, keys)| (*did, Some((keys, Written::OverHttp)))).collect();
            table = table.changed(2, &config, &set, Voices::default());
            all.extend((0..600).map(|n| (one(n), n)));
        }
        for (place, (did, label)) in changes.iter().enumerate() {
            let keys = label.map(|label| keys(*did, label));
            let set = keys.as_ref().map(|keys| (keys, Written::OverHttp));
            table = table.changed(3 + place as u64, &config, &[(*did, set)], Voices::default());
            match label {
                Some(label) => drop(all.insert(*did, *label)),
                None => drop(all.remove(did)),
            }
            prop_assert_eq!(table.numbers(), all.len());
        }
        for asked in (0..41).map(number).chain([E164::parse_e164("+13010000599").unwrap()]) {
            let found = table.number(asked).map(|found| found.label().to_owned());
            prop_assert_eq!(found, serving(&all, asked).map(|label| label.to_string()), "{}", asked);
            let place = table.serving(asked).map(|(did, written)| (did, written == Written::OverHttp));
            if let Some((did, over_http)) = place {
                prop_assert!(did.covers(asked) && all.contains_key(&did));
                prop_assert!(over_http || files.contains_key(&did));
            }
        }
        for did in files.keys() {
            prop_assert!(table.in_files(*did).is_some());
        }
    }
}
