//! A real server: SeaweedFS, one for a process of tests, which ends with that process however that ends.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use aws_sdk_s3::Client;
use aws_sdk_s3::config::{BehaviorVersion, Credentials, Region};
use aws_sdk_s3::types::{BucketVersioningStatus, VersioningConfiguration};

/// Until it answers; on a busy machine.
const START_MAX: Duration = Duration::from_secs(120);

/// The owner of the account.
pub(crate) const OWNER: (&str, &str) = ("owner", "owner-secret");
/// Who may list and read, and nothing else.
pub(crate) const READER: (&str, &str) = ("reader", "reader-secret");

/// Runs a server, waits for the end of what feeds its input, and ends it. The first argument is its folder.
const GUARD: &str = r#"
trap '' INT TERM HUP
"$@" >"$0/log" 2>&1 </dev/null &
server=$!
read -r _
kill -9 "$server"
wait
rm -rf "$0"
"#;

/// A running server.
#[derive(Debug)]
pub(crate) struct Server {
    folder: PathBuf,
    port: u16,
    /// Its guard: when this process is gone, the pipe to it closes.
    _guard: Child,
}

/// The server of this process, started by whoever asks first.
pub(crate) fn server() -> &'static Server {
    static SERVER: OnceLock<Server> = OnceLock::new();
    SERVER.get_or_init(|| {
        // A test's own runtime must not wait in itself for another one.
        let starting = std::thread::spawn(|| runtime().block_on(Server::start()));
        starting.join().unwrap()
    })
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
}

impl Server {
    async fn start() -> Self {
        let folder = tempfile::TempDir::new().unwrap().keep();
        std::fs::create_dir(folder.join("data")).unwrap();
        let config = folder.join("s3.json");
        std::fs::write(&config, identities()).unwrap();
        let [
            master,
            volume,
            filer,
            s3,
            master_grpc,
            volume_grpc,
            filer_grpc,
            s3_grpc,
        ] = ports();
        let guard = Command::new("sh")
            .args(["-c", GUARD])
            .arg(&folder)
            .arg(program())
            .args(["server", "-ip=127.0.0.1", "-ip.bind=127.0.0.1", "-filer"])
            .arg(format!("-dir={}", text(&folder.join("data"))))
            .args([
                "-s3",
                "-s3.iam.readOnly=false",
                "-s3.port.iceberg=0",
                "-s3.port.lance=0",
            ])
            .arg(format!("-s3.config={}", text(&config)))
            .args(["-master.telemetry=false", "-master.telemetry.url="])
            .args(["-master.volumeSizeLimitMB=256", "-volume.max=1000"])
            .arg(format!("-master.port={master}"))
            .arg(format!("-master.port.grpc={master_grpc}"))
            .arg(format!("-volume.port={volume}"))
            .arg(format!("-volume.port.grpc={volume_grpc}"))
            .arg(format!("-filer.port={filer}"))
            .arg(format!("-filer.port.grpc={filer_grpc}"))
            .arg(format!("-s3.port={s3}"))
            .arg(format!("-s3.port.grpc={s3_grpc}"))
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let server = Self {
            folder,
            port: s3,
            _guard: guard,
        };
        server.wait().await;
        server
    }

    async fn wait(&self) {
        let client = self.client(OWNER);
        let begin = Instant::now();
        while client.list_buckets().send().await.is_err() {
            assert!(
                begin.elapsed() < START_MAX,
                "SeaweedFS does not answer: {}",
                std::fs::read_to_string(self.folder.join("log")).unwrap_or_default()
            );
            tokio::time::sleep(Duration::from_millis(100)).await;
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

    /// Makes a bucket, with Object Lock or without.
    pub(crate) async fn bucket(&self, name: &str, has_locks: bool) {
        let client = self.client(OWNER);
        let request = client.create_bucket().bucket(name);
        let request = request.object_lock_enabled_for_bucket(has_locks);
        request.send().await.unwrap();
    }

    /// Turns versions on in a bucket.
    pub(crate) async fn keep_versions(&self, bucket: &str) {
        let on = VersioningConfiguration::builder()
            .status(BucketVersioningStatus::Enabled)
            .build();
        let client = self.client(OWNER);
        let request = client.put_bucket_versioning().bucket(bucket);
        let request = request.versioning_configuration(on);
        request.send().await.unwrap();
    }
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
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
    let identity = |(id, secret): (&str, &str), actions: &str| {
        format!(
            r#"{{"name":"{id}","credentials":[{{"accessKey":"{id}","secretKey":"{secret}"}}],"actions":[{actions}]}}"#
        )
    };
    let owner = identity(OWNER, r#""Admin","Read","Write","List","Tagging""#);
    let reader = identity(READER, r#""Read","List""#);
    format!(r#"{{"identities":[{owner},{reader}]}}"#)
}
