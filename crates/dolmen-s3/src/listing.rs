//! Listings of versions, page by page.

use std::cmp::Reverse;
use std::collections::VecDeque;

use aws_sdk_s3::operation::list_object_versions::ListObjectVersionsOutput;
use aws_sdk_s3::types::{DeleteMarkerEntry, EncodingType, ObjectVersion};
use aws_smithy_types::DateTime;
use dolmen_store::{
    LISTING_PAGE_VERSIONS, LockStatus, Operation, StoreError, StoreErrorKind, Version, VersionInfo,
    VersionKind,
};
use futures_util::stream::{self, BoxStream, StreamExt as _};

use crate::answer;
use crate::checksum;
use crate::fault;
use crate::send::Unanswered;
use crate::store::S3Store;

/// A listing under way.
struct Walk<'a> {
    store: &'a S3Store,
    /// What is listed below the store's folder.
    prefix: String,
    lines: VecDeque<VersionInfo>,
    next: Next,
}

/// Where the next page begins.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Next {
    First,
    After {
        key: String,
        version: Option<String>,
    },
    Nothing,
}

/// Lists what begins with `prefix` below the store's folder. One page is in memory at a time.
pub(crate) fn versions<'a>(
    store: &'a S3Store,
    prefix: &str,
) -> BoxStream<'a, Result<VersionInfo, StoreError>> {
    let walk = Walk {
        store,
        prefix: prefix.to_owned(),
        lines: VecDeque::new(),
        next: Next::First,
    };
    stream::try_unfold(walk, |mut walk| async move {
        loop {
            if let Some(line) = walk.lines.pop_front() {
                return Ok(Some((line, walk)));
            }
            if walk.next == Next::Nothing {
                return Ok(None);
            }
            walk.turn().await?;
        }
    })
    .boxed()
}

impl Walk<'_> {
    /// Reads the next page.
    async fn turn(&mut self) -> Result<(), StoreError> {
        let page = {
            let sender = &self.store.sender;
            sender.call(Unanswered::Repeat, || self.page()).await?
        };
        let next = next_of(&page);
        if next == self.next {
            return Err(fault::own(
                StoreErrorKind::Other,
                Operation::ListVersions,
                &self.prefix,
                "the store gives the same page again and again",
            ));
        }
        self.next = next;
        self.lines = lines(page, &self.store.folder).into();
        Ok(())
    }

    async fn page(&self) -> Result<ListObjectVersionsOutput, StoreError> {
        let (key, version) = match &self.next {
            Next::After { key, version } => (Some(key.clone()), version.clone()),
            Next::First | Next::Nothing => (None, None),
        };
        let page_max = i32::try_from(LISTING_PAGE_VERSIONS.get()).unwrap_or(i32::MAX);
        self.store
            .client
            .list_object_versions()
            .bucket(&self.store.bucket)
            .prefix(format!("{}{}", self.store.folder, self.prefix))
            // Names that XML cannot hold must not end the listing.
            .encoding_type(EncodingType::Url)
            .max_keys(page_max)
            .set_key_marker(key)
            .set_version_id_marker(version)
            .send()
            .await
            .map_err(|error| fault::store_error(&error, Operation::ListVersions, &self.prefix))
    }
}

fn next_of(page: &ListObjectVersionsOutput) -> Next {
    let is_encoded = is_encoded(page);
    match (page.is_truncated(), page.next_key_marker()) {
        (Some(true), Some(key)) => Next::After {
            key: decoded(key, is_encoded),
            version: page
                .next_version_id_marker()
                .filter(|version| !version.is_empty())
                .map(str::to_owned),
        },
        _ => Next::Nothing,
    }
}

fn is_encoded(page: &ListObjectVersionsOutput) -> bool {
    page.encoding_type() == Some(&EncodingType::Url)
}

/// The lines of a page. The service keeps versions and markers apart, each newest first, so that only their times, and which
/// is the latest, tell how they lie upon each other.
fn lines(page: ListObjectVersionsOutput, folder: &str) -> Vec<VersionInfo> {
    let is_encoded = is_encoded(&page);
    let name_of = |key: Option<&str>| {
        let key = decoded(key.unwrap_or_default(), is_encoded);
        key.strip_prefix(folder).map(str::to_owned)
    };
    let versions = page.versions.unwrap_or_default();
    let versions = versions
        .iter()
        .filter_map(|version| Some(data(version, name_of(version.key())?)));
    let markers = page.delete_markers.unwrap_or_default();
    let markers = markers
        .iter()
        .filter_map(|found| Some(marker(found, name_of(found.key())?)));
    let mut versions: Vec<_> = versions.collect();
    let mut markers: Vec<_> = markers.collect();
    // Stable: what the service says of the versions of one name stays.
    versions.sort_by(|one, other| one.name.cmp(&other.name));
    markers.sort_by(|one, other| one.name.cmp(&other.name));
    merged(versions, markers)
}

/// By name, then the latest first, then the newest.
fn order(line: &VersionInfo) -> (&str, Reverse<(bool, i64)>) {
    let newness = (line.is_current, line.stored_at.earliest.seconds);
    (&line.name, Reverse(newness))
}

/// Lays markers between versions; of one second, upon them.
fn merged(versions: Vec<VersionInfo>, markers: Vec<VersionInfo>) -> Vec<VersionInfo> {
    let mut lines = Vec::with_capacity(versions.len().saturating_add(markers.len()));
    let (mut versions, mut markers) = (
        versions.into_iter().peekable(),
        markers.into_iter().peekable(),
    );
    loop {
        let next = match (versions.peek(), markers.peek()) {
            (Some(version), Some(marker)) if order(version) < order(marker) => versions.next(),
            (_, Some(_)) => markers.next(),
            (_, None) => versions.next(),
        };
        match next {
            Some(line) => lines.push(line),
            None => return lines,
        }
    }
}

fn data(found: &ObjectVersion, name: String) -> VersionInfo {
    VersionInfo {
        name,
        version: Version::new(found.version_id().unwrap_or(crate::store::NO_VERSION)),
        size_bytes: found
            .size()
            .and_then(|bytes| u64::try_from(bytes).ok())
            .unwrap_or(0),
        stored_at: answer::received_at(
            found.last_modified().unwrap_or(&EPOCH),
            found.version_id().unwrap_or_default(),
        ),
        kind: VersionKind::Data,
        is_current: found.is_latest().unwrap_or(false),
        lock: LockStatus::Unknown,
        checksum: found.e_tag().and_then(checksum::in_tag),
    }
}

fn marker(found: &DeleteMarkerEntry, name: String) -> VersionInfo {
    VersionInfo {
        name,
        version: Version::new(found.version_id().unwrap_or(crate::store::NO_VERSION)),
        size_bytes: 0,
        stored_at: answer::received_at(
            found.last_modified().unwrap_or(&EPOCH),
            found.version_id().unwrap_or_default(),
        ),
        kind: VersionKind::Marker,
        is_current: found.is_latest().unwrap_or(false),
        lock: LockStatus::Unknown,
        checksum: None,
    }
}

/// A service that states no time protects nothing for longer.
static EPOCH: std::sync::LazyLock<DateTime> = std::sync::LazyLock::new(|| DateTime::from_secs(0));

/// Takes the encoding of names back: `%` and two digits, and `+` for a space. Bytes that are no text are replaced.
fn decoded(text: &str, is_encoded: bool) -> String {
    if !is_encoded {
        return text.to_owned();
    }
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let escaped = after
            .get(..2)
            .filter(|_| *first == b'%')
            .and_then(|digits| {
                let digits = std::str::from_utf8(digits).ok()?;
                u8::from_str_radix(digits, 16).ok()
            });
        if let Some(byte) = escaped {
            bytes.push(byte);
            rest = after.get(2..).unwrap_or_default();
        } else {
            bytes.push(if *first == b'+' { b' ' } else { *first });
            rest = after;
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn version(key: &str, id: &str, at: i64, is_latest: bool) -> ObjectVersion {
        let version = ObjectVersion::builder().key(key).version_id(id).size(3);
        let version = version.last_modified(DateTime::from_secs(at));
        version.is_latest(is_latest).build()
    }

    fn marker(key: &str, id: &str, at: i64, is_latest: bool) -> DeleteMarkerEntry {
        let marker = DeleteMarkerEntry::builder().key(key).version_id(id);
        let marker = marker.last_modified(DateTime::from_secs(at));
        marker.is_latest(is_latest).build()
    }

    #[test]
    fn versions_and_markers_lie_upon_each_other_as_they_came() {
        let page = ListObjectVersionsOutput::builder()
            .versions(version("r/a", "4", 40, false))
            .versions(version("r/a", "1", 10, false))
            .versions(version("r/b", "7", 5, true))
            .versions(version("elsewhere", "8", 5, true))
            .delete_markers(marker("r/a", "5", 40, true))
            .delete_markers(marker("r/a", "3", 30, false))
            .build();
        let lines = lines(page, "r/");
        let found: Vec<_> = lines
            .iter()
            .map(|line| (line.name.as_str(), line.version.as_str()))
            .collect();
        let wanted = [("a", "5"), ("a", "4"), ("a", "3"), ("a", "1"), ("b", "7")];
        assert_eq!(found, wanted);
    }

    #[test]
    fn a_version_whose_time_changed_stays_beneath_what_covered_it() {
        let page = ListObjectVersionsOutput::builder()
            .versions(version("r/a", "junk", 20, false))
            .versions(version("r/a", "good", 90, false))
            .delete_markers(marker("r/a", "marker", 20, true))
            .build();
        let found: Vec<_> = lines(page, "r/")
            .into_iter()
            .map(|line| line.version)
            .collect();
        let wanted = ["marker", "junk", "good"].map(Version::new);
        assert_eq!(found, wanted);
    }

    #[test]
    fn a_name_that_xml_cannot_hold_is_a_name() {
        assert_eq!(decoded("a%01b+c%2Bd%", true), "a\u{1}b c+d%");
        assert_eq!(decoded("a%01b", false), "a%01b");
        assert_eq!(decoded("%ff", true), "\u{fffd}");
    }

    #[test]
    fn a_last_page_is_the_end() {
        let page = ListObjectVersionsOutput::builder().is_truncated(false);
        assert_eq!(next_of(&page.build()), Next::Nothing);
        let page = ListObjectVersionsOutput::builder()
            .is_truncated(true)
            .encoding_type(EncodingType::Url)
            .next_key_marker("a%2Fb")
            .build();
        let after = Next::After {
            key: "a/b".to_owned(),
            version: None,
        };
        assert_eq!(next_of(&page), after);
    }
}
