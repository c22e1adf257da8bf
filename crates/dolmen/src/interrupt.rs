//! Ctrl-C and SIGTERM: the first asks the work under way to finish safely, the second ends at once.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::runtime::Handle;
use tokio::signal::unix::{SignalKind, signal};

use crate::exit::{Exit, Failure};
use crate::output::{Format, write_stderr};

/// Whether the user wants the program to end, and whom to tell.
#[derive(Clone)]
pub(crate) struct Interrupt(Arc<Shared>);

type Listener = Box<dyn Fn() + Send>;

struct Shared {
    /// How messages look.
    format: Format,
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
    pub(crate) fn watch(runtime: &Handle, format: Format) -> Self {
        let interrupt = Self(Arc::new(Shared {
            format,
            is_set: AtomicBool::new(false),
            listeners: Mutex::default(),
        }));
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

    /// A flag that is set when the user interrupts.
    pub(crate) fn flag(&self) -> Arc<AtomicBool> {
        let flag = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&flag);
        self.tell(move || told.store(true, Ordering::Relaxed));
        flag
    }

    /// Whether the user interrupted.
    pub(crate) fn is_set(&self) -> bool {
        self.0.is_set.load(Ordering::Relaxed)
    }

    fn arrived(&self) {
        let listeners = self.listeners();
        if listeners.is_empty() || self.0.is_set.swap(true, Ordering::Relaxed) {
            end_now(self.0.format);
        }
        let text = "interrupted: finishing what is under way; again to end at once";
        write_stderr(&(self.0.format.notice(text) + "\n"));
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
fn end_now(format: Format) -> ! {
    // Not by way of the output: who holds its locks may be what the user does not want to wait for.
    let interrupted = Failure::new(Exit::Interrupted, "interrupted");
    write_stderr(&format!("{}\n", format.failure(&interrupted).join("\n")));
    std::process::exit(i32::from(Exit::Interrupted.code()))
}
