//! What a policy comes to for one call, for tests: as the providers document it, as far as our policies need it.

use std::collections::BTreeMap;

use serde_json::Value;

/// One call, with what the service would know of it.
#[derive(Debug, Clone)]
pub(super) struct Call {
    action: &'static str,
    resource: String,
    context: BTreeMap<&'static str, String>,
}

impl Call {
    /// A call on an object, or with an empty key on the bucket.
    pub(super) fn on(action: &'static str, bucket: &str, key: &str) -> Self {
        let path = if key.is_empty() {
            String::new()
        } else {
            format!("/{key}")
        };
        Self {
            action,
            resource: format!("arn:aws:s3:::{bucket}{path}"),
            context: BTreeMap::from([("aws:SecureTransport", "true".to_owned())]),
        }
    }

    /// The same, with this said in it.
    pub(super) fn with(mut self, key: &'static str, value: impl Into<String>) -> Self {
        self.context.insert(key, value.into());
        self
    }
}

/// Whether a call is let through: something allows it and nothing denies it.
pub(super) fn is_allowed(policy: &Value, call: &Call) -> bool {
    let statements = policy["Statement"].as_array().unwrap();
    let matching: Vec<_> = statements
        .iter()
        .filter(|statement| matches(statement, call))
        .collect();
    let any = |effect: &str| {
        matching
            .iter()
            .any(|statement| statement["Effect"] == effect)
    };
    any("Allow") && !any("Deny")
}

fn matches(statement: &Value, call: &Call) -> bool {
    let any = |field: &str, text: &str| {
        let patterns = statement[field].as_array().unwrap();
        patterns
            .iter()
            .any(|pattern| is_like(pattern.as_str().unwrap(), text))
    };
    any("Action", call.action)
        && any("Resource", &call.resource)
        && holds(&statement["Condition"], call)
}

/// All operators and all keys must hold; a key that the call does not have makes all but `Null` false.
fn holds(condition: &Value, call: &Call) -> bool {
    let Some(operators) = condition.as_object() else {
        return true;
    };
    operators.iter().all(|(operator, keys)| {
        keys.as_object().unwrap().iter().all(|(key, wanted)| {
            let (wanted, found) = (wanted.as_str().unwrap(), call.context.get(key.as_str()));
            match (operator.as_str(), found) {
                ("Null", found) => found.is_none() == (wanted == "true"),
                ("StringEquals" | "Bool", Some(found)) => found == wanted,
                ("StringLike", Some(found)) => is_like(wanted, found),
                ("NumericGreaterThan", Some(found)) => {
                    found.parse::<f64>().unwrap() > wanted.parse::<f64>().unwrap()
                }
                ("StringEquals" | "Bool" | "StringLike" | "NumericGreaterThan", None) => false,
                (other, _) => panic!("{other}"),
            }
        })
    })
}

/// Our patterns have one star at most, at their end.
fn is_like(pattern: &str, text: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(start) => {
            assert!(!start.contains(['*', '?']), "{pattern}");
            text.starts_with(start)
        }
        None => pattern == text,
    }
}

#[test]
fn a_denial_beats_what_is_allowed_and_nothing_said_is_refused() {
    let policy = serde_json::json!({ "Statement": [
        { "Effect": "Allow", "Action": ["s3:PutObject"], "Resource": ["arn:aws:s3:::b/x/*"] },
        { "Effect": "Deny", "Action": ["s3:*"], "Resource": ["arn:aws:s3:::b/*"],
          "Condition": { "Null": { "s3:if-none-match": "true" } } },
        { "Effect": "Deny", "Action": ["s3:*"], "Resource": ["arn:aws:s3:::b/*"],
          "Condition": { "NumericGreaterThan": { "s3:object-lock-remaining-retention-days": "48" } } },
    ] });
    let put = |key: &str| Call::on("s3:PutObject", "b", key).with("s3:if-none-match", "*");
    assert!(is_allowed(&policy, &put("x/1")));
    assert!(!is_allowed(&policy, &put("y/1")));
    assert!(!is_allowed(&policy, &Call::on("s3:PutObject", "b", "x/1")));
    let days = "s3:object-lock-remaining-retention-days";
    assert!(is_allowed(&policy, &put("x/1").with(days, "48")));
    assert!(!is_allowed(&policy, &put("x/1").with(days, "48.5")));
    assert!(!is_allowed(
        &policy,
        &Call::on("s3:GetObject", "b", "x/1").with("s3:if-none-match", "*")
    ));
}
