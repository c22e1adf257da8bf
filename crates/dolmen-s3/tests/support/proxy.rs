//! A proxy that breaks HTTP on purpose. Each connection carries one request.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

/// What happens to a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// It passes.
    None,
    /// It is answered with `503 Slow Down` and reaches nobody.
    Busy,
    /// It reaches nobody, and the connection is cut.
    Cut,
    /// It is done, and its answer is lost.
    Lose,
    /// It is done, and the connection is cut in the middle of its answer.
    Tear,
    /// It passes after a while.
    Slow,
}

/// A request, as rules see it.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    /// `GET`, `PUT`…
    pub(crate) method: String,
    /// Path and query.
    pub(crate) target: String,
}

/// Decides what happens to a request; the second argument counts from 0.
pub(crate) type Rule = dyn Fn(&Request, usize) -> Fault + Send + Sync;

/// A proxy in front of a server, as long as the runtime lives that it was started in.
#[derive(Debug, Clone)]
pub(crate) struct Proxy {
    /// Its URL.
    pub(crate) endpoint: String,
    seen: Arc<Mutex<Vec<Request>>>,
    connections: Arc<AtomicUsize>,
}

impl Proxy {
    /// Starts one in front of `upstream`, `http://host:port`.
    pub(crate) async fn start(upstream: &str, rule: Arc<Rule>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let upstream = upstream.strip_prefix("http://").unwrap().to_owned();
        let seen = Arc::<Mutex<Vec<Request>>>::default();
        let (log, count) = (Arc::clone(&seen), Arc::new(AtomicUsize::new(0)));
        let connections = Arc::<AtomicUsize>::default();
        let open = Arc::clone(&connections);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let (upstream, rule) = (upstream.clone(), Arc::clone(&rule));
                let (log, count) = (Arc::clone(&log), Arc::clone(&count));
                let open = Arc::clone(&open);
                open.fetch_add(1, Ordering::SeqCst);
                tokio::spawn(async move {
                    // A connection that breaks is what this is for.
                    let _broken = pass(client, &upstream, |request| {
                        log.lock().unwrap().push(request.clone());
                        rule(request, count.fetch_add(1, Ordering::SeqCst))
                    })
                    .await;
                    open.fetch_sub(1, Ordering::SeqCst);
                });
            }
        });
        Self {
            endpoint: format!("http://127.0.0.1:{port}"),
            seen,
            connections,
        }
    }

    /// Waits until nothing is on its way any more, be it that who sent it is gone.
    pub(crate) async fn settle(&self) {
        while self.connections.load(Ordering::SeqCst) > 0 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// The requests so far.
    pub(crate) fn requests(&self) -> Vec<Request> {
        self.seen.lock().unwrap().clone()
    }
}

async fn pass(
    mut client: TcpStream,
    upstream: &str,
    decide: impl Fn(&Request) -> Fault,
) -> std::io::Result<()> {
    let (head, body) = read_request(&mut client).await?;
    let Some(line) = head.lines().next().filter(|line| !line.is_empty()) else {
        return Ok(());
    };
    let mut words = line.split(' ').map(str::to_owned);
    let request = Request {
        method: words.next().unwrap_or_default(),
        target: words.next().unwrap_or_default(),
    };
    let fault = decide(&request);
    match fault {
        Fault::Busy => {
            return client
                .write_all(
                    b"HTTP/1.1 503 Slow Down\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
                )
                .await;
        }
        Fault::Cut => return Ok(()),
        Fault::Slow => tokio::time::sleep(Duration::from_millis(300)).await,
        Fault::None | Fault::Lose | Fault::Tear => {}
    }
    let mut server = TcpStream::connect(upstream).await?;
    let (first, rest) = head.split_once("\r\n").unwrap_or((&head, ""));
    let head = format!("{first}\r\nConnection: close\r\n{rest}");
    server.write_all(head.as_bytes()).await?;
    server.write_all(&body).await?;
    let mut answer = Vec::new();
    server.read_to_end(&mut answer).await?;
    match fault {
        Fault::Lose => Ok(()),
        Fault::Tear => client.write_all(&answer[..answer.len() / 2]).await,
        Fault::None | Fault::Busy | Fault::Cut | Fault::Slow => client.write_all(&answer).await,
    }
}

/// Reads head and body of a request.
async fn read_request(client: &mut TcpStream) -> std::io::Result<(String, Vec<u8>)> {
    let mut bytes = Vec::new();
    let end = loop {
        if let Some(at) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
            break at + 4;
        }
        if client.read_buf(&mut bytes).await? == 0 {
            return Ok((String::new(), Vec::new()));
        }
    };
    let mut body = bytes.split_off(end);
    let head = String::from_utf8(bytes).unwrap();
    let length = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        let is_length = name.eq_ignore_ascii_case("content-length");
        is_length.then(|| value.trim().parse::<usize>().unwrap())
    });
    while body.len() < length.unwrap_or(0) {
        if client.read_buf(&mut body).await? == 0 {
            break;
        }
    }
    Ok((head, body))
}
