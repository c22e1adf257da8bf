//! A real server: SeaweedFS, one for a process of tests, or one of a test's own. It ends with that process however that
//! ends.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::{Mutex, OnceLock};
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

/// Who may list, read, and put without a lock.
pub(crate) const ADDER: (&str, &str) = ("adder", "adder-secret");
/// Who may list, read and extend locks.
pub(crate) const RENEWER: (&str, &str) = ("renewer", "renewer-secret");
/// Who may list and delete versions.
pub(crate) const PRUNER: (&str, &str) = ("pruner", "pruner-secret");
/// Who may list, read, put without a lock and delete versions, as `access print --role prune` has it.
pub(crate) const KEEPER: (&str, &str) = ("keeper", "keeper-secret");

/// Runs a server in a folder, the first argument, and does what it is told in words: `start`, or `kill`. Each is answered.
/// When what feeds its input ends, it ends the server, too.
const GUARD: &str = r#"
trap '' INT TERM HUP
while read -r word; do
    if [ "$word" = start ]; then
        "$@" >>"$0/log" 2>&1 </dev/null &
        server=$!
    else
        kill -9 "$server"
        wait "$server"
        server=
    fi
    echo done
done
[ -z "$server" ] || kill -9 "$server"
wait
rm -rf "$0"
for port in $PORTS; do rm -f /tmp/seaweedfs-*-grpc-"$port".sock; done
"#;

/// A running server.
#[derive(Debug)]
pub(crate) struct Server {
    folder: PathBuf,
    port: u16,
    guard: Mutex<Guard>,
}

/// What runs a server: when this process is gone, the pipe to it closes.
#[derive(Debug)]
struct Guard {
    _process: Child,
    orders: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Guard {
    fn tell(&mut self, word: &str) {
        writeln!(self.orders, "{word}").unwrap();
        let mut answer = String::new();
        self.answers.read_line(&mut answer).unwrap();
        assert_eq!(answer, "done\n", "the guard of SeaweedFS is gone");
    }
}

/// The server of this process, started by whoever asks first.
pub(crate) fn server() -> &'static Server {
    static SERVER: OnceLock<Server> = OnceLock::new();
    SERVER.get_or_init(|| wait_for(Server::start(&[])))
}

/// Waits in a runtime of its own: a test's must not wait in itself for another one.
pub(crate) fn wait_for<T: Send>(what: impl Future<Output = T> + Send) -> T {
    let waiting = || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(what)
    };
    std::thread::scope(|scope| scope.spawn(waiting).join().unwrap())
}

impl Server {
    /// Starts one, with arguments beside the usual ones.
    pub(crate) async fn start(arguments: &[&str]) -> Self {
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
        let mut process = Command::new("sh")
            .args(["-c", GUARD])
            .arg(&folder)
            .arg(installed("weed"))
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
            // One that was killed waits so long until it trusts in being alone.
            .args([
                "-master.electionTimeout=1s",
                "-master.heartbeatInterval=100ms",
            ])
            .arg(format!("-master.port={master}"))
            .arg(format!("-master.port.grpc={master_grpc}"))
            .arg(format!("-volume.port={volume}"))
            .arg(format!("-volume.port.grpc={volume_grpc}"))
            .arg(format!("-filer.port={filer}"))
            .arg(format!("-filer.port.grpc={filer_grpc}"))
            .arg(format!("-s3.port={s3}"))
            .arg(format!("-s3.port.grpc={s3_grpc}"))
            .env(
                "PORTS",
                format!("{master_grpc} {volume_grpc} {filer_grpc} {s3_grpc}"),
            )
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let guard = Guard {
            orders: process.stdin.take().unwrap(),
            answers: BufReader::new(process.stdout.take().unwrap()),
            _process: process,
        };
        let server = Self {
            folder,
            port: s3,
            guard: Mutex::new(guard),
        };
        server.tell("start");
        server.answers().await;
        server
    }

    /// Tells the guard to `start` the server, or to `kill` it with SIGKILL.
    pub(crate) fn tell(&self, word: &str) {
        self.guard.lock().unwrap().tell(word);
    }

    /// Waits until it answers.
    pub(crate) async fn answers(&self) {
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

/// Where the README's test command put a program.
pub(crate) fn installed(name: &str) -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let program = root.join("target/venv/bin").join(name);
    assert!(program.is_file(), "{name} is not installed: run tools/test");
    program
}

/// Ports that nobody listens on now.
pub(crate) fn ports<const N: usize>() -> [u16; N] {
    let listeners: [TcpListener; N] =
        std::array::from_fn(|_| TcpListener::bind("127.0.0.1:0").unwrap());
    std::array::from_fn(|at| listeners[at].local_addr().unwrap().port())
}

/// What whoever reads a repository asks.
const LOOKING: [&str; 8] = [
    "s3:ListBucket",
    "s3:ListBucketVersions",
    "s3:GetObject",
    "s3:GetObjectVersion",
    "s3:GetObjectRetention",
    "s3:GetObjectLegalHold",
    "s3:GetBucketVersioning",
    "s3:GetBucketObjectLockConfiguration",
];

fn identities() -> String {
    let identity = |(id, secret): (&str, &str), actions: &str, policies: &str| {
        format!(
            r#"{{"name":"{id}","credentials":[{{"accessKey":"{id}","secretKey":"{secret}"}}],"actions":[{actions}],"policyNames":[{policies}]}}"#
        )
    };
    let policy = |name: &str, actions: &[&str]| {
        let document = format!(
            r#"{{"Version":"2012-10-17","Statement":[{{"Effect":"Allow","Action":{actions:?},"Resource":["arn:aws:s3:::*"]}}]}}"#
        );
        format!(r#"{{"name":"{name}","content":{document:?}}}"#)
    };
    let mut identities = vec![
        identity(OWNER, r#""Admin","Read","Write","List","Tagging""#, ""),
        identity(READER, r#""Read","List""#, ""),
    ];
    let mut policies = Vec::new();
    let (put, delete) = ("s3:PutObject", "s3:DeleteObjectVersion");
    for (who, looks, actions) in [
        (ADDER, &LOOKING as &[_], &[put] as &[_]),
        (RENEWER, &LOOKING, &["s3:PutObjectRetention"]),
        (PRUNER, &LOOKING[..2], &[delete]),
        (KEEPER, &LOOKING, &[put, delete]),
    ] {
        policies.push(policy(who.0, &[looks, actions].concat()));
        identities.push(identity(who, "", &format!("{:?}", who.0)));
    }
    format!(
        r#"{{"identities":[{}],"policies":[{}]}}"#,
        identities.join(","),
        policies.join(",")
    )
}
