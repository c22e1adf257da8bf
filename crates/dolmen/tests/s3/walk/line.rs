//! The line between the program and the server: on it requests fail, and at one of them the program is killed.

use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};

use dolmen_sim::dice::Dice;
use rustix::process::{Pid, Signal, kill_process};

use crate::machine::PREFIX;
use crate::proxy::{Fault, Proxy, Request};
use crate::seaweed::server;
use crate::world::Ran;

/// Requests in a thousand that fail in a storm.
const STORM_PER_MILLE: u64 = 120;

/// What happens on the line.
#[derive(Debug, Clone, Default)]
pub(crate) enum Weather {
    /// Every request passes.
    #[default]
    Fair,
    /// The program is killed at a request, to which something happens too.
    Kill(When, Fault),
    /// Requests fail in every way.
    Storm(Dice),
}

/// When the program is killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum When {
    /// At the request of this number, counted from 0.
    Request(usize),
    /// At the first put of a key in this folder.
    PutBelow(&'static str),
}

/// The line, as long as the runtime lives that it was laid in.
#[derive(Debug)]
pub(crate) struct Line {
    proxy: Proxy,
    now: Arc<Mutex<Now>>,
}

#[derive(Debug, Default)]
struct Now {
    weather: Weather,
    requests: usize,
    program: Option<Pid>,
}

impl Line {
    /// Lays one.
    pub(crate) async fn lay() -> Self {
        let now = Arc::<Mutex<Now>>::default();
        let shared = Arc::clone(&now);
        let rule = move |request: &Request, _| shared.lock().unwrap().decide(request);
        let proxy = Proxy::start(&server().endpoint(), Arc::new(rule)).await;
        Self { proxy, now }
    }

    /// Where the program finds the server.
    pub(crate) fn endpoint(&self) -> &str {
        &self.proxy.endpoint
    }

    /// Runs the program, which reaches the server over this line; killed, its exit code is -1. Nothing is on its way when
    /// this returns.
    pub(crate) async fn run(&self, mut command: Command, weather: Weather) -> Ran {
        let child = {
            // No request is decided before it is known whom to kill.
            let mut now = self.now.lock().unwrap();
            let child = command.stdout(Stdio::piped()).stderr(Stdio::piped());
            let child = child.spawn().unwrap();
            *now = Now {
                weather,
                requests: 0,
                program: Some(Pid::from_child(&child)),
            };
            child
        };
        let output = child.wait_with_output().unwrap();
        self.proxy.settle().await;
        *self.now.lock().unwrap() = Now::default();
        Ran::of(output)
    }

    /// Runs programs at the same time, in fair weather.
    pub(crate) fn run_all(commands: Vec<Command>) -> Vec<Ran> {
        let spawn = |mut command: Command| {
            let command = command.stdout(Stdio::piped()).stderr(Stdio::piped());
            command.spawn().unwrap()
        };
        let children: Vec<_> = commands.into_iter().map(spawn).collect();
        let end = |child: std::process::Child| Ran::of(child.wait_with_output().unwrap());
        children.into_iter().map(end).collect()
    }
}

impl Now {
    fn decide(&mut self, request: &Request) -> Fault {
        let number = self.requests;
        self.requests += 1;
        match &mut self.weather {
            Weather::Kill(when, fault) if when.is_now(number, request) => {
                let fault = *fault;
                self.weather = Weather::Fair;
                let program = self.program.take().unwrap();
                kill_process(program, Signal::KILL).unwrap();
                fault
            }
            Weather::Fair | Weather::Kill(..) => Fault::None,
            Weather::Storm(dice) => {
                let faults = [
                    Fault::Busy,
                    Fault::Cut,
                    Fault::Lose,
                    Fault::Tear,
                    Fault::Slow,
                ];
                let fault = *dice.pick(&faults).unwrap();
                if dice.chance(STORM_PER_MILLE) {
                    fault
                } else {
                    Fault::None
                }
            }
        }
    }
}

impl When {
    fn is_now(self, number: usize, request: &Request) -> bool {
        match self {
            Self::Request(at) => at == number,
            Self::PutBelow(folder) => {
                let is_below = request.target.contains(&format!("/{PREFIX}{folder}/"));
                is_below && request.method == "PUT"
            }
        }
    }
}
