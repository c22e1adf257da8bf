//! Reaching the store behind an address.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use dolmen_core::finding::chain;
use dolmen_core::{Error, Objects};
use dolmen_s3::{S3Address, S3Store};
use dolmen_store::{
    ByPurpose, CredentialLayer, LocalStore, Operation, Purpose, Store, StoreError, StoreErrorKind,
    WrongCredential,
};
use futures_util::StreamExt as _;

use crate::commands::App;
use crate::config::{Address, StoreVariables, canonical, prefix_of};
use crate::exit::{Exit, Failure, Outcome};

/// A store, and what this machine makes of its place.
#[derive(Debug)]
pub(crate) struct Reached {
    /// The store.
    pub(crate) store: Arc<dyn Store>,
    /// The one spelling under which this machine remembers the place.
    pub(crate) pinned_as: String,
    /// The folder, links resolved; `None`: it is not on this machine.
    pub(crate) folder: Option<PathBuf>,
}

/// Below it lie the names by which buckets are told apart.
const ROOTS: &str = "root/";

/// What is done about store credentials of a purpose of their own before anything else.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Trial {
    /// They are tried out: a wrong one is told at once.
    Each,
    /// Nothing: whoever only reads does without them.
    None,
}

/// Opens the store of a repository; one that is not there holds none. `carried` are the store credentials of a key file.
///
/// Cost: two requests to a bucket; a trial one more for each credential, unless there is one alone.
pub(crate) fn open(
    app: &App,
    address: &Address,
    carried: &StoreVariables,
    trial: Trial,
) -> Outcome<Reached> {
    let shown = address.shown();
    let opened = match address {
        Address::Folder(folder) => open_folder(folder),
        Address::S3(bucket) => open_bucket(app, bucket, carried, trial)?,
    };
    match opened {
        Ok(store) => reached(address, store),
        Err(error) if error.kind == StoreErrorKind::NotFound => Err(no_repository(&shown)),
        Err(error) => {
            Err(Failure::from(error).during(format!("cannot open the repository at {shown}")))
        }
    }
}

/// Opens the folder of a repository. An empty one is not there: kept copies would make a repository of the folder over which
/// a disk should have been mounted.
fn open_folder(folder: &Path) -> Result<Arc<dyn Store>, StoreError> {
    let store = LocalStore::open(folder)?;
    if store.is_empty()? {
        return Err(StoreError {
            kind: StoreErrorKind::NotFound,
            operation: Operation::Open,
            key: None,
            source: None,
        });
    }
    Ok(Arc::new(store))
}

/// Opens a bucket that may be missing, under all credentials that there are.
pub(crate) fn open_bucket(
    app: &App,
    bucket: &S3Address,
    carried: &StoreVariables,
    trial: Trial,
) -> Outcome<Result<Arc<dyn Store>, StoreError>> {
    let (options, own) = app.config.s3(carried)?;
    let opened = app
        .runtime
        .block_on(S3Store::open_each(bucket, &options, own));
    let stores = match opened {
        Ok(opened) => opened.map(|store| Arc::new(store) as Arc<dyn Store>),
        Err(error) => return Ok(Err(error)),
    };
    if stores.renew.is_none()
        && stores.prune.is_none()
        && let Some(alone) = stores.plain
    {
        return Ok(Ok(alone));
    }
    if trial == Trial::Each
        && let Err(error) = try_out(app, &stores)?
    {
        return Ok(Err(error));
    }
    let layer = CredentialLayer::new(&stores)
        .ok_or_else(|| Failure::new(Exit::NotAllowed, "there is no store credential"))?;
    Ok(Ok(Arc::new(layer)))
}

/// Refuses a store credential that cannot be used, or leads elsewhere than the others.
fn try_out(app: &App, stores: &ByPurpose<Arc<dyn Store>>) -> Outcome<Result<(), StoreError>> {
    match app.runtime.block_on(stores.first_wrong(ROOTS)) {
        Ok(None) => Ok(Ok(())),
        Ok(Some((Purpose::Plain, WrongCredential::Refused(error)))) | Err(error) => Ok(Err(error)),
        Ok(Some((purpose, wrong))) => {
            let said = format!(
                "cannot use the store credentials of {}AWS_\u{2026}: {}",
                prefix_of(purpose),
                chain(&wrong)
            );
            Err(Failure::new(Exit::NotAllowed, said).hint(
                "see that key and secret are whole and of the account that the others are of; without them the plain ones are used",
            ))
        }
    }
}

/// What this machine makes of a store that is open.
pub(crate) fn reached(address: &Address, store: Arc<dyn Store>) -> Outcome<Reached> {
    let (pinned_as, folder) = match address {
        Address::Folder(folder) => {
            let (pinned_as, folder) = canonical(folder)?;
            (pinned_as, Some(folder))
        }
        Address::S3(_) => (store.identity().as_str().to_owned(), None),
    };
    Ok(Reached {
        store,
        pinned_as,
        folder,
    })
}

/// What is said where no repository is.
pub(crate) fn no_repository(shown: &str) -> Failure {
    Failure::from(Error::NoRepository {
        address: shown.to_owned(),
    })
}

/// Whether nothing at all lies in a store, be it of nobody's.
///
/// Cost: one request.
pub(crate) fn is_empty(objects: &Objects) -> Result<bool, StoreError> {
    let first = objects.block_on(objects.store().list_versions("").next());
    Ok(first.transpose()?.is_none())
}
