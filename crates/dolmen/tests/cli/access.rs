//! Rights at providers, as they are printed.

use std::process::{Command, Stdio};

use serde_json::Value;

use crate::reader::python;
use crate::world::World;

const ROLES: [&str; 5] = ["backup", "renew", "prune", "restore", "owner"];

/// `dolmen access print` with no repository anywhere.
fn print(world: &World, arguments: &[&str]) -> crate::world::Ran {
    world.run_with(
        ("DOLMEN_REPOSITORY", ""),
        &[&["access", "print"], arguments].concat(),
    )
}

#[test]
fn stdout_is_what_to_paste_and_nothing_else() {
    let world = World::new();
    for provider in ["aws", "wasabi", "minio"] {
        for role in ROLES {
            let ran = print(&world, &["--provider", provider, "--role", role]);
            assert_eq!(ran.code, 0, "{}", ran.stderr);
            let policy: Value = serde_json::from_str(&ran.stdout).unwrap();
            assert_eq!(policy["Version"], "2012-10-17");
            assert!(
                ran.stdout.contains("arn:aws:s3:::BUCKET/PREFIX/"),
                "{}",
                ran.stdout
            );
            assert_eq!(
                ran.stdout.contains("packs/WRITER/*"),
                ["backup", "prune"].contains(&role),
                "{provider} {role}"
            );
            assert!(ran.stderr.starts_with(role), "{}", ran.stderr);
            assert!(ran.stderr.contains("policy.json"), "{}", ran.stderr);
            let quiet = print(&world, &["--provider", provider, "--role", role, "-q"]);
            assert_eq!((quiet.stdout, quiet.stderr.as_str()), (ran.stdout, ""));
        }
    }
    for role in ROLES {
        let ran = print(&world, &["--provider", "b2", "--role", role]);
        assert_eq!(ran.stdout.lines().count(), 1);
        let start = format!("b2 key create --bucket BUCKET --name-prefix PREFIX/ dolmen-{role} ");
        assert!(ran.stdout.starts_with(&start), "{}", ran.stdout);
        for never in [
            "writeKeys",
            "writeBuckets",
            "writeBucketRetentions",
            "bypassGovernance",
        ] {
            assert!(!ran.stdout.contains(never), "{role} {never}");
        }
    }
}

#[test]
fn what_is_named_is_filled_in() {
    let world = World::new();
    let id = "00112233445566778899aabbccddeeff";
    let arguments = [
        "--provider",
        "aws",
        "--role",
        "backup",
        "--bucket",
        "b.1",
        "--writer",
        id,
    ];
    let ran = print(&world, &[&arguments[..], &["--prefix", "of/mine"]].concat());
    let place = format!("\"arn:aws:s3:::b.1/of/mine/packs/{id}/*\"");
    assert!(ran.stdout.contains(&place), "{}", ran.stdout);
    assert!(!ran.stderr.contains("filled in"), "{}", ran.stderr);
    let ran = print(&world, &[&arguments[..], &["--prefix", ""]].concat());
    assert!(
        ran.stdout
            .contains(&format!("\"arn:aws:s3:::b.1/packs/{id}/*\"")),
        "{}",
        ran.stdout
    );
    assert!(!ran.stdout.contains("s3:prefix"), "{}", ran.stdout);
}

/// L + M + G: 30 + 3 + 14 days on AWS, where extensions are billed, and 30 + 3 + 7 elsewhere.
#[test]
fn the_bucket_and_the_cap_follow_from_the_protection_period() {
    let world = World::new();
    let owner = ["--role", "owner", "--bucket", "abc"];
    let ran = print(&world, &[&["--provider", "aws"], &owner[..]].concat());
    assert!(
        ran.stderr.contains("\"Mode\":\"COMPLIANCE\",\"Days\":47"),
        "{}",
        ran.stderr
    );
    assert!(
        ran.stdout
            .contains("\"s3:object-lock-remaining-retention-days\": \"48\""),
        "{}",
        ran.stdout
    );
    let ran = print(
        &world,
        &[&["--provider", "minio", "--lock", "governance"], &owner[..]].concat(),
    );
    assert!(
        ran.stderr
            .contains("mc retention set --default GOVERNANCE 40d ALIAS/abc"),
        "{}",
        ran.stderr
    );
    let ran = print(
        &world,
        &[&["--provider", "b2", "--protect", "90d"], &owner[..]].concat(),
    );
    assert!(
        ran.stderr
            .contains("--default-retention-period '100 days' abc"),
        "{}",
        ran.stderr
    );
}

#[test]
fn what_does_not_fit_exits_with_2() {
    let world = World::new();
    for arguments in [
        "--provider aws",
        "--role backup",
        "--provider gcs --role backup",
        "--provider aws --role admin",
        "--provider minio --role backup --terraform",
        "--provider minio --role backup --allow-cover",
        "--provider aws --role backup --bucket-policy",
        "--provider wasabi --role owner --bucket-policy",
        "--provider aws --role renew --client-retention",
        "--provider aws --role renew --shared-domain",
        "--provider aws --role backup --attest",
        "--provider aws --role backup --lock hide",
        "--provider aws --role backup --bucket a*b",
        "--provider aws --role backup --prefix a*b",
        "--provider aws --role backup --prefix ${aws:username}",
        "--provider aws --role backup --writer me",
        "--provider aws --role backup --protect 0s",
        "--provider aws --role backup --generation 31d",
    ] {
        let ran = print(&world, &arguments.split(' ').collect::<Vec<_>>());
        assert_eq!(ran.code, 2, "{arguments}\n{}\n{}", ran.stdout, ran.stderr);
        assert!(ran.stdout.is_empty(), "{arguments}");
    }
}

/// Reads HCL with a parser of its own, and prints it as JSON.
const HCL_TO_JSON: &str = "import hcl2, json, sys; print(json.dumps(hcl2.load(sys.stdin)))";

fn hcl(text: &str) -> Value {
    use std::io::Write as _;
    let mut child = Command::new(python())
        .args(["-c", HCL_TO_JSON])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child
        .stdin
        .take()
        .unwrap()
        .write_all(text.as_bytes())
        .unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{text}");
    serde_json::from_slice(&output.stdout).unwrap()
}

/// What stands in `jsonencode(…)`.
fn encoded(text: &str) -> Value {
    let (_, rest) = text.split_once("jsonencode(").unwrap();
    let (json, _) = rest.rsplit_once("})").unwrap();
    serde_json::from_str(&format!("{json}}}")).unwrap()
}

#[test]
fn terraform_reads_what_is_printed_for_it() {
    let world = World::new();
    for role in ROLES {
        let plain = ["--provider", "aws", "--role", role, "--bucket", "abc"];
        let text = print(&world, &[&plain[..], &["--terraform"]].concat()).stdout;
        let policy: Value = serde_json::from_str(&print(&world, &plain).stdout).unwrap();
        assert_eq!(encoded(&text), policy, "{role}");
        let parsed = hcl(&text).to_string();
        for part in [
            "aws_iam_user",
            "aws_iam_policy",
            "aws_iam_user_policy_attachment",
        ] {
            assert!(parsed.contains(part), "{parsed}");
        }
    }
    let plain = [
        "--provider",
        "aws",
        "--role",
        "owner",
        "--bucket",
        "abc",
        "--bucket-policy",
    ];
    let text = print(&world, &[&plain[..], &["--terraform"]].concat()).stdout;
    let policy: Value = serde_json::from_str(&print(&world, &plain).stdout).unwrap();
    assert_eq!(encoded(&text), policy);
    let parsed = hcl(&text).to_string();
    for part in [
        "aws_s3_bucket",
        "aws_s3_bucket_versioning",
        "aws_s3_bucket_object_lock_configuration",
        "aws_s3_bucket_public_access_block",
        "aws_s3_bucket_policy",
        "\"days\":47",
        "COMPLIANCE",
    ] {
        assert!(parsed.contains(part), "{part}: {parsed}");
    }
}
