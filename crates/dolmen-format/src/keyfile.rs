//! Key files: what a machine holds that may do one thing (§3.5).

use base64ct::{Base64, Encoding as _};
use minicbor::{Decode, Encode};
use zeroize::Zeroizing;

use crate::bundle::Kdf;
use crate::certificate::Role;
use crate::error::FormatError;
use crate::ids::{ObjectId, RepositoryId};
use crate::limits::{KEY_FILE_BYTES_MAX, KEY_NAME_BYTES_MAX, STORE_CREDENTIALS_BYTES_MAX};
use crate::signed::{check_count, from_cbor, to_cbor};
use crate::time::Timestamp;

/// The first line of a key file.
pub const BEGIN: &str = "-----BEGIN DOLMEN KEY-----";
/// Its last line.
const END: &str = "-----END DOLMEN KEY-----";
/// Characters of a line between them.
const LINE_BYTES: usize = 64;

/// A key file, its secrets perhaps under a passphrase.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct KeyFile {
    /// The repository.
    #[n(0)]
    pub repository: RepositoryId,
    /// Where it lies, as `-r` takes it.
    #[n(1)]
    pub address: String,
    /// What people call the key.
    #[n(2)]
    pub name: String,
    /// What it is for.
    #[n(3)]
    pub role: Role,
    /// Its certificate; `None` for the admin.
    #[n(4)]
    pub certificate: Option<ObjectId>,
    /// When it was made, by the admin's clock.
    #[n(5)]
    pub created: Timestamp,
    /// What the secrets are wrapped with; `None`: they are not.
    #[n(6)]
    pub wrapping: Option<Wrapping>,
    /// The role's secrets, one behind the other, where there is a passphrase perhaps store credentials, and a tag.
    #[cbor(n(7), with = "minicbor::bytes")]
    pub secrets: Vec<u8>,
}

/// How a passphrase becomes the key that wraps secrets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
#[cbor(array)]
pub struct Wrapping {
    /// The KDF.
    #[n(0)]
    pub kdf: Kdf,
    /// Tells a wrong passphrase, and that there is one key only.
    #[cbor(n(1), with = "minicbor::bytes")]
    pub commitment: [u8; 32],
}

impl KeyFile {
    /// What the tag of the secrets is bound to: everything else in the file.
    pub fn aad(&self) -> Result<Vec<u8>, FormatError> {
        to_cbor(&Self {
            secrets: Vec::new(),
            ..self.clone()
        })
    }

    /// The file's text.
    pub fn to_text(&self) -> Result<Zeroizing<String>, FormatError> {
        self.validate()?;
        let encoded = Zeroizing::new(to_cbor(self)?);
        let body = Zeroizing::new(Base64::encode_string(&encoded));
        let mut text = Zeroizing::new(String::with_capacity(
            body.len().saturating_mul(2).saturating_add(BEGIN.len()),
        ));
        text.push_str(BEGIN);
        text.push('\n');
        for line in body.as_bytes().chunks(LINE_BYTES) {
            text.extend(line.iter().copied().map(char::from));
            text.push('\n');
        }
        text.push_str(END);
        text.push('\n');
        Ok(text)
    }

    /// Reads a file's text; what stands around it, and white space, does not count.
    pub fn from_text(text: &str) -> Result<Self, FormatError> {
        check_count("key file", text.len(), KEY_FILE_BYTES_MAX)?;
        let invalid = FormatError::Invalid { field: "key file" };
        let inner = text
            .split_once(BEGIN)
            .and_then(|(_, rest)| rest.split_once(END));
        let (inner, _) = inner.ok_or_else(|| invalid.clone())?;
        let mut body = Zeroizing::new(String::with_capacity(inner.len()));
        body.extend(inner.chars().filter(|digit| !digit.is_ascii_whitespace()));
        let decoded = Base64::decode_vec(&body).map_err(|_error| invalid)?;
        let file: Self = from_cbor(&Zeroizing::new(decoded))?;
        file.validate()?;
        Ok(file)
    }

    fn validate(&self) -> Result<(), FormatError> {
        check_count("name", self.name.len(), KEY_NAME_BYTES_MAX)?;
        if (self.role == Role::Admin) != self.certificate.is_none() {
            let field = "certificate";
            return Err(FormatError::Invalid { field });
        }
        self.wrapping
            .map_or(Ok(()), |wrapping| wrapping.kdf.validate())
    }
}

/// Checks the text of store credentials: lines `VARIABLE=value`, each with its end. Returns variables and values; an empty
/// text has none.
pub fn check_credentials(text: &str) -> Result<Vec<(&str, &str)>, FormatError> {
    let field = "store credentials";
    check_count(field, text.len(), STORE_CREDENTIALS_BYTES_MAX)?;
    let is_name = |name: &str| {
        let known = |byte: u8| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'_';
        !name.is_empty() && name.bytes().all(known)
    };
    let lines = text.split_inclusive('\n').map(|line| {
        let line = line.strip_suffix('\n')?;
        let (name, value) = line.split_once('=')?;
        let is_value = !value.is_empty() && !value.contains(char::is_control);
        (is_name(name) && is_value).then_some((name, value))
    });
    let lines: Option<Vec<_>> = lines.collect();
    lines.ok_or(FormatError::Invalid { field })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn store_credentials_are_lines_of_variables() {
        assert_eq!(check_credentials(""), Ok(vec![]));
        assert_eq!(
            check_credentials("A_1=b=c d\nB=\u{e9}\n"),
            Ok(vec![("A_1", "b=c d"), ("B", "\u{e9}")])
        );
        for text in [
            "A=b",
            "A=\n",
            "=b\n",
            "a=b\n",
            "A\n",
            "A=b\r\n",
            "\n",
            "A=b\n\n",
            "A=\u{7f}\n",
        ] {
            let field = "store credentials";
            let refused = Err(FormatError::Invalid { field });
            assert_eq!(check_credentials(text), refused, "{text:?}");
        }
        let long = format!("A={}\n", "b".repeat(STORE_CREDENTIALS_BYTES_MAX));
        assert!(check_credentials(&long).is_err());
    }
}
