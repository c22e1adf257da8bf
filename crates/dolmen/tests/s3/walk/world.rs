//! Who is there, what they do, and what is looked at after each step.

mod look;

use std::collections::{BTreeMap, BTreeSet};

use dolmen_sim::dice::Dice;
use serde_json::Value;

use super::line::{Line, Weather, When};
use super::outsider::{Outsider, Picture, picture};
use super::thief::{Attack, Thief};
use crate::machine::{Machine, now_seconds};
use crate::proxy::Fault;
use crate::world::{Ran, World, messages};

/// L, G and I of the repository, in seconds.
const PROTECT_SECONDS: i64 = 12;
const INTERVAL_SECONDS: i64 = 3;
const TERMS: [&str; 6] = ["--protect", "12s", "--generation", "4s", "--every", "3s"];
/// L + M: what a renewal leaves everything that lives at least.
const LEASE_SECONDS: i64 = PROTECT_SECONDS + 3 * INTERVAL_SECONDS;
/// Requests of a run among which one may be the last.
const KILLED_WITHIN: usize = 25;
/// What is done in a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    Backup,
    KilledBackup,
    TroubledBackup,
    Forget,
    Undo,
    Prune,
    KilledPrune,
    Maintain,
    KilledMaintain,
    KilledRenew,
    Recover,
    KilledRecover,
    Together,
    Attack,
}

const STEPS: &[(u64, Step)] = &[
    (200, Step::Backup),
    (90, Step::KilledBackup),
    (50, Step::TroubledBackup),
    (110, Step::Forget),
    (60, Step::Undo),
    (70, Step::Prune),
    (30, Step::KilledPrune),
    (50, Step::Maintain),
    (40, Step::KilledMaintain),
    (40, Step::KilledRenew),
    (50, Step::Recover),
    (20, Step::KilledRecover),
    (60, Step::Together),
    (260, Step::Attack),
];

/// A snapshot that somebody was told of.
#[derive(Debug)]
struct Promise {
    id: String,
    files: Picture,
    /// Until when it is promised, in seconds since 1970.
    until: i64,
    is_retired: bool,
}

/// A world, and where its walk is.
pub(crate) struct Walk {
    seed: u64,
    dice: Dice,
    line: Line,
    clients: [Machine; 2],
    maintainer: Machine,
    thief: Thief,
    outsider: Outsider,
    promises: Vec<Promise>,
    /// All snapshots that ever were.
    known: BTreeSet<String>,
    /// Snapshots of runs that did not come to tell of them: the first renewal that finds them promises them.
    untold: BTreeMap<String, Picture>,
    renewed_at: i64,
    /// Maintenance came so late once that something that lived was promised no more.
    is_late: bool,
    names: usize,
    /// The keys that had an authentic version when somebody last looked.
    keys: BTreeSet<String>,
    tally: Tally,
}

/// What was done.
#[derive(Debug, Default)]
struct Tally {
    restored: usize,
    lapsed: usize,
    deleted_bytes: u64,
}

impl Walk {
    /// Makes a repository in a new bucket.
    pub(crate) async fn begin(seed: u64) -> Self {
        let mut dice = Dice::new(seed);
        let line = Line::lay().await;
        let bucket = format!("walk-{seed}");
        let machine = || Machine {
            world: World::new(),
            bucket: bucket.clone(),
            endpoint: line.endpoint().to_owned(),
        };
        let [maintainer, first, second] = [machine(), machine(), machine()];
        let thief = Thief::new(&bucket, Dice::new(dice.next()));
        let mut walk = Self {
            seed,
            dice,
            clients: [first, second],
            maintainer,
            thief,
            outsider: Outsider::new(&bucket),
            line,
            promises: Vec::new(),
            known: BTreeSet::new(),
            untold: BTreeMap::new(),
            renewed_at: now_seconds(),
            is_late: false,
            names: 0,
            keys: BTreeSet::new(),
            tally: Tally::default(),
        };
        let arguments = [&["init", "--create-bucket"] as &[&str], &TERMS].concat();
        let command = walk.maintainer.command(&arguments);
        let made = walk.line.run(command, Weather::Fair).await;
        walk.expect("init", &made, &[0]);
        for client in 0..walk.clients.len() {
            walk.change(client);
            walk.backup(client, Weather::Fair).await;
        }
        walk
    }

    /// Takes so many steps, then ends everything and sees its space come back.
    pub(crate) async fn take(mut self, steps: usize) {
        for _ in 0..steps {
            let step = self.dice.weighted(STEPS).unwrap();
            self.renew_in_time().await;
            self.note(&format!("{step:?}"));
            self.step(step).await;
            self.look().await;
        }
        self.end().await;
        let tally = format!("{:?}, late: {}", self.tally, self.is_late);
        self.note(&tally);
    }

    async fn step(&mut self, step: Step) {
        let client = self.dice.place(self.clients.len());
        match step {
            Step::Backup => {
                self.change(client);
                self.backup(client, Weather::Fair).await;
            }
            Step::KilledBackup => {
                self.change(client);
                let weather = self.kill();
                self.backup(client, weather).await;
            }
            Step::TroubledBackup => {
                self.change(client);
                let storm = Weather::Storm(Dice::new(self.dice.next()));
                self.backup(client, storm).await;
            }
            Step::Forget => self.forget().await,
            Step::Undo => self.undo().await,
            Step::Prune => self.maintain(&["prune"], Weather::Fair).await,
            Step::KilledPrune => self.killed(&["prune"]).await,
            Step::Maintain => self.maintain(&["maintain"], Weather::Fair).await,
            Step::KilledMaintain => self.killed(&["maintain"]).await,
            Step::KilledRenew => self.killed(&["renew"]).await,
            Step::Recover => self.recover().await,
            Step::KilledRecover => self.killed(&["recover"]).await,
            Step::Together => self.together().await,
            Step::Attack => {
                let attack = *self.dice.pick(&Attack::ALL).unwrap();
                self.note(&format!("  {attack:?}"));
                self.thief.strike(attack).await;
            }
        }
    }

    fn note(&self, line: &str) {
        println!("seed {} at {}: {line}", self.seed, now_seconds());
    }

    /// Expects one of these exit codes, or any once maintenance came too late.
    fn expect(&self, what: &str, ran: &Ran, codes: &[i32]) {
        let said = ran.stderr.lines().next().unwrap_or_default();
        self.note(&format!("  {what}: {} {said}", ran.code));
        assert!(
            self.is_late || codes.contains(&ran.code),
            "{what}: {}\n{}\n{}",
            ran.code,
            ran.stdout,
            ran.stderr
        );
        assert!(!ran.stderr.contains("internal error"), "{}", ran.stderr);
    }

    fn kill(&mut self) -> Weather {
        let fault = if self.dice.chance(500) {
            Fault::Cut
        } else {
            Fault::Lose
        };
        let folders = ["index", "ledger", "packs", "snapshots"];
        let when = if self.dice.chance(300) {
            When::PutBelow(self.dice.pick(&folders).unwrap())
        } else {
            When::Request(self.dice.place(KILLED_WITHIN))
        };
        Weather::Kill(when, fault)
    }

    /// Writes, changes and removes files of a client.
    fn change(&mut self, client: usize) {
        let folder = self.clients[client].world.path("files");
        let names: Vec<_> = picture(&folder).into_keys().collect();
        if names.len() > 3 {
            let name = self.dice.pick(&names).unwrap();
            std::fs::remove_file(folder.join(name)).unwrap();
        }
        for _ in 0..2 {
            let old = self.dice.pick(&names).filter(|_| self.dice.chance(500));
            let name = old.cloned().unwrap_or_else(|| {
                self.names += 1;
                format!("folder{}/file{}", self.names % 3, self.names)
            });
            let length = self.dice.place(200_000);
            let content = self.dice.bytes(length);
            self.clients[client]
                .world
                .write(&format!("files/{name}"), &content);
        }
    }

    async fn backup(&mut self, client: usize, weather: Weather) {
        let host = format!("client{client}");
        let arguments = ["backup", ".", "--json", "--host", &host];
        let command = self.clients[client].command(&arguments);
        let codes: &[i32] = match &weather {
            Weather::Fair => &[0, 22],
            Weather::Kill(..) => &[0, 22, -1],
            Weather::Storm(_) => &[0, 1, 21, 22],
        };
        let ran = self.line.run(command, weather).await;
        self.expect("backup", &ran, codes);
        let files = picture(&self.clients[client].world.path("files"));
        if [0, 22].contains(&ran.code) {
            self.promise(&ran, files);
        } else {
            self.find_untold(&files).await;
        }
    }

    /// Takes a backup at its word.
    fn promise(&mut self, ran: &Ran, files: Picture) {
        let summary = messages(&ran.stdout).pop().unwrap();
        let until = seconds(&summary["protected_until"]);
        assert!(until >= now_seconds() + PROTECT_SECONDS - 1 || self.is_late);
        let id = summary["snapshot_id"].as_str().unwrap().to_owned();
        self.note(&format!("  made {id}"));
        self.known.insert(id.clone());
        self.promises.push(Promise {
            id,
            files,
            until,
            is_retired: false,
        });
    }

    /// Snapshots that live, as the maintainer sees them.
    async fn listed(&mut self) -> Vec<String> {
        let command = self.maintainer.command(&["snapshots", "--json"]);
        let ran = self.line.run(command, Weather::Fair).await;
        self.expect("snapshots", &ran, &[0]);
        let listed = messages(&ran.stdout).pop().unwrap();
        let listed = listed.as_array().unwrap().iter();
        listed
            .map(|one| one["id"].as_str().unwrap().to_owned())
            .collect()
    }

    async fn find_untold(&mut self, files: &Picture) {
        for id in self.listed().await {
            if !self.known.contains(&id) {
                self.note(&format!("  found {id}"));
                self.known.insert(id.clone());
                self.untold.insert(id, files.clone());
            }
        }
    }

    async fn maintain(&mut self, arguments: &[&str], weather: Weather) {
        let command = self.maintainer.command(&[arguments, &["--json"]].concat());
        let begin = now_seconds();
        let is_killed = !matches!(weather, Weather::Fair);
        let ran = self.line.run(command, weather).await;
        let what = arguments[0];
        // What an audit says of an attack is no failure of maintenance.
        let codes: &[i32] = match (is_killed, what) {
            (false, "maintain") => &[0, 21],
            (false, _) => &[0],
            (true, "maintain") => &[0, 21, -1],
            (true, _) => &[0, -1],
        };
        self.expect(what, &ran, codes);
        if ran.code < 0 || self.is_late {
            return;
        }
        let told = messages(&ran.stdout).pop().unwrap();
        match what {
            "renew" => self.renewed(&told, begin),
            "maintain" => {
                self.renewed(&told["renew"], begin);
                self.tally.deleted_bytes += bytes(&told["prune"]);
            }
            "prune" => self.tally.deleted_bytes += bytes(&told),
            _ => {}
        }
    }

    /// Everything that lives is promised anew by a renewal that failed nowhere.
    fn renewed(&mut self, told: &Value, begin: i64) {
        assert_eq!(told["failed"], 0, "{told}");
        self.renewed_at = begin;
        let untold = std::mem::take(&mut self.untold);
        self.promises
            .extend(untold.into_iter().map(|(id, files)| Promise {
                id,
                files,
                until: begin,
                is_retired: false,
            }));
        for promise in self.promises.iter_mut().filter(|one| !one.is_retired) {
            promise.until = promise.until.max(begin + LEASE_SECONDS);
        }
    }

    async fn renew_in_time(&mut self) {
        if now_seconds() >= self.renewed_at + INTERVAL_SECONDS {
            self.maintain(&["renew"], Weather::Fair).await;
        }
    }

    async fn killed(&mut self, arguments: &[&str]) {
        let weather = self.kill();
        self.maintain(arguments, weather).await;
    }

    /// Retires one that somebody was told of, and never the last of these that lives.
    async fn forget(&mut self) {
        let live: Vec<_> = (0..self.promises.len())
            .filter(|at| !self.promises[*at].is_retired)
            .collect();
        if live.len() < 2 {
            return;
        }
        let at = *self.dice.pick(&live).unwrap();
        let id = self.promises[at].id.clone();
        self.note(&format!("  retires {id}"));
        self.maintain(&["forget", &id], Weather::Fair).await;
        self.promises[at].is_retired = true;
    }

    /// Brings one back that is promised for long enough to be.
    async fn undo(&mut self) {
        let soon = now_seconds() + PROTECT_SECONDS / 3;
        let retired: Vec<_> = (0..self.promises.len())
            .filter(|at| self.promises[*at].is_retired && self.promises[*at].until > soon)
            .collect();
        let Some(at) = self.dice.pick(&retired).copied() else {
            return;
        };
        let id = self.promises[at].id.clone();
        let command = self.maintainer.command(&["forget", "--undo", &id]);
        let begin = now_seconds();
        let ran = self.line.run(command, Weather::Fair).await;
        if ran.code != 0 && now_seconds() >= self.promises[at].until {
            // It took longer than what it needs was kept.
            return;
        }
        self.expect("undo", &ran, &[0]);
        if ran.code == 0 {
            let promise = &mut self.promises[at];
            promise.is_retired = false;
            promise.until = promise.until.max(begin + PROTECT_SECONDS);
        }
    }

    /// Both clients back up while maintenance goes on.
    async fn together(&mut self) {
        for client in 0..self.clients.len() {
            self.change(client);
        }
        let mut commands = vec![self.maintainer.command(&["maintain", "--json"])];
        for (at, client) in self.clients.iter().enumerate() {
            let host = format!("client{at}");
            commands.push(client.command(&["backup", ".", "--json", "--host", &host]));
        }
        let begin = now_seconds();
        let mut ran = Line::run_all(commands).into_iter();
        let maintained = ran.next().unwrap();
        self.expect("maintain together", &maintained, &[0, 21]);
        for (client, ran) in ran.enumerate() {
            // A second try succeeds where others were in the way of the first.
            self.expect("backup together", &ran, &[0, 22, 1]);
            if [0, 22].contains(&ran.code) {
                let files = picture(&self.clients[client].world.path("files"));
                self.promise(&ran, files);
            } else {
                self.backup(client, Weather::Fair).await;
            }
        }
        if !self.is_late {
            let told = messages(&maintained.stdout).pop().unwrap();
            assert_eq!(told["renew"]["failed"], 0, "{told}");
            // What came after it looked is promised by its backup alone.
            self.renewed_at = begin;
            self.tally.deleted_bytes += bytes(&told["prune"]);
        }
    }
}

/// A time, in seconds since 1970.
fn seconds(time: &Value) -> i64 {
    let time: jiff::Timestamp = time.as_str().unwrap().parse().unwrap();
    time.as_second()
}

fn bytes(pruned: &Value) -> u64 {
    pruned["deleted"]["bytes"].as_u64().unwrap()
}
