//! What is true of a whole bucket, and what only an attacker would ask of one.

use std::fmt;

use async_trait::async_trait;

use crate::api::Api;
use crate::error::StoreError;
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
