//! What must hold.

use std::collections::BTreeSet;
use std::time::Duration;

use super::{Promise, Walk};
use crate::machine::now_seconds;
use crate::walk::line::Weather;
use crate::walk::outsider::{Picture, Stored, differences, picture, restored_from};

/// Snapshots that are restored after a step.
const RESTORED: usize = 2;
/// Turns of maintenance until all space must have come back, a second each at least.
const TURNS_MAX: usize = 200;

impl Walk {
    /// What is promised is there, for whoever has the passphrase, in what nobody could have deleted.
    pub(super) async fn look(&mut self) {
        let stored = self.outsider.look().await;
        self.tell_changes(&stored);
        let now = now_seconds();
        for promise in self.promises.iter().filter(|one| one.until <= now) {
            self.is_late |= !promise.is_retired;
            self.tally.lapsed += usize::from(promise.is_retired);
        }
        self.promises.retain(|one| one.until > now);
        for _ in 0..RESTORED.min(self.promises.len()) {
            let at = self.dice.place(self.promises.len());
            self.is_locked(at, &stored);
        }
        if !self.promises.is_empty() {
            let at = self.dice.place(self.promises.len());
            self.is_read_through(at).await;
        }
    }

    /// Says which objects came and went: without that nobody understands why a walk failed.
    fn tell_changes(&mut self, stored: &[Stored]) {
        let authentic = stored.iter().filter(|one| one.is_authentic);
        let keys: BTreeSet<_> = authentic.map(|one| one.key.clone()).collect();
        for key in keys.difference(&self.keys) {
            self.note(&format!("  + {key}"));
        }
        for key in self.keys.difference(&keys) {
            self.note(&format!("  - {key}"));
        }
        self.keys = keys;
    }

    fn is_locked(&mut self, at: usize, stored: &[Stored]) {
        let promise = &self.promises[at];
        let is_kept = |one: &&Stored| {
            let is_locked = one.lock.is_some_and(|lock| lock.until >= promise.until);
            one.is_authentic && is_locked
        };
        let copy = self.outsider.copy(stored.iter().filter(is_kept));
        let files = restored_from(&copy, &promise.id);
        gives(&files, promise);
        self.tally.restored += 1;
    }

    /// From the bucket as it is, by a client that has seen it before.
    async fn is_read_through(&mut self, at: usize) {
        let target = tempfile::tempdir().unwrap();
        let client = self.dice.place(self.clients.len());
        let arguments = ["restore", &self.promises[at].id, "--target"];
        let mut command = self.clients[client].command(&arguments);
        command.arg(target.path());
        let ran = self.line.run(command, Weather::Fair).await;
        if now_seconds() >= self.promises[at].until {
            return;
        }
        self.expect("restore", &ran, &[0]);
        gives(&picture(target.path()), &self.promises[at]);
        self.tally.restored += 1;
    }

    /// Nothing of what was there is needed any more, so all of it goes.
    pub(super) async fn end(&mut self) {
        let old = self.outsider.look().await;
        let is_old = |one: &&Stored| one.is_authentic && one.key.starts_with("packs/");
        let old: BTreeSet<_> = old.iter().filter(is_old).map(|one| &one.key).collect();
        let mut kept = Vec::new();
        for client in 0..self.clients.len() {
            let files = self.clients[client].world.path("files");
            std::fs::remove_dir_all(&files).unwrap();
            std::fs::create_dir(&files).unwrap();
            self.change(client);
            self.renew_in_time().await;
            self.backup(client, Weather::Fair).await;
            kept.push(self.promises.last().unwrap().id.clone());
        }
        let mut ended = self.listed().await;
        ended.retain(|id| !kept.contains(id));
        let ended: Vec<_> = ended.iter().map(String::as_str).collect();
        let arguments = [&["forget"] as &[&str], &ended].concat();
        self.maintain(&arguments, Weather::Fair).await;
        // What ends before a renewal tells of it was never promised.
        self.untold.clear();
        for promise in &mut self.promises {
            promise.is_retired = !kept.contains(&promise.id);
        }
        for _turn in 0..TURNS_MAX {
            self.renew_in_time().await;
            // Junk among the snapshots may be what is left of one: a person says that it is not.
            let arguments = ["prune", "--confirm-missing"];
            self.maintain(&arguments, Weather::Fair).await;
            let stored = self.outsider.look().await;
            let mut left = stored.iter().filter(|one| old.contains(&one.key));
            if left.all(|one| !one.is_authentic || self.thief.planted.contains(&one.key)) {
                break;
            }
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        let stored = self.outsider.look().await;
        let left = stored.iter().filter(|one| old.contains(&one.key));
        let left: Vec<_> = left
            .filter(|one| one.is_authentic && !self.thief.planted.contains(&one.key))
            .collect();
        assert!(left.is_empty() || self.is_late, "still there: {left:#?}");
        self.look().await;
    }

    /// Makes the plain view whole: what any tool copies from it is a repository again.
    pub(super) async fn recover(&mut self) {
        self.maintain(&["recover"], Weather::Fair).await;
        let stored = self.outsider.look().await;
        let now = now_seconds();
        let live = self.promises.iter();
        let live = live.filter(|one| !one.is_retired && one.until > now);
        let live: Vec<_> = live.collect();
        if let Some(promise) = self.dice.pick(&live) {
            let plain = stored.iter().filter(|one| one.is_plain);
            let copy = self.outsider.copy(plain);
            gives(&restored_from(&copy, &promise.id), promise);
            self.tally.restored += 1;
        }
    }
}

fn gives(files: &Picture, promise: &Promise) {
    let wrong = differences(files, &promise.files);
    assert!(wrong.is_empty(), "snapshot {}: {wrong:?}", promise.id);
}
