//! What threads of one process do to each other.

#![expect(
    clippy::expect_used,
    reason = "helpers of tests, which clippy does not count among them"
)]

use std::sync::{Arc, Mutex};

use bytes::Bytes;
use dolmen_core::Objects;
use dolmen_format::{ObjectId, ObjectKey};
use dolmen_sim::tap::{Meanwhile, Moment, Tap};
use dolmen_store::{
    ByteRange, MemoryModel, MemoryOptions, MemoryStore, Place, Store, StoreErrorKind, StoreKey,
};

const BODY: Bytes = Bytes::from_static(b"what was backed up");
const RANGE: ByteRange = ByteRange::FromTo { offset: 5, len: 3 };

/// What is put over an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Cover {
    Marker,
    ShorterBytes,
}

/// Reads a covered object while another thread reads it from beginning to end, before this one's call of that number.
fn read_while_another_does(cover: Cover, call: u64) -> Result<Bytes, StoreErrorKind> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .build()
        .expect("it begins");
    let store = Arc::new(MemoryStore::new(MemoryModel::s3(MemoryOptions::VERSIONS)));
    let key = ObjectKey::Canary(ObjectId::of(&BODY));
    let name = StoreKey::try_from(key.to_string()).expect("it is one");
    runtime
        .block_on(async {
            store.put(&name, BODY, None, Place::IfAbsent).await?;
            match cover {
                Cover::Marker => store.hide(&name).await.map(drop),
                Cover::ShorterBytes => {
                    let junk = Bytes::from_static(b"junk");
                    store.put(&name, junk, None, Place::OnTop).await.map(drop)
                }
            }
        })
        .expect("it is covered");
    let other = Arc::new(Mutex::new(None::<Arc<Objects>>));
    let reader = Arc::clone(&other);
    let meanwhile: Meanwhile = Box::new(move || {
        let objects = reader.lock().expect("nobody panicked").take();
        let read = objects.expect("it is there").read(&key, RANGE);
        assert_eq!(read.expect("it is beneath"), "was");
    });
    let tap: Arc<dyn Store> = Arc::new(Tap::new(store, Some((Moment::Call(call), meanwhile))));
    let objects = Arc::new(Objects::new(tap, runtime.handle().clone(), "memory"));
    *other.lock().expect("nobody panicked") = Some(Arc::clone(&objects));
    objects.read(&key, RANGE).map_err(|error| error.kind)
}

#[test]
fn what_another_thread_finds_beneath_is_no_loss_for_this_one() {
    for cover in [Cover::Marker, Cover::ShorterBytes] {
        for call in 0..5 {
            let read = read_while_another_does(cover, call);
            assert_eq!(read, Ok(Bytes::from_static(b"was")), "{cover:?} {call}");
        }
    }
}
