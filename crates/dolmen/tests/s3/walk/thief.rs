//! Who stole the credentials: an independent client with all the rights of the account's owner, and no key of the repository.

use std::collections::BTreeSet;

use aws_sdk_s3::Client;
use aws_sdk_s3::primitives::DateTime;
use aws_sdk_s3::types::{ObjectLockRetention, ObjectLockRetentionMode};
use dolmen_sim::dice::Dice;

use super::outsider::{Stored, list};
use crate::machine::{PREFIX, now_seconds, owner};

/// Keys of which one attack overwrites or hides some.
const SOME: u64 = 8;
/// Seconds for which it locks junk.
const JUNK_SECONDS: i64 = 15;

/// What it does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Attack {
    /// Puts markers over keys.
    Hide,
    /// The same, over every key.
    HideAll,
    /// Puts garbage on top of keys.
    Overwrite,
    /// Puts bytes that a key once had, or another key has, back on top.
    Replay,
    /// Puts garbage and copies of what is there under names that nothing has.
    Plant,
    /// Deletes every version and every marker, as far as it is let.
    DeleteAll,
    /// Tries to let locks end sooner.
    Shorten,
    /// Locks what it planted, and what lies on top by name.
    LockJunk,
}

impl Attack {
    pub(crate) const ALL: [Self; 8] = [
        Self::Hide,
        Self::HideAll,
        Self::Overwrite,
        Self::Replay,
        Self::Plant,
        Self::DeleteAll,
        Self::Shorten,
        Self::LockJunk,
    ];
}

/// The one who stole them.
#[derive(Debug)]
pub(crate) struct Thief {
    client: Client,
    bucket: String,
    dice: Dice,
    /// Keys that exist for its sake alone.
    pub(crate) planted: BTreeSet<String>,
}

impl Thief {
    pub(crate) fn new(bucket: &str, dice: Dice) -> Self {
        Self {
            client: owner(),
            bucket: bucket.to_owned(),
            dice,
            planted: BTreeSet::new(),
        }
    }

    /// Does one of them.
    pub(crate) async fn strike(&mut self, attack: Attack) {
        let versions = list(&self.client, &self.bucket).await;
        let keys: BTreeSet<_> = versions.iter().map(|one| one.key.clone()).collect();
        let keys: Vec<_> = keys.into_iter().collect();
        match attack {
            Attack::Hide => {
                for key in self.some(&keys) {
                    self.hide(&key).await;
                }
            }
            Attack::HideAll => {
                for key in &keys {
                    self.hide(key).await;
                }
            }
            Attack::Overwrite => {
                for key in self.some(&keys) {
                    let length = self.dice.place(3000);
                    let garbage = self.dice.bytes(length);
                    self.put(&key, garbage).await;
                }
            }
            Attack::Replay => {
                for key in self.some(&keys) {
                    let other = self.some(&keys).pop().unwrap();
                    let source = if self.dice.chance(700) { &key } else { &other };
                    let of_source: Vec<_> =
                        versions.iter().filter(|one| one.key == *source).collect();
                    let old = pick(&mut self.dice, &of_source);
                    let body = self.read(old).await;
                    self.put(&key, body).await;
                }
            }
            Attack::Plant => self.plant(&versions).await,
            Attack::DeleteAll => self.delete_all(&versions).await,
            Attack::Shorten => self.shorten(&versions).await,
            Attack::LockJunk => self.lock_junk(&keys).await,
        }
    }

    fn some(&mut self, keys: &[String]) -> Vec<String> {
        let count = 1 + self.dice.below(SOME);
        let mut picked = || self.dice.pick(keys).unwrap().clone();
        (0..count).map(|_| picked()).collect()
    }

    async fn hide(&self, key: &str) {
        let hide = self.client.delete_object().bucket(&self.bucket);
        hide.key(format!("{PREFIX}{key}")).send().await.unwrap();
    }

    async fn put(&self, key: &str, body: Vec<u8>) {
        let put = self.client.put_object().bucket(&self.bucket);
        let put = put.key(format!("{PREFIX}{key}")).body(body.into());
        put.send().await.unwrap();
    }

    async fn read(&self, one: &Stored) -> Vec<u8> {
        let get = self.client.get_object().bucket(&self.bucket);
        let get = get
            .key(format!("{PREFIX}{}", one.key))
            .version_id(&one.version);
        let body = get.send().await.unwrap().body.collect().await.unwrap();
        body.into_bytes().to_vec()
    }

    /// In the place of something that is there: garbage whose name is right for its bytes, part of an object under the name
    /// of that part, an object in another writer's folder, one under a name that is not its own, and no object's name.
    async fn plant(&mut self, versions: &[Stored]) {
        for kind in 0..5 {
            let all: Vec<_> = versions.iter().collect();
            let model = pick(&mut self.dice, &all);
            let (folder, name) = model.key.rsplit_once('/').unwrap();
            let body = self.read(model).await;
            let part = self.dice.place(body.len());
            let writer = self.dice.array::<32>().map(|byte| format!("{byte:02x}"));
            let (key, body) = match kind {
                0 => {
                    let garbage = self.dice.bytes(300);
                    let name = blake3::hash(&garbage).to_hex().to_string();
                    (format!("{folder}/{name}"), garbage)
                }
                1 => {
                    let part = body[..part].to_vec();
                    let name = blake3::hash(&part).to_hex().to_string();
                    (format!("{folder}/{name}"), part)
                }
                2 => {
                    let top = model.key.split('/').next().unwrap();
                    (format!("{top}/{}/{name}", writer.concat()), body)
                }
                3 => (format!("{folder}/{}", writer.concat()), body),
                _ => (format!("{folder}/..junk {part}"), body),
            };
            if !versions.iter().any(|one| one.key == key) {
                self.put(&key, body).await;
                self.planted.insert(key);
            }
        }
    }

    async fn delete_all(&self, versions: &[Stored]) {
        for one in versions {
            let delete = self.client.delete_object().bucket(&self.bucket);
            let delete = delete.key(format!("{PREFIX}{}", one.key));
            let delete = delete.version_id(&one.version);
            let delete = delete.bypass_governance_retention(true);
            // Refused where it is locked: what is left is looked at.
            let _refused = delete.send().await;
        }
    }

    async fn shorten(&mut self, versions: &[Stored]) {
        let modes = [
            ObjectLockRetentionMode::Compliance,
            ObjectLockRetentionMode::Governance,
        ];
        let all: Vec<_> = versions.iter().collect();
        for _ in 0..SOME {
            let mode = self.dice.pick(&modes).unwrap().clone();
            let one = pick(&mut self.dice, &all);
            let seconds = self.dice.between(1, 5);
            // Refused where a lock ends later: no lock that is seen ends sooner.
            let _refused = self
                .retain(&one.key, Some(&one.version), mode, seconds)
                .await;
        }
    }

    /// By name alone: whatever is on top is meant.
    async fn lock_junk(&mut self, keys: &[String]) {
        for key in self.some(keys) {
            let mode = ObjectLockRetentionMode::Compliance;
            // A marker on top has no lock.
            let _refused = self.retain(&key, None, mode, JUNK_SECONDS).await;
        }
    }

    async fn retain(
        &self,
        key: &str,
        version: Option<&str>,
        mode: ObjectLockRetentionMode,
        seconds: i64,
    ) -> bool {
        let retention = ObjectLockRetention::builder()
            .mode(mode)
            .retain_until_date(DateTime::from_secs(now_seconds() + seconds))
            .build();
        let request = self.client.put_object_retention().bucket(&self.bucket);
        let request = request.key(format!("{PREFIX}{key}"));
        let request = request.set_version_id(version.map(str::to_owned));
        let request = request.bypass_governance_retention(true);
        request.retention(retention).send().await.is_ok()
    }
}

fn pick<'s>(dice: &mut Dice, from: &[&'s Stored]) -> &'s Stored {
    dice.pick(from).unwrap()
}
