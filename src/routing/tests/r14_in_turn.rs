//! R14: the order in which the gateways of a trunk are tried.

use crate::routing::Table;

fn orders(gateways: &[(u16, u16)], down: &[usize], draws: impl IntoIterator<Item = u64>) -> Vec<u8> {
    let each: Vec<String> = (1..)
        .zip(gateways)
        .map(|(at, (priority, weight))| {
            format!("{{ uri = \"sip:192.0.2.{at}\", priority = {priority}, weight = {weight} }}")
        })
        .collect();
    let text = format!("[[trunk]]\nname = \"carrier\"\ngateways = [{}]\n", each.join(", "));
    let table = Table::from_toml(&text).unwrap();
    let trunk = &table.trunks()[0];
    let mut draws = draws.into_iter();
    let turn =
        trunk.in_turn(|at| down.contains(&at), || draws.next().expect("nothing is drawn without need"));
    turn.into_iter().map(|at| trunk.gateways[usize::from(at)].place).collect()
}

#[test]
fn r14_by_priority_and_nothing_is_drawn_where_there_is_nothing_to_choose() {
    assert_eq!(orders(&[(30, 1), (10, 9), (20, 5)], &[], []), [1, 2, 0]);
    assert_eq!(orders(&[(10, 1)], &[], []), [0]);
    assert!(orders(&[], &[], []).is_empty());
}

#[test]
fn r14_among_equals_by_weight() {
    let first = |draw| orders(&[(10, 1), (10, 3), (10, 1)], &[], [draw, 0]);
    assert_eq!([0, 1, 2, 3, 4, 5].map(|draw| first(draw)[0]), [0, 1, 1, 1, 2, 0]);
    // Then among those that are left: of 1 and 1 the second draw takes the first or the other.
    assert_eq!(orders(&[(10, 1), (10, 3), (10, 1)], &[], [1, 0]), [1, 0, 2]);
    assert_eq!(orders(&[(10, 1), (10, 3), (10, 1)], &[], [1, 1]), [1, 2, 0]);
}

#[test]
fn r14_those_that_are_down_come_last_by_priority_and_none_is_skipped() {
    assert_eq!(orders(&[(10, 1), (20, 1), (30, 1)], &[0], []), [1, 2, 0]);
    assert_eq!(orders(&[(10, 1), (20, 1), (30, 1)], &[0, 1], []), [2, 0, 1]);
    assert_eq!(orders(&[(10, 1), (20, 1), (30, 1)], &[0, 1, 2], []), [0, 1, 2]);
    assert_eq!(orders(&[(10, 1), (10, 1), (10, 1)], &[0], [0]), [1, 2, 0]);
}
