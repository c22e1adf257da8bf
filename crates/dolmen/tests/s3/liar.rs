//! A server that takes locks and does not keep them: moto.

use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::machine::Machine;
use crate::seaweed::{installed, ports};

/// Until it answers; on a busy machine.
const START_MAX: Duration = Duration::from_secs(120);

/// Runs a server, waits for the end of what feeds its input, and ends it.
const GUARD: &str = r#"
trap '' INT TERM HUP
"$@" </dev/null &
server=$!
read -r _
kill -9 "$server"
"#;

/// A running server, which takes every signature.
struct Liar {
    endpoint: String,
    _guard: Child,
}

impl Liar {
    async fn start() -> Self {
        let [port] = ports();
        let guard = Command::new("sh")
            .args(["-c", GUARD, "guard"])
            .arg(installed("moto_server"))
            .args(["-H", "127.0.0.1", "-p", &port.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let begin = Instant::now();
        while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(begin.elapsed() < START_MAX, "moto does not answer");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        Self {
            endpoint: format!("http://127.0.0.1:{port}"),
            _guard: guard,
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn init_finds_out_a_server_whose_locks_can_be_shortened() {
    let liar = Liar::start().await;
    let machine = Machine::at(&liar.endpoint, "lied-about");
    let refused = machine.run(&["init", "--create-bucket"]);
    refused.says(
        1,
        "the store was tried out, and it lets a lock be shortened\nhint: its locks protect nothing: take another store",
    );
    for lock in ["governance", "hold"] {
        let refused = machine.run(&["init", "--lock", lock]);
        refused.says(
            1,
            "the store was tried out, and it lets a lock be shortened",
        );
    }
    machine.run(&["snapshots"]).says(10, "no repository at s3:");

    // Where nothing is promised, nothing is relied on.
    let none = machine.run(&["init", "--lock", "none"]);
    none.says(0, "lock: none. This bucket");
    machine.world.write("files/a", b"first");
    machine.done(&["backup", "."]);
    machine.restores("latest");
    machine.done(&["check", "--read-data"]);
}
