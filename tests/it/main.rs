//! The one integration binary.

mod cli;

mod console;

mod engine;

mod floors;

mod http;

mod kill;

mod playbooks;

mod process;

mod serve;

mod scenarios;

mod sources;

mod step_matrix;

mod store;

mod support;
