//! Sides that hold, move and come back, by what their descriptions say (R4, R11).

use super::*;

/// How long the place that a side has left is not listened to, less what a busy machine makes of it.
const LEFT: std::ops::Range<Duration> = Duration::from_millis(1_900)..Duration::from_secs(5);

/// How a side says that it wants to hear nobody (RFC 3264 §8.4).
#[derive(Clone, Copy)]
enum Hold {
    /// Its address is 0.0.0.0, the older way.
    Nowhere,
    SendOnly,
}

const HOLDS: [Hold; 2] = [Hold::Nowhere, Hold::SendOnly];

impl Call {
    fn holds(&self, how: Hold) {
        let place = match how {
            Hold::Nowhere => None,
            Hold::SendOnly => Some(self.caller.place()),
        };
        self.order(Order::Agree(
            CALLER,
            Agreed { place, formats: speech(), offers: 1, is_held: true, signals: None },
        ));
        self.says_nothing_to(CALLED);
        assert!(matches!(self.is_told(), Heard::Told(Told::Said(CALLED, 1))));
    }

    /// It offers the same once more.
    fn offers(&self, side: SideId, place: Place, offers: u32) {
        self.order(Order::Agree(
            side,
            Agreed { place: Some(place), formats: speech(), offers, is_held: false, signals: None },
        ));
    }
}

#[test]
fn r11_who_holds_hears_nothing_plays_music_and_comes_back_where_it_was() {
    for how in HOLDS {
        let mut call = Call::talking();
        call.holds(how);
        call.caller.says(0, b"music");
        assert_eq!(call.called.hears().2, b"music");
        call.called.says(0, b"to nobody");
        call.agree(CALLER, call.caller.place());
        call.has_obeyed();
        call.called.says(0, b"welcome back");
        assert_eq!(call.caller.hears().2, b"welcome back");
        call.caller.says(0, b"thanks");
        assert_eq!(call.called.hears().2, b"thanks");
        call.ends();
    }
}

#[test]
fn who_was_nowhere_may_come_back_somewhere_else() {
    let mut call = Call::talking();
    call.holds(Hold::Nowhere);
    let mut moved = Phone::new(call.caller.ours.port());
    call.agree(CALLER, moved.place());
    call.has_obeyed();
    call.called.says(0, b"welcome back");
    assert_eq!(moved.hears().2, b"welcome back");
    call.caller.says(0, b"late");
    moved.says(0, b"thanks");
    assert_eq!(call.called.hears().2, b"thanks");
    call.is_latched(CALLER);
    call.caller.has_heard_all();
    call.ends();
}

/// Neither the first word after a hold nor a whisper is lost to it, nor taken for said.
#[test]
fn what_is_said_to_who_holds_is_said_when_it_is_back() {
    for how in HOLDS {
        let mut call = Call::talking();
        call.holds(how);
        call.says_nothing_to(CALLER);
        call.holds(how);
        call.agree(CALLER, call.caller.place());
        assert!(matches!(call.is_told(), Heard::Told(Told::Said(CALLER, 1))));
        call.called.says(0, b"welcome back");
        assert_eq!(call.caller.hears().2, b"welcome back");
        call.ends();
    }
}

/// What was dropped meanwhile leaves no gap in the numbers that it sees (RFC 3550 §6.4.1 would count it as lost).
#[test]
fn whoever_comes_back_hears_a_stream_that_goes_on_where_it_was() {
    let mut call = Call::talking();
    call.called.says(0, b"before");
    let before = call.caller.hears().1;
    call.holds(Hold::Nowhere);
    for _ in 0..20 {
        call.called.says(0, b"to nobody");
    }
    call.called.says(101, &[1, 10, 0, 160]);
    assert!(matches!(call.is_told(), Heard::Told(Told::Pressed(CALLED, _))), "all of that has been heard");
    call.agree(CALLER, call.caller.place());
    call.has_obeyed();
    call.called.says(0, b"after");
    assert_eq!(call.caller.hears().1, before.wrapping_add(1));
    call.ends();
}

#[test]
fn who_offers_the_same_anew_behind_a_nat_is_heard_from_where_that_has_moved_it() {
    let mut call = Call::new();
    let named = Place {
        rtp: (Ipv4Addr::new(192, 0, 2, 9), 4_000).into(),
        rtcp: (Ipv4Addr::new(192, 0, 2, 9), 4_001).into(),
        is_behind_nat: true,
    };
    call.offers(CALLER, named, 1);
    call.has_obeyed();
    call.caller.says(0, b"hello");
    assert_eq!(call.called.hears().2, b"hello");
    call.is_latched(CALLER);
    call.offers(CALLER, named, 2);
    call.has_obeyed();
    // It is heard where it was until it is heard elsewhere, which is not before it has fallen silent there.
    call.caller.says(0, b"under way");
    assert_eq!(call.called.hears().2, b"under way");
    let mut moved = Phone::new(call.caller.ours.port());
    call.called.rtp.set_read_timeout(Some(Duration::from_millis(20))).expect("a time");
    let heard = (0..250).any(|_| {
        moved.says(0, b"and here");
        call.called.rtp.recv(&mut [0; 64]).is_ok()
    });
    assert!(heard);
    call.is_latched(CALLER);
    call.called.rtp.set_read_timeout(Some(Duration::from_secs(5))).expect("a time");
    call.called.says(0, b"good");
    assert_eq!(moved.hears().2, b"good");
    call.ends();
}

#[test]
fn both_may_move_at_once_and_again() {
    let mut call = Call::talking();
    for _ in 0..3 {
        let sides = [(CALLER, call.caller.ours), (CALLED, call.called.ours)];
        let [mut caller, mut called] = sides.map(|(side, ours)| {
            let moved = Phone::new(ours.port());
            call.agree(side, moved.place());
            moved
        });
        call.has_obeyed();
        caller.says(0, b"here");
        assert_eq!(called.hears().2, b"here");
        call.is_latched(CALLER);
        called.says(0, b"here too");
        assert_eq!(caller.hears().2, b"here too");
        call.is_latched(CALLED);
        (call.caller, call.called) = (caller, called);
    }
    call.ends();
}

#[test]
fn the_place_that_a_side_has_left_is_not_listened_to_for_two_seconds() {
    let mut call = Call::talking();
    // It says that it is elsewhere, and goes on speaking from where it was.
    let said = Phone::new(call.caller.ours.port());
    call.agree(CALLER, said.place());
    call.has_obeyed();
    let begun = Instant::now();
    call.called.rtp.set_read_timeout(Some(Duration::from_millis(20))).expect("a time");
    let heard = (0..250).any(|_| {
        call.caller.says(0, b"still here");
        call.called.rtp.recv(&mut [0; 64]).is_ok()
    });
    assert!(heard && LEFT.contains(&begun.elapsed()), "{heard}, after {:?}", begun.elapsed());
    call.is_latched(CALLER);
    // What is said to it goes where it said.
    call.called.says(0, b"are you there?");
    assert_eq!(said.hears().2, b"are you there?");
    call.ends();
}

#[test]
fn behind_a_nat_a_side_is_where_it_speaks_from_until_it_says_that_it_moved() {
    let mut call = Call::new();
    let named = |port: u16| Place {
        rtp: (Ipv4Addr::new(192, 0, 2, 9), port).into(),
        rtcp: (Ipv4Addr::new(192, 0, 2, 9), port + 1).into(),
        is_behind_nat: true,
    };
    call.agree(CALLER, named(4_000));
    call.has_obeyed();
    call.caller.says(0, b"hello");
    assert_eq!(call.called.hears().2, b"hello");
    call.is_latched(CALLER);
    call.called.says(0, b"hello");
    assert_eq!(call.caller.hears().2, b"hello");
    call.is_latched(CALLED);
    // The same said again is no move.
    call.agree(CALLER, named(4_000));
    call.has_obeyed();
    let mut other = Phone::new(call.caller.ours.port());
    other.says(0, b"buy this");
    call.caller.says(0, b"I am still here");
    assert_eq!(call.called.hears().2, b"I am still here");
    call.agree(CALLER, named(5_000));
    call.has_obeyed();
    call.caller.says(0, b"late");
    other.says(0, b"and here");
    assert_eq!(call.called.hears().2, b"and here");
    call.is_latched(CALLER);
    call.called.says(0, b"good");
    assert_eq!(other.hears().2, b"good");
    call.ends();
}

#[test]
fn a_refresh_in_the_middle_of_words_loses_none() {
    let mut call = Call::talking();
    for word in 0..50u8 {
        call.caller.says(0, &[word; 20]);
        call.agree(CALLER, call.caller.place());
        assert_eq!(call.called.hears().2, [word; 20]);
    }
    let [caller, _] = call.ends();
    assert_eq!((caller.received, caller.lost), (51, 0));
}
