//! Places where a test may end the process' work or double a call. In production nothing is hooked in.

/// Where in the life of an effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Place {
    /// The intent is decided, not yet written.
    BeforeIntent,
    /// The intent is durable, the call has not left.
    BeforeCall,
    /// The call was answered, the answer is not yet written.
    BeforeResult,
    /// The answer is durable.
    AfterResult,
}

/// What happens there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    Go,
    /// As `kill -9`: nothing more is written or sent by this engine.
    Die,
    /// The call is made twice.
    Twice,
}

/// Decides what happens at a place.
pub trait Hook: Send + Sync + std::fmt::Debug {
    /// Asked once per passage of a step.
    fn at(&self, place: Place, step: &str) -> Fate;
}

/// Nothing happens.
#[derive(Debug)]
pub struct NoHook;

impl Hook for NoHook {
    fn at(&self, _: Place, _: &str) -> Fate {
        Fate::Go
    }
}
