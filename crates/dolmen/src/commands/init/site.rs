//! Where a repository is to be made: what is there, what the place can do, and what is the matter with it.

use std::future::ready;
use std::path::Path;
use std::sync::Arc;

use dolmen_core::{Error, Objects};
use dolmen_format::ledger::LockStrategy;
use dolmen_s3::{S3Address, S3Store};
use dolmen_store::{
    Bucket as _, BucketSettings, LocalStore, LockSupport, Store, StoreError, StoreErrorKind,
    VersionInfo,
};
use futures_util::{StreamExt as _, TryStreamExt as _};

use super::super::App;
use super::{LockName, refuse_lock};
use crate::config::{Address, StoreVariables};
use crate::exit::{During as _, Exit, Failure, Outcome};
use crate::stores::{self, Trial};

/// A place, as it is before anything is made.
#[derive(Debug)]
pub(super) enum Site<'a> {
    /// A folder, which is made.
    Folder(&'a Path),
    /// A bucket that is there.
    Bucket(&'a S3Address, BucketSettings),
    /// A bucket that is to be made, with Object Lock.
    NewBucket(&'a S3Address),
}

impl<'a> Site<'a> {
    /// Looks at a place, and refuses one where something is.
    ///
    /// Cost: for a bucket some ten requests.
    pub(super) fn look(app: &App, address: &'a Address, may_create: bool) -> Outcome<Self> {
        let shown = address.shown();
        let tried = format!("cannot make a repository at {shown}");
        match address {
            Address::Folder(folder) => {
                refuse_taken(app, folder, &shown, &tried)?;
                Ok(Self::Folder(folder))
            }
            Address::S3(bucket) => {
                let (options, _) = app.config.s3(&StoreVariables::default())?;
                let asked = async { S3Store::reach(bucket, &options).await.settings().await };
                match app.runtime.block_on(asked) {
                    Ok(settings) => Self::look_into(app, bucket, settings, &shown, &tried),
                    Err(error) if error.kind == StoreErrorKind::NotFound && may_create => {
                        Ok(Self::NewBucket(bucket))
                    }
                    Err(error) if error.kind == StoreErrorKind::NotFound => {
                        let said = format!("{tried}: there is no bucket {}", bucket.bucket);
                        Err(Failure::new(Exit::Failed, said).hint(
                            "make it, with Object Lock, by the same command with --create-bucket",
                        ))
                    }
                    Err(error) => Err(Failure::from(error).during(tried)),
                }
            }
        }
    }

    /// Looks into a bucket that is there.
    fn look_into(
        app: &App,
        bucket: &'a S3Address,
        settings: BucketSettings,
        shown: &str,
        tried: &str,
    ) -> Outcome<Self> {
        if settings.has_versions == Some(false) {
            let said = format!("{tried}: the bucket keeps no versions");
            let failure = Failure::new(Exit::Failed, said);
            return Err(with_remedy(failure, bucket));
        }
        let store = open_bucket(app, bucket)?.during(tried)?;
        let objects = Objects::new(store, app.runtime.clone(), shown);
        if refuse_taken_bucket(&objects, shown, tried)? == Remains::Keys {
            app.output.notice(
                "an init that was cut off left keys there, which are none of the new repository's: they stay while they are \
                 locked, and dolmen recover sets them aside",
            );
        }
        Ok(Self::Bucket(bucket, settings))
    }

    /// Which locks it has.
    pub(super) fn locks(&self) -> LockSupport {
        match self {
            Self::Folder(_) => LockSupport::None,
            Self::Bucket(_, settings) if settings.has_locks == Some(false) => LockSupport::None,
            Self::Bucket(..) | Self::NewBucket(_) => LockSupport::ObjectLock,
        }
    }

    /// The strategy that was asked for, or the best that the place has; refuses what it cannot keep.
    pub(super) fn strategy(&self, asked: Option<LockName>, tried: &str) -> Outcome<LockStrategy> {
        refuse_lock(asked, self.locks(), self.is_folder(), tried)?;
        match (self, asked) {
            (_, Some(asked)) => Ok(asked.strategy()),
            (Self::Folder(_), None) => Ok(LockStrategy::None),
            (Self::Bucket(address, _), None) if self.locks() == LockSupport::None => {
                let said = format!("{tried}: the bucket has no Object Lock");
                Err(with_remedy(Failure::new(Exit::Failed, said), address)
                    .hint("or take --lock none: damage is then found, not prevented"))
            }
            (Self::Bucket(..) | Self::NewBucket(_), None) => Ok(LockStrategy::Compliance),
        }
    }

    pub(super) const fn is_folder(&self) -> bool {
        matches!(self, Self::Folder(_))
    }

    /// Refuses a bucket that would take backups away by itself.
    pub(super) fn refuse_hazards(&self, tried: &str) -> Outcome<()> {
        let Self::Bucket(address, settings) = self else {
            return Ok(());
        };
        let Some(hazard) = settings.hazards.iter().flatten().next() else {
            return Ok(());
        };
        let said = format!(
            "{tried}: the bucket has a lifecycle rule, `{}`: {}",
            hazard.rule, hazard.harm
        );
        Err(Failure::new(Exit::Failed, said)
            .hint(format!(
                "see its rules with: aws s3api get-bucket-lifecycle-configuration {}",
                arguments(address)
            ))
            .hint("limit the rule to other prefixes, or give the repository a bucket of its own"))
    }

    /// Makes what is to be made and opens the store.
    pub(super) fn create(&self, app: &App, tried: &str) -> Outcome<Arc<dyn Store>> {
        match self {
            Self::Folder(folder) => {
                let store = LocalStore::create(folder).during(tried)?;
                Ok(Arc::new(store))
            }
            Self::Bucket(address, _) => open_bucket(app, address)?.during(tried),
            Self::NewBucket(address) => {
                let (options, _) = app.config.s3(&StoreVariables::default())?;
                let created = S3Store::create_bucket(address, &options);
                let created = app.runtime.block_on(created);
                created.during(tried)?;
                open_bucket(app, address)?.during(tried)
            }
        }
    }
}

/// Opens a bucket that is there, or was just made.
fn open_bucket(app: &App, bucket: &S3Address) -> Outcome<Result<Arc<dyn Store>, StoreError>> {
    stores::open_bucket(app, bucket, &StoreVariables::default(), Trial::Each)
}

/// Says how a bucket with Object Lock comes about.
fn with_remedy(failure: Failure, address: &S3Address) -> Failure {
    let arguments = arguments(address);
    failure
        .hint("take another bucket: this command with --create-bucket makes one with Object Lock")
        .hint(format!(
            "or turn it on where the service can: aws s3api put-bucket-versioning {arguments} \
             --versioning-configuration Status=Enabled && aws s3api put-object-lock-configuration {arguments} \
             --object-lock-configuration ObjectLockEnabled=Enabled"
        ))
}

/// How AWS's own program is told which bucket is meant.
fn arguments(address: &S3Address) -> String {
    match &address.endpoint {
        None => format!("--bucket {}", address.bucket),
        Some(endpoint) => format!("--endpoint-url {endpoint} --bucket {}", address.bucket),
    }
}

/// What probes leave, which is locked for a while and in nobody's way.
const CANARIES: &str = "canary/";

/// What an init that was cut off put last: a repository is there once its root is.
const KEYS: &str = "keys/";

/// What an init left that made no repository.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Remains {
    /// Canaries at most.
    Nothing,
    /// Keys without a root, which open nothing.
    Keys,
}

/// Refuses a bucket's folder where anything is but what an interrupted init leaves. Hidden objects are there, too.
fn refuse_taken_bucket(objects: &Objects, shown: &str, tried: &str) -> Outcome<Remains> {
    refuse_repository(objects, shown, tried)?;
    let mut remains = Remains::Nothing;
    let other = objects.block_on(async {
        let lines = objects.store().list_versions("");
        let is_other = |line: &VersionInfo| {
            if line.name.starts_with(KEYS) {
                remains = Remains::Keys;
            }
            ready(!line.name.starts_with(CANARIES) && !line.name.starts_with(KEYS))
        };
        // The first tells: a bucket may hold millions.
        lines.try_filter(is_other).next().await
    });
    if other.transpose().during(tried)?.is_none() {
        return Ok(remains);
    }
    Err(
        Failure::new(Exit::Failed, format!("{tried}: something is there already")).hint(
            "name another prefix, as in s3:https://host/bucket/PREFIX: a repository's holds nothing else",
        ),
    )
}

/// Refuses a place where a repository is.
fn refuse_repository(objects: &Objects, shown: &str, tried: &str) -> Outcome<()> {
    let mut roots = 0_u64;
    objects
        .list("root/", |_| roots = roots.saturating_add(1))
        .during(tried)?;
    if roots == 0 {
        return Ok(());
    }
    let address = shown.to_owned();
    Err(Error::RepositoryExists { address, stays: 0 }.into())
}

/// Refuses a folder where something is.
fn refuse_taken(app: &App, folder: &Path, shown: &str, tried: &str) -> Outcome<()> {
    let store = match LocalStore::open(folder) {
        Ok(store) => store,
        Err(error) if error.kind == StoreErrorKind::NotFound => {
            return refuse_file(folder, tried);
        }
        Err(error) => return Err(Failure::from(error).during(tried)),
    };
    let is_empty = store.is_empty().during(tried)?;
    if is_empty {
        return Ok(());
    }
    let objects = Objects::new(Arc::new(store), app.runtime.clone(), shown);
    refuse_repository(&objects, shown, tried)?;
    if is_skeleton(&objects, folder).during(tried)? {
        return Ok(());
    }
    Err(
        Failure::new(Exit::Failed, format!("{tried}: the folder is not empty"))
            .hint("name an empty or a new folder: a repository's folder holds nothing else")
            .hint("what an interrupted init left there may be removed"),
    )
}

/// Whether nothing is there but the folders of an init that failed and took back what it had put.
fn is_skeleton(objects: &Objects, folder: &Path) -> Result<bool, Error> {
    const FOLDERS: [&str; 4] = [".tmp", "keys", "lost+found", "root"];
    let names = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let mut names = names.map(|entry| entry.file_name());
    if !names.all(|name| FOLDERS.iter().any(|known| name == *known)) {
        return Ok(false);
    }
    let mut found = 0_u64;
    for prefix in ["keys/", "root/"] {
        let foreign = objects.list(prefix, |_| found = found.saturating_add(1))?;
        if !foreign.is_empty() {
            return Ok(false);
        }
    }
    Ok(found == 0)
}

/// Refuses a file where a folder is to be made, or above it.
fn refuse_file(folder: &Path, tried: &str) -> Outcome<()> {
    let there = folder
        .ancestors()
        .find(|path| path.symlink_metadata().is_ok());
    match there {
        Some(path) if !path.is_dir() => Err(Failure::new(
            Exit::Failed,
            format!("{tried}: {} is not a folder", path.display()),
        )
        .hint("name an empty or a new folder")),
        Some(_) | None => Ok(()),
    }
}
