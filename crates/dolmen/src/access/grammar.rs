//! A strict reader of policies, for tests: what it does not know, it refuses.
//!
//! Sources: the grammar of the IAM policy language; the service authorization reference of Amazon S3 for actions, their
//! resource types and condition keys; for MinIO the tables of its policy package; for Wasabi the policies that its
//! documentation, and that of tools for it, show.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

/// Whose language.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Dialect {
    AwsIdentity,
    AwsBucket,
    Wasabi,
    Minio,
}

/// What an action acts on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum On {
    Bucket,
    Object,
}

/// Keys of conditions that are an action's own, beside those that all have.
const NO_KEYS: &[&str] = &[];
const LIST_KEYS: &[&str] = &["s3:prefix", "s3:delimiter", "s3:max-keys"];
const PUT_KEYS: &[&str] = &[
    "s3:if-none-match",
    "s3:object-lock-mode",
    "s3:object-lock-remaining-retention-days",
    "s3:object-lock-legal-hold",
    "s3:x-amz-server-side-encryption-customer-algorithm",
];
const RETENTION_KEYS: &[&str] = &[
    "s3:object-lock-mode",
    "s3:object-lock-remaining-retention-days",
];
const HOLD_KEYS: &[&str] = &["s3:object-lock-legal-hold"];

const ACTIONS: [(&str, On, &[&str]); 21] = [
    ("s3:BypassGovernanceRetention", On::Object, NO_KEYS),
    ("s3:DeleteBucket", On::Bucket, NO_KEYS),
    ("s3:DeleteBucketPolicy", On::Bucket, NO_KEYS),
    ("s3:DeleteObject", On::Object, NO_KEYS),
    ("s3:DeleteObjectVersion", On::Object, &["s3:versionid"]),
    ("s3:GetBucketObjectLockConfiguration", On::Bucket, NO_KEYS),
    ("s3:GetBucketVersioning", On::Bucket, NO_KEYS),
    ("s3:GetLifecycleConfiguration", On::Bucket, NO_KEYS),
    ("s3:GetObject", On::Object, NO_KEYS),
    ("s3:GetObjectLegalHold", On::Object, NO_KEYS),
    ("s3:GetObjectRetention", On::Object, NO_KEYS),
    ("s3:GetObjectVersion", On::Object, &["s3:versionid"]),
    ("s3:ListBucket", On::Bucket, LIST_KEYS),
    ("s3:ListBucketVersions", On::Bucket, LIST_KEYS),
    ("s3:PutBucketObjectLockConfiguration", On::Bucket, NO_KEYS),
    ("s3:PutBucketPolicy", On::Bucket, NO_KEYS),
    ("s3:PutBucketVersioning", On::Bucket, NO_KEYS),
    ("s3:PutLifecycleConfiguration", On::Bucket, NO_KEYS),
    ("s3:PutReplicationConfiguration", On::Bucket, NO_KEYS),
    ("s3:PutObjectLegalHold", On::Object, HOLD_KEYS),
    ("s3:PutObjectRetention", On::Object, RETENTION_KEYS),
];
const PUT: (&str, On, &[&str]) = ("s3:PutObject", On::Object, PUT_KEYS);

/// Keys that every action has, with the kind of their values.
const GLOBAL_KEYS: &[&str] = &["aws:SecureTransport"];

impl Dialect {
    /// Characters that a document may have, and whether spaces between its parts count.
    const fn characters_max(self) -> (usize, bool) {
        match self {
            // A managed policy.
            Self::AwsIdentity | Self::Wasabi => (6144, false),
            Self::AwsBucket | Self::Minio => (20_480, true),
        }
    }

    /// Whether a key is known for an action.
    fn knows(self, action: &str, key: &str) -> bool {
        match self {
            Self::AwsIdentity | Self::AwsBucket => true,
            // Its tables have neither of these for puts.
            Self::Minio => {
                key != "s3:if-none-match"
                    && (action, key) != ("s3:PutObject", "s3:object-lock-remaining-retention-days")
            }
            Self::Wasabi => LIST_KEYS.contains(&key),
        }
    }
}

/// Refuses what is no policy of this dialect.
pub(super) fn check(text: &str, dialect: Dialect) -> Result<(), String> {
    let (most, counts_spaces) = dialect.characters_max();
    let characters = text.chars().filter(|c| counts_spaces || !c.is_whitespace());
    let characters = characters.count();
    if characters > most {
        return Err(format!("{characters} characters, and {most} are taken"));
    }
    let document: Value = serde_json::from_str(text).map_err(|error| error.to_string())?;
    let document = object(&document, "the policy", &["Version", "Statement"], &["Id"])?;
    if document["Version"] != "2012-10-17" {
        return Err("another version".to_owned());
    }
    let statements = document["Statement"]
        .as_array()
        .ok_or("Statement is no list")?;
    if statements.is_empty() {
        return Err("no statement".to_owned());
    }
    let mut sids = BTreeSet::new();
    for statement in statements {
        let sid = check_statement(statement, dialect)?;
        if !sids.insert(sid.clone()) {
            return Err(format!("Sid {sid} twice"));
        }
    }
    Ok(())
}

fn check_statement(value: &Value, dialect: Dialect) -> Result<String, String> {
    let mut required = vec!["Sid", "Effect", "Action", "Resource"];
    if dialect == Dialect::AwsBucket {
        required.push("Principal");
    }
    let statement = object(value, "a statement", &required, &["Condition"])?;
    let sid = statement["Sid"].as_str().ok_or("Sid is no text")?;
    if sid.is_empty() || !sid.chars().all(|c| c.is_ascii_alphanumeric()) {
        return Err(format!("Sid {sid}: only letters and digits"));
    }
    let fail = |why: String| format!("{sid}: {why}");
    if !["Allow", "Deny"].contains(&statement["Effect"].as_str().unwrap_or_default()) {
        return Err(fail("Effect".to_owned()));
    }
    if dialect == Dialect::AwsBucket && statement["Principal"] != "*" {
        return Err(fail("Principal".to_owned()));
    }
    let (actions, resources) = (texts(&statement["Action"])?, texts(&statement["Resource"])?);
    for resource in &resources {
        check_arn(resource).map_err(|why| fail(format!("{resource}: {why}")))?;
    }
    for action in &actions {
        check_action(action, &resources, &statement["Effect"]).map_err(fail)?;
    }
    if let Some(condition) = statement.get("Condition") {
        check_condition(condition, &actions, dialect).map_err(fail)?;
    }
    Ok(sid.to_owned())
}

fn check_action(action: &str, resources: &[String], effect: &Value) -> Result<(), String> {
    if action == "s3:*" {
        return if effect == "Deny" {
            Ok(())
        } else {
            Err("everything is allowed".to_owned())
        };
    }
    let (_, on, _) = known(action)?;
    for resource in resources {
        let is_object = resource.contains('/');
        if is_object != (on == On::Object) {
            return Err(format!("{action} does not act on {resource}"));
        }
    }
    Ok(())
}

fn known(action: &str) -> Result<(&'static str, On, &'static [&'static str]), String> {
    let mut all = ACTIONS.into_iter().chain([PUT]);
    let found = all.find(|(name, ..)| *name == action);
    found.ok_or_else(|| format!("{action} is not known"))
}

fn check_arn(arn: &str) -> Result<(), String> {
    let rest = arn.strip_prefix("arn:aws:s3:::").ok_or("no ARN of S3")?;
    let (bucket, key) = rest
        .split_once('/')
        .map_or((rest, None), |(b, k)| (b, Some(k)));
    let is_bucket = bucket
        .chars()
        .all(|c| c.is_ascii_alphanumeric() || "-.".contains(c));
    if bucket.len() < 3 || !is_bucket {
        return Err("no bucket".to_owned());
    }
    match key {
        // A wildcard only where the folder ends.
        Some(key)
            if key
                .strip_suffix('*')
                .is_none_or(|path| path.contains(['*', '?', '$'])) =>
        {
            Err("wildcards".to_owned())
        }
        _ => Ok(()),
    }
}

fn check_condition(condition: &Value, actions: &[String], dialect: Dialect) -> Result<(), String> {
    let operators = condition.as_object().ok_or("Condition is no object")?;
    if operators.is_empty() {
        return Err("an empty Condition".to_owned());
    }
    for (operator, keys) in operators {
        let keys = keys.as_object().ok_or("an operator without keys")?;
        if keys.is_empty() {
            return Err(format!("{operator} without keys"));
        }
        for (key, value) in keys {
            let value = value
                .as_str()
                .ok_or_else(|| format!("{key}: its value is no text"))?;
            check_value(operator, key, value)?;
            for action in actions {
                let is_global = GLOBAL_KEYS.contains(&key.as_str());
                let has = is_global || known(action)?.2.contains(&key.as_str());
                if !has || !(is_global || dialect.knows(action, key)) {
                    return Err(format!("{action} has no {key}"));
                }
            }
        }
    }
    Ok(())
}

/// Whether an operator and a value suit the type of a key.
fn check_value(operator: &str, key: &str, value: &str) -> Result<(), String> {
    let is_truth = ["true", "false"].contains(&value);
    let suits = match (operator, key) {
        ("Null", _) | ("Bool", "aws:SecureTransport") => is_truth,
        ("NumericGreaterThan", "s3:object-lock-remaining-retention-days") => {
            value.parse::<u64>().is_ok_and(|days| days > 0)
        }
        ("StringEquals", "s3:object-lock-legal-hold") => ["ON", "OFF"].contains(&value),
        ("StringLike", "s3:prefix") => value.ends_with("/*") && !value.contains('$'),
        _ => false,
    };
    if suits {
        Ok(())
    } else {
        Err(format!("{operator} {key} {value}"))
    }
}

fn texts(value: &Value) -> Result<Vec<String>, String> {
    let list = value.as_array().ok_or("no list")?;
    let texts: Option<Vec<_>> = list
        .iter()
        .map(|item| item.as_str().map(str::to_owned))
        .collect();
    let texts = texts.ok_or("no list of texts")?;
    let distinct: BTreeSet<_> = texts.iter().collect();
    if texts.is_empty() || distinct.len() != texts.len() {
        return Err("an empty list, or one that repeats itself".to_owned());
    }
    Ok(texts)
}

fn object<'a>(
    value: &'a Value,
    what: &str,
    required: &[&str],
    more: &[&str],
) -> Result<&'a Map<String, Value>, String> {
    let object = value
        .as_object()
        .ok_or_else(|| format!("{what} is no object"))?;
    if let Some(missing) = required.iter().find(|name| !object.contains_key(**name)) {
        return Err(format!("{what} has no {missing}"));
    }
    let unknown =
        |name: &&String| !required.contains(&name.as_str()) && !more.contains(&name.as_str());
    match object.keys().find(unknown) {
        Some(name) => Err(format!("{what} has {name}")),
        None => Ok(object),
    }
}

/// The checker itself must be able to fail.
#[test]
fn what_is_no_policy_is_refused() {
    let good = r#"{"Version":"2012-10-17","Statement":[{"Sid":"A","Effect":"Allow","Action":["s3:PutObject"],"Resource":["arn:aws:s3:::abc/x/*"]}]}"#;
    assert_eq!(check(good, Dialect::AwsIdentity), Ok(()));
    let conditioned = |condition: &str| {
        good.replace(
            "[\"arn:aws:s3:::abc/x/*\"]",
            &format!("[\"arn:aws:s3:::abc/x/*\"],\"Condition\":{condition}"),
        )
    };
    let one = conditioned(r#"{"Null":{"s3:if-none-match":"true"}}"#);
    assert_eq!(check(&one, Dialect::AwsIdentity), Ok(()));
    check(&one, Dialect::Minio).unwrap_err();
    check(&one, Dialect::Wasabi).unwrap_err();
    check(good, Dialect::AwsBucket).unwrap_err();
    for (from, to) in [
        ("2012-10-17", "2008-10-17"),
        ("\"Sid\":\"A\"", "\"Sid\":\"A-b\""),
        ("Allow", "Permit"),
        ("s3:PutObject", "s3:PutObjects"),
        ("s3:PutObject", "s3:ListBucket"),
        ("s3:PutObject", "s3:*"),
        ("abc/x/*", "abc"),
        ("abc/x/*", "abc/*/x"),
        ("abc/x/*", "a_b/x/*"),
        ("arn:aws:s3:::", "arn:aws:s3::"),
        ("\"Effect\"", "\"Principal\":\"*\",\"Effect\""),
        ("[\"s3:PutObject\"]", "[]"),
        ("[\"s3:PutObject\"]", "[\"s3:PutObject\",\"s3:PutObject\"]"),
    ] {
        let bad = good.replace(from, to);
        assert_ne!(bad, good);
        assert!(check(&bad, Dialect::AwsIdentity).is_err(), "{bad}");
    }
    for condition in [
        "{}",
        r#"{"Null":{}}"#,
        r#"{"Null":{"s3:if-none-match":true}}"#,
        r#"{"Null":{"s3:prefix":"true"}}"#,
        r#"{"NumericGreaterThan":{"s3:object-lock-remaining-retention-days":"x"}}"#,
        r#"{"Numeric":{"s3:object-lock-remaining-retention-days":"1"}}"#,
    ] {
        let bad = conditioned(condition);
        assert!(check(&bad, Dialect::AwsIdentity).is_err(), "{bad}");
    }
    let long = good.replace("abc/x/*", &format!("abc/{}*", "x".repeat(6200)));
    check(&long, Dialect::AwsIdentity).unwrap_err();
}
