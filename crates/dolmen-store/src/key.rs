//! The names under which a store keeps objects.

use std::fmt;

/// The longest key, in bytes. Every store takes it, a folder with room left for its own path.
pub const KEY_BYTES_MAX: usize = 255;

/// A name that every store takes as it is: segments of `A-Z a-z 0-9 . _ -` between single slashes, at most
/// [`KEY_BYTES_MAX`] bytes, no segment empty, `.` or `..`.
///
/// Keys order by their bytes, which is the order of every listing.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StoreKey(Box<str>);

impl StoreKey {
    /// Returns the key as text.
    pub const fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns the parts between the slashes, at least one.
    pub fn segments(&self) -> impl Iterator<Item = &str> {
        self.0.split('/')
    }
}

impl TryFrom<&str> for StoreKey {
    type Error = KeyError;

    fn try_from(text: &str) -> Result<Self, KeyError> {
        check(text)?;
        Ok(Self(text.into()))
    }
}

impl TryFrom<String> for StoreKey {
    type Error = KeyError;

    fn try_from(text: String) -> Result<Self, KeyError> {
        check(&text)?;
        Ok(Self(text.into()))
    }
}

impl AsRef<str> for StoreKey {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for StoreKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for StoreKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

/// Says why a text is no [`StoreKey`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// Empty, or longer than [`KEY_BYTES_MAX`].
    #[error("a key has 1 to {KEY_BYTES_MAX} bytes, this one {found_bytes}")]
    Length {
        /// Bytes found.
        found_bytes: usize,
    },
    /// A byte that keys do not use.
    #[error("a key has letters, digits and . _ - / only, this one byte {byte:#04x} at {offset}")]
    Byte {
        /// The byte found.
        byte: u8,
        /// Bytes before it.
        offset: usize,
    },
    /// A segment that is empty, `.` or `..`.
    #[error("segment {number} of the key is empty, . or ..")]
    Segment {
        /// Segments before it.
        number: usize,
    },
}

/// Tells whether `text` can be one segment of a key, its length apart.
pub(crate) fn is_segment(text: &str) -> bool {
    !matches!(text, "" | "." | "..") && text.bytes().all(is_segment_byte)
}

fn check(text: &str) -> Result<(), KeyError> {
    if text.is_empty() || text.len() > KEY_BYTES_MAX {
        return Err(KeyError::Length {
            found_bytes: text.len(),
        });
    }
    if let Some((offset, byte)) = text
        .bytes()
        .enumerate()
        .find(|&(_, byte)| !is_key_byte(byte))
    {
        return Err(KeyError::Byte { byte, offset });
    }
    match text.split('/').position(|segment| !is_segment(segment)) {
        Some(number) => Err(KeyError::Segment { number }),
        None => Ok(()),
    }
}

const fn is_key_byte(byte: u8) -> bool {
    byte == b'/' || is_segment_byte(byte)
}

const fn is_segment_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_prints_as_it_was_read() {
        for text in ["a", "packs/w1/ab/abcd", "a.b/c_d/e-f", "...", ".tmp/x"] {
            assert_eq!(StoreKey::try_from(text).unwrap().to_string(), text);
            assert_eq!(StoreKey::try_from(text.to_owned()).unwrap().as_str(), text);
        }
    }

    #[test]
    fn a_key_has_1_to_255_bytes() {
        assert_eq!(
            StoreKey::try_from(""),
            Err(KeyError::Length { found_bytes: 0 })
        );
        let longest = "k".repeat(255);
        assert!(StoreKey::try_from(longest.as_str()).is_ok());
        assert_eq!(
            StoreKey::try_from(longest + "k"),
            Err(KeyError::Length { found_bytes: 256 })
        );
    }

    #[test]
    fn a_segment_is_never_empty_or_a_step() {
        for (text, number) in [
            ("/a", 0),
            ("a//b", 1),
            ("a/", 1),
            (".", 0),
            ("a/../b", 1),
            ("a/b/.", 2),
        ] {
            assert_eq!(
                StoreKey::try_from(text),
                Err(KeyError::Segment { number }),
                "{text}"
            );
        }
    }

    #[test]
    fn other_bytes_are_refused() {
        for (text, byte, offset) in [
            ("a b", b' ', 1),
            ("a\\b", b'\\', 1),
            ("a\0", 0, 1),
            ("é", 0xc3, 0),
            ("a:b", b':', 1),
        ] {
            assert_eq!(
                StoreKey::try_from(text),
                Err(KeyError::Byte { byte, offset }),
                "{text}"
            );
        }
    }
}
