//! Roots and keys, as the store has them now.

use std::collections::BTreeSet;

use dolmen_crypto::{CryptoError, VerifyKey};
use dolmen_format::bundle::Bundle;
use dolmen_format::certificate::Certificate;
use dolmen_format::root::Root;
use dolmen_format::signed::{NO_REPOSITORY, decode};
use dolmen_format::{ObjectKey, ObjectKind};

use super::is_fatal;
use super::sink::Sink;
use crate::error::Result;
use crate::finding::{Finding, Nature, chain, plain};
use crate::objects::{FetchError, kind_of};
use crate::repository::Repository;
use crate::strays::Strays;
use crate::verify::{KEY_KINDS, Refusal};

/// Verifies every object below `root/` and `keys/`, and that none is gone which this client has seen.
///
/// Cost: a listing of everything, two more, and one request for each object.
pub(super) fn check(repository: &Repository, sink: &Sink<'_>) -> Result<()> {
    let standing = repository.standing_objects();
    let needed: BTreeSet<_> = standing.iter().map(|(key, _)| *key).collect();
    let strays = Strays::new(repository, |key| needed.contains(key));
    // What is whole and another's is judged below, where it is known whether it was set aside.
    let mut known = repository.findings().to_vec();
    known.retain(|finding| finding.nature != Nature::Foreign);
    sink.judge(&strays, &known)?;
    note_strangers(repository, sink)?;
    let mut listed = Vec::new();
    for prefix in ["root/", "keys/"] {
        let foreign = repository.objects.list(prefix, |object| {
            listed.push(object);
        })?;
        let foreign: Vec<_> = foreign.into_iter().map(Finding::foreign).collect();
        sink.judge(&strays, &foreign)?;
    }
    let keys: BTreeSet<_> = listed.iter().map(|object| object.key).collect();
    for (key, _) in repository.standing_objects() {
        if !keys.contains(key) {
            sink.finding(key, "missing from the store");
        }
    }
    let (kind, mut failed, mut findings) = (ObjectKind::Root, None, Vec::new());
    let (objects, mut set_aside) = (&repository.objects, Vec::new());
    let is_ours = |key| {
        repository
            .standing_objects()
            .iter()
            .any(|(ours, _)| *ours == key)
    };
    objects.fetch_all(&listed, kind, |object, fetched| {
        let name = object.key.to_string();
        match fetched {
            Ok(found) => {
                if object.is_hidden && !is_ours(object.key) {
                    set_aside.push(object.key);
                } else if let Err(refusal) = verify(repository, &object.key, &found.body) {
                    findings.push(Finding::refused(name, refusal));
                }
            }
            Err(FetchError::Store(error)) if is_fatal(&error) => failed = Some(error),
            Err(error) => findings.push(Finding::unusable(name, &error)),
        }
    });
    objects.overlook_hidden(set_aside);
    sink.judge(&strays, &findings)?;
    failed.map_or(Ok(()), |error| Err(error.into()))
}

/// Names what lies outside of every folder of a repository.
fn note_strangers(repository: &Repository, sink: &Sink<'_>) -> Result<()> {
    const FOLDERS: [&str; 7] = [
        "root/",
        "keys/",
        "packs/",
        "index/",
        "snapshots/",
        "ledger/",
        "canary/",
    ];
    for name in repository.objects.list("", |_object| {})? {
        if !FOLDERS.iter().any(|folder| name.starts_with(folder)) {
            sink.notice(&format!("{} is no part of the repository", plain(name)));
        }
    }
    Ok(())
}

/// Verifies an object below `root/` or `keys/`.
pub(crate) fn verify(
    repository: &Repository,
    key: &ObjectKey,
    stored: &[u8],
) -> std::result::Result<(), Refusal> {
    let id = repository.id();
    match key {
        ObjectKey::Root(root) => match verify_root(stored) {
            Ok(()) if *root == id => Ok(()),
            Ok(()) => Err(Refusal::foreign("the root of another repository")),
            Err(error) => Err(Refusal::Foreign(chain(&error))),
        },
        _ => verify_key(repository, stored),
    }
}

fn verify_root(stored: &[u8]) -> std::result::Result<(), CryptoError> {
    let unverified = decode::<Root>(stored)?;
    let key = VerifyKey::from_bytes(&unverified.body.verify_key)?;
    key.verify::<Root>(&NO_REPOSITORY, stored).map(|_root| ())
}

fn verify_key(repository: &Repository, stored: &[u8]) -> std::result::Result<(), Refusal> {
    let id = repository.id();
    let admin = VerifyKey::from_bytes(&repository.root().verify_key);
    let admin = admin.map_err(|error| Refusal::Foreign(chain(&error)))?;
    let verified = match kind_of(stored) {
        Ok(ObjectKind::Bundle) => admin.verify::<Bundle>(&id, stored).map(drop),
        Ok(_) | Err(_) => admin.verify::<Certificate>(&id, stored).map(drop),
    };
    verified.map_err(|error| Refusal::of(&error, &KEY_KINDS, &admin, &id, stored))
}
