//! What a year costs.

use serde_json::Value;

use crate::world::World;

fn rows(world: &World, arguments: &[&str]) -> Vec<Value> {
    let arguments = [arguments, &["--json"]].concat();
    let rows: Value = serde_json::from_str(&world.done(&arguments)).unwrap();
    rows.as_array().unwrap().clone()
}

fn micros(row: &Value, name: &str) -> u64 {
    let dollars = row[name].as_f64().unwrap();
    format!("{dollars:.6}").replace('.', "").parse().unwrap()
}

/// What the docs show is what the program prints.
#[test]
fn the_docs_show_what_is_printed() {
    let docs = include_str!("../../../../docs/cost.md");
    let (_, block) = docs.split_once("```text\n$ ").unwrap();
    let (command, rest) = block.split_once('\n').unwrap();
    let (shown, _) = rest.split_once("\n```").unwrap();
    let arguments: Vec<_> = command.split_whitespace().skip(1).collect();
    let printed = World::new().done(&arguments);
    let (printed, _) = printed.split_once("\n\nPrices in US dollars:").unwrap();
    assert_eq!(shown, printed);
}

/// Each line of the table adds up to the cent.
#[test]
fn what_is_shown_adds_up() {
    let world = World::new();
    for size in ["1GB", "333GB", "10TB", "777TB"] {
        let text = world.done(&["cost", "--size", size, "--change", "0.7%/d"]);
        let rows: Vec<_> = text
            .lines()
            .filter(|line| line.contains('$') && line.contains("d  "))
            .collect();
        assert!(rows.len() > 6, "{text}");
        for row in rows {
            let cents: Vec<u64> = row
                .split_whitespace()
                .filter_map(|cell| match cell.strip_prefix('$') {
                    Some(amount) => amount.replace([',', '.'], "").parse().ok(),
                    None => (cell == "<$0.01").then_some(0),
                })
                .collect();
            // Renewals, storage, what of it is kept, puts, audits, total.
            let [renewals, storage, _, puts, audits, total] = cents[..] else {
                panic!("{row}")
            };
            assert_eq!(renewals + storage + puts + audits, total, "{row}");
        }
    }
}

#[test]
fn a_plan_needs_no_repository_and_its_columns_add_up() {
    let world = World::new();
    for provider in ["aws", "aws-ia", "b2", "b2-s3", "wasabi", "minio"] {
        let rows = rows(
            &world,
            &[
                "cost",
                "--provider",
                provider,
                "--size",
                "10TB",
                "--change",
                "1%/d",
            ],
        );
        assert!(rows.len() > 8, "{provider}");
        for row in &rows {
            let parts = ["storage", "renewal", "put", "audit"];
            let sum: u64 = parts
                .iter()
                .map(|part| micros(row, &format!("{part}_usd_per_year")))
                .sum();
            assert_eq!(sum, micros(row, "total_usd_per_year"), "{row}");
            assert!(row["generation_days"].as_u64().unwrap() > 0, "{row}");
            let calls = row["renewal_calls_per_year"].as_u64().unwrap();
            assert!(
                calls <= row["renewal_calls_per_year_max"].as_u64().unwrap(),
                "{row}"
            );
        }
        let marked = |strategy: &str| {
            let best = rows.iter().filter(|row| row["best"] == true);
            best.filter(|row| row["strategy"] == strategy).count()
        };
        assert_eq!(marked("compliance"), 1, "{provider}");
        assert_eq!(marked("governance"), 1, "{provider}");
        assert_eq!(marked("hold"), 1, "{provider}");
        assert_eq!(marked("hide"), usize::from(provider == "b2"), "{provider}");
    }
}

#[test]
fn a_repository_is_billed_for_what_it_holds() {
    let world = World::with_files();
    world.done(&["backup", "."]);
    let rows = rows(&world, &["cost"]);
    let status: Value = serde_json::from_str(&world.done(&["status", "--json"])).unwrap();
    let live = status["bytes"]["live"].as_u64().unwrap();
    let row = rows
        .iter()
        .find(|row| row["strategy"] == "compliance" && row["generation_days"] == 7)
        .unwrap();
    // Root, keys, policy, two packs, segment, snapshot.
    let objects = row["objects"].as_u64().unwrap();
    assert!((5..30).contains(&objects), "{row}");
    assert_eq!(
        row["renewal_calls_per_year"].as_u64(),
        Some((objects * 365).div_ceil(7))
    );
    // Nothing is known yet of what changes: what lives is all there is, at 2.3 cents for a GB and month.
    let year = (live * 23 * 12 + 500_000) / 1_000_000;
    assert_eq!(micros(row, "storage_usd_per_year"), year, "{live}");
    assert_eq!(row["kept_bytes"], 0);
    let ran = world.run(&["cost"]);
    assert!(
        ran.stderr.contains("name it with --change"),
        "{}",
        ran.stderr
    );
    // A plan beside it is a plan.
    let planned = self::rows(&world, &["cost", "--size", "1TB"]);
    assert_eq!(planned[0]["objects"], 29_803);
}

/// What snapshots added, by the days between them, is what changes.
#[test]
fn a_repository_tells_how_much_changes() {
    let world = World::with_files();
    world.done(&["backup", ".", "--time", "4d ago"]);
    let noise: Vec<u8> = (0_u32..50_000)
        .flat_map(|number| blake3::hash(&number.to_le_bytes()).as_bytes()[..20].to_vec())
        .collect();
    world.write("files/new", &noise);
    let summary = world.done(&["backup", ".", "--json"]);
    let summary: Value = serde_json::from_str(summary.lines().last().unwrap()).unwrap();
    let added = summary["data_added_packed"].as_u64().unwrap();
    assert!(added > 1_000_000, "{summary}");
    let ran = world.run(&["cost", "--json"]);
    assert!(!ran.stderr.contains("--change"), "{}", ran.stderr);
    let rows: Vec<Value> = serde_json::from_str(&ran.stdout).unwrap();
    let row = rows
        .iter()
        .find(|row| row["strategy"] == "compliance" && row["generation_days"] == 7)
        .unwrap();
    // Kept for L + M + G/2 = 36.5 days, and a quarter of it is new each day.
    let expected = added * 365 / 40;
    let kept = row["kept_bytes"].as_u64().unwrap();
    let off = kept.abs_diff(expected);
    assert!(off < expected / 100, "{kept} {expected}");
}

#[test]
fn prices_can_be_ones_own() {
    let world = World::new();
    let mut own: Value = serde_json::from_str(include_str!("../../src/cost/prices.json")).unwrap();
    let table = own["providers"]["minio"].clone();
    own["providers"] = serde_json::json!({ "cellar": table });
    own["providers"]["cellar"]["storage"]["usd"] = "0.002".into();
    world.write("files/own.json", own.to_string().as_bytes());
    let rows = rows(
        &world,
        &[
            "cost",
            "--size",
            "1TB",
            "--change",
            "0%/d",
            "--provider",
            "cellar",
            "--prices",
            "own.json",
        ],
    );
    assert_eq!(micros(&rows[0], "total_usd_per_year"), 24_000_000);
}

#[test]
fn what_makes_no_sense_is_one_sentence_and_2() {
    let world = World::new();
    world.write("files/broken.json", b"{}");
    for arguments in [
        &["--size", "0"] as &[&str],
        &["--size", "lots"],
        &["--size", "-5TB"],
        &["--size", "1TB", "--change", "1%"],
        &["--size", "1TB", "--change", "500%/d"],
        &["--size", "1TB", "--change", "2TB/d"],
        &["--size", "1TB", "--protect", "0s"],
        &["--size", "1TB", "--protect", "101y"],
        &["--size", "1TB", "--generation", "31d"],
        &["--size", "1TB", "--every", "11d"],
        &[
            "--size",
            "16000000TiB",
            "--change",
            "100%/d",
            "--protect",
            "99y",
        ],
        &["--size", "1TB", "--provider", "nobody"],
        &["--size", "1TB", "--prices", "none.json"],
        &["--size", "1TB", "--prices", "broken.json"],
        &["--size", "1TB", "--prices", "/dev/zero"],
    ] {
        let ran = world.run(&[&["cost"], arguments].concat());
        assert_eq!(ran.code, 2, "{arguments:?}\n{}\n{}", ran.stdout, ran.stderr);
        assert!(ran.stdout.is_empty(), "{arguments:?}");
        let json = world.run(&[&["--json", "cost"], arguments].concat());
        let message: Value = serde_json::from_str(&json.stderr).unwrap();
        assert_eq!(message["code"], 2, "{arguments:?}");
        assert!(
            !message["message"].as_str().unwrap().contains('\n'),
            "{message}"
        );
    }
    // Neither a repository nor a size.
    let ran = world.run_with(("DOLMEN_REPOSITORY", ""), &["cost"]);
    assert_eq!(ran.code, 2, "{}", ran.stderr);
    assert!(ran.stderr.contains("--size"), "{}", ran.stderr);
}
