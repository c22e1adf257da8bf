//! Deletes and markers touch the version they name.

use super::{Bench, Broken, ContractError, ensure, ensure_body, ensure_refused, run_cases};
use crate::error::StoreErrorKind;
use crate::object::VersionKind;
use crate::store::Place;

pub(super) async fn run(bench: &Bench<'_>) -> Result<(), ContractError> {
    run_cases!(
        bench,
        [
            a_deleted_object_is_gone,
            a_delete_spares_what_came_on_top,
            a_delete_spares_what_lies_beneath,
            a_hidden_key_keeps_its_versions,
            a_hidden_key_is_free,
            what_is_set_aside_is_out_of_reach,
        ]
    )
}

async fn a_deleted_object_is_gone(bench: &Bench<'_>) -> Result<(), Broken> {
    let object = bench.put("delete/one", b"1").await?.object;
    let other = bench.put("delete/other", b"2").await?.object;
    bench.store.delete_version(&object).await?;
    ensure_refused(
        "a get",
        bench.get(&object.key).await,
        &[StoreErrorKind::NotFound],
    )?;
    ensure_refused(
        "a get",
        bench.get_version(&object).await,
        &[StoreErrorKind::NotFound],
    )?;
    let lines = bench.list("delete/").await?;
    ensure(lines.len() == 1, || {
        format!("listed after the delete: {lines:?}")
    })?;
    ensure_body("its neighbour", &bench.get(&other.key).await?, b"2")?;
    // Some stores cannot tell that it was gone already.
    if let Err(error) = bench.store.delete_version(&object).await {
        ensure_refused::<()>("a second delete", Err(error), &[StoreErrorKind::NotFound])?;
    }
    let again = bench.put("delete/one", b"again").await?.object;
    ensure_body("put again", &bench.get_version(&again).await?, b"again")
}

async fn a_delete_spares_what_came_on_top(bench: &Bench<'_>) -> Result<(), Broken> {
    let planned = bench.put("delete/replaced", b"old").await?.object;
    let newer = bench
        .put_at("delete/replaced", b"new", Place::OnTop)
        .await?
        .object;
    let outcome = bench.store.delete_version(&planned).await;
    if !bench.store.capabilities().versions {
        ensure_refused(
            "a delete of what was replaced",
            outcome,
            &[StoreErrorKind::NotFound],
        )?;
    }
    ensure_body("by key", &bench.get(&newer.key).await?, b"new")?;
    ensure_body("by version", &bench.get_version(&newer).await?, b"new")?;
    ensure_refused(
        "the old",
        bench.get_version(&planned).await,
        &[StoreErrorKind::NotFound],
    )
}

async fn a_delete_spares_what_lies_beneath(bench: &Bench<'_>) -> Result<(), Broken> {
    if !bench.store.capabilities().versions {
        return Ok(());
    }
    let good = bench.put("delete/beneath", b"good").await?.object;
    let junk = bench
        .put_at("delete/beneath", b"junk", Place::OnTop)
        .await?
        .object;
    ensure_body("beneath", &bench.get_version(&good).await?, b"good")?;
    bench.store.delete_version(&junk).await?;
    ensure_body("uncovered", &bench.get(&good.key).await?, b"good")
}

async fn a_hidden_key_keeps_its_versions(bench: &Bench<'_>) -> Result<(), Broken> {
    let object = bench.put("hide/one", b"1").await?.object;
    let outcome = bench.store.hide(&object.key).await;
    if !bench.store.capabilities().versions {
        ensure_refused("hide", outcome, &[StoreErrorKind::Unsupported])?;
        return ensure_body("not hidden", &bench.get(&object.key).await?, b"1");
    }
    let marker = outcome?;
    let not_found = [StoreErrorKind::NotFound];
    ensure_refused("the hidden key", bench.get(&object.key).await, &not_found)?;
    ensure_refused("the marker", bench.get_version(&marker).await, &not_found)?;
    ensure_body("by version", &bench.get_version(&object).await?, b"1")?;

    let found: Vec<_> = bench
        .list("hide/one")
        .await?
        .into_iter()
        .map(|line| (line.version, line.kind, line.is_current))
        .collect();
    let wanted = vec![
        (marker.version.clone(), VersionKind::Marker, true),
        (object.version.clone(), VersionKind::Data, false),
    ];
    ensure(found == wanted, || {
        format!("wanted {wanted:?}, listed {found:?}")
    })?;

    bench.store.delete_version(&marker).await?;
    ensure_body("shown again", &bench.get(&object.key).await?, b"1")
}

async fn a_hidden_key_is_free(bench: &Bench<'_>) -> Result<(), Broken> {
    if !bench.store.capabilities().versions {
        return Ok(());
    }
    let key = bench.put("hide/free", b"old").await?.object.key;
    bench.store.hide(&key).await?;
    bench.put("hide/free", b"new").await?;
    ensure_body("put over a marker", &bench.get(&key).await?, b"new")
}

async fn what_is_set_aside_is_out_of_reach(bench: &Bench<'_>) -> Result<(), Broken> {
    let object = bench.put("aside/one", b"1").await?.object;
    let name = object.key.as_str();
    if !bench.store.capabilities().quarantine {
        let outcome = bench.store.set_aside(name, &object.version).await;
        ensure_refused("setting aside", outcome, &[StoreErrorKind::Unsupported])?;
        return ensure_body("afterwards", &bench.get(&object.key).await?, b"1");
    }
    let newer = bench.put_at("aside/one", b"2", Place::OnTop).await?.object;
    ensure_refused(
        "setting aside what was replaced",
        bench.store.set_aside(name, &object.version).await,
        &[StoreErrorKind::NotFound],
    )?;
    ensure_body("what replaced it", &bench.get(&newer.key).await?, b"2")?;
    bench.store.set_aside(name, &newer.version).await?;
    ensure_refused(
        "a get",
        bench.get(&newer.key).await,
        &[StoreErrorKind::NotFound],
    )?;
    let lines = bench.list("aside/").await?;
    ensure(lines.is_empty(), || format!("still listed: {lines:?}"))?;
    let again = bench.put("aside/one", b"again").await?.object;
    ensure_body("put again", &bench.get(&again.key).await?, b"again")
}
