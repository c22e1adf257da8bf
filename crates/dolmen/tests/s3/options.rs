//! What a user chooses with `-o`, as requests carry it.

use std::sync::Arc;

use crate::machine::{Machine, noise, owner};
use crate::proxy::{Fault, Proxy, Request};
use crate::seaweed::Server;
use crate::world::Ran;

fn puts_object(request: &Request) -> bool {
    request.method == "PUT" && request.target.contains("x-id=PutObject")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_that_is_put_from_then_on_has_the_storage_class() {
    let terms = ["--protect", "1h"];
    let (machine, _, proxy) = Machine::behind("classes", &terms, |_, _| Fault::None).await;
    machine.world.write("files/a", b"first");
    let before = proxy.requests().len();
    machine.done(&["backup", ".", "-o", "s3.storage-class=STANDARD_IA"]);
    let requests = proxy.requests().split_off(before);
    let puts: Vec<_> = requests.iter().filter(|one| puts_object(one)).collect();
    assert!(puts.len() >= 3, "{requests:#?}");
    for put in puts {
        let class = put.header("x-amz-storage-class");
        assert_eq!(class, Some("STANDARD_IA"), "{put:?}");
        let key = put.target.split(['?']).next().unwrap();
        let key = key.strip_prefix("/classes/").unwrap();
        let head = owner().head_object().bucket("classes").key(key);
        let stored = head.send().await.unwrap();
        assert_eq!(stored.storage_class().unwrap().as_str(), "STANDARD_IA");
    }
    machine.restores("latest");

    let before = proxy.requests().len();
    for class in ["GLACIER", "DEEP_ARCHIVE"] {
        let option = format!("s3.storage-class={class}");
        machine.run(&["backup", ".", "-o", &option]).says(
            2,
            &format!("-o s3.storage-class={class}: name a class whose objects can be read at once"),
        );
    }
    assert_eq!(proxy.requests().len(), before);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_connection_is_enough_and_is_not_exceeded() {
    let terms = ["--protect", "1h", "-o", "s3.connections=1"];
    let (machine, _, proxy) = Machine::behind("one", &terms, |_, _| Fault::None).await;
    for at in 0..2 {
        let name = format!("files/noise{at}");
        machine.world.write(&name, &noise(at, 40 << 20));
    }
    machine.done(&["backup", ".", "-o", "s3.connections=1"]);
    machine.done(&["check", "--read-data", "-o", "s3.connections=1"]);
    machine.done(&["renew", "-o", "s3.connections=1"]);
    assert_eq!(proxy.most_under_way(), 1);
    machine.restores("latest");
}

/// A bucket's name is part of the host's where the user says so, and of the path elsewhere.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bucket_is_named_in_the_host_or_in_the_path() {
    let server = Server::start(&["-s3.domainName=buckets.example"]).await;
    let pass = |_: &Request, _| Fault::None;
    let proxy = Proxy::start(&server.endpoint(), Arc::new(pass)).await;
    let machine = Machine::at("http://buckets.example", "named");
    let run = |arguments: &[&str], lookup: &str| {
        let before = proxy.requests().len();
        let mut command = machine.command(arguments);
        command.env("HTTP_PROXY", &proxy.endpoint);
        command.args(["-o", &format!("s3.bucket-lookup={lookup}")]);
        let ran = Ran::of(command.output().unwrap());
        assert_eq!(ran.code, 0, "{arguments:?}\n{}\n{}", ran.stdout, ran.stderr);
        proxy.requests().split_off(before)
    };
    machine.world.write("files/a", b"first");
    for (lookup, address) in [
        ("path", "http://buckets.example/named/"),
        ("dns", "http://named.buckets.example/"),
        ("auto", "http://buckets.example/named/"),
    ] {
        let command: &[&str] = if lookup == "path" {
            &["init", "--create-bucket"]
        } else {
            &["backup", "."]
        };
        let requests = run(command, lookup);
        assert!(requests.len() > 5, "{requests:#?}");
        for request in requests {
            assert!(request.target.starts_with(address), "{lookup}: {request:?}");
        }
    }
}
