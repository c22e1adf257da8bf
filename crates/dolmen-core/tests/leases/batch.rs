//! Manifests for S3 Batch Operations: what a renewal would have done, done by somebody else.

use std::collections::BTreeSet;
use std::sync::atomic::AtomicBool;

use bytes::Bytes;
use dolmen_core::renew::batch::{Batch, Job, Place as Bucket};
use dolmen_core::renew::{self, Options, Report};
use dolmen_format::Timestamp;
use dolmen_state::state::Sightings;
use dolmen_store::{Lock, LockMode, ObjectRef, Operation, Place, Store as _, StoreKey, Version};

use super::pace::{HOME, with_much_due};
use super::world::{DAY, Deaf, World};

impl World {
    fn manifests(&self, sightings: &mut Sightings) -> (Vec<Job<Vec<u8>>>, Report) {
        let cancel = AtomicBool::new(false);
        let scratch = self.path(".");
        let options = Options {
            dry_run: false,
            index_cache: None,
            scratch: &scratch,
            cancel: &cancel,
        };
        let list = self.list();
        let locking = self.repository.objects.locking().unwrap();
        let place = Bucket {
            bucket: "memory",
            prefix: "",
        };
        let mut make = |_| Ok(Vec::new());
        let mut batch = Batch::new(place, locking.terms(), &mut make);
        let mut take = |planned: &_| batch.add(planned);
        let taken = renew::plan(
            &self.repository,
            &list,
            sightings,
            &options,
            &Deaf,
            &mut take,
        );
        (batch.finish(), taken.unwrap())
    }

    fn stated_lock(&self, object: &ObjectRef) -> Lock {
        let objects = &self.repository.objects;
        let status = objects.block_on(self.store.lock_of(object)).unwrap();
        status.retention().unwrap()
    }
}

/// Reads a manifest as S3 does, by its three fields.
fn rows(job: &Job<Vec<u8>>) -> Vec<ObjectRef> {
    let text = std::str::from_utf8(&job.manifest).unwrap();
    let row = |line: &str| {
        let fields: Vec<_> = line.split(',').collect();
        let [bucket, key, version] = fields[..] else {
            panic!("{line:?} has not three fields");
        };
        assert_eq!(bucket, "memory");
        ObjectRef {
            key: StoreKey::try_from(key).unwrap(),
            version: Version::new(version),
        }
    };
    let rows: Vec<_> = text.lines().map(row).collect();
    assert_eq!(u64::try_from(rows.len()).unwrap(), job.objects);
    rows
}

#[test]
fn manifests_name_the_versions_that_a_renewal_extends_and_change_nothing() {
    let world = with_much_due();
    let mut sightings = Sightings::default();
    let ((jobs, report), asked) = {
        world.record.take_requests();
        let written = world.manifests(&mut sightings);
        (written, world.record.take_requests())
    };
    let changes = [Operation::Extend, Operation::Put, Operation::Hold];
    assert!(!asked.iter().any(|one| changes.contains(&one.operation)));
    let wanted: BTreeSet<_> = jobs.iter().flat_map(rows).collect();
    assert_eq!(u64::try_from(wanted.len()).unwrap(), report.renewed);
    assert_ne!(sightings, Sightings::default(), "what lives is noted");

    world.renew(HOME);
    let extended = world.record.take_requests().into_iter();
    let extended: BTreeSet<_> = extended
        .filter(|request| request.operation == Operation::Extend)
        .map(|request| ObjectRef {
            key: StoreKey::try_from(&*request.key.unwrap()).unwrap(),
            version: request.version.unwrap(),
        })
        .collect();
    assert_eq!(wanted, extended);
}

#[test]
fn when_the_jobs_have_run_nothing_is_due_and_no_lock_was_made_shorter() {
    let world = with_much_due();
    let (jobs, before) = world.manifests(&mut Sightings::default());
    assert!(before.renewed > 0);
    for job in &jobs {
        let lock = job.lock.unwrap();
        assert_eq!(lock.mode, LockMode::Compliance);
        for object in rows(job) {
            assert!(lock.until > world.stated_lock(&object).until);
            let objects = &world.repository.objects;
            objects.block_on(world.store.extend(&object, lock)).unwrap();
        }
    }
    let (jobs, after) = world.manifests(&mut Sightings::default());
    assert!(jobs.is_empty() && after.is_protected, "{after:?}");
    assert!(after.protected_until > before.protected_until);
    let counts = world.count(|| world.renew(HOME));
    assert_eq!(counts.get(&Operation::Extend), None, "{counts:?}");
}

#[test]
fn an_impostor_is_in_no_manifest() {
    let world = with_much_due();
    let name = world.names("packs/").remove(0);
    let key = StoreKey::try_from(name).unwrap();
    let junk = Bytes::from_static(b"junk");
    let objects = &world.repository.objects;
    let put = objects.block_on(world.store.put(&key, junk, None, Place::OnTop));
    let impostor = put.unwrap().object;
    let (jobs, _) = world.manifests(&mut Sightings::default());
    let rows: Vec<_> = jobs.iter().flat_map(rows).collect();
    let of_key: Vec<_> = rows.iter().filter(|object| object.key == key).collect();
    assert_eq!(of_key.len(), 1, "the good version is there");
    assert_ne!(of_key[0], &impostor);
}

#[test]
fn until_the_jobs_have_run_the_horizon_is_what_the_store_states() {
    let world = with_much_due();
    // The margin is over for what was locked for the shortest time.
    world.wait(4 * DAY);
    let (_, report) = world.manifests(&mut Sightings::default());
    let horizon = report.protected_until.unwrap();
    let least = world.store.clock().saturating_add_seconds(30 * DAY);
    assert!(horizon < least, "{horizon:?} {least:?}");
    assert!(!report.is_protected);
    assert!(horizon > Timestamp::from_seconds(world.store.clock().seconds));
}
