//! Microsoft Graph: one client, one retry policy, one file per resource.

/// The client of one tenant.
#[derive(Debug, Clone)]
pub struct Graph;

/// The last instant at which a request may be written, on a clock that counts suspension.
#[derive(Debug, Clone, Copy)]
pub struct SendBy;
