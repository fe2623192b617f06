//! Who may do what: one line a rule, one column a person.

/// Who tries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Who {
    /// No session.
    Nobody,
    /// An API token with every scope, no session.
    Token,
    Viewer,
    Analyst,
    /// An approver on call whose last proof is older than five minutes.
    Stale,
    /// An approver on call whose own account the case is about.
    Subject,
    /// An approver on call whose own account is at risk in another case.
    AtRisk,
    /// Was an approver on call, and is still signed in for all they know.
    Disabled,
    /// An approver whom no policy names.
    Unnamed,
    /// An approver on call, freshly proved, who is not the one it belongs to.
    Other,
}

pub const WHO: [Who; 10] = [
    Who::Nobody,
    Who::Token,
    Who::Viewer,
    Who::Analyst,
    Who::Stale,
    Who::Subject,
    Who::AtRisk,
    Who::Disabled,
    Who::Unnamed,
    Who::Other,
];

impl Who {
    /// Their account.
    pub fn name(self) -> &'static str {
        match self {
            Self::Nobody => "nobody",
            Self::Token => "token",
            Self::Viewer => "vera",
            Self::Analyst => "anna",
            Self::Stale => "stella",
            Self::Subject => "sue",
            Self::AtRisk => "ric",
            Self::Disabled => "dora",
            Self::Unnamed => "nina",
            Self::Other => "omar",
        }
    }
}

/// What guards a deed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rule {
    /// The first step of signing in; the second is bound to it.
    Open,
    /// The second step: for the browser that began.
    Begun,
    /// One's own session.
    Own,
    /// One's own passkeys, freshly proved.
    OwnFresh,
    /// A ceremony of somebody's session.
    OwnBegun,
    /// A ceremony of somebody's session, freshly proved.
    OwnBegunFresh,
    /// A passkey of somebody's.
    OwnKey,
    /// A step-up at the provider, for whoever signed in there.
    ByProvider,
    /// What is done to all: an approver, freshly proved, whose account is not in other hands.
    Acts,
    /// What is asked for in a case, decided later under a proof of its own: an approver whose account is sound.
    Asks,
    /// The same, for an analyst: somebody else decides it.
    AsksForReset,
    /// A decision: named by the policy, not about oneself; the proof comes with it.
    Decides,
    /// The proof of a decision begun by somebody who was entitled then.
    Proves,
    /// The proof of a decision that somebody else began.
    ProvesForAnother,
    /// A report about a task, or the person it is about: as a decision, on the session's own proof.
    Reports,
    /// Sealed to one browser.
    Receives,
    /// Needs script: nothing happens, whoever asks.
    Nothing,
}

/// They may.
const MAY: u16 = 0;

impl Rule {
    /// The answer to somebody who must not; `None`: they may.
    pub fn refuses(self, who: Who) -> Option<u16> {
        //   nobody token viewer analyst stale subject risk disabled unnamed other
        let line = match self {
            Self::Open => [MAY; 10],
            Self::Begun => [409; 10],
            Self::Own => [401, 401, MAY, MAY, MAY, MAY, MAY, 401, MAY, MAY],
            Self::OwnFresh => [401, 401, MAY, MAY, 403, MAY, MAY, 401, MAY, MAY],
            Self::OwnBegun => [401, 401, 409, 409, 409, 409, 409, 401, 409, 409],
            Self::OwnBegunFresh => [401, 401, 409, 409, 403, 409, 409, 401, 409, 409],
            Self::OwnKey => [401, 401, 404, 404, 403, 404, 404, 401, 404, 404],
            Self::ByProvider => [401, 401, 403, 403, 403, 403, 403, 401, 403, 403],
            Self::Acts => [401, 401, 403, 403, 403, 403, 403, 401, MAY, MAY],
            Self::Asks => [401, 401, 403, 403, MAY, 403, 403, 401, MAY, MAY],
            Self::AsksForReset => [401, 401, 403, MAY, MAY, 403, 403, 401, MAY, MAY],
            Self::Decides => [401, 401, 403, 403, MAY, 403, 403, 401, 403, MAY],
            Self::Proves => [401, 401, 403, 403, 409, 403, 403, 401, 403, 409],
            Self::ProvesForAnother => [401, 401, 403, 403, 409, 409, 409, 401, 409, 409],
            Self::Reports => [401, 401, 403, 403, 403, 403, 403, 401, MAY, MAY],
            Self::Receives => [401, 401, 403, 403, 403, 403, 403, 401, 403, 403],
            Self::Nothing => [401, 401, 403, 403, 422, 422, 422, 401, 422, 422],
        };
        let at = WHO.iter().position(|one| *one == who).expect("listed");
        Some(line[at]).filter(|status| *status != MAY)
    }
}
