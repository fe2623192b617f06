//! The one integration binary.

mod cli;

mod engine;

mod floors;

mod http;

mod playbooks;

mod sources;

mod store;

mod support;
