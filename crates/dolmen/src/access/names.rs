//! Names that go into policies and into lines for a shell: nothing in them may mean something there.

/// What stands for a bucket that is not named.
pub(crate) const BUCKET: &str = "BUCKET";
/// What stands for a prefix that is not named.
pub(crate) const PREFIX: &str = "PREFIX/";
/// What stands for a writer that is not named.
pub(crate) const WRITER: &str = "WRITER";
/// The longest prefix: with it, and the longest name of a bucket, every policy is one that AWS still takes.
pub(super) const PREFIX_BYTES_MAX: usize = 128;

/// Takes the name of a bucket.
pub(crate) fn parse_bucket(text: &str) -> Result<String, String> {
    let is_name = |byte: u8| byte.is_ascii_alphanumeric() || b"-.".contains(&byte);
    let is_edge = |byte: Option<u8>| byte.is_some_and(|byte| byte.is_ascii_alphanumeric());
    let bytes = text.as_bytes();
    let ends = is_edge(bytes.first().copied()) && is_edge(bytes.last().copied());
    if (3..=63).contains(&text.len()) && ends && text.bytes().all(is_name) {
        Ok(text.to_owned())
    } else {
        Err(format!(
            "`{text}` is no name of a bucket: 3 to 63 letters, digits, hyphens and dots"
        ))
    }
}

/// Takes the folder of a bucket that a repository lies in; empty: all of it. Returns it with a slash at the end.
pub(crate) fn parse_prefix(text: &str) -> Result<String, String> {
    let path = text.trim_end_matches('/');
    // No wildcards, no variables of policies, nothing that a shell reads.
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.+=@,:/".contains(&byte);
    let wrong = |why: &str| Err(format!("`{text}` is no prefix for policies: {why}"));
    if path.is_empty() && text.is_empty() {
        return Ok(String::new());
    }
    if !path.bytes().all(is_plain) {
        return wrong("only letters, digits and -_.+=@,:/ are safe in them");
    }
    if path.is_empty() || path.starts_with(['/', '-']) || path.contains("//") {
        return wrong("it must not begin with / or -, and not contain //");
    }
    if path.len() > PREFIX_BYTES_MAX {
        return wrong("it is longer than 128 bytes");
    }
    Ok(format!("{path}/"))
}

/// Takes the id of a writer, as its folders are called.
pub(crate) fn parse_writer(text: &str) -> Result<String, String> {
    let id: Result<dolmen_format::WriterId, _> = text.parse();
    match id {
        Ok(id) => Ok(id.to_string()),
        Err(_error) => Err(format!(
            "`{text}` is no writer: 32 hex digits, as `dolmen snapshots --json` shows them"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_taken_as_they_are() {
        assert_eq!(parse_bucket("my-bucket.1").as_deref(), Ok("my-bucket.1"));
        assert_eq!(parse_prefix(""), Ok(String::new()));
        assert_eq!(parse_prefix("a/b").as_deref(), Ok("a/b/"));
        assert_eq!(parse_prefix("a/b/").as_deref(), Ok("a/b/"));
        let id = "00112233445566778899aabbccddeeff";
        assert_eq!(parse_writer(id).as_deref(), Ok(id));
    }

    #[test]
    fn what_could_mean_more_is_refused() {
        for text in [
            "",
            "ab",
            "-abc",
            "abc-",
            "a b c",
            "a*c",
            "a/b",
            "${aws:x}",
            "a\"b",
            &"a".repeat(64),
        ] {
            assert!(parse_bucket(text).is_err(), "{text}");
        }
        for text in [
            "/",
            "//",
            "/a",
            "a//b",
            "-a",
            "a*",
            "a?",
            "${aws:username}",
            "a b",
            "a\"",
            "a'b",
            "a\n",
            "a;b",
            "ä",
            &"a".repeat(129),
        ] {
            assert!(parse_prefix(text).is_err(), "{text}");
        }
        for text in ["", "*", "0011", "00112233445566778899aabbccddeefg"] {
            assert!(parse_writer(text).is_err(), "{text}");
        }
    }
}
