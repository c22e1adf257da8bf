//! A SeaweedFS of the test's own.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use aws_sdk_s3::Client;
use aws_sdk_s3::config::{BehaviorVersion, Credentials, Region};
use dolmen_s3::S3Address;
use tempfile::TempDir;

/// Until it answers; on a busy machine.
const START_MAX: Duration = Duration::from_secs(120);

/// The owner of the account.
pub(crate) const OWNER: (&str, &str) = ("owner", "owner-secret");

/// A running server. It ends when this is dropped.
#[derive(Debug)]
pub(crate) struct Server {
    child: Child,
    folder: TempDir,
    port: u16,
}

impl Server {
    /// Starts one and waits until it answers.
    pub(crate) async fn start() -> Self {
        let folder = TempDir::new().unwrap();
        let [master, volume, filer, s3] = ports();
        let [master_grpc, volume_grpc, filer_grpc, s3_grpc] = ports();
        let config = folder.path().join("s3.json");
        std::fs::write(&config, identities()).unwrap();
        std::fs::create_dir(folder.path().join("data")).unwrap();
        let log = std::fs::File::create(folder.path().join("log")).unwrap();
        let text = |path: &Path| path.to_str().unwrap().to_owned();
        let child = Command::new(program())
            .arg("server")
            .args(["-ip=127.0.0.1", "-ip.bind=127.0.0.1"])
            .arg(format!("-dir={}", text(&folder.path().join("data"))))
            .args([
                "-filer",
                "-s3",
                "-master.telemetry=false",
                "-master.telemetry.url=",
            ])
            .args(["-volume.max=1000", "-s3.port.iceberg=0", "-s3.port.lance=0"])
            .arg(format!("-s3.config={}", text(&config)))
            .arg("-s3.iam.readOnly=false")
            .args([
                format!("-master.port={master}"),
                format!("-master.port.grpc={master_grpc}"),
            ])
            .args([
                format!("-volume.port={volume}"),
                format!("-volume.port.grpc={volume_grpc}"),
            ])
            .args([
                format!("-filer.port={filer}"),
                format!("-filer.port.grpc={filer_grpc}"),
            ])
            .args([format!("-s3.port={s3}"), format!("-s3.port.grpc={s3_grpc}")])
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        let server = Self {
            child,
            folder,
            port: s3,
        };
        server.wait().await;
        server
    }

    async fn wait(&self) {
        let client = self.client(OWNER);
        let begin = Instant::now();
        while client.list_buckets().send().await.is_err() {
            let log = self.folder.path().join("log");
            assert!(
                begin.elapsed() < START_MAX,
                "SeaweedFS does not answer: {}",
                std::fs::read_to_string(log).unwrap_or_default()
            );
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }

    /// Its URL.
    pub(crate) fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// A client of the test's own, which owes nothing to the store's.
    pub(crate) fn client(&self, (id, secret): (&str, &str)) -> Client {
        let config = aws_sdk_s3::Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .endpoint_url(self.endpoint())
            .region(Region::new("us-east-1"))
            .credentials_provider(Credentials::new(id, secret, None, None, "test"))
            .force_path_style(true)
            .build();
        Client::from_conf(config)
    }

    /// Makes a bucket, with Object Lock or without, and says where it is.
    pub(crate) async fn bucket(&self, name: &str, has_locks: bool) -> S3Address {
        let client = self.client(OWNER);
        client
            .create_bucket()
            .bucket(name)
            .object_lock_enabled_for_bucket(has_locks)
            .send()
            .await
            .unwrap();
        S3Address {
            endpoint: Some(self.endpoint()),
            bucket: name.to_owned(),
            prefix: "repository/".to_owned(),
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ended = self.child.kill();
        let _reaped = self.child.wait();
    }
}

/// Where the README's test command put it.
fn program() -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let program = root.join("target/venv/bin/weed");
    assert!(
        program.is_file(),
        "SeaweedFS is not installed: run tools/test"
    );
    program
}

/// Ports that nobody listens on now.
fn ports<const N: usize>() -> [u16; N] {
    let listeners: [TcpListener; N] =
        std::array::from_fn(|_| TcpListener::bind("127.0.0.1:0").unwrap());
    std::array::from_fn(|at| listeners[at].local_addr().unwrap().port())
}

fn identities() -> String {
    format!(
        r#"{{"identities":[{{"name":"owner","credentials":[{{"accessKey":"{}","secretKey":"{}"}}],"actions":["Admin","Read","Write","List","Tagging"]}}]}}"#,
        OWNER.0, OWNER.1
    )
}
