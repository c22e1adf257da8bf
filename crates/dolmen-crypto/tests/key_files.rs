//! Key files as they are stored: made the same today, and opened.

use std::path::PathBuf;

use dolmen_crypto::{CryptoError, RoleSecrets, Secret, Wrap};
use dolmen_format::bundle::Kdf;
use dolmen_format::certificate::Role;
use dolmen_format::keyfile::KeyFile;
use dolmen_format::{DomainId, FormatError, ObjectId, Salt, Timestamp};

const PASSPHRASE: &[u8] = b"carried about";
const CREDENTIALS: &str = "AWS_ACCESS_KEY_ID=id\nAWS_SECRET_ACCESS_KEY=a secret = with signs\n";

fn secret(byte: u8) -> Secret {
    Secret::new([byte; 32])
}

fn secrets(role: Role) -> RoleSecrets {
    let domain = (DomainId([4; 16]), secret(5));
    match role {
        Role::Admin => RoleSecrets::Admin(secret(1)),
        Role::Backup => RoleSecrets::Backup {
            signing: secret(1),
            domain,
        },
        Role::Maintain => RoleSecrets::Maintain {
            signing: secret(1),
            maintain: secret(2),
        },
        Role::Restore => RoleSecrets::Restore {
            signing: secret(1),
            read: secret(3),
            maintain: secret(2),
            domain,
        },
    }
}

fn named(role: Role) -> KeyFile {
    KeyFile {
        repository: ObjectId([7; 32]),
        address: "s3:https://host/bucket/prefix".to_owned(),
        name: "h\u{fc}gel".to_owned(),
        role,
        certificate: (role != Role::Admin).then_some(ObjectId([8; 32])),
        created: Timestamp::from_seconds(1_700_000_000),
        wrapping: None,
        secrets: Vec::new(),
    }
}

fn wrap(credentials: &str) -> Wrap<'_> {
    let kdf = Kdf {
        algorithm: 1,
        memory_kib: 256,
        passes: 2,
        lanes: 2,
        salt: Salt([9; 32]),
    };
    Wrap {
        passphrase: PASSPHRASE,
        kdf,
        credentials,
    }
}

const ROLES: [(&str, Role); 4] = [
    ("admin", Role::Admin),
    ("backup", Role::Backup),
    ("maintain", Role::Maintain),
    ("restore", Role::Restore),
];

/// Each kind of file, by its name among the stored ones.
fn files() -> Result<Vec<(String, KeyFile, &'static str)>, CryptoError> {
    let kinds = [
        ("plain", None, ""),
        ("wrapped", Some(wrap("")), ""),
        ("with-credentials", Some(wrap(CREDENTIALS)), CREDENTIALS),
    ];
    let mut made = Vec::new();
    for (role_name, role) in ROLES {
        for (kind, wrap, credentials) in kinds {
            let file = secrets(role).put_into(named(role), wrap)?;
            made.push((format!("{role_name}-{kind}.key"), file, credentials));
        }
    }
    Ok(made)
}

#[test]
fn this_version_writes_and_opens_what_is_stored() {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../testdata/key-files");
    let (mut stored, mut made) = (Vec::new(), Vec::new());
    for file in std::fs::read_dir(&folder).unwrap() {
        stored.push(file.unwrap().file_name().into_string().unwrap());
    }
    stored.sort();
    for (name, file, credentials) in files().unwrap() {
        let text = std::fs::read_to_string(folder.join(&name)).unwrap_or_default();
        assert_eq!(file.to_text().unwrap().as_str(), text, "{name}");
        let read = KeyFile::from_text(&text).unwrap();
        assert_eq!(read, file);
        let contents = RoleSecrets::from_file(&read, Some(PASSPHRASE)).unwrap();
        assert_eq!(contents.credentials.as_str(), credentials);
        assert_eq!(RoleSecrets::has_credentials(&read), !credentials.is_empty());
        let again = contents.secrets.put_into(named(file.role), None).unwrap();
        let alone = secrets(file.role).put_into(named(file.role), None).unwrap();
        assert_eq!(again, alone, "{name}");
        made.push(name);
    }
    made.sort();
    assert_eq!(made, stored);
}

#[test]
fn another_passphrase_or_a_changed_byte_opens_nothing() {
    let file = secrets(Role::Backup)
        .put_into(named(Role::Backup), Some(wrap(CREDENTIALS)))
        .unwrap();
    let opened = RoleSecrets::from_file(&file, Some(b"guessed"));
    assert_eq!(opened.unwrap_err(), CryptoError::Passphrase);
    for at in 0..file.secrets.len() {
        let mut changed = file.clone();
        changed.secrets[at] ^= 1;
        let opened = RoleSecrets::from_file(&changed, Some(PASSPHRASE));
        let what = "key file";
        assert_eq!(opened.unwrap_err(), CryptoError::Decrypt { what });
    }
}

#[test]
fn text_that_is_no_variables_goes_into_no_file() {
    let field = "store credentials";
    let refused = secrets(Role::Backup).put_into(named(Role::Backup), Some(wrap("a secret")));
    let invalid = FormatError::Invalid { field };
    assert_eq!(refused, Err(CryptoError::Format(invalid)));
}
