//! Ctrl-C and SIGTERM: the first asks the work under way to finish safely, the second ends at once.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::runtime::Handle;
use tokio::signal::unix::{SignalKind, signal};

use crate::exit::Exit;
use crate::output::write_stderr;

/// Whether the user wants the program to end, and whom to tell.
#[derive(Clone, Default)]
pub(crate) struct Interrupt(Arc<Shared>);

type Listener = Box<dyn Fn() + Send>;

#[derive(Default)]
struct Shared {
    is_set: AtomicBool,
    /// Work that can end itself; without any, the program simply ends.
    listeners: Mutex<Vec<Listener>>,
}

impl fmt::Debug for Interrupt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Interrupt({})", self.is_set())
    }
}

impl Interrupt {
    /// Catches the signals from now on. Where they cannot be caught, they end the program as always.
    pub(crate) fn watch(runtime: &Handle) -> Self {
        let interrupt = Self::default();
        let shared = interrupt.clone();
        let _entered = runtime.enter();
        let signals = (
            signal(SignalKind::interrupt()),
            signal(SignalKind::terminate()),
        );
        if let (Ok(mut interrupted), Ok(mut terminated)) = signals {
            runtime.spawn(async move {
                loop {
                    tokio::select! {
                        _ = interrupted.recv() => shared.arrived(),
                        _ = terminated.recv() => shared.arrived(),
                    }
                }
            });
        }
        interrupt
    }

    /// Calls `listener` when the user interrupts, or now if that is over.
    pub(crate) fn tell(&self, listener: impl Fn() + Send + 'static) {
        if self.is_set() {
            listener();
        }
        self.listeners().push(Box::new(listener));
    }

    /// Whether the user interrupted.
    pub(crate) fn is_set(&self) -> bool {
        self.0.is_set.load(Ordering::Relaxed)
    }

    fn arrived(&self) {
        let listeners = self.listeners();
        if listeners.is_empty() || self.0.is_set.swap(true, Ordering::Relaxed) {
            end_now();
        }
        write_stderr("interrupted: finishing what is under way; again to end at once\n");
        listeners.iter().for_each(|listener| listener());
    }

    fn listeners(&self) -> std::sync::MutexGuard<'_, Vec<Listener>> {
        self.0
            .listeners
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// Ends the process as it stands; whatever is under way is made so that this costs nothing.
#[expect(
    clippy::exit,
    clippy::disallowed_methods,
    reason = "the user does not want to wait"
)]
fn end_now() -> ! {
    std::process::exit(i32::from(Exit::Interrupted.code()))
}
