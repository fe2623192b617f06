//! `oust demo` (skeleton).

use clap::Args;

use super::{Code, Failure, Out};

/// `oust demo`
#[derive(Debug, Args)]
pub(super) struct Demo {
    /// Tell the story once and end.
    #[arg(long)]
    once: bool,
}

impl Demo {
    pub async fn run(self, out: Out) -> Result<(), Failure> {
        out.note(if self.once { "once" } else { "" });
        Err(Failure::new(Code::Usage, "the demonstration is not built yet", ""))
    }
}
