//! Splits a command line as a shell does, without any of a shell's powers.

/// Splits at white space; quotes and backslashes keep it. Nothing is expanded. Fails on an open quote.
pub(super) fn split_words(text: &[u8]) -> Result<Vec<Vec<u8>>, &'static str> {
    let mut words = Vec::new();
    let mut word: Option<Vec<u8>> = None;
    let mut bytes = text.iter().copied();
    while let Some(byte) = bytes.next() {
        match byte {
            b' ' | b'\t' | b'\n' | b'\r' => words.extend(word.take()),
            b'\'' => {
                let word = word.get_or_insert_default();
                loop {
                    match bytes.next().ok_or("a ' is not closed")? {
                        b'\'' => break,
                        byte => word.push(byte),
                    }
                }
            }
            b'"' => quoted(&mut bytes, word.get_or_insert_default())?,
            b'\\' => {
                let escaped = bytes.next().ok_or("a \\ stands at the end")?;
                word.get_or_insert_default().push(escaped);
            }
            byte => word.get_or_insert_default().push(byte),
        }
    }
    words.extend(word);
    Ok(words)
}

/// Reads up to the closing `"`. A backslash keeps its meaning before `"`, `\`, `$` and the backtick only.
fn quoted(bytes: &mut impl Iterator<Item = u8>, word: &mut Vec<u8>) -> Result<(), &'static str> {
    const OPEN: &str = "a \" is not closed";
    loop {
        match bytes.next().ok_or(OPEN)? {
            b'"' => return Ok(()),
            b'\\' => match bytes.next().ok_or(OPEN)? {
                byte @ (b'"' | b'\\' | b'$' | b'`') => word.push(byte),
                byte => word.extend([b'\\', byte]),
            },
            byte => word.push(byte),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn words(text: &str) -> Result<Vec<String>, &'static str> {
        let words = split_words(text.as_bytes())?;
        Ok(words
            .into_iter()
            .map(|word| String::from_utf8(word).unwrap())
            .collect())
    }

    #[test]
    fn words_are_split_as_in_a_shell() {
        let split = words(r#"  pass show 'a b' "c \"d\" \n" e\ f '' x"y"z $HOME "#).unwrap();
        assert_eq!(
            split,
            [
                "pass",
                "show",
                "a b",
                "c \"d\" \\n",
                "e f",
                "",
                "xyz",
                "$HOME"
            ]
        );
        assert_eq!(words(""), Ok(vec![]));
        assert_eq!(words("a 'b"), Err("a ' is not closed"));
        assert_eq!(words("a \"b"), Err("a \" is not closed"));
        assert_eq!(words("a\\"), Err("a \\ stands at the end"));
    }

    proptest! {
        #[test]
        fn quoted_words_come_back(words in prop::collection::vec(any::<Vec<u8>>(), 0..5)) {
            let quote = |word: &Vec<u8>| {
                let escaped = word.split(|byte| *byte == b'\'').collect::<Vec<_>>().join(br"'\''".as_slice());
                [b"'".as_slice(), &escaped, b"'"].concat()
            };
            let text = words.iter().map(quote).collect::<Vec<_>>().join(&b' ');
            prop_assert_eq!(split_words(&text), Ok(words));
        }
    }
}
