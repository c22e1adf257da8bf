//! Names of users and groups.

use crate::directory::lock;
use nix::unistd::{Gid, Group, Uid, User};
use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex};

/// Looks up users and groups in the system's databases, each number and each name once.
///
/// A lookup that fails counts as unknown: the number alone is backed up, and restored, in that case.
#[derive(Debug, Default)]
pub struct OwnerNames {
    users: Mutex<HashMap<u32, Option<Arc<str>>>>,
    groups: Mutex<HashMap<u32, Option<Arc<str>>>>,
    user_ids: Mutex<HashMap<Box<str>, Option<u32>>>,
    group_ids: Mutex<HashMap<Box<str>, Option<u32>>>,
}

impl OwnerNames {
    /// The name of a user.
    pub fn user(&self, uid: u32) -> Option<Arc<str>> {
        cached(&self.users, uid, || {
            Some(User::from_uid(Uid::from_raw(uid)).ok()??.name.into())
        })
    }

    /// The name of a group.
    pub fn group(&self, gid: u32) -> Option<Arc<str>> {
        cached(&self.groups, gid, || {
            Some(Group::from_gid(Gid::from_raw(gid)).ok()??.name.into())
        })
    }

    /// The number of a user.
    pub fn uid(&self, user: &str) -> Option<u32> {
        cached(&self.user_ids, user.into(), || {
            Some(User::from_name(user).ok()??.uid.as_raw())
        })
    }

    /// The number of a group.
    pub fn gid(&self, group: &str) -> Option<u32> {
        cached(&self.group_ids, group.into(), || {
            Some(Group::from_name(group).ok()??.gid.as_raw())
        })
    }
}

fn cached<K: Hash + Eq, V: Clone>(
    cache: &Mutex<HashMap<K, Option<V>>>,
    key: K,
    look_up: impl FnOnce() -> Option<V>,
) -> Option<V> {
    lock(cache).entry(key).or_insert_with(look_up).clone()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn root_has_a_name_and_a_number() {
        let names = OwnerNames::default();
        assert_eq!(names.user(0).as_deref(), Some("root"));
        assert_eq!(names.group(0).as_deref(), Some("root"));
        assert_eq!(names.uid("root"), Some(0));
        assert_eq!(names.gid("root"), Some(0));
    }

    #[test]
    fn unknown_owners_have_none() {
        let names = OwnerNames::default();
        assert_eq!(names.user(3_999_999_999), None);
        assert_eq!(names.group(3_999_999_999), None);
        assert_eq!(names.uid("no such user"), None);
        assert_eq!(names.gid(""), None);
    }
}
