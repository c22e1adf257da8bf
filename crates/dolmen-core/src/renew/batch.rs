//! Locks that are due, as manifests of S3 Batch Operations: a row for each version, and one date for each manifest.
//!
//! A job of S3 Batch Operations sets one date on everything in its manifest, and every object has a date of its own. So
//! dates that lie near each other share a job, which sets the latest of them: never one that is earlier than an object's
//! own, or than a date that is known. An object is then locked longer than it asks for, by a day or a fourteenth of the
//! generation at most.

use std::collections::BTreeMap;
use std::fmt;
use std::io::Write;

use dolmen_store::Lock;

use super::Refused;
use crate::lease::Terms;
use crate::objects::Planned;

/// Jobs for the dates of one generation, at most, and one more.
const JOBS_PER_GENERATION: u64 = 14;
/// Dates closer than this share a job, in seconds: each job is billed by itself.
const SPAN_SECONDS_MIN: u64 = 24 * 60 * 60;
/// Manifests that are open at the same time. Dates spread further than a generation by classes of the policy, and by who
/// locked something in a weaker mode.
const JOBS_MAX: usize = 64;
/// The longest version that S3 gives, in bytes.
const VERSION_BYTES_MAX: usize = 1024;

/// What manifests are written for.
#[derive(Debug, Clone, Copy)]
pub struct Place<'a> {
    /// The bucket's name.
    pub bucket: &'a str,
    /// What stands before every key.
    pub prefix: &'a str,
}

/// Manifests that are being written. Memory does not grow with the rows.
pub struct Batch<'a, W> {
    place: Place<'a>,
    span_seconds: i64,
    make: &'a mut dyn FnMut(usize) -> std::io::Result<W>,
    /// By the span of dates, holds by themselves.
    jobs: BTreeMap<Option<i64>, Job<W>>,
}

/// A manifest, and what is to be done to each of its rows.
#[derive(Debug)]
pub struct Job<W> {
    /// The rows: bucket, key, version, without a heading.
    pub manifest: W,
    /// The lock that all of them get; `None`: a legal hold.
    pub lock: Option<Lock>,
    /// How many rows there are.
    pub objects: u64,
}

impl<W> fmt::Debug for Batch<'_, W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Batch")
            .field("place", &self.place)
            .field("jobs", &self.jobs.len())
            .finish_non_exhaustive()
    }
}

impl<'a, W: Write> Batch<'a, W> {
    /// Writes into what `make` makes, once for each manifest, counted from 0.
    pub fn new(
        place: Place<'a>,
        terms: &Terms,
        make: &'a mut dyn FnMut(usize) -> std::io::Result<W>,
    ) -> Self {
        let span = terms.generation_seconds().div_ceil(JOBS_PER_GENERATION);
        Self {
            place,
            span_seconds: i64::try_from(span.max(SPAN_SECONDS_MIN)).unwrap_or(i64::MAX),
            make,
            jobs: BTreeMap::new(),
        }
    }

    /// Writes a row. A version that fits into none is refused: the store makes them up.
    pub fn add(&mut self, planned: &Planned) -> Result<(), Refused> {
        let version = planned.object.version.as_str();
        let fits = (1..=VERSION_BYTES_MAX).contains(&version.len());
        let is_plain = |byte: u8| byte.is_ascii_graphic() && !matches!(byte, b',' | b'"');
        if !fits || !version.bytes().all(is_plain) {
            return Err(Refused::One(
                "the store's name for its version is none of S3's",
            ));
        }
        let span = planned
            .lock
            .map(|lock| lock.until.seconds.div_euclid(self.span_seconds));
        if !self.jobs.contains_key(&span) {
            if self.jobs.len() >= JOBS_MAX {
                return Err(Refused::One(
                    "too many dates for one run: renew it without a manifest",
                ));
            }
            let manifest = (self.make)(self.jobs.len())?;
            let job = Job {
                manifest,
                lock: planned.lock,
                objects: 0,
            };
            self.jobs.insert(span, job);
        }
        if let Some(job) = self.jobs.get_mut(&span) {
            let Place { bucket, prefix } = self.place;
            let (prefix, key) = (Encoded(prefix), Encoded(planned.object.key.as_str()));
            writeln!(job.manifest, "{},{prefix}{key},{version}", Encoded(bucket))?;
            job.objects = job.objects.saturating_add(1);
            if let (Some(latest), Some(lock)) = (&mut job.lock, planned.lock) {
                latest.until = latest.until.max(lock.until);
            }
        }
        Ok(())
    }

    /// Returns the manifests, by date, those of holds first.
    pub fn finish(self) -> Vec<Job<W>> {
        self.jobs.into_values().collect()
    }
}

/// URL-encoded, as S3 Batch Operations wants keys: what is left needs no quotes in a row.
struct Encoded<'a>(&'a str);

impl fmt::Display for Encoded<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.bytes().try_for_each(|byte| match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'/' => {
                write!(f, "{}", char::from(byte))
            }
            other => write!(f, "%{other:02X}"),
        })
    }
}

#[cfg(test)]
mod tests {
    use dolmen_format::Timestamp;
    use dolmen_store::{LockMode, ObjectRef, StoreKey, Version};

    use super::*;
    use crate::lease::{Asked, ExtensionCost};

    const DAY: i64 = 86_400;

    fn terms(generation_days: u64) -> Terms {
        let day = 86_400;
        Terms::with_defaults(&Asked {
            protect_seconds: 365 * day,
            generation_seconds: Some(generation_days * day),
            interval_seconds: None,
            extension: ExtensionCost::Paid,
        })
        .unwrap()
    }

    fn planned(version: &str, until: Option<i64>) -> Planned {
        Planned {
            object: ObjectRef {
                key: StoreKey::try_from("packs/a").unwrap(),
                version: Version::new(version),
            },
            lock: until.map(|seconds| Lock {
                mode: LockMode::Compliance,
                until: Timestamp::from_seconds(seconds),
            }),
            present: None,
        }
    }

    type Added = Vec<Result<(), Refused>>;

    fn write(generation_days: u64, plans: &[Planned]) -> (Vec<Job<Vec<u8>>>, Added) {
        let place = Place {
            bucket: "b",
            prefix: "for, \"us\"\n/",
        };
        let mut make = |_| Ok(Vec::new());
        let mut batch = Batch::new(place, &terms(generation_days), &mut make);
        let added = plans.iter().map(|plan| batch.add(plan)).collect();
        (batch.finish(), added)
    }

    #[test]
    fn whatever_a_prefix_holds_a_row_has_three_fields() {
        let (jobs, _) = write(7, &[planned("3sL4kqtJlcpXroDTDmJ.r_L-8/+=", Some(0))]);
        let text = String::from_utf8(jobs[0].manifest.clone()).unwrap();
        assert_eq!(
            text,
            "b,for%2C%20%22us%22%0A/packs/a,3sL4kqtJlcpXroDTDmJ.r_L-8/+=\n"
        );
    }

    #[test]
    fn dates_of_a_day_share_a_job_that_sets_the_latest_and_no_date_is_made_earlier() {
        let dates = [2 * DAY, 2 * DAY + 5, 3 * DAY - 1, 3 * DAY, 9 * DAY];
        let plans: Vec<_> = dates.iter().map(|at| planned("1", Some(*at))).collect();
        let (jobs, _) = write(7, &plans);
        let got: Vec<_> = jobs
            .iter()
            .map(|job| (job.lock.unwrap().until.seconds, job.objects))
            .collect();
        assert_eq!(got, [(3 * DAY - 1, 3), (3 * DAY, 1), (9 * DAY, 1)]);
    }

    #[test]
    fn a_long_generation_takes_no_more_jobs_than_a_short_one() {
        let each_hour = (0..140 * 24).map(|hour| planned("1", Some(hour * 3600)));
        let (jobs, _) = write(140, &each_hour.collect::<Vec<_>>());
        assert_eq!(jobs.len(), 14);
    }

    #[test]
    fn holds_have_a_job_of_their_own() {
        let (jobs, _) = write(7, &[planned("1", Some(DAY)), planned("2", None)]);
        let locks: Vec<_> = jobs.iter().map(|job| job.lock.is_some()).collect();
        assert_eq!(locks, [false, true]);
    }

    #[test]
    fn a_version_that_would_break_a_row_is_refused_and_the_others_are_not() {
        let long = "v".repeat(VERSION_BYTES_MAX + 1);
        let bad = ["a,b", "a\nb,other,1", "", "\"", "a b", "ü", &long];
        let mut plans: Vec<_> = bad.iter().map(|bad| planned(bad, Some(DAY))).collect();
        plans.push(planned("good", Some(DAY)));
        let (jobs, added) = write(7, &plans);
        let refused = added.iter().filter(|added| added.is_err()).count();
        assert_eq!((refused, jobs[0].objects), (bad.len(), 1));
    }

    #[test]
    fn planted_dates_open_no_more_manifests_than_may_be() {
        let dates = (0..200).map(|day| planned("1", Some(day * DAY)));
        let (jobs, added) = write(7, &dates.collect::<Vec<_>>());
        assert_eq!(jobs.len(), JOBS_MAX);
        assert_eq!(added.iter().filter(|added| added.is_ok()).count(), JOBS_MAX);
    }
}
