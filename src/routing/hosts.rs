//! The host names of gateways and contacts, whose certificates have to bear them.

use std::num::NonZeroU16;

use super::Text;
use crate::sip::peer::NameId;
use crate::sip::uri::Uri;

/// Every name of this table and of those before it: an id that a connection bears means the same name in all of them.
/// Only grows, by the names that an operator writes; past 65,534 further ones are nobody's, and no connection to them
/// comes about.
#[derive(Clone, Debug, Default)]
pub struct HostNames(Vec<Text>);

impl HostNames {
    /// The id of a name that no certificate can bear.
    const NOBODY: NameId = NameId(NonZeroU16::MAX);

    /// The id of a URI's host; `None` where it is an address.
    pub(super) fn enter(&mut self, uri: &str) -> Option<NameId> {
        let uri = Uri::parse(uri.as_bytes()).ok().filter(|uri| uri.host_ip().is_none())?;
        let name = String::from_utf8_lossy(uri.host).to_ascii_lowercase();
        let name = name.trim_end_matches('.');
        let known = self.0.iter().position(|known| **known == *name);
        let place = known.unwrap_or(self.0.len());
        let id = u16::try_from(place + 1).ok().and_then(NonZeroU16::new).map_or(Self::NOBODY, NameId);
        if known.is_none() && id != Self::NOBODY {
            self.0.push(name.into());
        }
        Some(id)
    }

    /// In lower case, without the root's dot.
    pub fn get(&self, id: NameId) -> Option<&Text> {
        self.0.get(usize::from(id.0.get()) - 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_keeps_its_id_and_an_address_has_none() {
        let mut names = HostNames::default();
        assert_eq!(names.enter("sip:192.0.2.1"), None);
        assert_eq!(names.enter("sips:[2001:db8::1]"), None);
        let sbc = names.enter("sips:SBC.example.com.:5061;transport=tls").unwrap();
        let other = names.enter("sip:alice@other.example.com").unwrap();
        assert_ne!(sbc, other);
        let mut later = names.clone();
        assert_eq!(later.enter("sip:sbc.example.com"), Some(sbc));
        assert_eq!(later.get(sbc).map(|name| &**name), Some("sbc.example.com"));
        assert_eq!(later.get(HostNames::NOBODY), None);
    }
}
