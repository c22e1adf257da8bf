//! Servers that speak TLS, and proxies on the way to them.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use crate::machine::Machine;
use crate::seaweed::{Server, installed, ports};
use crate::world::Ran;

/// Makes an authority, a certificate under it for a server, and authorities that are servers themselves.
const CERTIFICATES: &str = r#"
import datetime, ipaddress, sys
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization as form
from cryptography.hazmat.primitives.asymmetric import ec

def made(name, is_authority, issuer=None, is_server=False):
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    begin = datetime.datetime.now(datetime.timezone.utc) - datetime.timedelta(days=1)
    names = [x509.DNSName("buckets.example"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer[0] if issuer else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(begin)
        .not_valid_after(begin + datetime.timedelta(days=2))
        .add_extension(x509.BasicConstraints(ca=is_authority, path_length=None), critical=True)
    )
    if is_server:
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    certificate = builder.sign(issuer[1] if issuer else key, hashes.SHA256())
    with open(f"{sys.argv[1]}/{name}.pem", "wb") as file:
        file.write(certificate.public_bytes(form.Encoding.PEM))
    with open(f"{sys.argv[1]}/{name}.key", "wb") as file:
        file.write(key.private_bytes(form.Encoding.PEM, form.PrivateFormat.PKCS8, form.NoEncryption()))
    return subject, key

made("server", False, made("authority", True), is_server=True)
made("stranger", True, is_server=True)
made("itself", True, is_server=True)
made("nameless", True)
"#;

/// A server that speaks TLS on one of its ports.
struct Secure {
    folder: tempfile::TempDir,
    port: u16,
    _server: Server,
}

impl Secure {
    /// One that shows this certificate.
    async fn start(shown: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let made = Command::new(installed("python"))
            .args(["-c", CERTIFICATES])
            .arg(folder.path())
            .output()
            .unwrap();
        assert!(made.status.success(), "{made:?}");
        let [port] = ports();
        let file = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
        let server = Server::start(&[
            &format!("-s3.port.https={port}"),
            &format!("-s3.cert.file={}", file(&format!("{shown}.pem"))),
            &format!("-s3.key.file={}", file(&format!("{shown}.key"))),
        ])
        .await;
        Self {
            folder,
            port,
            _server: server,
        }
    }

    fn certificate(&self, name: &str) -> PathBuf {
        self.folder.path().join(name).with_extension("pem")
    }

    fn endpoint(&self) -> String {
        format!("https://127.0.0.1:{}", self.port)
    }
}

fn run(machine: &Machine, arguments: &[&str], variables: &[(&str, &str)]) -> Ran {
    let mut command = machine.command(arguments);
    command.envs(variables.iter().copied());
    Ran::of(command.output().unwrap())
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_is_believed_whom_somebody_trusted_vouches_for() {
    let secure = Secure::start("server").await;
    let machine = Machine::at(&secure.endpoint(), "secure");
    let authority = secure.certificate("authority");
    let stranger = secure.certificate("stranger");
    let unknown =
        "nobody whom this machine trusts vouches for the server (--cacert FILE names who does): ";
    machine.run(&["init", "--create-bucket"]).says(1, unknown);
    let with_stranger = ["--cacert", text(&stranger), "init", "--create-bucket"];
    machine.run(&with_stranger).says(1, unknown);
    let nothing = machine.run(&["--insecure-tls", "--json", "snapshots"]);
    nothing.says(10, "no repository at s3:https://");
    nothing.says(
        10,
        "--insecure-tls: whoever answers is believed to be the server",
    );
    assert_eq!(nothing.stdout, "");

    let trusted = ["--cacert", text(&authority)];
    machine.done(
        &[
            &trusted as &[&str],
            &["init", "--create-bucket", "--protect", "1h"],
        ]
        .concat(),
    );
    machine.world.write("files/a", b"first");
    let by_variable = run(
        &machine,
        &["backup", "."],
        &[("DOLMEN_CACERT", text(&authority))],
    );
    assert_eq!(by_variable.code, 0, "{}", by_variable.stderr);
    machine.run(&["snapshots"]).says(1, unknown);
    let listed = machine.done(&["--insecure-tls", "ls", "latest"]);
    assert_eq!(
        listed,
        machine.done(&[&trusted as &[&str], &["ls", "latest"]].concat())
    );
    let key = secure.folder.path().join("server.key");
    let no_certificate = machine.run(&["--cacert", text(&key), "snapshots"]);
    no_certificate.says(
        2,
        "there are none, or one cannot be read\nhint: give a file in PEM",
    );
}

/// An authority's own certificate is no server's by the rules, and many a small server has no other one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_authority_that_is_the_server_itself_is_believed_by_its_own_certificate() {
    let secure = Secure::start("itself").await;
    let machine = Machine::at(&secure.endpoint(), "itself");
    let init = ["init", "--create-bucket", "--protect", "1h"];
    let with = |name: &str| {
        let given = secure.certificate(name);
        machine.run(&[&["--cacert", text(&given)] as &[&str], &init].concat())
    };
    let said =
        "the server's certificate is an authority's own (CA:TRUE): name it with --cacert FILE";
    machine.run(&init).says(1, said);
    with("authority").says(1, said);
    with("stranger").says(1, "nobody whom this machine trusts vouches for the server");
    assert_eq!(with("itself").code, 0);
    // Under another name it is none that was asked for.
    let address = format!("s3:https://localhost:{}/itself/repository", secure.port);
    let itself = secure.certificate("itself");
    let elsewhere = ["-r", &address, "--cacert", text(&itself), "snapshots"];
    machine.run(&elsewhere).says(1, said);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_authority_that_states_no_name_is_believed_as_no_server() {
    let secure = Secure::start("nameless").await;
    let machine = Machine::at(&secure.endpoint(), "nameless");
    let given = secure.certificate("nameless");
    let refused = machine.run(&["--cacert", text(&given), "snapshots"]);
    refused.says(
        1,
        "else make one for the server that an authority signs (docs/s3.md says how)",
    );
}

/// What `HTTPS_PROXY` names: connects whoever asks with one server, whatever its name is.
struct Tunnel {
    url: String,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Tunnel {
    async fn start(port: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let asked = Arc::<Mutex<Vec<String>>>::default();
        let log = Arc::clone(&asked);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let log = Arc::clone(&log);
                // A connection that one side ends is no matter.
                tokio::spawn(async move { connect(client, port, &log).await.ok() });
            }
        });
        Self { url, asked }
    }

    fn asked(&self) -> Vec<String> {
        std::mem::take(&mut *self.asked.lock().unwrap())
    }
}

async fn connect(
    mut client: TcpStream,
    port: u16,
    log: &Mutex<Vec<String>>,
) -> std::io::Result<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(client.read_u8().await?);
    }
    let head = String::from_utf8(head).unwrap();
    log.lock()
        .unwrap()
        .push(head.lines().next().unwrap().to_owned());
    let mut server = TcpStream::connect(("127.0.0.1", port)).await?;
    client.write_all(b"HTTP/1.1 200 Connected\r\n\r\n").await?;
    tokio::io::copy_bidirectional(&mut client, &mut server).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_is_reached_through_the_proxy_that_variables_name() {
    let secure = Secure::start("server").await;
    let tunnel = Tunnel::start(secure.port).await;
    let authority = secure.certificate("authority");
    let trusted = ("DOLMEN_CACERT", text(&authority));
    // Nobody here knows this name.
    let machine = Machine::at("https://buckets.example", "tunnelled");
    let through = [trusted, ("HTTPS_PROXY", tunnel.url.as_str())];
    let done = |arguments: &[&str], variables: &[(&str, &str)]| {
        let ran = run(&machine, arguments, variables);
        assert_eq!(ran.code, 0, "{arguments:?}\n{}\n{}", ran.stdout, ran.stderr);
    };
    done(&["init", "--create-bucket", "--protect", "1h"], &through);
    machine.world.write("files/a", b"first");
    done(&["backup", "."], &through);
    done(&["check", "--read-data"], &through);
    let asked = tunnel.asked();
    assert!(!asked.is_empty());
    for line in asked {
        assert_eq!(line, "CONNECT buckets.example:443 HTTP/1.1");
    }

    // The same bucket, past the proxy.
    let address = format!("s3:{}/tunnelled/repository", secure.endpoint());
    let past = [
        trusted,
        ("DOLMEN_REPOSITORY", address.as_str()),
        ("HTTPS_PROXY", tunnel.url.as_str()),
        ("NO_PROXY", "127.0.0.1"),
    ];
    done(&["snapshots"], &past);
    assert_eq!(tunnel.asked(), [""; 0]);
}
