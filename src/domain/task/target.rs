//! What kind of account an effect would meet: what a decision takes for granted beside subject, action and parameters
//! (contract §13.6). Nothing is looked up here.

use std::collections::BTreeSet;
use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// What sets an account apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TargetClass {
    /// Holds a directory role.
    Privileged,
    /// Mastered on-premises.
    Synced,
    /// The home tenant owns it.
    Guest,
    /// Cannot sign in.
    Disabled,
    /// Not in the directory any more.
    Deleted,
}

impl TargetClass {
    /// What every reading of the account tells; the other comes with it only where somebody wants to know.
    const READ: [Self; 4] = [Self::Synced, Self::Guest, Self::Disabled, Self::Deleted];

    /// The word people are shown.
    pub fn word(self) -> &'static str {
        match self {
            Self::Privileged => "privileged",
            Self::Synced => "synced",
            Self::Guest => "guest",
            Self::Disabled => "disabled",
            Self::Deleted => "deleted",
        }
    }
}

/// An account's classes; none = a member of this tenant who can sign in.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Target(BTreeSet<TargetClass>);

impl Target {
    /// An account of these classes.
    pub fn of(classes: impl IntoIterator<Item = TargetClass>) -> Self {
        Self(classes.into_iter().collect())
    }

    /// As a reading of the user says (`account_enabled`, `synced`, `guest`, `privileged`); `None` where it says nothing of it.
    pub fn read(user: &Value) -> Option<Self> {
        let flag = |name: &str| user.get(name).and_then(Value::as_bool);
        let told = [
            (TargetClass::Privileged, flag("privileged")),
            (TargetClass::Synced, flag("synced")),
            (TargetClass::Guest, flag("guest")),
            (TargetClass::Disabled, flag("account_enabled").map(|enabled| !enabled)),
        ];
        let known = told.iter().any(|(_, is)| is.is_some());
        known.then(|| Self::of(told.into_iter().filter_map(|(class, is)| is.unwrap_or_default().then_some(class))))
    }

    /// The same account after another reading of the user: what such a reading does not tell stays.
    #[must_use]
    pub fn read_again(&self, fresh: &Self) -> Self {
        let kept = self.0.iter().filter(|class| !TargetClass::READ.contains(class));
        Self(kept.chain(&fresh.0).copied().collect())
    }

    /// With or without one class.
    #[must_use]
    pub fn with(&self, class: TargetClass, is: bool) -> Self {
        let mut classes = self.0.clone();
        if is {
            classes.insert(class)
        } else {
            classes.remove(&class)
        };
        Self(classes)
    }

    /// True for an account of this class.
    pub fn is(&self, class: TargetClass) -> bool {
        self.0.contains(&class)
    }

    /// True for a member of this tenant who can sign in.
    pub fn is_plain(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_plain() {
            return f.write_str("an enabled member");
        }
        let words: Vec<&str> = self.0.iter().map(|class| class.word()).collect();
        f.write_str(&words.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_reading_tells_three_classes_and_silence_tells_nothing() {
        let user = json!({"account_enabled": false, "synced": true, "guest": false});
        let target = Target::read(&user).expect("it says");
        assert_eq!(target.to_string(), "synced, disabled");
        assert_eq!(Target::read(&json!({"account_enabled": true})), Some(Target::default()));
        for silent in [json!(null), json!({}), json!({"guest": "yes"}), json!([1]), json!({"account_enabled": null})] {
            assert_eq!(Target::read(&silent), None, "{silent}");
        }
    }

    #[test]
    fn another_reading_keeps_what_it_cannot_tell() {
        let was = Target::of([TargetClass::Privileged, TargetClass::Guest, TargetClass::Deleted]);
        let now = was.read_again(&Target::of([TargetClass::Disabled]));
        assert_eq!(now, Target::of([TargetClass::Privileged, TargetClass::Disabled]));
        assert_eq!(serde_json::to_value(&now).expect("JSON"), json!(["privileged", "disabled"]));
    }
}
