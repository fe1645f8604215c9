//! R11, R12: nobody waits for ever for an offer that stays open, and each transfer is a call of its own.

use super::r11_transfer::{TARGET, callers_manner, office, refers, talking, told};
use super::*;

/// `mobile` has the first gateway and `spare`, the dearer trunk, the second; the DID rings alice.
pub fn two_trunks() -> String {
    let spare = format!(
        "[[trunk]]\nname = \"spare\"\ngateways = [{{ uri = \"sip:{}\" }}]\noutbound = true\npriority = 20\n\
         options_interval = 0\n\n",
        layout::gateway_addr(1)
    );
    let rest = format!("{spare}{}[dial]\nallow = [\"+1\"]\n", did("ring = [\"alice\"]"));
    let text = node_text("", "", &format!("number = \"{DID}\""), &rest);
    text.replace(&format!(", {{ uri = \"sip:{}\", priority = 20 }}", layout::gateway_addr(1)), "")
}

#[test]
fn r11_a_second_transfer_to_the_same_number_is_led_on_as_the_first_was() {
    for to in [TARGET, "sip:911@127.0.0.1"] {
        let mut call = talking(Setup::new(served(), &two_trunks()));
        for tries in 1..=2 {
            refers(&mut call, to);
            for gateway in ["gateway1", "gateway2"] {
                assert_eq!(count(&mut call, &format!("us → {gateway}"), "INVITE"), tries, "{to} {gateway}");
                call.refuses(gateway, 503).settle();
            }
            let last = told(&mut call, "alice").pop();
            assert_eq!(last.as_deref(), Some("SIP/2.0 480 Temporarily Unavailable"), "{to}");
        }
        // One that says nothing is not waited for either, as long as there is another.
        refers(&mut call, to);
        call.after(seconds(5));
        assert_ne!(count(&mut call, "us → gateway2", "INVITE"), 2, "{to}");
        call.hangs_up("caller").comes_to_rest();
    }
}

#[test]
fn r11_a_target_that_says_nothing_to_credentials_is_led_on_though_a_100_came_before_the_challenge() {
    let auth = "name = \"mobile\"\nauth = { username = \"we\", password = \"pass\" }\n";
    let mut call = talking(Setup::new(served(), &two_trunks().replace("name = \"mobile\"\n", auth)));
    refers(&mut call, TARGET);
    call.awaits("gateway1").does("gateway1", Act::Tries);
    let asks = "Digest realm=\"carrier\", nonce=\"n\", qop=\"auth\"";
    call.behaves("gateway1", Manner::default().with("Proxy-Authenticate", asks)).refuses("gateway1", 407);
    call.after(seconds(5));
    assert_ne!(count(&mut call, "us → gateway2", "INVITE"), 0);
    call.hangs_up("caller").comes_to_rest();
}

#[test]
fn r11_a_target_that_answers_while_another_offer_stays_open_is_let_go_in_time() {
    let mut call = talking(office());
    callers_manner(&mut call).stalls = Some(100);
    call.does("alice", Act::Holds).after(millis(50));
    refers(&mut call, TARGET);
    let mut call = call.ringing(["gateway1"]);
    call.answers("gateway1").after(seconds(32));
    assert_eq!(count(&mut call, "us → gateway1", "BYE"), 0);
    call.after(seconds(2));
    assert_eq!(header(&mut call, "us → gateway1", "BYE", "Reason").as_deref(), Some("Q.850;cause=102"));
    let last = call.messages("us → alice", "NOTIFY").pop().map(|last| body(&last));
    assert_eq!(last.as_deref(), Some("SIP/2.0 408 Request Timeout\r\nReason: Q.850;cause=102\r\n"));
    // The agent keeps the caller, and both may ask again once the open offer has ended too.
    callers_manner(&mut call).stalls = None;
    call.after(seconds(70));
    let asked = count(&mut call, "us → alice", "INVITE");
    call.does("caller", Act::Holds).after(millis(50));
    assert_eq!(count(&mut call, "us → alice", "INVITE"), asked + 1);
    assert_eq!((count(&mut call, "us → alice", "BYE"), count(&mut call, "us → caller", "BYE")), (0, 0));
    call.hangs_up("caller").comes_to_rest();
    assert_eq!(legs(&mut call)[2], "+13125550177 failed 200");
}

/// RFC 3261 §17.1.1.2: a provisional response ends Timer B, and nothing else ends a re-INVITE.
#[test]
fn r12_a_reinvite_that_has_a_100_and_nothing_more_is_given_up_and_both_may_ask_again() {
    // Whether the CANCEL is heard or not.
    for code in [None, Some(487)] {
        let mut call = bridged();
        call.behaves("gateway1", Manner { stalls: Some(100), ..Manner::default() });
        call.does("caller", Act::Holds).after(seconds(59));
        assert_eq!(count(&mut call, "us → gateway1", "CANCEL"), 0, "a person may be asked");
        call.after(seconds(2));
        assert_eq!(count(&mut call, "us → gateway1", "CANCEL"), 1);
        call.behaves("gateway1", Manner::default());
        match code {
            Some(code) => says(&mut call, code, None),
            None => _ = call.after(seconds(33)),
        }
        assert_eq!(count(&mut call, "us → caller", "504"), 1, "{code:?}");
        let asked =
            |call: &mut Call| (count(call, "us → gateway1", "INVITE"), count(call, "us → caller", "INVITE"));
        let before = asked(&mut call);
        call.does("caller", Act::Holds).after(millis(50));
        call.does("gateway1", Act::Holds).after(millis(50));
        assert_eq!(asked(&mut call), (before.0 + 1, before.1 + 1), "{code:?}");
        assert_eq!(
            (count(&mut call, "us → gateway1", "BYE"), count(&mut call, "us → caller", "BYE")),
            (0, 0)
        );
        call.hangs_up("caller").comes_to_rest();
    }
}

#[test]
fn r12_a_200_that_crosses_the_cancel_of_a_reinvite_is_passed_back() {
    let mut call = bridged();
    call.behaves("gateway1", Manner { stalls: Some(100), ..Manner::default() });
    call.does("caller", Act::Holds).after(seconds(61));
    assert_eq!(count(&mut call, "us → gateway1", "CANCEL"), 1);
    let (answers, acks) = (count(&mut call, "us → caller", "200"), count(&mut call, "us → gateway1", "ACK"));
    let sdp = call.messages("gateway1 → us", "200").remove(0).body;
    says(&mut call, 200, Some(sdp));
    assert_eq!(count(&mut call, "us → caller", "200"), answers + 1);
    assert_eq!(count(&mut call, "us → gateway1", "ACK"), acks + 1);
    assert_eq!(count(&mut call, "us → caller", "504"), 0);
    call.hangs_up("caller").comes_to_rest();
}

/// The gateway's final response to the last re-INVITE, which it had left open.
fn says(call: &mut Call, code: u16, sdp: Option<Vec<u8>>) {
    let Some(asked) = call.messages("us → gateway1", "INVITE").pop() else { panic!("nothing was asked") };
    let mut answer = Message::response(&asked, code, "Late").with_sdp(sdp.as_deref());
    answer.set("Contact", format!("<sip:{}>", layout::gateway_addr(0)));
    call.world.sends(layout::gateway_addr(0), &answer);
    call.settle();
}
