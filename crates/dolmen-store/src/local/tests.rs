use std::fs;
use std::os::fd::AsFd as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use futures_util::TryStreamExt as _;
use rustix::fs::{AtFlags, CWD, FlockOperation, Mode, Timespec, Timestamps};

use super::place::{Spot, check_and_rename, link_new, rename_new};
use super::*;
use crate::contract;
use crate::object::VersionKind;

const CAP_BYTES: u64 = 1 << 30;
const DAY_SECONDS: i64 = 24 * 60 * 60;

/// A folder that goes with the test.
struct TestFolder(PathBuf);

impl TestFolder {
    fn new() -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("dolmen-store-{}-{number}", std::process::id());
        let path = std::env::temp_dir().join(name);
        fs::create_dir(&path).unwrap();
        Self(path)
    }

    fn join(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    fn store(&self) -> LocalStore {
        LocalStore::create(&self.0).unwrap()
    }

    fn temp_names(&self) -> Vec<String> {
        let mut names: Vec<_> = fs::read_dir(self.join(".tmp"))
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }
}

impl Drop for TestFolder {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.0).ok();
    }
}

/// A small file system in memory, which only root may make.
struct TestMount(TestFolder);

impl TestMount {
    fn new() -> Option<Self> {
        let folder = TestFolder::new();
        let mount = Self(folder);
        if mount.run("mount", &["-t", "tmpfs", "-o", "size=1m", "none"]) {
            return Some(mount);
        }
        println!("skipped: mounting a tmpfs is not permitted here");
        None
    }

    fn run(&self, program: &str, arguments: &[&str]) -> bool {
        let status = Command::new(program)
            .args(arguments)
            .arg(&self.0.0)
            .status();
        status.is_ok_and(|status| status.success())
    }
}

impl Drop for TestMount {
    fn drop(&mut self) {
        self.run("umount", &["-l"]);
    }
}

fn key(text: &str) -> StoreKey {
    StoreKey::try_from(text).unwrap()
}

async fn put(store: &LocalStore, name: &str, body: &'static [u8]) -> ObjectRef {
    let body = Bytes::from_static(body);
    store
        .put(&key(name), body, None, Place::IfAbsent)
        .await
        .unwrap()
        .object
}

async fn list(store: &LocalStore, prefix: &str) -> Vec<VersionInfo> {
    store.list_versions(prefix).try_collect().await.unwrap()
}

async fn get_range(store: &LocalStore, name: &str) -> Result<Bytes, StoreErrorKind> {
    let range = Some(ByteRange::FromTo { offset: 0, len: 1 });
    store
        .get(&key(name), None, range, CAP_BYTES)
        .await
        .map_err(|error| error.kind)
}

/// Makes a file look as if it was last written two days ago.
fn age(path: &Path) {
    let seconds = fs::metadata(path).unwrap().mtime() - 2 * DAY_SECONDS;
    let time = Timespec {
        tv_sec: seconds,
        tv_nsec: 0,
    };
    let times = Timestamps {
        last_access: time,
        last_modification: time,
    };
    rustix::fs::utimensat(CWD, path, &times, AtFlags::empty()).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_folder_keeps_the_contract() {
    let folder = TestFolder::new();
    let store = folder.store();
    contract::run(&store, "canary/contract")
        .await
        .expect("the contract holds");
    assert_eq!(folder.temp_names(), [""; 0]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_small_file_system_in_memory_keeps_the_contract_up_to_its_size() {
    let Some(mount) = TestMount::new() else {
        return;
    };
    let failure = contract::run(&mount.0.store(), "canary").await.unwrap_err();
    assert_eq!(failure.case, "a_large_body_comes_back");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_reader_ever_sees_a_part_of_a_body() {
    const BODY_BYTES: usize = 300_000;
    let folder = TestFolder::new();
    let (writing, reading) = (folder.store(), folder.store());
    let is_done = AtomicBool::new(false);
    let write = async {
        for round in 0..60_u8 {
            let body = Bytes::from(vec![round; BODY_BYTES]);
            writing
                .put(&key("packs/w/one"), body.clone(), None, Place::OnTop)
                .await
                .unwrap();
            let fresh = key(&format!("packs/w/fresh-{round}"));
            writing
                .put(&fresh, body, None, Place::IfAbsent)
                .await
                .unwrap();
        }
        is_done.store(true, Ordering::Relaxed);
    };
    let read = async {
        let mut seen_bodies = 0;
        while !is_done.load(Ordering::Relaxed) {
            for line in list(&reading, "packs/").await {
                assert_eq!(line.size_bytes, BODY_BYTES as u64, "{line:?}");
            }
            match reading
                .get(&key("packs/w/one"), None, None, CAP_BYTES)
                .await
            {
                Ok(body) => {
                    assert_eq!(body.len(), BODY_BYTES);
                    assert!(body.iter().all(|byte| *byte == body[0]), "a body is mixed");
                    seen_bodies += 1;
                }
                Err(error) => assert_eq!(error.kind, StoreErrorKind::NotFound),
            }
        }
        assert!(seen_bodies > 0);
    };
    tokio::join!(write, read, async {
        while !is_done.load(Ordering::Relaxed) {
            get_range(&reading, "packs/w/one").await.ok();
        }
    });
    assert_eq!(folder.temp_names(), [""; 0]);
}

#[tokio::test]
async fn two_stores_on_one_folder_place_a_key_once() {
    let folder = TestFolder::new();
    let stores = [folder.store(), folder.store()];
    for round in 0..50 {
        let key = key(&format!("packs/{round}/one"));
        let [a, b] = &stores;
        let (a, b) = tokio::join!(
            a.put(&key, Bytes::from_static(b"a"), None, Place::IfAbsent),
            b.put(&key, Bytes::from_static(b"b"), None, Place::IfAbsent)
        );
        let refused = if a.is_ok() { b } else { a };
        assert_eq!(refused.unwrap_err().kind, StoreErrorKind::Exists);
    }
}

#[tokio::test]
async fn a_full_disk_refuses_the_put_and_nothing_else() {
    let Some(mount) = TestMount::new() else {
        return;
    };
    let store = mount.0.store();
    let body = Bytes::from(vec![1; 700_000]);
    let first = store
        .put(&key("packs/1"), body.clone(), None, Place::IfAbsent)
        .await
        .unwrap();
    for place in [Place::IfAbsent, Place::OnTop] {
        let refused = store
            .put(&key("packs/2"), body.clone(), None, place)
            .await
            .unwrap_err();
        assert_eq!(refused.kind, StoreErrorKind::NoSpace);
        assert_eq!(refused.to_string(), "put of packs/2 failed: no space left");
    }
    assert_eq!(mount.0.temp_names(), [""; 0]);
    assert_eq!(list(&store, "").await.len(), 1);
    assert_eq!(
        store
            .get(&key("packs/1"), None, None, CAP_BYTES)
            .await
            .unwrap(),
        body
    );

    // A full disk must still give space back.
    fs::write(mount.0.join("filler"), vec![0; 1 << 20]).unwrap_err();
    store.delete_version(&first.object).await.unwrap();
    fs::remove_file(mount.0.join("filler")).unwrap();
    store
        .put(&key("packs/2"), body, None, Place::IfAbsent)
        .await
        .unwrap();
}

#[tokio::test]
async fn a_read_only_folder_is_read_and_denies_the_rest() {
    let Some(mount) = TestMount::new() else {
        return;
    };
    let object = put(&mount.0.store(), "packs/1", b"body").await;
    assert!(mount.run("mount", &["-o", "remount,ro"]));

    let store = LocalStore::open(&mount.0.0).unwrap();
    assert_eq!(
        store.get(&object.key, None, None, CAP_BYTES).await.unwrap(),
        "body"
    );
    assert_eq!(list(&store, "").await.len(), 1);
    let put = store
        .put(&key("packs/2"), Bytes::new(), None, Place::IfAbsent)
        .await;
    assert_eq!(put.unwrap_err().kind, StoreErrorKind::Denied);
    let delete = store.delete_version(&object).await;
    assert_eq!(delete.unwrap_err().kind, StoreErrorKind::Denied);
    assert_eq!(store.now().await.unwrap_err().kind, StoreErrorKind::Denied);
}

#[tokio::test]
async fn an_immutable_object_cannot_be_deleted_or_replaced() {
    let folder = TestFolder::new();
    let store = folder.store();
    let object = put(&store, "packs/1", b"body").await;
    let set = |flag: &str| {
        Command::new("chattr")
            .arg(flag)
            .arg(folder.join("packs/1"))
            .status()
    };
    if !set("+i").is_ok_and(|status| status.success()) {
        println!("skipped: the immutable flag cannot be set here");
        return;
    }
    let delete = store.delete_version(&object).await;
    let replace = store
        .put(&object.key, Bytes::new(), None, Place::OnTop)
        .await;
    set("-i").unwrap();
    assert_eq!(delete.unwrap_err().kind, StoreErrorKind::Denied);
    assert_eq!(replace.unwrap_err().kind, StoreErrorKind::Denied);
    assert_eq!(
        store.get(&object.key, None, None, CAP_BYTES).await.unwrap(),
        "body"
    );
    assert!(store.capabilities().conditional_put);
    assert_eq!(folder.temp_names(), [""; 0]);
}

#[tokio::test]
async fn every_way_of_placing_spares_what_is_there() {
    let folder = TestFolder::new();
    let opened = fs::File::open(&folder.0).unwrap();
    let [from, to] = ["from", "to"].map(|name| Spot {
        folder: opened.as_fd(),
        name,
    });
    for place in [rename_new, link_new, check_and_rename] {
        fs::write(folder.join("from"), "new").unwrap();
        place(from, to).unwrap();
        assert!(!folder.join("from").exists());
        assert_eq!(fs::read(folder.join("to")).unwrap(), b"new");

        fs::write(folder.join("from"), "newer").unwrap();
        assert_eq!(place(from, to), Err(rustix::io::Errno::EXIST));
        assert_eq!(fs::read(folder.join("from")).unwrap(), b"newer");
        assert_eq!(fs::read(folder.join("to")).unwrap(), b"new");
        fs::remove_file(folder.join("to")).unwrap();
    }
    // The answer to a link got lost and the call is made again.
    fs::hard_link(folder.join("from"), folder.join("to")).unwrap();
    link_new(from, to).unwrap();
    assert!(!folder.join("from").exists());
}

#[tokio::test]
async fn an_object_replaced_behind_a_delete_is_put_back() {
    let folder = TestFolder::new();
    let store = folder.store();
    let planned = put(&store, "packs/1", b"planned").await;
    store
        .put(
            &planned.key,
            Bytes::from_static(b"healed"),
            None,
            Place::OnTop,
        )
        .await
        .unwrap();

    let parent = fs::File::open(folder.join("packs")).unwrap();
    let spot = Spot {
        folder: parent.as_fd(),
        name: "1",
    };
    let refused = store
        .folder
        .set_aside_and_remove(&planned, spot)
        .unwrap_err();
    assert_eq!(refused.kind, StoreErrorKind::NotFound);
    assert_eq!(
        store
            .get(&planned.key, None, None, CAP_BYTES)
            .await
            .unwrap(),
        "healed"
    );
    assert_eq!(folder.temp_names(), [""; 0]);
}

#[tokio::test]
async fn the_first_put_removes_what_crashes_left() {
    leftovers_go(async |store| put(&store, "c", b"c").await).await;
}

#[tokio::test]
async fn whoever_reads_the_clock_removes_what_crashes_left() {
    leftovers_go(async |store| store.now().await.unwrap()).await;
}

/// Leaves files in `.tmp/` and looks which stay after a call.
async fn leftovers_go<T>(call: impl AsyncFnOnce(LocalStore) -> T) {
    let folder = TestFolder::new();
    let meant = put(&folder.store(), "a", b"a").await;
    let other = put(&folder.store(), "b", b"b").await;
    let temp = |name: &str| folder.join(".tmp").join(name);
    let aside = |number: u32| format!("del-1-{number}-{}", meant.version);
    fs::rename(folder.join("a"), temp(&aside(1))).unwrap();
    fs::rename(folder.join("b"), temp(&aside(2))).unwrap();
    assert_ne!(meant.version, other.version);
    for name in ["put-1-old", "now-1-old", "put-1-held", "put-1-new", "note"] {
        fs::write(temp(name), name).unwrap();
    }
    for name in ["put-1-old", "now-1-old", "put-1-held", "note"] {
        age(&temp(name));
    }
    let held = fs::File::open(temp("put-1-held")).unwrap();
    rustix::fs::flock(&held, FlockOperation::NonBlockingLockExclusive).unwrap();

    call(folder.store()).await;
    assert_eq!(
        folder.temp_names(),
        [aside(2).as_str(), "note", "put-1-held", "put-1-new"]
    );
}

#[tokio::test]
async fn a_listing_reports_what_is_no_object_and_follows_nothing() {
    let folder = TestFolder::new();
    let store = folder.store();
    put(&store, "packs/good", b"good").await;
    for reserved in [".tmp", "quarantine", "incoming", "leases"] {
        fs::create_dir_all(folder.join(reserved)).unwrap();
        fs::write(folder.join(reserved).join("x"), "x").unwrap();
    }
    fs::create_dir(folder.join("bad name")).unwrap();
    fs::write(folder.join("bad name/inside"), "x").unwrap();
    fs::write(folder.join("note to self"), "x").unwrap();
    symlink("good", folder.join("packs/link")).unwrap();
    symlink("packs", folder.join("tree")).unwrap();
    let raw = std::ffi::OsStr::from_bytes(b"packs/\xff");
    fs::write(folder.0.join(raw), "raw").unwrap();
    let fifo = folder.join("packs/fifo");
    rustix::fs::mknodat(CWD, &fifo, rustix::fs::FileType::Fifo, Mode::RWXU, 0).unwrap();

    let found: Vec<_> = list(&store, "")
        .await
        .into_iter()
        .map(|line| {
            (
                line.object_ref().is_some(),
                line.kind,
                line.size_bytes,
                line.name,
            )
        })
        .collect();
    let wanted = [
        (false, VersionKind::Foreign, 0, "bad name/"),
        (false, VersionKind::Data, 1, "note to self"),
        (false, VersionKind::Foreign, 0, "packs/fifo"),
        (true, VersionKind::Data, 4, "packs/good"),
        (false, VersionKind::Foreign, 0, "packs/link"),
        (false, VersionKind::Data, 3, "packs/\u{fffd}"),
        (false, VersionKind::Foreign, 0, "tree"),
    ]
    .map(|(is_object, kind, size_bytes, name)| (is_object, kind, size_bytes, name.to_owned()));
    assert_eq!(found, wanted);

    for name in ["packs/link", "packs/fifo", "packs"] {
        assert_eq!(
            get_range(&store, name).await,
            Err(StoreErrorKind::Other),
            "{name}"
        );
    }
    assert!(get_range(&store, "tree/good").await.is_err());
    let through = store
        .put(&key("tree/new"), Bytes::new(), None, Place::IfAbsent)
        .await;
    assert!(through.is_err());
    assert!(!folder.join("packs/new").exists());
}

#[tokio::test]
async fn a_long_listing_comes_in_order() {
    let folder = TestFolder::new();
    let store = folder.store();
    fs::create_dir_all(folder.join("index/w")).unwrap();
    for number in (0..1000).rev() {
        fs::write(folder.join(&format!("index/w/{number:04}")), "").unwrap();
    }
    let names: Vec<_> = list(&store, "index/")
        .await
        .into_iter()
        .map(|line| line.name)
        .collect();
    let wanted: Vec<_> = (0..1000)
        .map(|number| format!("index/w/{number:04}"))
        .collect();
    assert_eq!(names, wanted);
}

#[tokio::test]
async fn a_folder_that_cannot_be_read_is_an_error_among_the_lines() {
    let folder = TestFolder::new();
    let store = folder.store();
    put(&store, "a/1", b"").await;
    put(&store, "c/1", b"").await;
    fs::create_dir(folder.join("b")).unwrap();
    fs::set_permissions(folder.join("b"), fs::Permissions::from_mode(0o000)).unwrap();
    if rustix::process::geteuid().is_root() {
        println!("skipped: root may read every folder");
        return;
    }
    let lines: Vec<_> = store.list_versions("").collect().await;
    // Or else it could not be removed either.
    fs::set_permissions(folder.join("b"), fs::Permissions::from_mode(0o700)).unwrap();
    let kinds: Vec<_> = lines
        .iter()
        .map(|line| line.as_ref().err().map(|e| e.kind))
        .collect();
    assert_eq!(kinds, [None, Some(StoreErrorKind::Denied), None]);
}

#[tokio::test]
async fn reserved_folders_hold_no_objects() {
    let folder = TestFolder::new();
    let store = folder.store();
    for name in [".tmp/x", "quarantine/x", "incoming/x", "leases/x", ".tmp"] {
        let put = store
            .put(&key(name), Bytes::new(), None, Place::OnTop)
            .await;
        assert_eq!(put.unwrap_err().kind, StoreErrorKind::Unsupported, "{name}");
        assert_eq!(
            get_range(&store, name).await,
            Err(StoreErrorKind::Unsupported),
            "{name}"
        );
    }
}

#[tokio::test]
async fn a_kept_file_is_given_up_with_its_name() {
    let folder = TestFolder::new();
    let store = folder.store();
    for number in 0..40 {
        let name = key(&format!("p/{number}"));
        store
            .put(&name, Bytes::from_static(b"1"), None, Place::IfAbsent)
            .await
            .unwrap();
        assert_eq!(get_range(&store, name.as_str()).await.unwrap(), "1");
    }
    // Another process replaces one object and removes another.
    fs::write(folder.join("fresh"), "2").unwrap();
    fs::rename(folder.join("fresh"), folder.join("p/39")).unwrap();
    fs::remove_file(folder.join("p/38")).unwrap();
    assert_eq!(get_range(&store, "p/39").await.unwrap(), "2");
    assert_eq!(
        get_range(&store, "p/38").await,
        Err(StoreErrorKind::NotFound)
    );
    assert_eq!(get_range(&store, "p/0").await.unwrap(), "1");
    assert_eq!(store.folder.open_objects.lock().unwrap().len(), 16);
}

#[tokio::test]
async fn new_files_are_for_the_group_where_the_folder_is() {
    for (folder_mode, group_reads) in [(0o700, false), (0o750, true)] {
        let folder = TestFolder::new();
        fs::set_permissions(&folder.0, fs::Permissions::from_mode(folder_mode)).unwrap();
        put(&folder.store(), "packs/1", b"").await;
        for name in ["packs", "packs/1", ".tmp"] {
            let mode = fs::metadata(folder.join(name)).unwrap().mode();
            assert_eq!(mode & 0o040 != 0, group_reads, "{name} has {mode:o}");
            assert_eq!(mode & 0o007, 0, "{name} has {mode:o}");
        }
    }
}

#[tokio::test]
async fn a_store_is_made_with_its_parents_and_opened_by_a_link() {
    let folder = TestFolder::new();
    let path = folder.join("new/parent/repository");
    assert_eq!(
        LocalStore::open(&path).unwrap_err().kind,
        StoreErrorKind::NotFound
    );
    assert!(!path.exists());
    let made = LocalStore::create(&path).unwrap();
    assert!(made.is_empty().unwrap());
    assert!(LocalStore::create(&path).unwrap().is_empty().unwrap());
    fs::create_dir(path.join("lost+found")).unwrap();
    assert!(made.is_empty().unwrap());

    symlink(&path, folder.join("link")).unwrap();
    put(
        &LocalStore::open(folder.join("link")).unwrap(),
        "root/1",
        b"",
    )
    .await;
    assert!(!made.is_empty().unwrap());
    fs::write(folder.join("file"), "").unwrap();
    assert!(LocalStore::open(folder.join("file")).is_err());
    assert!(LocalStore::create(folder.join("file")).is_err());
}

#[tokio::test]
async fn an_identity_stays_with_its_folder() {
    let folder = TestFolder::new();
    let first = LocalStore::create(folder.join("a")).unwrap();
    let second = LocalStore::create(folder.join("b")).unwrap();
    assert_ne!(first.identity(), second.identity());
    fs::rename(folder.join("a"), folder.join("c")).unwrap();
    assert_eq!(
        LocalStore::open(folder.join("c")).unwrap().identity(),
        first.identity()
    );
}

#[tokio::test]
async fn a_put_outside_a_vanished_folder_says_so() {
    let folder = TestFolder::new();
    let store = LocalStore::create(folder.join("gone")).unwrap();
    fs::remove_dir_all(folder.join("gone")).unwrap();
    assert_eq!(get_range(&store, "a").await, Err(StoreErrorKind::NotFound));
    let put = store
        .put(&key("a/b"), Bytes::new(), None, Place::IfAbsent)
        .await;
    assert_eq!(put.unwrap_err().kind, StoreErrorKind::Unavailable);
}

#[tokio::test]
async fn what_no_key_names_is_set_aside_too() {
    use std::os::unix::ffi::OsStrExt as _;
    let folder = TestFolder::new();
    let store = LocalStore::create(folder.join("s")).unwrap();
    let root = folder.join("s");
    fs::create_dir_all(root.join("packs/odd name/below")).unwrap();
    fs::write(root.join("packs/a b"), "1").unwrap();
    fs::write(root.join(std::ffi::OsStr::from_bytes(b"\xff\xfe")), "2").unwrap();
    fs::write(root.join(std::ffi::OsStr::from_bytes(b"\xff\xfd")), "3").unwrap();
    symlink("/etc", root.join("link")).unwrap();
    let lines: Vec<_> = store.list_versions("").try_collect().await.unwrap();
    assert_eq!(lines.len(), 5);
    for line in &lines {
        store.set_aside(&line.name, &line.version).await.unwrap();
    }
    let left: Vec<_> = store.list_versions("").try_collect().await.unwrap();
    assert_eq!(left, []);
    let aside = fs::read_dir(root.join("quarantine")).unwrap();
    assert_eq!(aside.count(), 5);
    // A crash after the move, and the same call once more.
    let again = store.set_aside(&lines[0].name, &lines[0].version).await;
    assert_eq!(again.unwrap_err().kind, StoreErrorKind::NotFound);
    let kept = store
        .set_aside("quarantine/x", &lines[0].version)
        .await
        .unwrap_err();
    assert_eq!(kept.kind, StoreErrorKind::Unsupported);
}
