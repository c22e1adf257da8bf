//! What is true of a whole bucket, and what only an attacker would ask of one.

use std::fmt;

use async_trait::async_trait;

use crate::api::Api;
use crate::error::StoreError;
use crate::lock::LockMode;
use crate::object::ObjectRef;

/// The bucket behind a store.
///
/// Dolmen never changes a bucket's settings and never goes around a lock; the calls here find out whether the
/// credentials at hand could. Each asks for the right in a form that changes nothing, but for
/// [`Bucket::delete_bypassing`], which is for canaries. What a store cannot ask in such a form it answers with
/// [`StoreErrorKind::Unsupported`](crate::StoreErrorKind::Unsupported), never with a guess.
#[async_trait]
pub trait Bucket: fmt::Debug + Send + Sync {
    /// Whose API it speaks. No request.
    fn api(&self) -> Api;

    /// The bucket's name. No request.
    fn name(&self) -> &str;

    /// What stands before every key, with its last slash; empty where the repository fills the bucket. No request.
    fn prefix(&self) -> &str;

    /// Asks what the bucket does by itself. What these credentials may not ask, or the store does not tell, is left open.
    ///
    /// `NotFound` where there is no bucket. Cost: at most three requests.
    async fn settings(&self) -> Result<BucketSettings, StoreError>;

    /// Deletes exactly this version and asks to go around a lock in governance mode.
    ///
    /// `Locked` or `Denied` where that is refused. Cost: one request.
    async fn delete_bypassing(&self, object: &ObjectRef) -> Result<(), StoreError>;

    /// Sets a setting to what it is.
    ///
    /// `Denied` where these credentials may not, `Locked` where nobody may. `Unsupported` where the store has no such
    /// setting, or what it is cannot be read, so that it could not be set again. Cost: two requests.
    async fn set_again(&self, setting: Setting) -> Result<(), StoreError>;

    /// Tells whether these credentials may make others. `Unsupported` where the store does not tell.
    /// Cost: at most one request.
    async fn may_create_keys(&self) -> Result<bool, StoreError>;
}

/// A setting of a bucket with which an attacker could make locks lapse or data go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Setting {
    /// The rules by which the bucket deletes.
    Lifecycle,
    /// The lock of puts that bring none.
    DefaultRetention,
    /// Whether what is put over stays.
    Versioning,
}

/// What a bucket does by itself. `None`: the store does not say, or not to these credentials.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct BucketSettings {
    /// Whether it keeps a version of what is put from now on.
    pub has_versions: Option<bool>,
    /// Whether it has Object Lock.
    pub has_locks: Option<bool>,
    /// The lock of what is put without one; `Some(None)`: it gives none.
    pub default_retention: Option<Option<DefaultRetention>>,
    /// What its lifecycle rules do to the repository's objects.
    pub hazards: Option<Vec<Hazard>>,
}

/// The lock that a bucket gives to each put that brings none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DefaultRetention {
    /// Who may break it.
    pub mode: LockMode,
    /// Whole days from the put on; a year has 365.
    pub days: u32,
}

/// A lifecycle rule that takes objects away from the repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hazard {
    /// The rule's name.
    pub rule: String,
    /// What it does.
    pub harm: Harm,
}

/// What a lifecycle rule does to objects that are still needed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Harm {
    /// It hides current objects after a while, or deletes them where there are no versions.
    #[error("it expires objects of a certain age, and a backup needs old ones")]
    Expires,
    /// It deletes what was hidden or covered, as soon as its lock has lapsed.
    #[error("it deletes versions that something covers or hides, be they the genuine ones")]
    DeletesBeneath,
    /// It moves objects to where they cannot be read at once.
    #[error("it moves objects to an archive, from which they cannot be read at once")]
    Archives,
}
