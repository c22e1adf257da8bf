//! Application keys of Backblaze B2, which both of its APIs take.

use super::rights::Rights;
use super::{Grant, LockName};

/// What every key must be able to do: find its bucket (the S3 API asks for the second right as well), list, read.
const ALWAYS: [&str; 5] = [
    "listBuckets",
    "listAllBucketNames",
    "listFiles",
    "readFiles",
    "readBucketRetentions",
];

/// The line that makes the key of a role, for version 4 of the b2 tool.
///
/// A key knows one prefix, so that it reaches the whole repository. Never among its rights: `writeKeys`, `writeBuckets`,
/// `writeBucketRetentions`, `bypassGovernance`.
pub(crate) fn key_line(grant: &Grant) -> String {
    let mut line = format!("b2 key create --bucket {}", grant.bucket);
    if !grant.prefix.is_empty() {
        line.push_str(" --name-prefix ");
        line.push_str(&grant.prefix);
    }
    format!("{line} {} {}", grant.name(), capabilities(grant).join(","))
}

fn capabilities(grant: &Grant) -> Vec<&'static str> {
    let has_locks = grant.lock != LockName::Hide;
    let is_held = grant.lock == LockName::Hold;
    let rights = Rights::of(grant);
    let given = [
        (!rights.writes.is_empty(), "writeFiles"),
        (rights.deletes, "deleteFiles"),
        (has_locks, "readFileRetentions"),
        (rights.extends, "writeFileRetentions"),
        (is_held, "readFileLegalHolds"),
        (rights.holds, "writeFileLegalHolds"),
    ];
    let given = given
        .into_iter()
        .filter_map(|(has, right)| has.then_some(right));
    ALWAYS.into_iter().chain(given).collect()
}
