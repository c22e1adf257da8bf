//! What an enemy writes: no decoder panics, takes more memory than the input is worth, or reads a
//! second encoding. The long run is the example `fuzz`.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may fail where it stands"
)]

#[path = "../examples/fuzz/harness.rs"]
mod harness;

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use dolmen_format::limits::{
    LEDGER_BYTES_MAX, PATH_KEY_BYTES_MAX, TREE_NODE_ENTRIES_MAX, TREE_NODE_KEYS_BYTES_MAX,
};
use dolmen_format::{FormatError, ObjectKind, Prologue, bytes};
use harness::{DECODERS, Random, mutate, round_trip, vectors};

/// Memory beyond the input that a decoder may take at once, with what it encodes again.
const SPARE_BYTES: usize = 4 << 20;
/// And so many times the input: a vector of many short items has larger ones in memory, twice while it grows.
const TIMES_MAX: usize = 64;

static NOW: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);
/// The tests of this file measure one after the other.
static ALONE: Mutex<()> = Mutex::new(());

struct Counting;

#[global_allocator]
static COUNTING: Counting = Counting;

#[expect(
    unsafe_code,
    reason = "an allocator that counts what it hands to the system's"
)]
// SAFETY: every call goes to the system's allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let now = NOW.fetch_add(layout.size(), Ordering::Relaxed) + layout.size();
        PEAK.fetch_max(now, Ordering::Relaxed);
        // SAFETY: the caller's promise is passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        NOW.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: the caller's promise is passed on.
        unsafe { System.dealloc(pointer, layout) }
    }
}

fn alone() -> MutexGuard<'static, ()> {
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Runs `work` and returns the most bytes that it held at once.
fn peak_of<T>(work: impl FnOnce() -> T) -> (T, usize) {
    let before = NOW.load(Ordering::Relaxed);
    PEAK.store(before, Ordering::Relaxed);
    let result = work();
    (result, PEAK.load(Ordering::Relaxed).saturating_sub(before))
}

fn attack(input: &[u8]) -> u32 {
    let (result, peak) = peak_of(|| round_trip(input));
    let start = &input[..input.len().min(4000)];
    let limit = SPARE_BYTES + TIMES_MAX * input.len();
    assert!(
        peak <= limit,
        "{peak} bytes of memory for {}: {start:02x?}",
        input.len()
    );
    result.unwrap_or_else(|decoder| panic!("{decoder} reads a second encoding: {start:02x?}"))
}

/// What the decoder of this name says.
fn decode(name: &str, input: &[u8]) -> Result<Vec<u8>, FormatError> {
    let (_, decoder) = DECODERS.iter().find(|(found, _)| *found == name).unwrap();
    decoder(input)
}

fn varint(value: usize) -> Vec<u8> {
    let mut out = Vec::new();
    bytes::put_size(&mut out, value);
    out
}

/// An object of this kind around any CBOR, with a signature of zeros.
fn object(kind: ObjectKind, cbor: &[u8]) -> Vec<u8> {
    let body_bytes = u32::try_from(cbor.len() + 64).unwrap();
    [
        Prologue { kind, body_bytes }.encode().as_slice(),
        cbor,
        &[0; 64],
    ]
    .concat()
}

#[test]
fn mutated_vectors_are_refused_or_have_one_encoding() {
    let _alone = alone();
    let vectors = vectors().expect("the folder");
    let mut accepted = 0;
    for seed in 0..120_000 {
        accepted += u32::from(attack(&mutate(&vectors, &mut Random(seed))) > 0);
    }
    // Otherwise the mutations would reach nothing but the first check.
    assert!(accepted > 1000, "{accepted} accepted");
}

#[test]
fn every_cut_and_every_flipped_bit_of_a_vector_is_survived() {
    let _alone = alone();
    for (name, stored) in vectors().expect("the folder") {
        for end in 0..stored.len() {
            attack(&stored[..end]);
        }
        let step = if name.strip_suffix(".txt").is_some() {
            7
        } else {
            1
        };
        let mut flipped = stored;
        for at in (0..flipped.len()).step_by(step) {
            for bit in [0, 3, 7] {
                flipped[at] ^= 1 << bit;
                attack(&flipped);
                flipped[at] ^= 1 << bit;
            }
        }
    }
}

/// Entries that share nearly all of a key of a megabyte: 2 MiB of input would be 64 GiB of keys.
#[test]
fn shared_keys_do_not_explode() {
    let _alone = alone();
    let mut key = vec![b'a'; PATH_KEY_BYTES_MAX - 8];
    key.iter_mut()
        .skip(200)
        .step_by(200)
        .for_each(|byte| *byte = 0);
    *key.last_mut().unwrap() = b'a';
    let child = [7; 32];
    let mut input = vec![1, 0];
    input.extend(varint(TREE_NODE_ENTRIES_MAX));
    input.extend([vec![0], varint(key.len()), key.clone(), child.to_vec()].concat());
    for name in b'b'..=u8::MAX {
        // The same long path with another last letter; names of two would be enough for all entries.
        input.extend([varint(key.len() - 1), vec![1, name], child.to_vec()].concat());
    }
    attack(&input);
    let limit = u64::try_from(TREE_NODE_KEYS_BYTES_MAX).unwrap();
    assert!(matches!(
        decode("tree-1", &input),
        Err(FormatError::TooLarge { field: "keys", limit: found, .. }) if found == limit
    ));
}

/// A value under a key that nobody knows, nested as deep as the object is long.
#[test]
fn nested_arrays_cost_nothing() {
    let _alone = alone();
    let size = usize::try_from(LEDGER_BYTES_MAX).unwrap() - 16 - 64;
    for head in [
        &[0x9f][..],
        &[0x81],
        &[0x82, 0x9f],
        &[0xbf, 0x00],
        &[0xc1],
        &[0x9f, 0x82],
    ] {
        let mut cbor = vec![0xa1, 0x09];
        cbor.extend(head.iter().cycle().take(size - 2));
        let input = object(ObjectKind::Ledger, &cbor);
        let (result, peak) = peak_of(|| decode("ledger-", &input));
        assert!(result.is_err());
        assert!(peak < 1 << 20, "{peak} bytes for {head:02x?}");
    }
}

/// Three bytes of input for each class.
#[test]
fn classes_of_a_policy_are_few() {
    let _alone = alone();
    let (_, stored) = vectors()
        .unwrap()
        .into_iter()
        .find(|(name, _)| name == "ledger-policy.bin")
        .unwrap();
    let cbor = &stored[16..stored.len() - 64];
    let classes = cbor
        .windows(4)
        .position(|bytes| bytes == [0x81, 0x82, 0x67, b'm'])
        .unwrap();
    let count = 5_000_000_u32;
    let mut bomb = cbor[..classes].to_vec();
    // An array of so many items.
    bomb.extend([0x9a, 0x00, 0x4c, 0x4b, 0x40]);
    bomb.extend([0x82, 0x60, 0x00].repeat(usize::try_from(count).unwrap()));
    let input = object(ObjectKind::Ledger, &bomb);
    let (result, peak) = peak_of(|| decode("ledger-", &input));
    assert!(
        matches!(result, Err(FormatError::Cbor { .. })),
        "{result:?}"
    );
    assert!(peak < 1 << 20, "{peak} bytes");
}

/// The smallest items of each node, as many as fit a blob.
#[test]
fn the_smallest_items_of_a_blob_stay_within_bounds() {
    let _alone = alone();
    let blob = 4 << 20;
    let names = [vec![0], varint(131_072), vec![0; blob - 4]].concat();
    attack(&names);
    // Attributes with names of three bytes and no value, of one entry after another.
    let mut attributes = Vec::new();
    for name in 0..150_000_u32 {
        let [a, b, c, _] = name.to_le_bytes();
        attributes.push([3, c + 1, b.max(1), a.max(1), 0]);
    }
    attributes.sort_unstable();
    attributes.dedup();
    let mut input = [vec![0, 0], varint(5)].concat();
    for key in b'a'..b'f' {
        input.extend([0, 1, key, 4, 2, 0, 0, 0, 0, 0, 0, 0]);
        input.extend(varint(attributes.len()));
        input.extend(attributes.concat());
    }
    assert!(
        decode("tree-0", &input).is_ok(),
        "it is a leaf that somebody may have written"
    );
    attack(&input);
    attack(&[vec![0], varint(4096), vec![1; blob]].concat());
    attack(&[vec![0, 0, 4, 0], vec![1; blob]].concat());
}
