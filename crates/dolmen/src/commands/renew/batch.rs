//! `dolmen renew --batch-manifest`: manifests and job requests for S3 Batch Operations.

use std::cell::Cell;
use std::ffi::OsString;
use std::fs::{File, OpenOptions};
use std::io::{self, BufWriter, ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use dolmen_core::objects::Locking;
use dolmen_core::renew::batch::{Batch, Job, Place};
use dolmen_store::{Api, LockMode};
use serde_json::{Value, json};

use crate::exit::{Exit, Failure, Outcome};
use crate::open::Opened;
use crate::render;

/// A file that is there under its name only once all of it is.
#[derive(Debug)]
pub(super) struct Part {
    out: BufWriter<File>,
    path: PathBuf,
    is_done: Cell<bool>,
}

impl Part {
    fn create(path: PathBuf) -> io::Result<Self> {
        let create = || OpenOptions::new().write(true).create_new(true).open(&path);
        let file = match create() {
            // What a run left that was killed.
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                std::fs::remove_file(&path)?;
                create()?
            }
            made => made?,
        };
        Ok(Self {
            out: BufWriter::new(file),
            path,
            is_done: Cell::new(false),
        })
    }

    /// Gives the file its name. It is durable then.
    fn publish(mut self, name: &Path) -> io::Result<()> {
        self.out.flush()?;
        self.out.get_ref().sync_all()?;
        std::fs::rename(&self.path, name)?;
        self.is_done.set(true);
        let folder = name
            .parent()
            .filter(|folder| !folder.as_os_str().is_empty());
        File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
    }
}

impl Write for Part {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.out.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        if !self.is_done.get() {
            // What cannot be removed, the next run removes.
            let _removed = std::fs::remove_file(&self.path);
        }
    }
}

/// Makes the parts of a manifest's files.
pub(super) fn part(file: &Path, number: usize) -> io::Result<Part> {
    Part::create(beside(file, &format!(".part-{number}")))
}

/// A manifest and its job request, as they are named.
#[derive(Debug)]
pub(super) struct Written {
    manifest: PathBuf,
    request: PathBuf,
    retain_until: Option<String>,
    objects: u64,
}

impl Written {
    /// As scripts read it.
    pub(super) fn document(&self) -> Value {
        json!({
            "manifest": self.manifest.to_string_lossy(),
            "job": self.request.to_string_lossy(),
            "objects": self.objects,
            "retain_until": self.retain_until,
        })
    }

    /// As people read it.
    pub(super) fn line(&self) -> String {
        let what = self.retain_until.as_ref().map_or_else(
            || "to be held".to_owned(),
            |until| format!("to be locked until {until}"),
        );
        format!(
            "{}: {} {what}; the job: {}",
            self.manifest.display(),
            render::count(self.objects, "version"),
            self.request.display()
        )
    }
}

/// The bucket that a manifest is for; refuses a store that is none of S3's.
pub(super) fn place(opened: &Opened) -> Outcome<Place<'_>> {
    let bucket = opened.repository.objects.store().bucket();
    let Some(bucket) = bucket.filter(|bucket| bucket.api() == Api::S3) else {
        return Err(Failure::new(
            Exit::Failed,
            format!(
                "cannot write a manifest for {}: S3 Batch Operations work on buckets of S3 alone",
                opened.address
            ),
        )
        .hint("dolmen renew without --batch-manifest renews here"));
    };
    Ok(Place {
        bucket: bucket.name(),
        prefix: bucket.prefix(),
    })
}

/// How the policy locks; refuses one that does not.
pub(super) fn locking(opened: &Opened) -> Outcome<Arc<Locking>> {
    opened.repository.objects.locking().ok_or_else(|| {
        let message = format!(
            "cannot write a manifest for {}: the policy locks nothing there",
            opened.address
        );
        Failure::new(Exit::Failed, message)
    })
}

/// Names the manifests, and writes the job requests beside them.
pub(super) fn publish(batch: Batch<'_, Part>, file: &Path) -> io::Result<Vec<Written>> {
    let jobs = batch.finish().into_iter().zip(1_u32..);
    let publish = |(job, number): (Job<Part>, u32)| {
        let manifest = match number {
            1 => file.to_path_buf(),
            more => numbered(file, more),
        };
        let request = beside(&manifest, ".job.json");
        let document = job_request(&job, &manifest);
        let mut text = serde_json::to_vec_pretty(&document).map_err(io::Error::from)?;
        text.push(b'\n');
        let retain_until = job.lock.map(|lock| render::rfc3339(lock.until));
        job.manifest.publish(&manifest)?;
        let mut part = Part::create(beside(&request, ".part"))?;
        part.write_all(&text)?;
        part.publish(&request)?;
        Ok(Written {
            manifest,
            request,
            retain_until,
            objects: job.objects,
        })
    };
    jobs.map(publish).collect()
}

/// The request that makes the job, as `aws s3control create-job --cli-input-json` takes it. What only the account's owner
/// knows stands there in capitals.
fn job_request<W>(job: &Job<W>, manifest: &Path) -> Value {
    let operation = match job.lock {
        None => json!({ "S3PutObjectLegalHold": { "LegalHold": { "Status": "ON" } } }),
        Some(lock) => json!({
            "S3PutObjectRetention": {
                "BypassGovernanceRetention": false,
                "Retention": {
                    "RetainUntilDate": render::rfc3339(lock.until),
                    "Mode": match lock.mode {
                        LockMode::Compliance => "COMPLIANCE",
                        LockMode::Governance => "GOVERNANCE",
                    },
                },
            },
        }),
    };
    let name = manifest.file_name().unwrap_or_default().to_string_lossy();
    json!({
        "AccountId": "ACCOUNT_ID",
        "ConfirmationRequired": false,
        "Operation": operation,
        "Report": {
            "Bucket": "REPORT_BUCKET_ARN",
            "Format": "Report_CSV_20180820",
            "Enabled": true,
            "Prefix": "dolmen-renew",
            "ReportScope": "FailedTasksOnly",
        },
        "Manifest": {
            "Spec": {
                "Format": "S3BatchOperations_CSV_20180820",
                "Fields": ["Bucket", "Key", "VersionId"],
            },
            "Location": {
                "ObjectArn": "MANIFEST_ARN",
                "ETag": "MANIFEST_ETAG",
            },
        },
        "Description": format!("dolmen renew: {name}"),
        "Priority": 10,
        "RoleArn": "ROLE_ARN",
    })
}

/// The name with more at its end.
fn beside(file: &Path, more: &str) -> PathBuf {
    let mut name = OsString::from(file);
    name.push(more);
    name.into()
}

/// The name with a number before its extension.
fn numbered(file: &Path, number: u32) -> PathBuf {
    let mut name = file.file_stem().unwrap_or_default().to_os_string();
    name.push(format!("-{number}"));
    if let Some(extension) = file.extension() {
        name.push(".");
        name.push(extension);
    }
    file.with_file_name(name)
}

#[cfg(test)]
mod tests {
    use dolmen_core::lease::{Asked, ExtensionCost, Terms};
    use dolmen_core::objects::Planned;
    use dolmen_format::Timestamp;
    use dolmen_store::{Lock, ObjectRef, StoreKey, Version};
    use tempfile::TempDir;

    use super::*;

    fn names(folder: &TempDir) -> Vec<String> {
        let entries = std::fs::read_dir(folder.path()).unwrap();
        let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let mut names: Vec<_> = names.collect();
        names.sort();
        names
    }

    fn write(file: &Path, days: &[Option<i64>]) -> io::Result<Vec<Written>> {
        let terms = Terms::with_defaults(&Asked {
            protect_seconds: 30 * 86_400,
            generation_seconds: None,
            interval_seconds: None,
            extension: ExtensionCost::Paid,
        })
        .unwrap();
        let place = Place {
            bucket: "backups",
            prefix: "home/",
        };
        let mut make = |number| part(file, number);
        let mut batch = Batch::new(place, &terms, &mut make);
        for day in days {
            let planned = Planned {
                object: ObjectRef {
                    key: StoreKey::try_from("root/a").unwrap(),
                    version: Version::new("v1"),
                },
                lock: day.map(|day| Lock {
                    mode: LockMode::Compliance,
                    until: Timestamp::from_seconds(day * 86_400),
                }),
                present: None,
            };
            batch.add(&planned).unwrap();
        }
        publish(batch, file)
    }

    #[test]
    fn each_date_has_a_manifest_and_a_request_that_names_it() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("due.csv");
        let written = write(&file, &[Some(20_000), Some(20_002)]).unwrap();
        assert_eq!(
            names(&folder),
            [
                "due-2.csv",
                "due-2.csv.job.json",
                "due.csv",
                "due.csv.job.json"
            ]
        );
        let row = "backups,home/root/a,v1\n";
        assert_eq!(std::fs::read_to_string(&file).unwrap(), row);
        let text = std::fs::read(&written[1].request).unwrap();
        let request: Value = serde_json::from_slice(&text).unwrap();
        assert_eq!(
            request["Operation"],
            json!({ "S3PutObjectRetention": {
                "BypassGovernanceRetention": false,
                "Retention": { "RetainUntilDate": "2024-10-06T00:00:00Z", "Mode": "COMPLIANCE" },
            }})
        );
        assert_eq!(
            request["Manifest"]["Spec"],
            json!({
                "Format": "S3BatchOperations_CSV_20180820",
                "Fields": ["Bucket", "Key", "VersionId"],
            })
        );
        let required = [
            "AccountId",
            "Operation",
            "Report",
            "Manifest",
            "Priority",
            "RoleArn",
        ];
        assert!(required.iter().all(|name| !request[name].is_null()));
    }

    #[test]
    fn holds_are_placed_by_a_job_of_their_kind() {
        let folder = tempfile::tempdir().unwrap();
        let written = write(&folder.path().join("due"), &[None]).unwrap();
        let text = std::fs::read(&written[0].request).unwrap();
        let request: Value = serde_json::from_slice(&text).unwrap();
        assert_eq!(
            request["Operation"],
            json!({ "S3PutObjectLegalHold": { "LegalHold": { "Status": "ON" } } })
        );
    }

    #[test]
    fn what_is_not_finished_leaves_the_old_files_and_nothing_of_its_own() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("due.csv");
        std::fs::write(&file, "old").unwrap();
        std::fs::write(folder.path().join("due.csv.part-0"), "of a killed run").unwrap();
        let mut begun = part(&file, 0).unwrap();
        begun.write_all(b"half").unwrap();
        drop(begun);
        assert_eq!(names(&folder), ["due.csv"]);
        assert_eq!(std::fs::read_to_string(&file).unwrap(), "old");
        // Nothing due: nothing written.
        assert!(write(&file, &[]).unwrap().is_empty());
        assert_eq!(std::fs::read_to_string(&file).unwrap(), "old");
    }
}
