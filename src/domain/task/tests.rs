//! The edge cases (facts: approvals §8), one test each.

mod decide;
mod execute;
mod reveal;
