//! A proxy that breaks HTTP on purpose, in a server's place or as `HTTP_PROXY`. Each connection carries one request.

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
    /// It is answered with this status and body and reaches nobody.
    Say(u16, &'static str),
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
    /// Path and query; with the server before it, where this is the proxy that variables name.
    pub(crate) target: String,
    head: String,
}

impl Request {
    /// What a header says; its name may be written in any case.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        header(&self.head, name)
    }
}

fn header<'h>(head: &'h str, name: &str) -> Option<&'h str> {
    head.lines().skip(1).find_map(|line| {
        let (found, value) = line.split_once(':')?;
        found.eq_ignore_ascii_case(name).then(|| value.trim())
    })
}

/// Decides what happens to a request; the second argument counts from 0.
pub(crate) type Rule = dyn Fn(&Request, usize) -> Fault + Send + Sync;

/// A proxy in front of a server, as long as the runtime lives that it was started in.
#[derive(Debug, Clone)]
pub(crate) struct Proxy {
    /// Its URL.
    pub(crate) endpoint: String,
    seen: Arc<Mutex<Vec<Request>>>,
    under_way: Arc<UnderWay>,
    connections: Arc<AtomicUsize>,
}

/// Requests under way: now, and at most so far.
#[derive(Debug, Default)]
struct UnderWay {
    now: AtomicUsize,
    most: AtomicUsize,
}

impl UnderWay {
    async fn count<T>(&self, request: impl Future<Output = T>) -> T {
        let now = self.now.fetch_add(1, Ordering::SeqCst) + 1;
        self.most.fetch_max(now, Ordering::SeqCst);
        let outcome = request.await;
        self.now.fetch_sub(1, Ordering::SeqCst);
        outcome
    }
}

impl Proxy {
    /// Starts one in front of `upstream`, `http://host:port`.
    pub(crate) async fn start(upstream: &str, rule: Arc<Rule>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let upstream = upstream.strip_prefix("http://").unwrap().to_owned();
        let seen = Arc::<Mutex<Vec<Request>>>::default();
        let (log, count) = (Arc::clone(&seen), Arc::new(AtomicUsize::new(0)));
        let under_way = Arc::<UnderWay>::default();
        let counted = Arc::clone(&under_way);
        let connections = Arc::<AtomicUsize>::default();
        let open = Arc::clone(&connections);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let (upstream, rule) = (upstream.clone(), Arc::clone(&rule));
                let (log, count) = (Arc::clone(&log), Arc::clone(&count));
                let (counted, open) = (Arc::clone(&counted), Arc::clone(&open));
                open.fetch_add(1, Ordering::SeqCst);
                tokio::spawn(async move {
                    let decide = |request: &Request| {
                        log.lock().unwrap().push(request.clone());
                        rule(request, count.fetch_add(1, Ordering::SeqCst))
                    };
                    // A connection that breaks is what this is for.
                    let _broken = pass(client, &upstream, decide, &counted).await;
                    open.fetch_sub(1, Ordering::SeqCst);
                });
            }
        });
        Self {
            endpoint: format!("http://127.0.0.1:{port}"),
            seen,
            under_way,
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

    /// How many requests were under way at the same time, at most.
    pub(crate) fn most_under_way(&self) -> usize {
        self.under_way.most.load(Ordering::SeqCst)
    }
}

async fn pass(
    mut client: TcpStream,
    upstream: &str,
    decide: impl Fn(&Request) -> Fault,
    under_way: &UnderWay,
) -> std::io::Result<()> {
    let (head, body) = read_request(&mut client).await?;
    let Some(line) = head.lines().next().filter(|line| !line.is_empty()) else {
        return Ok(());
    };
    let mut words = line.split(' ').map(str::to_owned);
    let request = Request {
        method: words.next().unwrap_or_default(),
        target: words.next().unwrap_or_default(),
        head: head.clone(),
    };
    let answer = answer(decide(&request), upstream, &head, &body);
    // It counts until it is answered: who reads the answer may ask again at once.
    let answer = under_way.count(answer).await?;
    client.write_all(&answer).await
}

/// What a client gets to read.
async fn answer(fault: Fault, upstream: &str, head: &str, body: &[u8]) -> std::io::Result<Vec<u8>> {
    const BUSY: &[u8] = b"HTTP/1.1 503 Slow Down\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
    match fault {
        Fault::Busy => return Ok(BUSY.to_vec()),
        Fault::Say(status, body) => {
            let length = body.len();
            let head = format!("HTTP/1.1 {status} So\r\nContent-Length: {length}");
            return Ok(format!("{head}\r\nConnection: close\r\n\r\n{body}").into());
        }
        Fault::Cut => return Ok(Vec::new()),
        Fault::Slow => tokio::time::sleep(Duration::from_millis(300)).await,
        Fault::None | Fault::Lose | Fault::Tear => {}
    }
    let mut server = TcpStream::connect(upstream).await?;
    let (first, rest) = head.split_once("\r\n").unwrap_or((head, ""));
    let first = without_host(first);
    let head = format!("{first}\r\nConnection: close\r\n{rest}");
    server.write_all(head.as_bytes()).await?;
    server.write_all(body).await?;
    let mut answer = Vec::new();
    server.read_to_end(&mut answer).await?;
    match fault {
        Fault::Lose => answer.clear(),
        Fault::Tear => answer.truncate(answer.len() / 2),
        Fault::None | Fault::Busy | Fault::Say(..) | Fault::Cut | Fault::Slow => {}
    }
    Ok(answer)
}

/// A request's first line as servers get it: who speaks to a proxy names the server, too.
fn without_host(line: &str) -> String {
    let parts = line.split_once(" http://");
    let parts = parts.and_then(|(method, url)| Some((method, url.split_once('/')?)));
    match parts {
        Some((method, (_host, rest))) => format!("{method} /{rest}"),
        None => line.to_owned(),
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
    let length = header(&head, "content-length").map(|length| length.parse::<usize>().unwrap());
    while body.len() < length.unwrap_or(0) {
        if client.read_buf(&mut body).await? == 0 {
            // A server would wait for the rest.
            return Ok((String::new(), Vec::new()));
        }
    }
    Ok((head, body))
}
