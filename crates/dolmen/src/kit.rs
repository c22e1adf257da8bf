//! The recovery kit: the admin secret on paper, and what else a fresh machine must know.

mod page;
mod qr;

use std::fmt::Write as _;

use dolmen_core::Error;
use dolmen_crypto::words::{Words, WordsError};
use dolmen_crypto::{AdminSecret, CryptoError, RoleSecrets};
use dolmen_format::keyfile::{BEGIN as KEY_FILE_BEGIN, KeyFile};
use dolmen_format::{FormatError, RepositoryId, Timestamp};
use zeroize::{Zeroize as _, Zeroizing};

use crate::render;

pub(crate) use page::{html, text};

/// The first line of what a page holds for the program.
const BEGIN: &str = "-----BEGIN DOLMEN RECOVERY KIT-----";
/// Its last line.
const END: &str = "-----END DOLMEN RECOVERY KIT-----";
/// Words in a line.
const COLUMNS: usize = 4;
/// How a kit that is read as a key file is called there.
pub(crate) const NAME: &str = "recovery kit";

/// A kit that is made.
#[derive(Debug)]
pub(crate) struct Kit {
    repository: RepositoryId,
    address: String,
    created: Timestamp,
    words: Words,
    /// The same as a key file: what the QR code says.
    key_file: Zeroizing<String>,
}

/// A kit that was read, with what it tells beside the secret.
#[derive(Debug, Clone)]
pub(crate) struct ReadKit {
    pub(crate) admin: AdminSecret,
    pub(crate) address: Option<String>,
    pub(crate) repository: Option<RepositoryId>,
}

/// Why a text is no kit.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum KitError {
    /// The words are not right.
    #[error(transparent)]
    Words(#[from] WordsError),
    /// The QR code's text is damaged.
    #[error("the text of its QR code is damaged")]
    KeyFile(#[source] CryptoError),
    /// A key file for something else.
    #[error("this is a key file: use it with --key-file")]
    OtherKeyFile,
    /// The id is not one.
    #[error("its repository id is mistyped: {0}")]
    Repository(FormatError),
    /// The address is not written as a kit has it.
    #[error("its address is mistyped: a \\ stands before another \\, or before u{{…}}")]
    Address,
}

impl Kit {
    /// Makes the kit of an admin's key file, which holds no secrets yet.
    pub(crate) fn new(file: KeyFile, secrets: &RoleSecrets) -> Result<Self, Error> {
        let RoleSecrets::Admin(secret) = secrets else {
            return Err(Error::WrongKey);
        };
        let failed = |source| Error::Encode {
            what: "the recovery kit",
            source,
        };
        let mut file = secrets.put_into(file, None).map_err(failed)?;
        let key_file = file
            .to_text()
            .map_err(|error| failed(CryptoError::from(error)));
        file.secrets.zeroize();
        let words = Words::of(&AdminSecret::new(secret.clone()));
        Ok(Self {
            repository: file.repository,
            address: file.address,
            created: file.created,
            // Whatever 32 bytes are, they are words.
            words: words.map_err(|_error| Error::WrongKey)?,
            key_file: key_file?,
        })
    }

    /// The lines of a page that the program reads; what stands around them is for people.
    fn write_block(&self, out: &mut String) {
        let (address, repository) = (escape(&self.address), self.repository);
        let seconds = Timestamp {
            nanos: 0,
            ..self.created
        };
        let made = render::rfc3339(seconds);
        let _written = write!(
            out,
            "{BEGIN}\nAddress:    {address}\nRepository: {repository}\nMade:       {made}\n"
        );
        for (at, word) in self.words.iter().enumerate() {
            let gap = if at % COLUMNS == 0 { "\n" } else { "  " };
            let number = at.saturating_add(1);
            let _written = write!(out, "{gap}{number:>2} {word:<8}");
        }
        let _written = write!(out, "\n{END}\n");
    }
}

impl ReadKit {
    /// Reads the page as text or HTML, the QR code's text, or words alone.
    pub(crate) fn parse(text: &str) -> Result<Self, KitError> {
        let text = text.trim_start_matches('\u{feff}').trim_start();
        if text.starts_with(KEY_FILE_BEGIN) {
            return Self::from_key_file(text);
        }
        let has_block = text.lines().any(|line| line.trim() == BEGIN);
        let lines = text.lines();
        let lines = lines.skip_while(|line| has_block && line.trim() != BEGIN);
        let lines = lines.skip(usize::from(has_block));
        let mut words = Zeroizing::new(String::with_capacity(text.len().saturating_add(1)));
        let (mut address, mut repository) = (None, None);
        for line in lines.take_while(|line| line.trim() != END) {
            let (label, value) = line.split_once(':').unwrap_or(("", line));
            match label.trim().to_ascii_lowercase().as_str() {
                "address" => address = Some(value.trim()),
                "repository" => repository = Some(value.trim()),
                "made" => {}
                _ => {
                    words.push_str(line);
                    words.push('\n');
                }
            }
        }
        let is_given = |value: &&str| !value.is_empty();
        let address = address.filter(is_given).map(|address| {
            if text.starts_with('<') {
                unescape(&page::unescape_html(address))
            } else {
                unescape(address)
            }
        });
        let repository = repository.filter(is_given);
        let repository = repository.map(|id| id.to_ascii_lowercase().parse());
        Ok(Self {
            admin: Words::parse(&words)?.secret()?,
            address: address.transpose()?,
            repository: repository.transpose().map_err(KitError::Repository)?,
        })
    }

    fn from_key_file(text: &str) -> Result<Self, KitError> {
        let file = KeyFile::from_text(text);
        let mut file = file.map_err(|error| KitError::KeyFile(error.into()))?;
        if file.wrapping.is_some() {
            return Err(KitError::OtherKeyFile);
        }
        let secrets = RoleSecrets::from_file(&file, None).map_err(KitError::KeyFile);
        file.secrets.zeroize();
        let RoleSecrets::Admin(secret) = secrets?.secrets else {
            return Err(KitError::OtherKeyFile);
        };
        Ok(Self {
            admin: AdminSecret::new(secret),
            address: Some(file.address).filter(|address| !address.is_empty()),
            repository: Some(file.repository),
        })
    }
}

/// Writes an address in one line in which nothing is invisible.
fn escape(address: &str) -> String {
    let mut out = String::with_capacity(address.len());
    let last = address.chars().count().saturating_sub(1);
    for (at, letter) in address.chars().enumerate() {
        if letter == '\\' {
            out.push_str("\\\\");
        } else if is_invisible(letter) || (letter == ' ' && (at == 0 || at == last)) {
            out.extend(letter.escape_unicode());
        } else {
            out.push(letter);
        }
    }
    out
}

/// Whether a letter would be lost, break the line, or turn the order of others around.
fn is_invisible(letter: char) -> bool {
    let is_white = letter.is_whitespace() && letter != ' ';
    letter.is_control()
        || is_white
        || matches!(letter, '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{e0000}'..='\u{e007f}')
}

/// Reads what [`escape`] wrote.
fn unescape(text: &str) -> Result<String, KitError> {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((plain, escaped)) = rest.split_once('\\') {
        out.push_str(plain);
        rest = if let Some(rest) = escaped.strip_prefix('\\') {
            out.push('\\');
            rest
        } else {
            let digits = escaped.strip_prefix("u{");
            let (digits, rest) = digits
                .and_then(|digits| digits.split_once('}'))
                .ok_or(KitError::Address)?;
            let letter = u32::from_str_radix(digits, 16).ok();
            out.push(letter.and_then(char::from_u32).ok_or(KitError::Address)?);
            rest
        };
    }
    out.push_str(rest);
    Ok(out)
}

#[cfg(test)]
mod tests {
    use dolmen_crypto::Secret;
    use dolmen_format::ObjectId;
    use dolmen_format::certificate::Role;

    use super::*;

    /// The kit of a repository at an address; its secret is 32 bytes 7.
    pub(super) fn kit(address: &str) -> Kit {
        let file = KeyFile {
            repository: ObjectId([0xab; 32]),
            address: address.to_owned(),
            name: NAME.to_owned(),
            role: Role::Admin,
            certificate: None,
            created: Timestamp {
                seconds: 1_800_000_000,
                nanos: 5,
            },
            wrapping: None,
            secrets: Vec::new(),
        };
        Kit::new(file, &RoleSecrets::Admin(Secret::new([7; 32]))).unwrap()
    }

    #[track_caller]
    fn holds(text: &str, address: Option<&str>, repository: Option<[u8; 32]>) {
        let read = ReadKit::parse(text).unwrap();
        assert_eq!(read.admin.secret().expose(), &[7; 32]);
        assert_eq!(read.address.as_deref(), address);
        assert_eq!(read.repository, repository.map(ObjectId));
    }

    /// Addresses that would break a line, a page or a command.
    const ODD: [&str; 6] = [
        "/srv/a b/backup",
        "/x\nRepository: 00\nAddress: /evil",
        "/-----END DOLMEN RECOVERY KIT-----\n<script>alert('&amp;')</script>",
        "/back\\slash\\u{41}'$(reboot)",
        " /\u{202e}edges\u{2028}\t ",
        "/h\u{e4}user",
    ];

    #[test]
    fn every_form_of_a_kit_is_read_back() {
        let id = Some([0xab; 32]);
        for address in ["s3:https://host:9000/bucket/prefix"].iter().chain(&ODD) {
            let kit = kit(address);
            holds(&text(&kit), Some(address), id);
            holds(&html(&kit), Some(address), id);
            holds(&kit.key_file, Some(address), id);
        }
        let words = kit("/x").words.iter().collect::<Vec<_>>();
        holds(&words.join(" "), None, None);
        holds(&words.join("\n").to_uppercase(), None, None);
    }

    #[test]
    fn what_was_typed_again_is_read() {
        let words = kit("/x").words.iter().collect::<Vec<_>>().join("  ");
        let id = "AB".repeat(32);
        let typed =
            format!("\u{feff}repository : {id}\r\nADDRESS: /x \r\nMade: today\r\n\r\n{words}\r\n");
        holds(&typed, Some("/x"), Some([0xab; 32]));
        // The end, or all that stands around, may be missing.
        let page = text(&kit("/x"));
        let (_, from_block) = page.split_once(BEGIN).unwrap();
        let (block, _) = from_block.split_once(END).unwrap();
        holds(block, Some("/x"), Some([0xab; 32]));
        holds(&format!("{BEGIN}{block}"), Some("/x"), Some([0xab; 32]));
        let numbered = words.split_whitespace().enumerate();
        let numbered = numbered.map(|(at, word)| format!("{}: {word}\n", at + 1));
        holds(&numbered.collect::<String>(), None, None);
    }

    #[test]
    fn what_is_wrong_is_said() {
        let page = text(&kit("/x"));
        let refused = |text: &str| ReadKit::parse(text).unwrap_err();
        assert_eq!(refused(""), KitError::Words(WordsError::Count { found: 0 }));
        let id = "ab".repeat(32);
        assert!(matches!(
            refused(&page.replacen(&id, "abc", 1)),
            KitError::Repository(_)
        ));
        for wrong in ["\\x", "\\", "\\u{110000}", "\\u{41"] {
            let page = page.replacen("/x\n", &format!("/x{wrong}\n"), 1);
            assert_eq!(refused(&page), KitError::Address, "{wrong}");
        }
        let qr = kit("/x").key_file;
        let middle = qr.len() / 2;
        let mut damaged = qr.as_bytes().to_vec();
        damaged[middle] = if damaged[middle] == b'A' { b'B' } else { b'A' };
        assert!(matches!(
            refused(&String::from_utf8(damaged).unwrap()),
            KitError::KeyFile(_)
        ));
    }

    #[test]
    fn key_files_for_something_else_are_no_kits() {
        let signing = Secret::new([1; 32]);
        let maintain = Secret::new([2; 32]);
        let file = KeyFile {
            certificate: Some(ObjectId([1; 32])),
            ..KeyFile::from_text(&kit("/x").key_file).unwrap()
        };
        let secrets = RoleSecrets::Maintain { signing, maintain };
        let file = secrets.put_into(file, None).unwrap().to_text().unwrap();
        assert_eq!(ReadKit::parse(&file).unwrap_err(), KitError::OtherKeyFile);
    }

    #[test]
    fn no_secret_is_printed() {
        let kit = kit("/x");
        let read = ReadKit::parse(&kit.key_file).unwrap();
        let word = kit.words.iter().next().unwrap();
        assert!(!format!("{read:?}").contains(word));
    }
}
