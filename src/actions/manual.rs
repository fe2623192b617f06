//! `manual`: a task for a human, with instructions. The engine raises the task; nothing is called.

use async_trait::async_trait;

use crate::domain::ledger::Fault;
use crate::domain::plan::{MANUAL, Phase};
use crate::playbook::{ActionInfo, Parameter, ParameterType};

use super::{Action, Call, Done, READ};

static INFO: ActionInfo = ActionInfo {
    name: MANUAL,
    summary: "Asks a human to do something and waits until they say it is done.",
    phases: &[Phase::Eradicate, Phase::Recover],
    idempotent: false,
    parameters: &[
        Parameter {
            name: "instructions",
            kind: ParameterType::Text,
            required: true,
            summary: "What to do, as exactly as a tired person needs it.",
        },
        Parameter {
            name: "title",
            kind: ParameterType::Text,
            required: false,
            summary: "The headline of the task; made from the instructions unless given.",
        },
    ],
    example: "do: manual\nwith:\n  title: Ask the person\n  instructions: Call them on a known number and ask whether they travelled.",
    ..READ
};

#[derive(Debug)]
pub(super) struct Manual;

#[async_trait]
impl Action for Manual {
    fn info(&self) -> &'static ActionInfo {
        &INFO
    }

    async fn perform(&self, _call: &Call<'_>) -> Result<Done, Fault> {
        Err(Fault::refuse("OUST-A-MANUAL", "this step is done by a human: it is a task, not a call"))
    }
}
