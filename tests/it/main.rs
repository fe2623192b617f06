//! The one integration binary.

mod engine;
mod floors;
mod http;
mod playbooks;
mod sources;
mod support;
