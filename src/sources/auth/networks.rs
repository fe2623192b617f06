//! An allow-list of networks, in addition to a credential; never instead of one.

use std::net::IpAddr;

use ipnet::IpNet;

/// Networks a sender may come from; empty means any.
#[derive(Debug, Clone, Default)]
pub struct Networks {
    list: Vec<IpNet>,
}

impl Networks {
    /// Wraps a configured list.
    pub fn new(list: &[IpNet]) -> Self {
        Self { list: list.to_vec() }
    }

    /// True when the peer is inside one of them. A peer that is not known is not inside.
    pub fn admit(&self, peer: Option<IpAddr>) -> bool {
        self.list.is_empty()
            || peer.is_some_and(|peer| {
                // A dual-stack socket shows an IPv4 peer as ::ffff:a.b.c.d.
                let peer = peer.to_canonical();
                self.list.iter().any(|network| network.contains(&peer))
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_listed_networks_are_admitted_and_an_empty_list_admits_all() {
        let list =
            Networks::new(&["203.0.113.0/24".parse().expect("a network"), "2001:db8::/32".parse().expect("one")]);
        for (peer, admitted) in [
            ("203.0.113.9", true),
            ("::ffff:203.0.113.9", true),
            ("2001:db8::7", true),
            ("198.51.100.1", false),
            ("::1", false),
        ] {
            assert_eq!(list.admit(peer.parse().ok()), admitted, "{peer}");
        }
        assert!(!list.admit(None));
        assert!(Networks::default().admit(None));
    }
}
