//! Policies as JSON.

use std::collections::BTreeMap;

use serde::Serialize;

/// A document of the IAM policy language.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Policy {
    version: &'static str,
    statement: Vec<Statement>,
}

/// What is allowed or denied.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Statement {
    sid: &'static str,
    effect: Effect,
    #[serde(skip_serializing_if = "Option::is_none")]
    principal: Option<&'static str>,
    action: Vec<&'static str>,
    resource: Vec<String>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    condition: BTreeMap<&'static str, BTreeMap<&'static str, String>>,
}

/// Which of the two.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub(super) enum Effect {
    /// Done unless denied elsewhere.
    Allow,
    /// Never done.
    Deny,
}

impl Statement {
    /// Allows these.
    pub(super) fn allow(sid: &'static str, action: &[&'static str], resource: &[String]) -> Self {
        Self {
            sid,
            effect: Effect::Allow,
            principal: None,
            action: action.to_vec(),
            resource: resource.to_vec(),
            condition: BTreeMap::new(),
        }
    }

    /// Denies these, whatever else allows them.
    pub(super) fn deny(sid: &'static str, action: &[&'static str], resource: &[String]) -> Self {
        Self {
            effect: Effect::Deny,
            ..Self::allow(sid, action, resource)
        }
    }

    /// The same, only where this holds as well.
    #[must_use]
    pub(super) fn when(
        mut self,
        operator: &'static str,
        key: &'static str,
        value: impl Into<String>,
    ) -> Self {
        let keys = self.condition.entry(operator).or_default();
        keys.insert(key, value.into());
        self
    }
}

impl Policy {
    /// For whomever it is attached to.
    pub(super) fn of_identity(statement: Vec<Statement>) -> Self {
        Self {
            // The language's present version, and its only one with variables.
            version: "2012-10-17",
            statement,
        }
    }

    /// For everybody who calls the bucket that it is attached to.
    pub(super) fn of_bucket(statement: Vec<Statement>) -> Self {
        let everybody = |statement: Statement| Statement {
            principal: Some("*"),
            ..statement
        };
        Self::of_identity(statement.into_iter().map(everybody).collect())
    }

    /// As text, indented.
    pub(crate) fn to_text(&self) -> String {
        // Strings and lists of them: nothing that JSON lacks.
        serde_json::to_string_pretty(self).unwrap_or_default()
    }
}
