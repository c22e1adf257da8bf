//! What is put comes back, whole or by range.

use bytes::Bytes;
use futures_util::future::join_all;

use super::{
    Bench, Broken, CAP_BYTES, ContractError, ensure, ensure_body, ensure_refused, run_cases,
};
use crate::error::StoreErrorKind;
use crate::object::{ByteRange, Version};
use crate::store::Place;

pub(super) async fn run(bench: &Bench<'_>) -> Result<(), ContractError> {
    run_cases!(
        bench,
        [
            a_body_comes_back,
            an_empty_body_comes_back,
            a_large_body_comes_back,
            a_range_is_exact,
            a_range_past_the_end_is_an_error,
            a_cap_refuses_the_object,
            what_is_not_there_is_not_found,
            a_taken_key_keeps_its_first_body,
            one_of_many_writers_wins,
            on_top_shows_the_new_body,
            the_clock_goes_on,
        ]
    )
}

const BODY: &[u8] = b"0123456789";

async fn a_body_comes_back(bench: &Bench<'_>) -> Result<(), Broken> {
    let receipt = bench.put("body/small", BODY).await?;
    let key = bench.key("body/small")?;
    ensure(receipt.object.key == key, || {
        format!("put names {}", receipt.object.key)
    })?;
    ensure_body("by key", &bench.get(&key).await?, BODY)?;
    ensure_body(
        "by version",
        &bench.get_version(&receipt.object).await?,
        BODY,
    )
}

async fn an_empty_body_comes_back(bench: &Bench<'_>) -> Result<(), Broken> {
    let receipt = bench.put("body/empty", b"").await?;
    ensure_body("empty", &bench.get_version(&receipt.object).await?, b"")?;
    let range = Some(ByteRange::Last { len: 1 });
    let outcome = bench
        .store
        .get(&receipt.object.key, None, range, CAP_BYTES)
        .await;
    ensure_refused("a byte of nothing", outcome, &[StoreErrorKind::ShortRead])
}

async fn a_large_body_comes_back(bench: &Bench<'_>) -> Result<(), Broken> {
    let key = bench.key("body/large")?;
    // A period that divides no power of two, so that no block can stand in for another.
    let body: Bytes = (0..=250_u8)
        .cycle()
        .take(8 << 20)
        .collect::<Vec<_>>()
        .into();
    bench
        .store
        .put(&key, body.clone(), None, Place::IfAbsent)
        .await?;
    ensure_body("8 MiB", &bench.get(&key).await?, &body)?;
    let range = ByteRange::FromTo {
        offset: 1_000_003,
        len: 3_000_017,
    };
    let found = bench.store.get(&key, None, Some(range), CAP_BYTES).await?;
    ensure_body(
        "from its middle",
        &found,
        body.get(1_000_003..4_000_020).unwrap_or_default(),
    )
}

async fn a_range_is_exact(bench: &Bench<'_>) -> Result<(), Broken> {
    let object = bench.put("range/exact", BODY).await?.object;
    let wanted: [(ByteRange, &[u8]); 8] = [
        (ByteRange::FromTo { offset: 0, len: 10 }, BODY),
        (ByteRange::FromTo { offset: 0, len: 1 }, b"0"),
        (ByteRange::FromTo { offset: 3, len: 4 }, b"3456"),
        (ByteRange::FromTo { offset: 9, len: 1 }, b"9"),
        (ByteRange::FromTo { offset: 10, len: 0 }, b""),
        (ByteRange::Last { len: 10 }, BODY),
        (ByteRange::Last { len: 3 }, b"789"),
        (ByteRange::Last { len: 0 }, b""),
    ];
    for version in [None, Some(&object.version)] {
        for (range, body) in wanted {
            let found = bench
                .store
                .get(&object.key, version, Some(range), CAP_BYTES)
                .await?;
            ensure_body(&format!("{range:?}"), &found, body)?;
        }
    }
    Ok(())
}

async fn a_range_past_the_end_is_an_error(bench: &Bench<'_>) -> Result<(), Broken> {
    let key = bench.put("range/past", BODY).await?.object.key;
    for range in [
        ByteRange::FromTo { offset: 0, len: 11 },
        ByteRange::FromTo { offset: 9, len: 2 },
        ByteRange::FromTo { offset: 10, len: 1 },
        ByteRange::FromTo { offset: 11, len: 0 },
        ByteRange::FromTo {
            offset: u64::MAX,
            len: u64::MAX,
        },
        ByteRange::Last { len: 11 },
    ] {
        let outcome = bench.store.get(&key, None, Some(range), CAP_BYTES).await;
        ensure_refused(&format!("{range:?}"), outcome, &[StoreErrorKind::ShortRead])?;
    }
    Ok(())
}

async fn a_cap_refuses_the_object(bench: &Bench<'_>) -> Result<(), Broken> {
    let key = bench.put("body/capped", BODY).await?.object.key;
    ensure_body(
        "at the cap",
        &bench.store.get(&key, None, None, 10).await?,
        BODY,
    )?;
    for range in [None, Some(ByteRange::FromTo { offset: 0, len: 1 })] {
        let outcome = bench.store.get(&key, None, range, 9).await;
        ensure_refused("above the cap", outcome, &[StoreErrorKind::TooLarge])?;
    }
    Ok(())
}

async fn what_is_not_there_is_not_found(bench: &Bench<'_>) -> Result<(), Broken> {
    let not_found = [StoreErrorKind::NotFound];
    let here = bench.put("absent/here", BODY).await?.object;
    for name in ["absent/key", "absent/folder/key", "absent/here/below"] {
        ensure_refused(name, bench.get(&bench.key(name)?).await, &not_found)?;
    }
    let other = Version::new("00000000-0000-0000-0000-000000000000");
    let outcome = bench
        .store
        .get(&here.key, Some(&other), None, CAP_BYTES)
        .await;
    ensure_refused("another version", outcome, &not_found)
}

async fn a_taken_key_keeps_its_first_body(bench: &Bench<'_>) -> Result<(), Broken> {
    let key = bench.put("taken", b"first").await?.object.key;
    if bench.store.capabilities().conditional_put {
        let outcome = bench
            .store
            .put(&key, Bytes::from_static(b"second"), None, Place::IfAbsent)
            .await;
        ensure_refused("the second put", outcome, &[StoreErrorKind::Exists])?;
        ensure_body("the taken key", &bench.get(&key).await?, b"first")?;
    }
    Ok(())
}

async fn one_of_many_writers_wins(bench: &Bench<'_>) -> Result<(), Broken> {
    let key = bench.key("race/one/key")?;
    let bodies: Vec<Bytes> = (0..16_u8)
        .map(|writer| Bytes::from(vec![writer; 5000]))
        .collect();
    let puts = bodies
        .iter()
        .map(|body| bench.store.put(&key, body.clone(), None, Place::IfAbsent));
    let mut winners = Vec::new();
    for (body, outcome) in bodies.iter().zip(join_all(puts).await) {
        match outcome {
            Ok(_) => winners.push(body.clone()),
            Err(error) if error.kind == StoreErrorKind::Exists => {}
            Err(error) => return Err(error.into()),
        }
    }
    ensure(
        winners.len() == 1 || !bench.store.capabilities().conditional_put && !winners.is_empty(),
        || {
            format!(
                "{} of 16 writers were told that they were first",
                winners.len()
            )
        },
    )?;
    let found = bench.get(&key).await?;
    ensure(winners.contains(&found), || {
        "the body is none of a winner's".to_owned()
    })
}

async fn on_top_shows_the_new_body(bench: &Bench<'_>) -> Result<(), Broken> {
    let first = bench.put("top", b"damaged!").await?.object;
    // Leaves something to be mistaken for the key, should the store keep files open.
    let range = Some(ByteRange::FromTo { offset: 0, len: 2 });
    bench.store.get(&first.key, None, range, CAP_BYTES).await?;

    let second = bench.put_at("top", b"healed", Place::OnTop).await?.object;
    ensure(first.version != second.version, || {
        "two versions have one name".to_owned()
    })?;
    ensure_body("on top", &bench.get(&first.key).await?, b"healed")?;
    let found = bench.store.get(&first.key, None, range, CAP_BYTES).await?;
    ensure_body("a range on top", &found, b"he")?;
    let fresh = bench
        .put_at("top-of-nothing", b"new", Place::OnTop)
        .await?
        .object;
    ensure_body("on top of nothing", &bench.get(&fresh.key).await?, b"new")
}

async fn the_clock_goes_on(bench: &Bench<'_>) -> Result<(), Broken> {
    let before = bench.store.now().await?;
    let stored_at = bench.put("clock", BODY).await?.stored_at;
    let after = bench.store.now().await?;
    ensure(before.earliest <= before.latest, || {
        format!("{before:?} is no span")
    })?;
    for (earlier, later) in [(before, stored_at), (stored_at, after), (before, after)] {
        ensure(earlier.earliest <= later.latest, || {
            format!("{later:?} came after {earlier:?}")
        })?;
    }
    Ok(())
}
