//! Views: what a page shows, as plain values made from rows, and the HTML they become.
//!
//! Every page is a view model plus a template beside it; `of` functions turn rows of store and domain into models and
//! are pure. Templates escape everything; what comes from outside is also cut and freed of control and direction
//! characters (`text`) before it gets here. Nothing here reads, writes, or knows who is signed in beyond what it is
//! told. The URLs that forms and scripts use are in `paths`; each says what it expects.
//!
//! A page is whole without script. With it, the regions that carry `data-live` are fetched anew (`?fragment=live`,
//! `?fragment=status`) when the event stream names one of their topics.

pub mod audit;
pub mod buried;
pub mod case;
pub mod error;
pub mod evidence;
pub mod exposure;
pub mod home;
pub mod markup;
pub mod orders;
pub mod overview;
pub mod paths;
pub mod person;
pub mod playbooks;
pub mod settings;
pub mod shell;
pub mod sign_in;
pub mod story;
pub mod task;
pub mod tasks;
pub mod text;
pub mod timeline;
pub mod words;

pub use markup::{Left, Tag, Tone, When};
pub use shell::{Section, Shell};

use std::collections::BTreeMap;

use jiff::Timestamp;

use crate::domain::task::Reviewer;

/// What can be rendered: whole, or the part that a live region asks for.
pub trait Page {
    /// The whole page.
    ///
    /// # Errors
    /// Never in practice: a model is complete.
    fn html(&self) -> Result<String, askama::Error>;

    /// One region: `live` (the page's own) or `status` (banners and counts). `None`: there is no such region, answer
    /// with the whole page.
    ///
    /// # Errors
    /// As `html`.
    fn fragment(&self, name: &str) -> Result<Option<String>, askama::Error>;
}

/// A page: the frame around it, its model, its template.
macro_rules! page {
    ($(#[$doc:meta])* $page:ident, $view:ty, $path:literal) => {
        $(#[$doc])*
        #[derive(Debug, askama::Template)]
        #[template(path = $path, config = "src/http/console/askama.toml", blocks = ["live", "status"])]
        pub struct $page<'a> {
            pub shell: &'a $crate::http::console::view::Shell,
            pub view: &'a $view,
        }

        impl $crate::http::console::view::Page for $page<'_> {
            fn html(&self) -> Result<String, askama::Error> {
                askama::Template::render(self)
            }

            fn fragment(&self, name: &str) -> Result<Option<String>, askama::Error> {
                match name {
                    "live" => askama::Template::render(&self.as_live()).map(Some),
                    "status" => askama::Template::render(&self.as_status()).map(Some),
                    _ => Ok(None),
                }
            }
        }
    };
}
use page;

/// Who looks, when, and how people are called.
#[derive(Debug, Clone, Copy)]
pub struct Eye<'a> {
    pub now: Timestamp,
    /// The signed-in reviewer; `None` shows everything and offers nothing.
    pub me: Option<&'a Reviewer>,
    pub names: &'a Names,
}

/// Reviewers' ids and what they are called.
#[derive(Debug, Clone, Default)]
pub struct Names(pub BTreeMap<String, String>);

impl Names {
    /// The name with the id: people choose their names, and two may choose the same. The id alone where it is the name.
    pub fn of(&self, id: &str) -> String {
        match self.0.get(id).filter(|name| name.trim() != id) {
            Some(name) => text::line(&format!("{name} ({id})")),
            None => text::line(id),
        }
    }

    /// Several, as a sentence has them; `nobody` for none.
    pub fn list(&self, ids: &[String]) -> String {
        if ids.is_empty() {
            "nobody".to_owned()
        } else {
            words::and(&ids.iter().map(|id| self.of(id)).collect::<Vec<_>>())
        }
    }

    /// An audit actor (`reviewer:ada`, `operator:root`, `worker`) as people say it.
    pub fn actor(&self, actor: &str) -> String {
        match actor.split_once(':') {
            Some(("reviewer", id)) => self.of(id),
            Some((kind, id)) => text::line(&format!("{kind} {id}")),
            // No reviewer can be called that.
            None => text::line(&format!("oust's {actor}")),
        }
    }
}
