//! What each role may do at a store that speaks S3.

use super::policy::{Policy, Statement};
use super::rights::Rights;
use super::{Grant, Provider, Role};

/// Changes to a bucket that would undo its protection. No role of Dolmen's makes any; MinIO knows these, too.
const BUCKET_CHANGES: [&str; 7] = [
    "s3:DeleteBucket",
    "s3:DeleteBucketPolicy",
    "s3:PutBucketObjectLockConfiguration",
    "s3:PutBucketPolicy",
    "s3:PutBucketVersioning",
    "s3:PutLifecycleConfiguration",
    "s3:PutReplicationConfiguration",
];

/// The rights on objects that a role lacks are denied, so that another policy of the same user does not give them.
const OBJECT_RIGHTS: [&str; 5] = [
    PUT,
    EXTEND,
    "s3:PutObjectLegalHold",
    "s3:DeleteObject",
    "s3:DeleteObjectVersion",
];
const PUT: &str = "s3:PutObject";
const EXTEND: &str = "s3:PutObjectRetention";
const BYPASS: &str = "s3:BypassGovernanceRetention";

const IF_NONE_MATCH: &str = "s3:if-none-match";
const LOCK_DAYS: &str = "s3:object-lock-remaining-retention-days";
const CUSTOMER_KEY: &str = "s3:x-amz-server-side-encryption-customer-algorithm";
const HOLD_STATUS: &str = "s3:object-lock-legal-hold";

/// The policy of a role, for a user, a group or a role at the provider.
pub(crate) fn role_policy(grant: &Grant) -> Policy {
    let mut statements = Vec::from(looking(grant));
    statements.extend(reading(grant));
    statements.extend(changing(grant));
    statements.extend(denying(grant));
    Policy::of_identity(statements)
}

/// What holds for everybody who calls the bucket, whichever policy they have: for AWS.
pub(crate) fn bucket_policy(grant: &Grant) -> Policy {
    let (bucket, objects) = (bucket(grant), all_objects(grant));
    Policy::of_bucket(vec![
        insecure(&bucket, &objects),
        Statement::deny("DenyBucketChanges", &BUCKET_CHANGES, &[bucket]),
        Statement::deny(
            "DenyLongLocks",
            &[PUT, EXTEND],
            std::slice::from_ref(&objects),
        )
        .when(
            "NumericGreaterThan",
            LOCK_DAYS,
            grant.lock_days_max().to_string(),
        ),
        customer_keys(&objects),
    ])
}

/// Listing, and the settings of the bucket.
fn looking(grant: &Grant) -> [Statement; 2] {
    let bucket = [bucket(grant)];
    let mut see = vec![
        "s3:GetBucketObjectLockConfiguration",
        "s3:GetBucketVersioning",
        // Without it, and it must be without a condition, what is missing or hidden is refused instead of not found.
        "s3:ListBucket",
    ];
    // Audits look for rules that would delete.
    if matches!(grant.role, Role::Renew | Role::Prune | Role::Owner) {
        see.push("s3:GetLifecycleConfiguration");
    }
    let list = Statement::allow("List", &["s3:ListBucketVersions"], &bucket);
    let list = if grant.prefix.is_empty() {
        list
    } else {
        list.when("StringLike", "s3:prefix", format!("{}*", grant.prefix))
    };
    [Statement::allow("See", &see, &bucket), list]
}

/// Objects and their locks.
fn reading(grant: &Grant) -> [Statement; 2] {
    let everything = below(grant, &[""]);
    let readable = if grant.role == Role::Backup && !grant.shared_domain {
        let own = format!("packs/{}/", grant.writer);
        let folders = [
            "root/",
            "keys/",
            "index/",
            "snapshots/",
            "ledger/",
            "canary/",
        ];
        below(grant, &[&folders[..], &[own.as_str()]].concat())
    } else {
        everything.clone()
    };
    [
        Statement::allow("Read", &["s3:GetObject", "s3:GetObjectVersion"], &readable),
        Statement::allow(
            "ReadLocks",
            &["s3:GetObjectLegalHold", "s3:GetObjectRetention"],
            &everything,
        ),
    ]
}

fn changing(grant: &Grant) -> Vec<Statement> {
    let rights = Rights::of(grant);
    let everything = below(grant, &[""]);
    let folders: Vec<_> = rights.writes.iter().map(String::as_str).collect();
    let own = below(grant, &folders);
    let mut statements = Vec::new();
    // A client locks what it writes, and nothing else.
    let locks_own = rights.extends && grant.role == Role::Backup;
    if locks_own {
        statements.push(Statement::allow("Write", &[PUT, EXTEND], &own));
    } else if !own.is_empty() {
        statements.push(Statement::allow("Write", &[PUT], &own));
    }
    if rights.extends && !locks_own {
        statements.push(Statement::allow("Extend", &[EXTEND], &everything));
    }
    if rights.holds {
        let hold = Statement::allow("Hold", &["s3:PutObjectLegalHold"], &everything);
        // Only pruning lifts.
        let places_only = grant.role != Role::Prune && grant.provider == Provider::Aws;
        statements.push(if places_only {
            hold.when("StringEquals", HOLD_STATUS, "ON")
        } else {
            hold
        });
    }
    if rights.hides {
        statements.push(Statement::allow("Hide", &["s3:DeleteObject"], &everything));
    }
    if rights.deletes {
        statements.push(Statement::allow(
            "Delete",
            &["s3:DeleteObjectVersion"],
            &everything,
        ));
    }
    statements
}

fn denying(grant: &Grant) -> Vec<Statement> {
    let (bucket, objects) = (bucket(grant), all_objects(grant));
    let rights = Rights::of(grant);
    let has = [
        !rights.writes.is_empty(),
        rights.extends,
        rights.holds,
        rights.hides,
        rights.deletes,
    ];
    let lacking = OBJECT_RIGHTS.into_iter().zip(has);
    let lacking = lacking.filter_map(|(right, has)| (!has).then_some(right));
    let denied: Vec<_> = std::iter::once(BYPASS).chain(lacking).collect();
    let on_objects = std::slice::from_ref(&objects);
    let mut statements = vec![
        Statement::deny(
            "DenyBucketChanges",
            &BUCKET_CHANGES,
            std::slice::from_ref(&bucket),
        ),
        Statement::deny("DenyObjectChanges", &denied, on_objects),
    ];
    let writes = !rights.writes.is_empty();
    // Wasabi's documentation names no key for it.
    if writes && grant.provider != Provider::Wasabi {
        statements.push(customer_keys(&objects));
    }
    if grant.provider != Provider::Aws {
        return statements;
    }
    // Parts of an upload in many cannot carry the condition, so that none can be begun.
    if writes && grant.role != Role::Owner && !grant.may_cover {
        statements.push(Statement::deny("DenyOverwrite", &[PUT], on_objects).when(
            "Null",
            IF_NONE_MATCH,
            "true",
        ));
    }
    if rights.extends {
        let days = grant.lock_days_max().to_string();
        let long = Statement::deny("DenyLongLocks", &[PUT, EXTEND], on_objects);
        statements.push(long.when("NumericGreaterThan", LOCK_DAYS, days));
    }
    statements.push(insecure(&bucket, &objects));
    statements
}

/// Encryption under a key that only the caller has, which is how buckets are held to ransom.
fn customer_keys(objects: &str) -> Statement {
    Statement::deny("DenyCustomerKeys", &[PUT], &[objects.to_owned()]).when(
        "Null",
        CUSTOMER_KEY,
        "false",
    )
}

fn insecure(bucket: &str, objects: &str) -> Statement {
    let resource = [bucket.to_owned(), objects.to_owned()];
    Statement::deny("DenyPlainHttp", &["s3:*"], &resource).when(
        "Bool",
        "aws:SecureTransport",
        "false",
    )
}

fn bucket(grant: &Grant) -> String {
    format!("arn:aws:s3:::{}", grant.bucket)
}

fn all_objects(grant: &Grant) -> String {
    format!("arn:aws:s3:::{}/*", grant.bucket)
}

/// What lies in these folders of the repository.
fn below(grant: &Grant, folders: &[&str]) -> Vec<String> {
    let objects = folders.iter();
    objects
        .map(|folder| format!("arn:aws:s3:::{}/{}{folder}*", grant.bucket, grant.prefix))
        .collect()
}
