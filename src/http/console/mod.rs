//! The console: pages for the people who decide. `view` turns rows into HTML, `assets` are what the pages load.
//!
//! Nothing here reads the store, decides or signs anybody in; the handlers above it do.

pub mod assets;
pub mod view;
