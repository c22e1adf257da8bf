//! The admin secret as words that people can write down: BIP-39's English list, 24 words, the last with a checksum (§3.5).

use core::fmt;

use bip39::{Language, Mnemonic};
use zeroize::Zeroizing;

use crate::admin::AdminSecret;
use crate::secret::Secret;

/// Words of a secret.
pub const WORDS: usize = 24;

/// Bytes of a word that are looked at: the longest in the list has half as many.
const WORD_BYTES_MAX: usize = 16;

/// Why words are no secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WordsError {
    /// A word is not in the list.
    #[error("word {position} is not in the list; the nearest that is: {nearest}")]
    Unknown {
        /// Which one, from 1.
        position: usize,
        /// The word of the list that differs least.
        nearest: &'static str,
    },
    /// There are too few or too many.
    #[error("a recovery kit has {WORDS} words, not {found}")]
    Count {
        /// How many there are.
        found: usize,
    },
    /// All are in the list, and they do not belong together.
    #[error("each word is in the list, but one of them is wrong or two are swapped")]
    Checksum,
}

/// The words of an admin secret, wiped when dropped and never printed.
pub struct Words(Mnemonic);

impl fmt::Debug for Words {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Words(…)")
    }
}

impl Words {
    /// The words of a secret.
    pub fn of(admin: &AdminSecret) -> Result<Self, WordsError> {
        let mnemonic = Mnemonic::from_entropy_in(Language::English, admin.secret().expose());
        // Of 32 bytes there are always 24 words.
        mnemonic.map(Self).map_err(|_error| WordsError::Checksum)
    }

    /// Reads words in any case; white space, numbers and punctuation around them do not count.
    pub fn parse(text: &str) -> Result<Self, WordsError> {
        // With room for all: growing would leave a copy behind.
        let mut phrase = Zeroizing::new(String::with_capacity(text.len().saturating_add(1)));
        let mut found = 0_usize;
        let tokens = text.split_whitespace();
        let tokens = tokens.map(|token| token.trim_matches(|letter: char| !letter.is_alphabetic()));
        for token in tokens.filter(|token| !token.is_empty()) {
            found = found.saturating_add(1);
            let mut word = Zeroizing::new(token.to_owned());
            word.make_ascii_lowercase();
            if Language::English.find_word(&word).is_none() {
                return Err(WordsError::Unknown {
                    position: found,
                    nearest: nearest(&word),
                });
            }
            phrase.push_str(&word);
            phrase.push(' ');
        }
        if found != WORDS {
            return Err(WordsError::Count { found });
        }
        let mnemonic = Mnemonic::parse_in_normalized(Language::English, &phrase);
        mnemonic.map(Self).map_err(|_error| WordsError::Checksum)
    }

    /// The words, in order.
    pub fn iter(&self) -> impl Iterator<Item = &'static str> {
        self.0.words()
    }

    /// The secret.
    pub fn secret(&self) -> Result<AdminSecret, WordsError> {
        let (entropy, found) = self.0.to_entropy_array();
        let entropy = Zeroizing::new(entropy);
        let secret = entropy.first_chunk().filter(|secret| secret.len() == found);
        let secret = secret.ok_or(WordsError::Count {
            found: self.0.word_count(),
        })?;
        Ok(AdminSecret::new(Secret::new(*secret)))
    }
}

/// The word of the list that takes the fewest changes of a letter; of several the first.
fn nearest(word: &str) -> &'static str {
    let known = Language::English.word_list().iter().copied();
    known
        .min_by_key(|known| distance(word.as_bytes(), known.as_bytes()))
        .unwrap_or_default()
}

/// Letters to be put in, left out or replaced until one word is the other (Levenshtein).
fn distance(left: &[u8], right: &[u8]) -> usize {
    let mut row: Vec<usize> = (1..=right.len()).collect();
    for (above_first, letter) in left.iter().take(WORD_BYTES_MAX).enumerate() {
        let (mut diagonal, mut before) = (above_first, above_first.saturating_add(1));
        for (cell, other) in row.iter_mut().zip(right) {
            let replaced = diagonal.saturating_add(usize::from(letter != other));
            diagonal = *cell;
            *cell = replaced.min(before.min(*cell).saturating_add(1));
            before = *cell;
        }
    }
    row.last().copied().unwrap_or(left.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// BIP-39's own vector of 32 bytes 0x7f.
    const VECTOR: &str = "legal winner thank year wave sausage worth useful legal winner thank year wave sausage \
                          worth useful legal winner thank year wave sausage worth title";

    fn admin(byte: u8) -> AdminSecret {
        AdminSecret::new(Secret::new([byte; 32]))
    }

    fn joined(words: &Words) -> String {
        words.iter().collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn the_words_are_those_of_bip_39() {
        let words = Words::of(&admin(0x7f)).unwrap();
        assert_eq!(joined(&words), VECTOR);
        let back = Words::parse(VECTOR).unwrap().secret().unwrap();
        assert_eq!(back.secret().expose(), &[0x7f; 32]);
    }

    #[test]
    fn case_numbers_and_white_space_do_not_count() {
        let words = VECTOR.split(' ').enumerate();
        let numbered = words.map(|(at, word)| format!("{}.\t{}\r\n", at + 1, word.to_uppercase()));
        let back = Words::parse(&numbered.collect::<String>()).unwrap();
        assert_eq!(joined(&back), VECTOR);
        let glued = VECTOR.replace("winner", " 7)winner,");
        assert!(Words::parse(&glued).is_ok());
    }

    #[test]
    fn a_wrong_word_is_named_with_the_nearest() {
        let wrong = VECTOR.replacen("sausage", "sausge", 1);
        let expected = WordsError::Unknown {
            position: 6,
            nearest: "sausage",
        };
        assert_eq!(Words::parse(&wrong).unwrap_err(), expected);
        assert_eq!(nearest("zooo"), "zoo");
        assert_eq!(nearest("abandn"), "abandon");
        // However long, it costs no more.
        let long = "ä".repeat(1 << 20);
        assert!(matches!(
            Words::parse(&long).unwrap_err(),
            WordsError::Unknown { position: 1, .. }
        ));
    }

    #[test]
    fn swapped_flipped_missing_and_surplus_words_are_refused() {
        let mut words: Vec<_> = VECTOR.split(' ').collect();
        words.swap(0, 1);
        let refused = |words: &[&str]| Words::parse(&words.join(" ")).unwrap_err();
        assert_eq!(refused(&words), WordsError::Checksum);
        words.swap(0, 1);
        words[3] = "zoo";
        assert_eq!(refused(&words), WordsError::Checksum);
        assert_eq!(refused(&words[1..]), WordsError::Count { found: 23 });
        assert_eq!(refused(&[]), WordsError::Count { found: 0 });
        words.push("zoo");
        assert_eq!(refused(&words), WordsError::Count { found: 25 });
    }

    #[test]
    fn no_secret_is_printed() {
        assert_eq!(format!("{:?}", Words::of(&admin(1)).unwrap()), "Words(…)");
    }
}
