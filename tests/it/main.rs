//! The one integration binary.

mod chaos;

mod cli;

mod console;

mod engine;

mod floors;

mod http;

mod kill;

mod playbooks;

mod process;

mod queues;

mod serve;

mod reviewers;

mod sign_in;

mod scenarios;

mod shared_store;

mod sources;

mod step_matrix;

mod store;

mod support;

mod takeover;
