//! What only lingers: for 64·T1 where there is room, shorter where it is crowded, never shorter than T4 + T2.

use super::*;

/// As crowded as can be, or not at all, or just between the two: what owners take of how much room.
const CROWDED: (usize, usize) = (1, 2);
const FREE: (usize, usize) = (1, 8);
const BETWEEN: (usize, usize) = (5, 16);

impl Bench {
    fn is(mut self, (taken, room): (usize, usize)) -> Bench {
        self.tx.set_owners(taken, room);
        self
    }
}

/// One of each kind that comes to linger at the first moment, by its timer's letter.
fn each_lingering(mut story: impl FnMut(char, Bench) -> Bench, crowd: (usize, usize)) {
    let udp = || Bench::udp().is(crowd);
    let answered = |mut bench: Bench, method, status| {
        let sent = bench.sends(method);
        bench.gets(&sent, status);
        bench
    };
    let bye = |mut bench: Bench| {
        let id = bench.begins(&request("BYE", "z9hG4bKbye", Transport::Udp, ";tag=us"));
        bench.answers(id, 200);
        bench
    };
    let acknowledging = |mut bench: Bench| {
        let sent = bench.sends(Method::Invite);
        bench.gets(&sent, 200);
        bench.tx.acknowledged(bench.now, sent.id);
        bench
    };
    let acknowledged = |mut bench: Bench| {
        let id = bench.begins(&invite_and_ack(bench.transport).0);
        bench.answers(id, 200);
        bench.tx.acked(bench.now, id);
        bench
    };
    for (letter, bench) in [
        ('D', answered(udp(), Method::Invite, 486)),
        ('J', bye(udp())),
        ('L', acknowledged(udp())),
        ('L', acknowledged(Bench::tcp().is(crowd))),
        ('M', acknowledging(udp())),
        ('M', acknowledging(Bench::tcp().is(crowd))),
    ] {
        story(letter, bench).silence();
    }
}

/// Each lingers so many milliseconds and no longer.
fn each_lingers(crowd: (usize, usize), millis: u64) {
    let story = |letter, mut bench: Bench| {
        bench.at(millis - 1);
        assert_ne!(bench.tx.live(), (0, 0), "{letter} ended before {millis} ms:\n{}", bench.story);
        bench.at(millis);
        assert_eq!(bench.tx.live(), (0, 0), "{letter} is not over after {millis} ms:\n{}", bench.story);
        bench
    };
    each_lingering(story, crowd);
}

#[test]
fn where_there_is_room_all_linger_for_64_t1() {
    each_lingers((0, 0), 32_000);
    each_lingers(FREE, 32_000);
}

#[test]
fn where_it_is_crowded_none_lingers_longer_than_t4_and_t2() {
    each_lingers(CROWDED, 9_000);
    each_lingers((1, 1), 9_000);
    each_lingers((9, 0), 9_000);
}

#[test]
fn between_the_two_the_time_falls_evenly() {
    // 20.5 s, but nobody is woken before the next whole second.
    each_lingers(BETWEEN, 21_000);
    let timers = Timers::RFC_3261;
    let lingers = [125, 200, 275, 350, 425, 500].map(|taken| Filling { taken, room: 1_000 }.linger(&timers));
    assert_eq!(lingers.map(|linger| linger.as_millis()), [32_000, 27_400, 22_800, 18_200, 13_600, 9_000]);
}

#[test]
fn with_other_timers_the_shortest_is_never_the_longest() {
    let timers = Timers { t1: millis(10), ..Timers::RFC_3261 };
    for taken in 0..10 {
        assert_eq!(Filling { taken, room: 9 }.linger(&timers), millis(640));
    }
}

#[test]
fn either_side_can_be_the_crowded_one() {
    for side in [Side::Server, Side::Client] {
        let mut bench = Bench::udp();
        bench.tx = Transactions::with(SEED, Timers::RFC_3261, 8);
        let lingering = bench.sends(Method::Invite);
        bench.gets(&lingering, 486);
        for number in 0..4 {
            match side {
                Side::Client => drop(bench.tx.reserve(1).expect("room")),
                Side::Server => {
                    let branch = format!("z9hG4bK{number}");
                    bench.begins(&request("INVITE", &branch, Transport::Udp, ";tag=us"));
                }
            }
        }
        bench.at(9_000);
        assert_eq!(bench.tx.owner(lingering.id), None, "{side:?}");
    }
}

#[test]
fn the_first_to_linger_is_the_first_to_go_and_room_keeps_the_others() {
    let mut bench = Bench::udp();
    // Half of it is taken; with two less it is between the two.
    bench.tx = Transactions::with(SEED, Timers::RFC_3261, 16);
    let sent: Vec<Sent> = (0..8).map(|_| bench.sends(Method::Invite)).collect();
    for (second, sent) in sent.iter().enumerate().rev() {
        bench.at(100 + 10 * (8 - second as u64)).gets(sent, 486);
    }
    bench.at(10_000);
    let live: Vec<bool> = sent.iter().map(|sent| bench.tx.owner(sent.id).is_some()).collect();
    assert_eq!(live, [true, true, true, true, true, true, true, false]);
    bench.silence();
}

#[test]
fn a_2xx_that_nobody_acknowledges_is_waited_for_however_crowded_it_is() {
    let mut bench = Bench::udp().is(CROWDED);
    let id = bench.begins(&invite_and_ack(Transport::Udp).0);
    bench.answers(id, 200).at(31_999).story();
    assert_eq!(bench.silence().story(), " 32000 ! ACK missing\n 32000 ! gone\n");
}

#[test]
fn timers_l_and_m_end_64_t1_after_the_2xx_or_when_it_is_crowded_soon_after_the_ack() {
    for (acked, crowd, gone) in
        [(28_000, FREE, 32_000), (28_000, CROWDED, 32_000), (20_000, FREE, 32_000), (20_000, CROWDED, 29_000)]
    {
        let mut bench = Bench::udp().is(crowd);
        let id = bench.begins(&invite_and_ack(Transport::Udp).0);
        bench.answers(id, 200).at(acked);
        bench.tx.acked(bench.now, id);
        bench.story();
        assert_eq!(bench.silence().story(), format!(" {gone} ! gone\n"));
        let mut bench = Bench::udp().is(crowd);
        let sent = bench.sends(Method::Invite);
        bench.gets(&sent, 200).at(acked);
        bench.tx.acknowledged(bench.now, sent.id);
        bench.story();
        assert_eq!(bench.silence().story(), format!(" {gone} ! gone\n"));
    }
}

#[test]
fn a_repeat_is_answered_though_two_answers_before_were_lost_however_crowded_it_is() {
    let mut bench = Bench::udp().is(CROWDED);
    let bye = request("BYE", "z9hG4bKbye", Transport::Udp, ";tag=us");
    let id = bench.begins(&bye);
    bench.answers(id, 200);
    // Its sender's timer E, each answer lost.
    for again in [500, 1_500, 3_500, 7_500] {
        assert_eq!(bench.at(again).comes(&bye), Meeting::Again(id));
    }
    assert_eq!(bench.tx.traffic().repeats_out, 4);
    assert!(matches!(bench.at(11_500).comes(&bye), Meeting::New(_)));
}

#[test]
fn an_idle_shard_is_woken_for_a_whole_second_at_once() {
    let mut bench = Bench::udp();
    let sent: Vec<Sent> = (0..100).map(|_| bench.sends(Method::Invite)).collect();
    for (number, sent) in (1..).zip(&sent) {
        bench.at(number * 10).gets(sent, 486);
    }
    bench.at(32_999);
    assert_eq!(bench.tx.live(), (0, 100));
    bench.at(33_000);
    assert_eq!(bench.tx.live(), (0, 0));
}

#[test]
fn a_whole_batch_does_not_wait_for_the_second() {
    let mut bench = Bench::udp().is(CROWDED);
    bench.at(100);
    for _ in 0..256 {
        let sent = bench.sends(Method::Invite);
        bench.gets(&sent, 486);
    }
    bench.at(9_099);
    assert_eq!(bench.tx.live(), (0, 256));
    bench.at(9_100);
    assert_eq!(bench.tx.live(), (0, 0));
}

/// A node whose calls are over at once, a hundredth of the real one: 10,000 transactions a side, 3,200 dialogs.
struct Busy {
    bench: Bench,
    calls: u64,
    /// The INVITE of each call that waits for repetitions: its dialog waits with it.
    dialogs: VecDeque<Id>,
    most: (usize, usize),
}

impl Busy {
    const DIALOGS: usize = 3_200;

    fn over(transport: Transport) -> Busy {
        let mut bench = Bench::over(transport);
        bench.tx = Transactions::with(SEED, Timers::RFC_3261, 10_000);
        Busy { bench, calls: 0, dialogs: VecDeque::new(), most: (0, 0) }
    }

    /// One call from its INVITE to its BYE, as both sides see it.
    fn call(&mut self) {
        self.calls += 1;
        let (transport, number, bench) = (self.bench.transport, self.calls, &mut self.bench);
        let id = bench.begins(&request("INVITE", &format!("z9hG4bKi{number}"), transport, ";tag=us"));
        let sent = bench.sends(Method::Invite);
        bench.gets(&sent, 200).answers(id, 200);
        bench.tx.acked(bench.now, id);
        bench.tx.acknowledged(bench.now, sent.id);
        self.dialogs.push_back(sent.id);
        let id = bench.begins(&request("BYE", &format!("z9hG4bKb{number}"), transport, ";tag=us"));
        let sent = bench.sends(Method::Bye);
        bench.gets(&sent, 200).answers(id, 200);
        bench.story.clear();
    }

    /// So many calls/s for so long. A shard that is never idle: it looks at its timers in each turn, and does
    /// not sleep until one is due.
    fn carries(&mut self, rate: u64, seconds: u64) -> (usize, usize) {
        self.most = (0, 0);
        for _ in 0..rate * seconds {
            self.bench.now = self.bench.now + Duration::from_micros(1_000_000 / rate);
            let Bench { tx, now, out, .. } = &mut self.bench;
            tx.set_owners(self.dialogs.len(), Busy::DIALOGS);
            if tx.next_deadline().is_some_and(|due| due <= *now) {
                tx.expire(*now, out);
                assert!(tx.next_deadline().is_none_or(|due| due > *now));
                self.bench.settle();
            }
            while self.dialogs.front().is_some_and(|id| self.bench.tx.owner(*id).is_none()) {
                self.dialogs.pop_front();
            }
            assert!(self.bench.tx.has_room_for_calls(), "after {} calls", self.calls);
            assert!(self.dialogs.len() < Busy::DIALOGS * 9 / 10, "after {} calls", self.calls);
            self.call();
            let (servers, clients) = self.bench.tx.live();
            self.most = (self.most.0.max(servers.max(clients)), self.most.1.max(self.dialogs.len()));
        }
        self.most
    }
}

#[test]
fn twenty_thousand_calls_a_second_never_fill_the_room_of_new_ones() {
    for (transport, rate, transactions, dialogs) in [
        (Transport::Udp, 200, 3_700, 1_850),
        (Transport::Udp, 140, 3_100, 1_550),
        (Transport::Tcp, 200, 1_850, 1_850),
        (Transport::Udp, 10, 650, 330),
    ] {
        let mut busy = Busy::over(transport);
        let most = busy.carries(rate, 5_000 / rate);
        assert!(most.0 < transactions && most.1 < dialogs, "{transport:?}, {rate}/s: {most:?}");
        assert!(
            most.0 > transactions * 9 / 10 && most.1 > dialogs * 9 / 10,
            "{transport:?}, {rate}/s: {most:?}"
        );
        busy.bench.silence();
    }
}

#[test]
fn when_it_is_less_crowded_again_all_linger_for_64_t1_again() {
    let mut busy = Busy::over(Transport::Udp);
    busy.carries(200, 10);
    busy.carries(5, 60);
    assert_eq!(busy.dialogs.len(), 5 * 32);
}
