//! The independent reader, `contrib/read_dolmen.py`.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// Python with the packages of `contrib/requirements.txt`, as `tools/test` installs them.
pub(crate) fn python() -> PathBuf {
    let venv = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/venv/bin/python");
    assert!(
        venv.exists(),
        "run tools/test once: it installs Python packages into target/venv"
    );
    venv
}

/// Runs it.
pub(crate) fn read_with_python(arguments: &[&std::ffi::OsStr], passphrase: &str) -> Output {
    let reader = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../contrib/read_dolmen.py");
    Command::new(python())
        .arg(reader)
        .args(arguments)
        .env("DOLMEN_PASSWORD", passphrase)
        .output()
        .unwrap()
}
