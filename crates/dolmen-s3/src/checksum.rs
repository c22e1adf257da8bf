//! MD5, which S3 uses to notice bodies that were damaged on their way. It protects against nobody.

use dolmen_store::Checksum;
use md5::{Digest as _, Md5};

/// The digest of a body.
pub(crate) fn digest(body: &[u8]) -> [u8; 16] {
    Md5::digest(body).into()
}

/// A digest as the header `Content-MD5` states it.
pub(crate) fn header(digest: [u8; 16]) -> String {
    aws_smithy_types::base64::encode(digest)
}

/// The checksum in an entity tag. Objects that were put in parts, or that the service encrypts with its own keys, have
/// tags of other kinds, some of which look the same.
pub(crate) fn in_tag(tag: &str) -> Option<Checksum> {
    let hex = tag.trim_matches('"').as_bytes();
    let mut digest = [0_u8; 16];
    if hex.len() != 32 {
        return None;
    }
    for (byte, pair) in digest.iter_mut().zip(hex.chunks_exact(2)) {
        let text = std::str::from_utf8(pair).ok()?;
        *byte = u8::from_str_radix(text, 16).ok()?;
    }
    Some(Checksum::Md5(digest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_states_a_checksum_or_none() {
        let empty = digest(b"");
        assert_eq!(header(empty), "1B2M2Y8AsgTpgAmY7PhCfg==");
        let tag = "\"d41d8cd98f00b204e9800998ecf8427e\"";
        assert_eq!(in_tag(tag), Some(Checksum::Md5(empty)));
        for other in [
            "",
            "d41d8cd98f00b204e9800998ecf8427e-2",
            "x41d8cd98f00b204e9800998ecf8427e",
        ] {
            assert_eq!(in_tag(other), None);
        }
    }
}
