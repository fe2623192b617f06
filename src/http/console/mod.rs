//! The console: pages for the people who decide. `view` turns rows into HTML, `assets` are what the pages load, and the
//! rest reads the store for them and hands what people do to the engine's one door.
//!
//! Nobody is signed in here (`sign_in` does), and nothing here decides about a case.

pub mod assets;
pub mod view;

mod answer;
mod buried;
mod case;
mod deeds;
mod feed;
mod gather;
mod home;
mod orders;
mod pages;
mod parked;
mod playbooks;
mod routes;
mod settings;
mod state;
mod tasks;

pub use routes::{ABSENT, absent, router, routes};
pub use state::{Configured, Console, Parts, SourceFacts, TenantFacts};
