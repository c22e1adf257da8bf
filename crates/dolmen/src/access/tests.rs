//! Each role may do what its row of the design says, and nothing else.

use serde_json::Value;

use super::evaluate::{Call, is_allowed};
use super::grammar::{Dialect, check};
use super::*;

const BUCKET_NAME: &str = "my-bucket";
const OWN: &str = "00112233445566778899aabbccddeeff";
const OTHER: &str = "ffeeddccbbaa99887766554433221100";
const ROLES: [Role; 5] = [
    Role::Backup,
    Role::Renew,
    Role::Prune,
    Role::Restore,
    Role::Owner,
];
const SPEAK_S3: [Provider; 3] = [Provider::Aws, Provider::Wasabi, Provider::Minio];

fn grant(provider: Provider, role: Role) -> Grant {
    Grant {
        provider,
        role,
        bucket: BUCKET_NAME.to_owned(),
        prefix: "repo/".to_owned(),
        writer: OWN.to_owned(),
        lock: LockName::Compliance,
        default_days: 47,
        client_retention: false,
        shared_domain: false,
        attests: false,
        may_cover: false,
    }
}

fn parsed(policy: &Policy) -> Value {
    serde_json::from_str(&policy.to_text()).unwrap()
}

fn may(grant: &Grant, call: &Call) -> bool {
    is_allowed(&parsed(&role_policy(grant)), call)
}

fn every_grant() -> Vec<Grant> {
    let mut grants = Vec::new();
    for provider in SPEAK_S3 {
        for role in ROLES {
            for lock in [LockName::Compliance, LockName::Governance, LockName::Hold] {
                for flags in 0_u8..16 {
                    for prefix in ["", "repo/", "a/longer/path-to.it/"] {
                        grants.push(Grant {
                            lock,
                            client_retention: flags & 1 > 0 && role == Role::Backup,
                            shared_domain: flags & 2 > 0 && role == Role::Backup,
                            attests: flags & 4 > 0 && role == Role::Restore,
                            may_cover: flags & 8 > 0 && provider == Provider::Aws,
                            prefix: prefix.to_owned(),
                            ..grant(provider, role)
                        });
                    }
                }
            }
        }
    }
    grants
}

#[test]
fn every_policy_is_one_of_its_provider() {
    for grant in every_grant() {
        let dialect = match grant.provider {
            Provider::Aws => Dialect::AwsIdentity,
            Provider::Wasabi => Dialect::Wasabi,
            Provider::Minio => Dialect::Minio,
            Provider::B2 => panic!("{grant:?}"),
        };
        let text = role_policy(&grant).to_text();
        assert_eq!(check(&text, dialect), Ok(()), "{grant:?}\n{text}");
        let with_placeholders = Grant {
            bucket: BUCKET.to_owned(),
            prefix: PREFIX.to_owned(),
            writer: WRITER.to_owned(),
            ..grant
        };
        let text = role_policy(&with_placeholders).to_text();
        assert_eq!(check(&text, dialect), Ok(()), "{text}");
    }
    let text = bucket_policy(&grant(Provider::Aws, Role::Owner)).to_text();
    assert_eq!(check(&text, Dialect::AwsBucket), Ok(()), "{text}");
}

/// The longest names make a policy that AWS still takes.
#[test]
fn the_longest_names_fit() {
    for role in ROLES {
        let long = Grant {
            bucket: "b".repeat(63),
            prefix: format!("{}/", "p".repeat(names::PREFIX_BYTES_MAX)),
            lock: LockName::Hold,
            client_retention: true,
            ..grant(Provider::Aws, role)
        };
        let text = role_policy(&long).to_text();
        assert_eq!(check(&text, Dialect::AwsIdentity), Ok(()), "{role:?}");
    }
}

/// What the store is asked for, each with the key that it is asked on.
const KEYS: [&str; 10] = [
    "repo/root/1",
    "repo/keys/1",
    "repo/packs/OWN/aa/1",
    "repo/packs/OTHER/aa/1",
    "repo/index/OWN/1",
    "repo/index/OTHER/1",
    "repo/snapshots/OWN/1",
    "repo/snapshots/OTHER/1",
    "repo/ledger/OWN/1",
    "repo/canary/1",
];

/// For each role and action: on which of [`KEYS`] it may, as `x`.
///
/// | | root | keys | own packs | packs | own index | index | own snapshots | snapshots | own ledger | canary |
const TABLE: [(Role, &str, &str); 30] = [
    (Role::Backup, "s3:GetObject", "xxx.xxxxxx"),
    (Role::Backup, "s3:GetObjectVersion", "xxx.xxxxxx"),
    (Role::Backup, "s3:GetObjectRetention", "xxxxxxxxxx"),
    (Role::Backup, "s3:PutObject", "..x.x.x..x"),
    (Role::Backup, "s3:PutObjectRetention", ".........."),
    (Role::Backup, "s3:DeleteObject", ".........."),
    (Role::Renew, "s3:GetObject", "xxxxxxxxxx"),
    (Role::Renew, "s3:GetObjectVersion", "xxxxxxxxxx"),
    (Role::Renew, "s3:GetObjectRetention", "xxxxxxxxxx"),
    (Role::Renew, "s3:PutObject", ".........."),
    (Role::Renew, "s3:PutObjectRetention", "xxxxxxxxxx"),
    (Role::Renew, "s3:DeleteObject", ".........."),
    (Role::Prune, "s3:GetObject", "xxxxxxxxxx"),
    (Role::Prune, "s3:GetObjectVersion", "xxxxxxxxxx"),
    (Role::Prune, "s3:GetObjectRetention", "xxxxxxxxxx"),
    (Role::Prune, "s3:PutObject", "..x.x...xx"),
    (Role::Prune, "s3:PutObjectRetention", ".........."),
    (Role::Prune, "s3:DeleteObject", "xxxxxxxxxx"),
    (Role::Restore, "s3:GetObject", "xxxxxxxxxx"),
    (Role::Restore, "s3:GetObjectVersion", "xxxxxxxxxx"),
    (Role::Restore, "s3:GetObjectRetention", "xxxxxxxxxx"),
    (Role::Restore, "s3:PutObject", ".........."),
    (Role::Restore, "s3:PutObjectRetention", ".........."),
    (Role::Restore, "s3:DeleteObject", ".........."),
    (Role::Owner, "s3:GetObject", "xxxxxxxxxx"),
    (Role::Owner, "s3:GetObjectVersion", "xxxxxxxxxx"),
    (Role::Owner, "s3:GetObjectRetention", "xxxxxxxxxx"),
    (Role::Owner, "s3:PutObject", "xxxxxxxxxx"),
    (Role::Owner, "s3:PutObjectRetention", "xxxxxxxxxx"),
    (Role::Owner, "s3:DeleteObject", "xxxxxxxxxx"),
];

fn key(name: &str) -> String {
    name.replace("OWN", OWN).replace("OTHER", OTHER)
}

#[test]
fn each_role_may_do_its_row_and_no_more() {
    for provider in SPEAK_S3 {
        for (role, action, expected) in TABLE {
            let grant = grant(provider, role);
            let call = |key: &str| Call::on(action, BUCKET_NAME, key).with("s3:if-none-match", "*");
            let found: String = KEYS
                .iter()
                .map(|name| {
                    if may(&grant, &call(&key(name))) {
                        'x'
                    } else {
                        '.'
                    }
                })
                .collect();
            assert_eq!(found, expected, "{provider:?} {role:?} {action}");
            // Nowhere outside of the repository, nor in another bucket.
            let beside = key("repo/packs/OWN/aa/1").replacen("repo/", "repo2/", 1);
            assert!(!may(&grant, &call(&beside)), "{role:?} {action}");
            let elsewhere = Call::on(action, "my-bucket2", &key("repo/packs/OWN/aa/1"));
            assert!(!may(&grant, &elsewhere.with("s3:if-none-match", "*")));
        }
    }
}

#[test]
fn only_prune_deletes_versions() {
    for grant in every_grant() {
        let call = Call::on(
            "s3:DeleteObjectVersion",
            BUCKET_NAME,
            &format!("{}packs/a/aa/1", grant.prefix),
        );
        assert_eq!(may(&grant, &call), grant.role == Role::Prune, "{grant:?}");
    }
}

#[test]
fn nobody_changes_the_bucket_or_bypasses_locks() {
    for grant in every_grant() {
        for action in [
            "s3:PutLifecycleConfiguration",
            "s3:PutBucketVersioning",
            "s3:PutBucketObjectLockConfiguration",
            "s3:PutBucketPolicy",
            "s3:DeleteBucketPolicy",
            "s3:DeleteBucket",
            "s3:PutReplicationConfiguration",
            "s3:PutBucketAcl",
        ] {
            assert!(
                !may(&grant, &Call::on(action, BUCKET_NAME, "")),
                "{action} {grant:?}"
            );
        }
        let key = format!("{}packs/{OWN}/aa/1", grant.prefix);
        for action in [
            "s3:BypassGovernanceRetention",
            "s3:PutObjectAcl",
            "s3:RestoreObject",
        ] {
            assert!(
                !may(&grant, &Call::on(action, BUCKET_NAME, &key)),
                "{action} {grant:?}"
            );
        }
    }
}

/// Another policy of the same user does not bring a right back.
#[test]
fn what_a_role_lacks_is_denied_and_not_only_left_out() {
    let everything = serde_json::json!({
        "Effect": "Allow", "Action": ["s3:*"],
        "Resource": [format!("arn:aws:s3:::{BUCKET_NAME}*")],
    });
    for provider in SPEAK_S3 {
        for (role, denied) in [
            (
                Role::Backup,
                "PutObjectRetention PutObjectLegalHold DeleteObject DeleteObjectVersion",
            ),
            (
                Role::Renew,
                "PutObject PutObjectLegalHold DeleteObject DeleteObjectVersion",
            ),
            (Role::Prune, "PutObjectRetention PutObjectLegalHold"),
            (
                Role::Restore,
                "PutObject PutObjectRetention PutObjectLegalHold DeleteObject DeleteObjectVersion",
            ),
            (Role::Owner, "PutObjectLegalHold DeleteObjectVersion"),
        ] {
            let mut policy = parsed(&role_policy(&grant(provider, role)));
            policy["Statement"]
                .as_array_mut()
                .unwrap()
                .push(everything.clone());
            let denied: Vec<_> = denied.split(' ').collect();
            let always = ["BypassGovernanceRetention"];
            for name in denied.iter().chain(&always) {
                let action: &'static str = String::leak(format!("s3:{name}"));
                let call = Call::on(action, BUCKET_NAME, "repo/packs/x/aa/1")
                    .with("s3:if-none-match", "*");
                assert!(
                    !is_allowed(&policy, &call),
                    "{provider:?} {role:?} {action}"
                );
            }
        }
    }
}

#[test]
fn every_role_lists_its_repository_and_sees_the_bucket() {
    for grant in every_grant() {
        let list = |prefix: &str| {
            Call::on("s3:ListBucketVersions", BUCKET_NAME, "").with("s3:prefix", prefix)
        };
        for folder in ["", "packs/", "snapshots/"] {
            let prefix = format!("{}{folder}", grant.prefix);
            assert!(may(&grant, &list(&prefix)), "{grant:?}");
        }
        let is_all = grant.prefix.is_empty();
        assert_eq!(may(&grant, &list("other/")), is_all);
        assert_eq!(
            may(&grant, &Call::on("s3:ListBucketVersions", BUCKET_NAME, "")),
            is_all
        );
        for action in [
            "s3:ListBucket",
            "s3:GetBucketVersioning",
            "s3:GetBucketObjectLockConfiguration",
        ] {
            assert!(may(&grant, &Call::on(action, BUCKET_NAME, "")), "{action}");
        }
    }
}

#[test]
fn on_aws_a_put_of_backup_or_prune_covers_nothing() {
    for role in [Role::Backup, Role::Prune] {
        let own = key("repo/packs/OWN/aa/1");
        let plain = Call::on("s3:PutObject", BUCKET_NAME, &own);
        let grant = grant(Provider::Aws, role);
        assert!(!may(&grant, &plain));
        assert!(may(&grant, &plain.clone().with("s3:if-none-match", "*")));
        let may_cover = Grant {
            may_cover: true,
            ..grant.clone()
        };
        assert!(may(&may_cover, &plain));
        // Elsewhere it cannot be asked for.
        assert!(may(
            &Grant {
                provider: Provider::Minio,
                ..grant
            },
            &plain
        ));
    }
    // Healing covers.
    let heal = Call::on("s3:PutObject", BUCKET_NAME, "repo/root/1");
    assert!(may(&grant(Provider::Aws, Role::Owner), &heal));
}

#[test]
fn a_client_locks_its_own_folders_only_and_not_for_long() {
    let grant = Grant {
        client_retention: true,
        ..grant(Provider::Aws, Role::Backup)
    };
    let extend = |name: &str, days: &str| {
        Call::on("s3:PutObjectRetention", BUCKET_NAME, &key(name))
            .with("s3:object-lock-remaining-retention-days", days)
    };
    assert!(may(&grant, &extend("repo/packs/OWN/aa/1", "48")));
    assert!(!may(&grant, &extend("repo/packs/OWN/aa/1", "49")));
    assert!(!may(&grant, &extend("repo/packs/OTHER/aa/1", "30")));
    let put = Call::on("s3:PutObject", BUCKET_NAME, &key("repo/packs/OWN/aa/1"))
        .with("s3:if-none-match", "*");
    assert!(may(&grant, &put));
    let long = put.with("s3:object-lock-remaining-retention-days", "36500");
    assert!(!may(&grant, &long));
}

#[test]
fn maintenance_extends_no_longer_than_ever_needed_where_that_can_be_said() {
    for role in [Role::Renew, Role::Owner] {
        let extend = |days: &str| {
            Call::on("s3:PutObjectRetention", BUCKET_NAME, "repo/packs/x/aa/1")
                .with("s3:object-lock-remaining-retention-days", days)
        };
        assert!(may(&grant(Provider::Aws, role), &extend("47.5")));
        assert!(!may(&grant(Provider::Aws, role), &extend("3650")));
        assert!(may(&grant(Provider::Minio, role), &extend("3650")));
    }
}

#[test]
fn only_prune_lifts_holds_and_only_where_holds_protect() {
    for provider in SPEAK_S3 {
        for role in ROLES {
            let held = Grant {
                lock: LockName::Hold,
                ..grant(provider, role)
            };
            let placing = |status: &str| {
                Call::on("s3:PutObjectLegalHold", BUCKET_NAME, "repo/packs/x/aa/1")
                    .with("s3:object-lock-legal-hold", status)
            };
            let maintains = matches!(role, Role::Renew | Role::Prune | Role::Owner);
            assert_eq!(
                may(&held, &placing("ON")),
                maintains,
                "{provider:?} {role:?}"
            );
            // Only AWS tells the two apart.
            let lifts = role == Role::Prune || (maintains && provider != Provider::Aws);
            assert_eq!(may(&held, &placing("OFF")), lifts, "{provider:?} {role:?}");
            assert!(
                !may(&grant(provider, role), &placing("ON")),
                "{provider:?} {role:?}"
            );
            // Before it is lifted, the lock is extended.
            let extend = Call::on("s3:PutObjectRetention", BUCKET_NAME, "repo/packs/x/aa/1");
            assert_eq!(may(&held, &extend), maintains, "{provider:?} {role:?}");
        }
    }
}

#[test]
fn flags_give_what_they_name() {
    let read = |name: &str| Call::on("s3:GetObjectVersion", BUCKET_NAME, &key(name));
    let shared = Grant {
        shared_domain: true,
        ..grant(Provider::Aws, Role::Backup)
    };
    assert!(may(&shared, &read("repo/packs/OTHER/aa/1")));
    let attests = Grant {
        attests: true,
        ..grant(Provider::Aws, Role::Restore)
    };
    let put = |name: &str| {
        Call::on("s3:PutObject", BUCKET_NAME, &key(name)).with("s3:if-none-match", "*")
    };
    assert!(may(&attests, &put("repo/ledger/OWN/1")));
    assert!(!may(&attests, &put("repo/ledger/OTHER/1")));
    assert!(!may(&attests, &put("repo/packs/OWN/aa/1")));
}

#[test]
fn ransom_keys_and_plain_http_are_refused() {
    let put = Call::on("s3:PutObject", BUCKET_NAME, &key("repo/packs/OWN/aa/1"))
        .with("s3:if-none-match", "*");
    let ransom = put.clone().with(
        "s3:x-amz-server-side-encryption-customer-algorithm",
        "AES256",
    );
    for provider in [Provider::Aws, Provider::Minio] {
        assert!(!may(&grant(provider, Role::Backup), &ransom));
    }
    let plain = put.with("aws:SecureTransport", "false");
    assert!(!may(&grant(Provider::Aws, Role::Backup), &plain));
}

#[test]
fn the_bucket_denies_the_same_to_everybody_and_allows_nothing() {
    let policy = parsed(&bucket_policy(&grant(Provider::Aws, Role::Owner)));
    let statements = policy["Statement"].as_array().unwrap();
    assert!(
        statements
            .iter()
            .all(|statement| statement["Effect"] == "Deny" && statement["Principal"] == "*")
    );
    let mut with_all = policy.clone();
    with_all["Statement"].as_array_mut().unwrap().push(serde_json::json!({
        "Effect": "Allow", "Action": ["s3:*"], "Resource": [format!("arn:aws:s3:::{BUCKET_NAME}*")],
    }));
    let object = |action| Call::on(action, BUCKET_NAME, "repo/packs/x/aa/1");
    assert!(is_allowed(&with_all, &object("s3:DeleteObjectVersion")));
    let days = "s3:object-lock-remaining-retention-days";
    assert!(is_allowed(
        &with_all,
        &object("s3:PutObjectRetention").with(days, "48")
    ));
    assert!(!is_allowed(
        &with_all,
        &object("s3:PutObjectRetention").with(days, "49")
    ));
    assert!(!is_allowed(
        &with_all,
        &object("s3:GetObject").with("aws:SecureTransport", "false")
    ));
    assert!(!is_allowed(
        &with_all,
        &Call::on("s3:PutBucketVersioning", BUCKET_NAME, "")
    ));
}

#[test]
fn a_key_of_b2_has_what_its_role_needs_and_never_the_keys_of_the_house() {
    let line = |role: Role, lock: LockName, client_retention: bool| {
        key_line(&Grant {
            lock,
            client_retention,
            ..grant(Provider::B2, role)
        })
    };
    let looking = "listBuckets,listAllBucketNames,listFiles,readFiles,readBucketRetentions";
    let start = "b2 key create --bucket my-bucket --name-prefix repo/";
    let compliance = LockName::Compliance;
    for (found, name, rights) in [
        (
            line(Role::Backup, compliance, false),
            "backup",
            "writeFiles,readFileRetentions",
        ),
        (
            line(Role::Backup, compliance, true),
            "backup",
            "writeFiles,readFileRetentions,writeFileRetentions",
        ),
        (
            line(Role::Backup, LockName::Hide, false),
            "backup",
            "writeFiles",
        ),
        (
            line(Role::Renew, compliance, false),
            "renew",
            "readFileRetentions,writeFileRetentions",
        ),
        (
            line(Role::Renew, LockName::Hold, false),
            "renew",
            "readFileRetentions,writeFileRetentions,readFileLegalHolds,writeFileLegalHolds",
        ),
        (
            line(Role::Renew, LockName::Hide, false),
            "renew",
            "writeFiles",
        ),
        (
            line(Role::Prune, compliance, false),
            "prune",
            "writeFiles,deleteFiles,readFileRetentions",
        ),
        (
            line(Role::Prune, LockName::Hide, false),
            "prune",
            "writeFiles",
        ),
        (
            line(Role::Restore, compliance, false),
            "restore",
            "readFileRetentions",
        ),
        (
            line(Role::Owner, compliance, false),
            "owner",
            "writeFiles,readFileRetentions,writeFileRetentions",
        ),
    ] {
        assert_eq!(found, format!("{start} dolmen-{name} {looking},{rights}"));
    }
    let whole = Grant {
        prefix: String::new(),
        ..grant(Provider::B2, Role::Restore)
    };
    assert!(key_line(&whole).starts_with("b2 key create --bucket my-bucket dolmen-restore "));
}
