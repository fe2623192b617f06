//! The one integration binary.

mod engine;

mod playbooks;

mod sources;

mod store;

mod support;
