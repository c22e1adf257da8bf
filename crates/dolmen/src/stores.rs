//! Reaching the store behind an address.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use dolmen_core::{Error, Objects};
use dolmen_s3::{S3Address, S3Store};
use dolmen_store::{LocalStore, Operation, Store, StoreError, StoreErrorKind};
use futures_util::StreamExt as _;

use crate::commands::App;
use crate::config::{Address, canonical};
use crate::exit::{Failure, Outcome};

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

/// Opens the store of a repository; one that is not there holds none.
///
/// Cost: two requests to a bucket.
pub(crate) fn open(app: &App, address: &Address) -> Outcome<Reached> {
    let shown = address.shown();
    let opened = match address {
        Address::Folder(folder) => open_folder(folder),
        Address::S3(bucket) => open_bucket(app, bucket)?,
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

/// Opens a bucket that may be missing.
pub(crate) fn open_bucket(
    app: &App,
    bucket: &S3Address,
) -> Outcome<Result<Arc<dyn Store>, StoreError>> {
    let options = app.config.s3()?;
    let opened = app.runtime.block_on(S3Store::open(bucket, options));
    Ok(opened.map(|store| Arc::new(store) as Arc<dyn Store>))
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
