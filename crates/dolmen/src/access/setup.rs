//! What to do with what is printed, and what it does not do: for stderr.

use super::{Grant, LockName, Provider, Role};

/// The lines that explain what is printed. `is_bucket`: that is the bucket's own policy.
pub(crate) fn explain(grant: &Grant, is_bucket: bool) -> Vec<String> {
    let mut lines = Vec::new();
    if is_bucket {
        lines.push(
            "For the bucket itself: holds for everybody who calls it. The account's root user can still take it away."
                .to_owned(),
        );
    } else {
        lines.push(role(grant).to_owned());
        lines.extend(placeholders(grant));
        lines.extend(limits(grant));
    }
    if grant.role == Role::Owner {
        lines.push("Once, with the account's own rights, make the bucket:".to_owned());
        lines.extend(bucket_commands(grant).iter().map(|text| command(text)));
    }
    if is_bucket {
        lines.push("Then, with what is printed in bucket.json:".to_owned());
        lines.push(command(&format!(
            "aws s3api put-bucket-policy --bucket {} --policy file://bucket.json",
            grant.bucket
        )));
    } else if grant.provider != Provider::B2 {
        lines.push("With what is printed in policy.json:".to_owned());
        lines.extend(user_commands(grant).iter().map(|text| command(text)));
    }
    lines
}

fn command(text: &str) -> String {
    format!("  {text}")
}

fn role(grant: &Grant) -> &'static str {
    match (grant.role, grant.client_retention) {
        (Role::Backup, false) => {
            "backup: adds packs, segments and snapshots in its own folders. It deletes, hides and unlocks nothing, and sets no \
             locks: the bucket's default retention gives the first one, maintenance extends."
        }
        (Role::Backup, true) => {
            "backup: adds packs, segments and snapshots in its own folders and sets and extends their locks. It deletes, hides \
             and unlocks nothing; a thief with it can lock junk."
        }
        (Role::Renew, _) => {
            "renew: lists, reads and extends locks, and nothing else. For DOLMEN_RENEW_… on the machine that maintains."
        }
        (Role::Prune, _) => {
            "prune: retires, compacts, hides, and deletes what no lock keeps any more. For the machine that maintains, or for \
             DOLMEN_PRUNE_… there."
        }
        (Role::Restore, _) => "restore: lists and reads, and nothing else.",
        (Role::Owner, _) => {
            "owner: makes the repository, its keys and its policy, retires, extends locks and heals. It deletes no version, and \
             like every role changes nothing about the bucket."
        }
    }
}

fn placeholders(grant: &Grant) -> Vec<String> {
    let mut found = Vec::new();
    if grant.bucket == super::names::BUCKET {
        found.push("BUCKET (--bucket)");
    }
    if grant.prefix.starts_with(super::names::PREFIX) {
        found.push("PREFIX (--prefix; '' where the repository fills the bucket)");
    }
    if grant.writer == super::names::WRITER && grant.provider != Provider::B2 {
        found.push("WRITER (--writer: the signer's id, `writer` in dolmen snapshots --json)");
    }
    if found.is_empty() {
        return Vec::new();
    }
    vec![format!(
        "Still to be filled in, where they occur: {}.",
        found.join(", ")
    )]
}

/// What this provider cannot be told, and what follows from that.
fn limits(grant: &Grant) -> Vec<String> {
    let writes = !super::rights::Rights::of(grant).writes.is_empty();
    let mut lines = Vec::new();
    match grant.provider {
        Provider::Aws if writes && grant.role != Role::Owner && !grant.may_cover => lines.push(
            "Puts must say If-None-Match, so that nothing is covered. A backup whose reused packs are locked too short cannot \
             store them again, and fails until renew has run; --allow-cover leaves this out."
                .to_owned(),
        ),
        Provider::Wasabi | Provider::Minio if writes => lines.push(
            "This provider cannot require If-None-Match or cap locks by policy: puts can cover what is there, and the good \
             version stays beneath."
                .to_owned(),
        ),
        Provider::B2 => lines.push(
            "A key of B2 knows one prefix and no folders: it reaches the whole repository, and whoever may put may also hide and \
             cover. The good versions stay beneath, and are read."
                .to_owned(),
        ),
        Provider::Aws | Provider::Wasabi | Provider::Minio => {}
    }
    if grant.provider != Provider::B2 && !grant.prefix.is_empty() {
        lines.push(
            "The names of current objects outside of the prefix can be listed: without ListBucket the service would refuse, and \
             not miss, what is hidden. A bucket of its own is best."
                .to_owned(),
        );
    }
    if grant.provider != Provider::Aws {
        lines.push(
            "Checked against the provider's documented grammar only; dolmen drill shows what a credential can really do."
                .to_owned(),
        );
    }
    lines
}

fn bucket_commands(grant: &Grant) -> Vec<String> {
    let (bucket, days, mode) = (&grant.bucket, grant.default_days, grant.lock.mode());
    let retention = format!(
        "'{{\"ObjectLockEnabled\":\"Enabled\",\"Rule\":{{\"DefaultRetention\":{{\"Mode\":\"{mode}\",\"Days\":{days}}}}}}}'"
    );
    let s3 = |endpoint: &str| {
        vec![
            format!(
                "aws s3api create-bucket{endpoint} --bucket {bucket} --object-lock-enabled-for-bucket"
            ),
            format!(
                "aws s3api put-object-lock-configuration{endpoint} --bucket {bucket} --object-lock-configuration {retention}"
            ),
        ]
    };
    match grant.provider {
        Provider::Aws => s3(""),
        Provider::Wasabi => s3(" --endpoint-url https://s3.REGION.wasabisys.com"),
        Provider::Minio => vec![
            format!("mc mb --with-lock ALIAS/{bucket}"),
            format!("mc retention set --default {mode} {days}d ALIAS/{bucket}"),
        ],
        Provider::B2 if grant.lock == LockName::Hide => vec![format!(
            "b2 bucket create --lifecycle-rule '{{\"fileNamePrefix\":\"{}\",\"daysFromHidingToDeleting\":{days},\
             \"daysFromUploadingToHiding\":null}}' {bucket} allPrivate",
            grant.prefix
        )],
        Provider::B2 => vec![
            format!("b2 bucket create --file-lock-enabled {bucket} allPrivate"),
            format!(
                "b2 bucket update --default-retention-mode {} --default-retention-period '{days} days' {bucket}",
                mode.to_ascii_lowercase()
            ),
        ],
    }
}

fn user_commands(grant: &Grant) -> Vec<String> {
    let name = grant.name();
    let iam = |endpoint: &str, arn: &str| {
        vec![
            format!("aws iam create-user{endpoint} --user-name {name}"),
            format!(
                "aws iam create-policy{endpoint} --policy-name {name} --policy-document file://policy.json"
            ),
            format!(
                "aws iam attach-user-policy{endpoint} --user-name {name} --policy-arn {arn}:policy/{name}"
            ),
            format!("aws iam create-access-key{endpoint} --user-name {name}"),
        ]
    };
    match grant.provider {
        Provider::Aws => iam("", "arn:aws:iam::ACCOUNT"),
        Provider::Wasabi => iam(
            " --endpoint-url https://iam.wasabisys.com",
            "arn:aws:iam::ACCOUNT",
        ),
        Provider::Minio => vec![
            format!("mc admin policy create ALIAS {name} policy.json"),
            format!("mc admin user add ALIAS {name} SECRET"),
            format!("mc admin policy attach ALIAS {name} --user {name}"),
        ],
        Provider::B2 => Vec::new(),
    }
}
