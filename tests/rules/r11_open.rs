//! R11: each transfer is a call of its own.

use super::r11_transfer::{TARGET, refers, talking, told};
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
