//! The visible list of actions.

use crate::playbook::{ActionInfo, Vocabulary};

use super::{
    Action, confirm_compromised, disable_account, disable_inbox_rules, dismiss_risk, enable_account, manual,
    read_auth_methods, read_inbox_rules, read_risk, read_sign_ins, read_user, reset_password, revoke_sessions,
};

/// Every action this binary knows, in catalogue order.
pub fn registry() -> Registry {
    Registry {
        actions: vec![
            Box::new(revoke_sessions::RevokeSessions),
            Box::new(disable_account::DisableAccount),
            Box::new(enable_account::EnableAccount),
            Box::new(confirm_compromised::ConfirmCompromised),
            Box::new(dismiss_risk::DismissRisk),
            Box::new(reset_password::ResetPassword),
            Box::new(read_user::ReadUser),
            Box::new(read_sign_ins::ReadSignIns),
            Box::new(read_risk::ReadRisk),
            Box::new(read_inbox_rules::ReadInboxRules),
            Box::new(disable_inbox_rules::DisableInboxRules),
            Box::new(read_auth_methods::ReadAuthMethods),
            Box::new(manual::Manual),
        ],
    }
}

/// The actions by name.
#[derive(Debug)]
pub struct Registry {
    actions: Vec<Box<dyn Action>>,
}

impl Registry {
    /// The action of this name.
    pub fn get(&self, name: &str) -> Option<&dyn Action> {
        self.iter().find(|action| action.info().name == name)
    }

    /// Every action, in catalogue order.
    pub fn iter(&self) -> impl Iterator<Item = &dyn Action> {
        self.actions.iter().map(AsRef::as_ref)
    }
}

impl Vocabulary for Registry {
    fn action(&self, name: &str) -> Option<&ActionInfo> {
        self.get(name).map(Action::info)
    }

    fn all(&self) -> Vec<&ActionInfo> {
        self.iter().map(Action::info).collect()
    }
}
