//! The secrets of a role, and the files in which they lie (§3.5).

use dolmen_format::bundle::Kdf;
use dolmen_format::bytes::take;
use dolmen_format::certificate::Role;
use dolmen_format::keyfile::{KeyFile, Wrapping, check_credentials};
use dolmen_format::limits::{STORE_CREDENTIALS_BYTES_MAX, TAG_BYTES};
use dolmen_format::{DomainId, FormatError};
use zeroize::{Zeroize as _, Zeroizing};

use crate::aead::Cipher;
use crate::bundle::run_kdf;
use crate::domain::DomainKeys;
use crate::error::CryptoError;
use crate::seal::OpenKey;
use crate::secret::{Secret, equal};
use crate::sign::SigningKey;

/// What the holder of a key file can do, as secrets.
#[derive(Debug, Clone)]
pub enum RoleSecrets {
    /// Everything: the admin secret.
    Admin(Secret),
    /// Adds backups.
    Backup {
        /// Seed of the signing key.
        signing: Secret,
        /// The domain into which it writes.
        domain: (DomainId, Secret),
    },
    /// Keeps and lets go.
    Maintain {
        /// Seed of the signing key.
        signing: Secret,
        /// Seed of the maintain key.
        maintain: Secret,
    },
    /// Reads.
    Restore {
        /// Seed of the signing key.
        signing: Secret,
        /// Seed of the read key.
        read: Secret,
        /// Seed of the maintain key: who may read everything may see what a snapshot needs.
        maintain: Secret,
        /// The admin's own domain; those of other machines are in their certificates.
        domain: (DomainId, Secret),
    },
}

/// What a passphrase wraps a key file with.
#[derive(Debug, Clone, Copy)]
pub struct Wrap<'a> {
    /// The passphrase.
    pub passphrase: &'a [u8],
    /// How it becomes a key, which takes time and memory.
    pub kdf: Kdf,
    /// Store credentials that go into the file, lines `VARIABLE=value`; empty: none.
    pub credentials: &'a str,
}

/// What a key file held.
#[derive(Debug, Clone)]
pub struct Contents {
    /// The role's secrets.
    pub secrets: RoleSecrets,
    /// Store credentials, lines `VARIABLE=value`; empty: none.
    pub credentials: Zeroizing<String>,
}

/// What a role signs with and opens.
#[derive(Debug, Clone)]
pub struct RoleKeys {
    /// Signs what it writes.
    pub signing: SigningKey,
    /// Opens contents and names.
    pub read: Option<OpenKey>,
    /// Opens manifests.
    pub maintain: Option<OpenKey>,
    /// A dedup domain whose keys it holds.
    pub domain: Option<DomainKeys>,
}

impl RoleSecrets {
    /// The keys; `None` for the admin, whose keys belong to a root.
    pub fn keys(&self) -> Option<RoleKeys> {
        let (signing, read, maintain, domain) = match self {
            Self::Admin(_) => return None,
            Self::Backup { signing, domain } => (signing, None, None, Some(domain)),
            Self::Maintain { signing, maintain } => (signing, None, Some(maintain), None),
            Self::Restore {
                signing,
                read,
                maintain,
                domain,
            } => (signing, Some(read), Some(maintain), Some(domain)),
        };
        Some(RoleKeys {
            signing: SigningKey::new(signing),
            read: read.map(OpenKey::new),
            maintain: maintain.map(OpenKey::new),
            domain: domain.map(|(id, secret)| DomainKeys::new(*id, secret)),
        })
    }

    /// Whose they are.
    pub const fn role(&self) -> Role {
        match self {
            Self::Admin(_) => Role::Admin,
            Self::Backup { .. } => Role::Backup,
            Self::Maintain { .. } => Role::Maintain,
            Self::Restore { .. } => Role::Restore,
        }
    }

    /// Fills in a key file.
    pub fn put_into(&self, file: KeyFile, wrap: Option<Wrap<'_>>) -> Result<KeyFile, CryptoError> {
        let mut file = KeyFile {
            role: self.role(),
            wrapping: None,
            ..file
        };
        let mut plain = self.encode();
        if let Some(wrap) = wrap {
            check_credentials(wrap.credentials)?;
            plain.extend_from_slice(wrap.credentials.as_bytes());
            let key = run_kdf(&wrap.kdf, wrap.passphrase)?;
            let commitment = key.commitment();
            let kdf = wrap.kdf;
            file.wrapping = Some(Wrapping { kdf, commitment });
            cipher(&key)?.seal_once(&file.aad()?, &mut plain)?;
        } else {
            let tag = checksum(&file, &plain)?;
            plain.extend_from_slice(&tag);
        }
        file.secrets.clone_from(&plain);
        Ok(file)
    }

    /// Whether store credentials lie in a key file, as far as can be told without its passphrase.
    pub fn has_credentials(file: &KeyFile) -> bool {
        let alone = secrets_bytes(file.role).saturating_add(TAG_BYTES);
        file.wrapping.is_some() && file.secrets.len() > alone
    }

    /// Takes out what a key file holds. Takes the KDF's time and memory where it is wrapped.
    pub fn from_file(file: &KeyFile, passphrase: Option<&[u8]>) -> Result<Contents, CryptoError> {
        let mut stored = Zeroizing::new(file.secrets.clone());
        let Some(Wrapping { kdf, commitment }) = &file.wrapping else {
            let (plain, tag) = stored
                .split_last_chunk::<TAG_BYTES>()
                .ok_or(FormatError::Invalid { field: "key file" })?;
            if checksum(file, plain)? != *tag {
                return Err(CryptoError::Decrypt { what: "key file" });
            }
            return Ok(Contents {
                secrets: Self::decode(file.role, plain)?,
                credentials: Zeroizing::default(),
            });
        };
        let key = run_kdf(kdf, passphrase.unwrap_or_default())?;
        if !equal(&key.commitment(), commitment) {
            return Err(CryptoError::Passphrase);
        }
        let plain: &[u8] = cipher(&key)?.open_once(&file.aad()?, &mut stored, "key file")?;
        let (secrets, text) = plain
            .split_at_checked(secrets_bytes(file.role))
            .ok_or(FormatError::Invalid { field: "key file" })?;
        let field = "store credentials";
        let text = str::from_utf8(text).map_err(|_error| FormatError::Invalid { field })?;
        check_credentials(text)?;
        Ok(Contents {
            secrets: Self::decode(file.role, secrets)?,
            credentials: Zeroizing::new(text.to_owned()),
        })
    }

    fn encode(&self) -> Zeroizing<Vec<u8>> {
        // With room for all that follows: growing would leave a copy behind.
        let mut plain = Zeroizing::new(Vec::with_capacity(CONTENTS_BYTES_MAX));
        let (secrets, domain): (&[&Secret], _) = match self {
            Self::Admin(secret) => (&[secret], None),
            Self::Backup { signing, domain } => (&[signing], Some(domain)),
            Self::Maintain { signing, maintain } => (&[signing, maintain], None),
            Self::Restore {
                signing,
                read,
                maintain,
                domain,
            } => (&[signing, read, maintain], Some(domain)),
        };
        for secret in secrets {
            plain.extend_from_slice(secret.expose());
        }
        if let Some((id, secret)) = domain {
            plain.extend_from_slice(id.as_bytes());
            plain.extend_from_slice(secret.expose());
        }
        plain
    }

    fn decode(role: Role, mut plain: &[u8]) -> Result<Self, FormatError> {
        let input = &mut plain;
        let secrets = match role {
            Role::Admin => Self::Admin(take_secret(input)?),
            Role::Backup => Self::Backup {
                signing: take_secret(input)?,
                domain: (DomainId(take(input)?), take_secret(input)?),
            },
            Role::Maintain => Self::Maintain {
                signing: take_secret(input)?,
                maintain: take_secret(input)?,
            },
            Role::Restore => Self::Restore {
                signing: take_secret(input)?,
                read: take_secret(input)?,
                maintain: take_secret(input)?,
                domain: (DomainId(take(input)?), take_secret(input)?),
            },
        };
        match input.len() {
            0 => Ok(secrets),
            bytes => Err(FormatError::TrailingBytes { bytes }),
        }
    }
}

/// Bytes of the secrets of a role.
const fn secrets_bytes(role: Role) -> usize {
    match role {
        Role::Admin => 32,
        Role::Backup => 2 * 32 + DomainId::BYTES,
        Role::Maintain => 2 * 32,
        Role::Restore => SECRETS_BYTES_MAX,
    }
}

/// Bytes of the longest secrets: those of a reader.
const SECRETS_BYTES_MAX: usize = 4 * 32 + DomainId::BYTES;
/// Bytes of all that a key file holds under its tag, and the tag.
const CONTENTS_BYTES_MAX: usize = SECRETS_BYTES_MAX + STORE_CREDENTIALS_BYTES_MAX + TAG_BYTES;

/// What tells that a file without a passphrase is damaged: it keeps nobody from changing it.
fn checksum(file: &KeyFile, plain: &[u8]) -> Result<[u8; TAG_BYTES], CryptoError> {
    let mut hasher = blake3::Hasher::new_derive_key("dolmen v1 key file checksum");
    hasher.update(&file.aad()?).update(plain);
    let mut tag = [0; TAG_BYTES];
    hasher.finalize_xof().fill(&mut tag);
    hasher.zeroize();
    Ok(tag)
}

fn cipher(key: &Secret) -> Result<Cipher, CryptoError> {
    Cipher::new(&key.derive("dolmen v1 key file", &[]))
}

fn take_secret(input: &mut &[u8]) -> Result<Secret, FormatError> {
    let bytes = Zeroizing::new(take::<32>(input)?);
    Ok(Secret::new(*bytes))
}
