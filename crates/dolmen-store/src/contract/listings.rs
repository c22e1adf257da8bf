//! Listings show what is there, and nothing else.

use super::{Bench, Broken, ContractError, ensure, run_cases};
use crate::object::{VersionInfo, VersionKind};
use crate::store::Place;

pub(super) async fn run(bench: &Bench<'_>) -> Result<(), ContractError> {
    run_cases!(
        bench,
        [
            a_listing_shows_exactly_what_was_put,
            a_prefix_is_text,
            a_listing_shows_versions_newest_first
        ]
    )
}

async fn a_listing_shows_exactly_what_was_put(bench: &Bench<'_>) -> Result<(), Broken> {
    let mut put = Vec::new();
    for (name, body) in [
        ("list/b/2", b"22".as_slice()),
        ("list/a", b"1"),
        ("list/b/1", b""),
    ] {
        put.push((bench.put(name, body).await?.object, body.len()));
    }
    put.sort();
    let lines = bench.list("list/").await?;
    let listed: Vec<_> = lines.iter().filter_map(VersionInfo::object_ref).collect();
    ensure(
        listed.iter().eq(put.iter().map(|(object, _)| object)),
        || format!("put {put:?}, listed {lines:?}"),
    )?;
    for (line, (object, body_bytes)) in lines.iter().zip(&put) {
        let is_right = usize::try_from(line.size_bytes) == Ok(*body_bytes)
            && line.kind == VersionKind::Data
            && line.is_current
            && line.stored_at.earliest <= line.stored_at.latest;
        ensure(is_right, || format!("{object:?} is listed as {line:?}"))?;
    }
    Ok(())
}

async fn a_prefix_is_text(bench: &Bench<'_>) -> Result<(), Broken> {
    for name in ["text/x0", "text/x/1", "text/x.y", "text/x-z", "text/y"] {
        bench.put(name, b"").await?;
    }
    let cases: [(&str, &[&str]); 6] = [
        ("text/x", &["text/x-z", "text/x.y", "text/x/1", "text/x0"]),
        ("text/x/", &["text/x/1"]),
        ("text/x/1", &["text/x/1"]),
        ("text/y", &["text/y"]),
        ("text/y/", &[]),
        ("text/../text/", &[]),
    ];
    for (prefix, wanted) in cases {
        let found: Vec<_> = bench
            .list(prefix)
            .await?
            .into_iter()
            .map(|line| line.name)
            .collect();
        let wanted: Vec<_> = wanted
            .iter()
            .map(|name| format!("{}/{name}", bench.folder))
            .collect();
        ensure(found == wanted, || {
            format!("{prefix}: wanted {wanted:?}, listed {found:?}")
        })?;
    }
    Ok(())
}

async fn a_listing_shows_versions_newest_first(bench: &Bench<'_>) -> Result<(), Broken> {
    let first = bench.put("layers", b"1").await?.object;
    let second = bench.put_at("layers", b"2", Place::OnTop).await?.object;
    let found: Vec<_> = bench
        .list("layers")
        .await?
        .into_iter()
        .map(|line| (line.version, line.is_current))
        .collect();
    let mut wanted = vec![(second.version, true)];
    if bench.store.capabilities().versions {
        wanted.push((first.version, false));
    }
    ensure(found == wanted, || {
        format!("wanted {wanted:?}, listed {found:?}")
    })
}
