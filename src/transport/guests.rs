//! How many connections the node holds, in all and for each address that no trunk knows (R14). One by which an agent's
//! phone has registered is no unknown one's: an office behind one NAT has as many phones as it likes.
//!
//! Where there is no room, one that nobody has registered by gives way: what strangers hold and do not use keeps no
//! phone and no gateway out.

use std::cmp::Reverse;
use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::sip::peer::FlowId;

/// Strangers may hold so many of a node's connections, in quarters: the rest is kept for phones, for trunks and for those
/// that we open.
const FOR_STRANGERS: usize = 3;

/// A passing connection that has brought nothing for so long gives way to another of its own address. Who registers, or asks
/// for the password that a call wants, says more within that time.
const SILENT: Duration = Duration::from_secs(10);

/// One that has been passing for so long gives way to it whatever it brings: no first request and its answers take longer
/// (RFC 3261 §17.1.1.2, 64·T1).
const PASSING: Duration = Duration::from_secs(32);

/// So many may be on their way out and not closed yet, beyond the node's connections. Each is closed in its shard's next
/// turn.
const MOST_LEAVING: usize = 128;

/// Whom an address counts with: an IPv6 house has a /64 of its own (RFC 6177), and as many addresses as it likes.
fn house(ip: IpAddr) -> IpAddr {
    match ip {
        IpAddr::V4(_) => ip,
        IpAddr::V6(v6) => Ipv6Addr::from_bits(v6.to_bits() & !u128::from(u64::MAX)).into(),
    }
}

/// Why a connection is refused or given up before it is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoRoom {
    #[error("the node holds as many connections as it may")]
    Node,
    #[error("this unknown address holds as many connections as it may")]
    Address,
}

/// Whether an address belongs to a trunk.
pub type Trunks = Box<dyn Fn(IpAddr) -> bool + Send + Sync>;

/// The count that the shards share. A lock is held for each connection that comes or goes, and for each flow that a
/// phone comes to or leaves; never for a message.
pub struct Guests {
    is_trunk: Trunks,
    most: usize,
    most_per_stranger: usize,
    began: Instant,
    book: Mutex<Book>,
}

/// Room for nobody: of who has no connections.
impl Default for Guests {
    fn default() -> Self {
        Guests {
            is_trunk: Box::new(|_| false),
            most: 0,
            most_per_stranger: 0,
            began: Instant::now(),
            book: Mutex::default(),
        }
    }
}

impl fmt::Debug for Guests {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Guests").field("most", &self.most).finish_non_exhaustive()
    }
}

/// Who is there. Nothing in it outnumbers the connections.
#[derive(Default)]
struct Book {
    /// Connections, but for those that have been asked to leave.
    staying: usize,
    leaving: usize,
    /// Of `staying`, those in `houses`.
    strangers: usize,
    /// Everybody but trunks and those that we opened.
    by_flow: HashMap<FlowId, (Arc<Guest>, Standing)>,
    houses: HashMap<IpAddr, House>,
    /// The houses by how many passing connections they hold, then by all that they hold, and of those that hold as much
    /// the one last that has held it longest.
    by_size: BTreeSet<Rank>,
    turn: u64,
}

type Rank = (usize, usize, Reverse<u64>, IpAddr);

/// How a connection is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Standing {
    /// With its house.
    Stranger,
    /// A phone is bound by it.
    Phone,
    /// It was asked to leave.
    Leaving,
}

/// What one address holds that no phone is bound by; never none.
#[derive(Default)]
struct House {
    /// Nobody was taken at his word by these.
    passing: Vec<Arc<Guest>>,
    trusted: Vec<Arc<Guest>>,
    turn: u64,
}

/// A connection of somebody whose address no trunk knows.
struct Guest {
    flow: FlowId,
    house: IpAddr,
    /// When it brought something last, in milliseconds since [`Guests::began`].
    heard: AtomicU64,
    /// Since when it has been passing, likewise: it came then, or the phone that was bound by it is no more.
    since: AtomicU64,
    /// Changed while the book is held.
    is_trusted: AtomicBool,
    /// It is, or was: a call may go on by it.
    was_trusted: AtomicBool,
    leave: tokio::sync::Notify,
}

impl House {
    const fn size(&self) -> usize {
        self.passing.len() + self.trusted.len()
    }

    fn rank(&self, ip: IpAddr) -> Rank {
        (self.passing.len(), self.size(), Reverse(self.turn), ip)
    }

    fn those_with(&mut self, guest: &Guest) -> &mut Vec<Arc<Guest>> {
        if guest.is_trusted() { &mut self.trusted } else { &mut self.passing }
    }
}

impl Book {
    fn held_by(&self, house: IpAddr) -> usize {
        self.houses.get(&house).map_or(0, House::size)
    }

    /// Changes what a house holds, and ranks it anew.
    fn change(&mut self, ip: IpAddr, change: impl FnOnce(&mut House)) {
        self.turn += 1;
        let turn = self.turn;
        let house = self.houses.entry(ip).or_default();
        let before = house.size();
        self.by_size.remove(&house.rank(ip));
        house.turn = turn;
        change(house);
        let after = house.size();
        self.strangers = self.strangers + after - before;
        if after == 0 {
            self.houses.remove(&ip);
        } else {
            self.by_size.insert(house.rank(ip));
        }
    }

    fn enter(&mut self, guest: &Arc<Guest>) {
        self.change(guest.house, |house| house.those_with(guest).push(Arc::clone(guest)));
    }

    fn strike(&mut self, guest: &Guest) {
        self.change(guest.house, |house| house.those_with(guest).retain(|other| other.flow != guest.flow));
    }

    /// Asks one of a house's connections to leave: a passing one, if there is any, and of these the one that has been silent
    /// for longest. Looks at what the house holds, which is no more than one address may.
    fn make_room_in(&mut self, house: IpAddr, may: impl Fn(&Guest) -> bool) -> Option<()> {
        if self.leaving >= MOST_LEAVING {
            return None;
        }
        let House { passing, trusted, .. } = self.houses.get(&house)?;
        let longest = |those: &[Arc<Guest>]| {
            those.iter().filter(|guest| may(guest)).min_by_key(|guest| guest.heard()).cloned()
        };
        let guest = longest(passing).or_else(|| longest(trusted))?;
        self.strike(&guest);
        self.staying -= 1;
        self.leaving += 1;
        if let Some((_, standing)) = self.by_flow.get_mut(&guest.flow) {
            *standing = Standing::Leaving;
        }
        guest.leave.notify_one();
        Some(())
    }

    /// The same, in the house that holds most passing ones; where there is none, in the one that holds most.
    fn make_room(&mut self) -> Option<()> {
        let (_, _, _, house) = *self.by_size.last()?;
        self.make_room_in(house, |_| true)
    }
}

impl Guest {
    fn heard(&self) -> u64 {
        self.heard.load(Ordering::Relaxed)
    }

    fn since(&self) -> u64 {
        self.since.load(Ordering::Relaxed)
    }

    fn is_trusted(&self) -> bool {
        self.is_trusted.load(Ordering::Relaxed)
    }
}

impl Guests {
    /// `most`: connections of the node; `most_per_stranger`: of one unknown address.
    pub fn new(most: usize, most_per_stranger: usize, is_trunk: Trunks) -> Arc<Guests> {
        Arc::new(Guests { is_trunk, most, most_per_stranger, ..Guests::default() })
    }

    /// A place for the connection `flow`, which `from` opened. It is given back when dropped.
    ///
    /// Where its address holds as many as it may, one of these gives way if it is passing and silent, or has been passing for
    /// long. Where strangers do, or the node, gives way the one that has been silent for longest at the address that holds most
    /// passing ones.
    pub fn welcome(self: &Arc<Self>, from: IpAddr, flow: FlowId) -> Result<Place, NoRoom> {
        if (self.is_trunk)(from) {
            return self.invite();
        }
        let (now, house) = (self.now(), house(from));
        let mut book = self.book();
        if book.held_by(house) >= self.most_per_stranger {
            let is_over =
                |from: u64, time: Duration| u128::from(now.saturating_sub(from)) >= time.as_millis();
            let may = |guest: &Guest| {
                !guest.is_trusted() && (is_over(guest.heard(), SILENT) || is_over(guest.since(), PASSING))
            };
            book.make_room_in(house, may).ok_or(NoRoom::Address)?;
        }
        if book.strangers >= self.most / 4 * FOR_STRANGERS || book.staying >= self.most {
            book.make_room().ok_or(NoRoom::Node)?;
        }
        let guest = Arc::new(Guest {
            flow,
            house,
            heard: AtomicU64::new(now),
            since: AtomicU64::new(now),
            is_trusted: AtomicBool::new(false),
            was_trusted: AtomicBool::new(false),
            leave: tokio::sync::Notify::new(),
        });
        book.staying += 1;
        book.enter(&guest);
        book.by_flow.insert(flow, (Arc::clone(&guest), Standing::Stranger));
        Ok(Place { guests: Arc::clone(self), guest: Some(guest) })
    }

    /// A place for a connection that we open, or a trunk.
    pub fn invite(self: &Arc<Self>) -> Result<Place, NoRoom> {
        let mut book = self.book();
        if book.staying >= self.most {
            book.make_room().ok_or(NoRoom::Node)?;
        }
        book.staying += 1;
        Ok(Place { guests: Arc::clone(self), guest: None })
    }

    /// A phone is bound by this flow: it is no stranger's.
    pub fn is_bound(&self, flow: FlowId) {
        self.changes(flow, Standing::Stranger, Standing::Phone);
    }

    /// No phone is bound by it any more: it has to be taken at its word anew.
    pub fn is_unbound(&self, flow: FlowId) {
        self.changes(flow, Standing::Phone, Standing::Stranger);
    }

    /// Somebody was taken at his word by it.
    fn is_trusted(&self, guest: &Arc<Guest>) {
        let mut book = self.book();
        let standing = book.by_flow.get(&guest.flow).map(|(_, standing)| *standing);
        let is_counted = standing == Some(Standing::Stranger);
        if is_counted {
            book.strike(guest);
        }
        guest.is_trusted.store(true, Ordering::Relaxed);
        guest.was_trusted.store(true, Ordering::Relaxed);
        if is_counted {
            book.enter(guest);
        }
    }

    fn changes(&self, flow: FlowId, from: Standing, to: Standing) {
        let mut book = self.book();
        let Some((guest, standing)) = book.by_flow.get_mut(&flow) else { return };
        if *standing != from {
            return;
        }
        *standing = to;
        let guest = Arc::clone(guest);
        match to {
            Standing::Stranger => {
                guest.since.store(self.now(), Ordering::Relaxed);
                guest.is_trusted.store(false, Ordering::Relaxed);
                book.enter(&guest);
            }
            Standing::Phone | Standing::Leaving => book.strike(&guest),
        }
    }

    /// Connections held now.
    pub fn total(&self) -> usize {
        let book = self.book();
        book.staying + book.leaving
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn now(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

/// One connection's place.
pub struct Place {
    guests: Arc<Guests>,
    /// `None`: a trunk's, or one that we opened.
    guest: Option<Arc<Guest>>,
}

impl Place {
    /// It has brought something.
    pub fn hears(&self) {
        if let Some(guest) = &self.guest {
            guest.heard.store(self.guests.now(), Ordering::Relaxed);
        }
    }

    /// Its far end was taken at its word: it is no passer-by.
    pub fn trusts(&self) {
        if let Some(guest) = self.guest.as_ref().filter(|guest| !guest.is_trusted()) {
            self.guests.is_trusted(guest);
        }
    }

    /// Since when it is there, where nobody by it is a trunk, or was ever taken at his word.
    pub fn passing_since(&self) -> Option<Instant> {
        let guest = self.guest.as_ref().filter(|guest| !guest.was_trusted.load(Ordering::Relaxed))?;
        Some(self.guests.began + Duration::from_millis(guest.since()))
    }

    /// Waits until it has to give way.
    pub async fn gives_way(&self) {
        match &self.guest {
            Some(guest) => guest.leave.notified().await,
            None => std::future::pending().await,
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut book = self.guests.book();
        let entry = self.guest.as_ref().and_then(|guest| book.by_flow.remove(&guest.flow));
        match entry {
            Some((_, Standing::Leaving)) => book.leaving -= 1,
            Some((guest, Standing::Stranger)) => {
                book.staying -= 1;
                book.strike(&guest);
            }
            Some((_, Standing::Phone)) | None => book.staying -= 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A trunk has 127.0.0.9.
    fn guests(most: usize, most_per_stranger: usize) -> Arc<Guests> {
        Guests::new(most, most_per_stranger, Box::new(|addr| addr == IpAddr::from([127, 0, 0, 9])))
    }

    /// Those that come from an address, each by a flow of its own.
    fn come(guests: &Arc<Guests>, from: [u8; 4], flows: impl IntoIterator<Item = u64>) -> Vec<Place> {
        flows.into_iter().map(|flow| guests.welcome(from.into(), FlowId(flow)).unwrap()).collect()
    }

    /// Nothing has come by it for so long.
    fn is_silent(place: &Place, seconds: u64) {
        let guest = place.guest.as_ref().unwrap();
        guest.heard.fetch_sub(seconds * 1000, Ordering::Relaxed);
    }

    /// The same as if the node ran for an hour.
    fn of_old(guests: Arc<Guests>) -> Arc<Guests> {
        let mut guests = guests;
        let inner = Arc::get_mut(&mut guests).unwrap();
        inner.began = inner.began.checked_sub(Duration::from_secs(3600)).unwrap();
        guests
    }

    /// It has been passing for so long.
    fn is_passing(place: &Place, seconds: u64) {
        let guest = place.guest.as_ref().unwrap();
        guest.since.fetch_sub(seconds * 1000, Ordering::Relaxed);
    }

    /// Which of them were asked to leave.
    fn leaving(places: &[Place]) -> Vec<u64> {
        let flows = places.iter().filter_map(|place| Some(place.guest.as_ref()?.flow));
        flows
            .filter(|flow| {
                let book = places[0].guests.book();
                book.by_flow.get(flow).is_some_and(|(_, standing)| *standing == Standing::Leaving)
            })
            .map(|flow| flow.0)
            .collect()
    }

    fn is_without_a_trace(guests: &Guests) -> bool {
        let book = guests.book();
        book.by_flow.is_empty()
            && book.houses.is_empty()
            && book.by_size.is_empty()
            && (book.staying, book.leaving, book.strangers) == (0, 0, 0)
    }

    #[test]
    fn a_stranger_may_hold_so_many_and_a_trunk_any_number() {
        let guests = guests(10, 2);
        let stranger = IpAddr::from([127, 0, 0, 1]);
        let first = guests.welcome(stranger, FlowId(1)).unwrap();
        let second = guests.welcome(stranger, FlowId(2)).unwrap();
        assert_eq!(guests.welcome(stranger, FlowId(3)).err(), Some(NoRoom::Address));
        drop(first);
        assert!(guests.welcome(stranger, FlowId(3)).is_ok());
        drop(second);
        let held = come(&guests, [127, 0, 0, 9], 10..20);
        assert_eq!(guests.invite().err(), Some(NoRoom::Node));
        drop(held);
        assert!(is_without_a_trace(&guests));
    }

    #[test]
    fn r14_strangers_leave_room_for_trunks_and_for_us_and_a_house_is_one_whatever_its_addresses() {
        let guests = guests(8, 2);
        let held: Vec<Place> = (1..4)
            .flat_map(|last| come(&guests, [127, 0, 1, last], [u64::from(last) * 2, u64::from(last) * 2 + 1]))
            .collect();
        let newcomer = come(&guests, [127, 0, 2, 1], [20]);
        assert_eq!((leaving(&held), guests.total()), (vec![2], 7), "three quarters, and one on its way out");
        let ours = (guests.welcome([127, 0, 0, 9].into(), FlowId(21)).unwrap(), guests.invite().unwrap());
        assert_eq!(leaving(&held), [2]);
        let more = guests.invite().unwrap();
        assert_eq!(leaving(&held).len(), 2, "nor do they keep us from our gateways");
        drop((held, ours, more, newcomer));
        let house = |last| IpAddr::from([0x2001, 0xdb8, 1, 2, 0, 0, 0, last]);
        let held = [1, 2].map(|last| guests.welcome(house(last), FlowId(u64::from(last))).unwrap());
        assert_eq!(guests.welcome(house(3), FlowId(3)).err(), Some(NoRoom::Address));
        assert!(guests.welcome([0x2001, 0xdb8, 1, 3, 0, 0, 0, 1].into(), FlowId(4)).is_ok());
        drop(held);
        assert!(is_without_a_trace(&guests));
    }

    #[test]
    fn r14_connections_that_phones_have_registered_by_are_no_strangers_until_they_are_bound_no_more() {
        let guests = guests(100, 2);
        let office = [127, 0, 0, 1];
        let mut phones = Vec::new();
        for flow in 100..180 {
            phones.extend(come(&guests, office, [flow]));
            guests.is_bound(FlowId(flow));
            // Another one of the same agent, which changes nothing.
            guests.is_bound(FlowId(flow));
        }
        assert_eq!((guests.total(), guests.book().strangers), (80, 0), "more than strangers may hold");
        let held = come(&guests, office, [1, 3]);
        assert_eq!(guests.welcome(office.into(), FlowId(5)).err(), Some(NoRoom::Address));
        drop(held);
        for flow in [100, 101] {
            guests.is_unbound(FlowId(flow));
        }
        assert_eq!(guests.welcome(office.into(), FlowId(5)).err(), Some(NoRoom::Address), "as before");
        guests.is_bound(FlowId(7));
        drop(phones);
        guests.is_unbound(FlowId(102));
        assert!(is_without_a_trace(&guests), "nor of who is gone when it is told");
    }

    #[test]
    fn r14_a_silent_connection_gives_way_to_another_of_its_address() {
        let guests = of_old(guests(100, 3));
        let held = come(&guests, [127, 0, 0, 1], 0..3);
        is_silent(&held[0], 11);
        is_silent(&held[1], 30);
        is_silent(&held[2], 60);
        held[2].trusts();
        let next = come(&guests, [127, 0, 0, 1], [3]);
        assert_eq!(leaving(&held), [1], "the longest silent of those that nobody was taken at his word by");
        held[0].hears();
        is_silent(&next[0], 9);
        let another = || guests.welcome([127, 0, 0, 1].into(), FlowId(5));
        assert_eq!(another().err(), Some(NoRoom::Address), "they talk");
        is_passing(&held[0], 31);
        assert_eq!(another().err(), Some(NoRoom::Address), "and have not talked for long");
        is_passing(&held[0], 1);
        let last = another().unwrap();
        assert_eq!(
            leaving(&held),
            [0, 1],
            "it has talked for long, and asked for nothing that it was granted"
        );
        drop((held, next, last));
        assert!(is_without_a_trace(&guests));
    }

    #[test]
    fn r14_where_strangers_hold_all_that_they_may_one_of_who_holds_most_gives_way() {
        let guests = of_old(guests(16, 5));
        let phone = come(&guests, [127, 0, 0, 3], [1]);
        let flood = come(&guests, [127, 0, 0, 1], 10..15);
        let other = come(&guests, [127, 0, 0, 2], 20..24);
        is_silent(&phone[0], 9);
        is_silent(&flood[3], 2);
        is_silent(&other[0], 5);
        let mut late = come(&guests, [127, 0, 0, 4], [30, 31, 32]);
        assert_eq!(leaving(&flood), [13], "not the one that was silent for longest anywhere");
        late.extend(come(&guests, [127, 0, 0, 5], [40]));
        assert_eq!((leaving(&phone), leaving(&late)), (vec![], vec![]));
        assert_eq!(leaving(&flood).len() + leaving(&other).len(), 2, "one for each that came");
        assert_eq!(guests.book().strangers, 12);
        drop((phone, flood, other, late));
        assert!(is_without_a_trace(&guests));
    }

    /// Phones whose calls ring or talk, or that have left old connections behind, among strangers that hold one each.
    #[test]
    fn r14_who_was_taken_at_his_word_gives_way_where_nobody_is_passing() {
        let guests = of_old(guests(16, 5));
        let office = come(&guests, [127, 0, 0, 3], 1..5);
        office.iter().for_each(Place::trusts);
        office.iter().for_each(Place::trusts);
        let strangers: Vec<Place> =
            (10..18).flat_map(|at| come(&guests, [127, 0, 1, at as u8], [at])).collect();
        let mut late: Vec<Place> =
            (20..28).flat_map(|at| come(&guests, [127, 0, 2, at as u8], [at])).collect();
        assert_eq!((leaving(&office), leaving(&strangers).len()), (vec![], 8));
        late.iter().for_each(Place::trusts);
        late.extend(come(&guests, [127, 0, 3, 1], [30]));
        assert_eq!((leaving(&office).len(), leaving(&late).len()), (1, 0), "who holds most");
        late.extend(come(&guests, [127, 0, 3, 2], [31]));
        assert_eq!((leaving(&office).len(), leaving(&late)), (1, vec![30]), "passing, and so before that");
        drop((office, strangers, late));
        assert!(is_without_a_trace(&guests));
    }

    #[test]
    fn r14_a_connection_that_its_phone_has_left_is_a_passing_one_again() {
        let guests = of_old(guests(100, 3));
        let held = come(&guests, [127, 0, 0, 1], 0..3);
        for (flow, place) in (0..).zip(&held) {
            place.trusts();
            guests.is_bound(FlowId(flow));
            assert_eq!(place.passing_since(), None);
        }
        // Its phone registers by another one each time, and lets the old one stand.
        for flow in 0..3 {
            guests.is_unbound(FlowId(flow));
        }
        assert_eq!(
            held[0].passing_since(),
            None,
            "it is closed for that alone as late as ever: a call may go on by it"
        );
        assert_eq!(guests.welcome([127, 0, 0, 1].into(), FlowId(5)).err(), Some(NoRoom::Address));
        is_silent(&held[1], 11);
        let next = come(&guests, [127, 0, 0, 1], [5]);
        assert_eq!(leaving(&held), [1]);
        drop((held, next));
        assert!(is_without_a_trace(&guests));
    }

    #[test]
    fn r14_of_addresses_that_hold_one_each_the_first_gives_way_and_few_are_on_their_way_out() {
        let guests = of_old(guests(400, 5));
        let from = |at: u64| [127, 1, (at >> 8) as u8, at as u8];
        let held: Vec<Place> = (0..300).flat_map(|at| come(&guests, from(999 - at), [at])).collect();
        let late: Vec<Place> =
            (0..128).flat_map(|at| come(&guests, from(1_000 + at), [1_000 + at])).collect();
        assert_eq!(leaving(&held), (0..128).collect::<Vec<_>>());
        assert_eq!(guests.welcome(from(2_000).into(), FlowId(2_000)).err(), Some(NoRoom::Node));
        drop(held);
        assert!(guests.welcome(from(2_000).into(), FlowId(2_000)).is_ok());
        drop(late);
        assert!(is_without_a_trace(&guests));
    }
}
