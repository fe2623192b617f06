//! The one integration binary.

mod cli;

mod engine;

mod floors;

mod http;

mod playbooks;

mod sources;

mod step_matrix;

mod store;

mod support;
