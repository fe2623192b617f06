//! Guards: the rules below playbooks that refuse or park an effect. Every effect passes `judge`, and nothing else.
//!
//! Guards in front of a revoke read configuration and store only, never the network (contract §13.5).

use super::plan::EffectClass;

/// What is known of the break-glass group.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Membership {
    /// No group is configured, or the last known members do not include this person.
    #[default]
    NotAMember,
    /// In the last known list, however old it is.
    Member,
    /// A group is configured and was never read yet.
    NeverLoaded,
}

/// What the guards look at.
#[derive(Debug, Clone, Default)]
pub struct Facts {
    /// The object id is on the configured list.
    pub listed: bool,
    pub membership: Membership,
    /// Who paused oust and why; `None` = not paused.
    pub paused: Option<String>,
    /// The tenant's cap on revocations is reached (told by the store, in the transaction that would write the intent).
    pub over_cap: bool,
    /// When the tenant's parked work was last released by a human.
    pub released_at: Option<jiff::Timestamp>,
    /// When a human last denied the release of the tenant's parked work.
    pub denied_at: Option<jiff::Timestamp>,
}

/// What a guard says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ruling {
    Allow,
    /// Wait until a human (or the reason's end) frees it.
    Park(Parking),
    /// Never.
    Refuse(String),
}

/// Why an effect waits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Parking {
    Paused(String),
    BlastRadius,
    GroupUnknown,
}

impl Parking {
    /// The text kept in the journal once people denied the release.
    pub const DENIED: &str = "blast_radius: people denied its release; a newer alert about this person, or a revoke \
        asked for by hand, is judged anew";

    /// The text kept in the journal; its first word says who frees it.
    pub fn reason(&self) -> String {
        match self {
            Self::Paused(why) => format!("paused: {why}"),
            Self::BlastRadius => {
                "blast_radius: more people than guards.blast_radius allows; release it by the tenant's release task"
                    .into()
            }
            Self::GroupUnknown => "break_glass_group: its members were never read yet".into(),
        }
    }

    /// True when only the release task frees it.
    pub fn needs_release(reason: &str) -> bool {
        reason.starts_with("blast_radius")
    }

    /// True when people denied the release: what is newer does not wait for it.
    pub fn is_denied(reason: &str) -> bool {
        reason.starts_with("blast_radius: people denied")
    }
}

/// Judges one effect. `counted`: it counts against the blast radius (a first revoke; never the revoke that law 3
/// requires after another effect).
pub fn judge(class: EffectClass, counted: bool, facts: &Facts) -> Ruling {
    if class == EffectClass::Read {
        return Ruling::Allow;
    }
    if facts.listed || facts.membership == Membership::Member {
        return Ruling::Refuse("break-glass identity: no effect is ever sent for it; a human must look".into());
    }
    if let Some(why) = &facts.paused {
        return Ruling::Park(Parking::Paused(why.clone()));
    }
    if facts.membership == Membership::NeverLoaded && class == EffectClass::Hard {
        return Ruling::Park(Parking::GroupUnknown);
    }
    if counted && facts.over_cap {
        return Ruling::Park(Parking::BlastRadius);
    }
    Ruling::Allow
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn break_glass_is_refused_even_while_paused() {
        let facts = Facts { listed: true, paused: Some("drill".into()), ..Facts::default() };
        assert!(matches!(judge(EffectClass::Soft, true, &facts), Ruling::Refuse(_)));
        assert_eq!(judge(EffectClass::Read, false, &facts), Ruling::Allow);
    }

    #[test]
    fn an_unread_group_lets_soft_effects_go_and_parks_hard_ones() {
        let facts = Facts { membership: Membership::NeverLoaded, ..Facts::default() };
        assert_eq!(judge(EffectClass::Soft, true, &facts), Ruling::Allow);
        assert_eq!(judge(EffectClass::Hard, false, &facts), Ruling::Park(Parking::GroupUnknown));
    }

    #[test]
    fn the_cap_parks_first_revokes_only() {
        let facts = Facts { over_cap: true, ..Facts::default() };
        assert_eq!(judge(EffectClass::Soft, true, &facts), Ruling::Park(Parking::BlastRadius));
        assert_eq!(judge(EffectClass::Soft, false, &facts), Ruling::Allow);
        let reason = Parking::BlastRadius.reason();
        assert!(Parking::needs_release(&reason) && !Parking::is_denied(&reason));
        assert!(Parking::needs_release(Parking::DENIED) && Parking::is_denied(Parking::DENIED));
    }

    #[test]
    fn pause_parks_containment_too() {
        let facts = Facts { paused: Some("change freeze".into()), ..Facts::default() };
        assert_eq!(judge(EffectClass::Soft, true, &facts), Ruling::Park(Parking::Paused("change freeze".into())));
    }
}
