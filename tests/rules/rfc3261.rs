//! What an INVITE asks for that we do not do, or not for ever.

use super::*;

#[test]
fn r11_an_invite_that_replaces_a_dialog_is_481_and_writes_its_record() {
    for (require, told) in [(None, 481), (Some("replaces"), 420)] {
        let mut manner = Manner::default().with("Replaces", "425928@x;to-tag=7743;from-tag=6472");
        if let Some(tag) = require {
            manner = manner.with("Require", tag);
        }
        let mut call = forward().caller(manner).incoming(DID);
        assert_eq!(call.caller_is_told(), Some(told));
        call.comes_to_rest();
        assert_eq!(end(&mut call), format!("failed {told} us"));
        assert_eq!(legs(&mut call), [format!("caller failed {told}")]);
    }
}
