//! Where a bucket is: `s3:https://host[:port]/bucket[/prefix]`, `s3:http://…`, `s3://bucket[/prefix]`.

use std::fmt;

/// A bucket, and a folder in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct S3Address {
    /// The server's URL without a path; `None`: AWS, or what its own variables say.
    pub endpoint: Option<String>,
    /// The bucket.
    pub bucket: String,
    /// What all keys begin with: empty, or segments that each end in a slash.
    pub prefix: String,
}

/// Says why a text is no address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    /// It does not begin as one.
    #[error("write it as s3:https://host/bucket/prefix or, on AWS, s3://bucket/prefix")]
    Form,
    /// No server is named.
    #[error("no host is named after the scheme")]
    Host,
    /// A name or secret stands in it.
    #[error(
        "a user or password does not belong into an address: credentials come from AWS's own variables and files"
    )]
    Credentials,
    /// The bucket is none.
    #[error("a bucket's name has 3 to 63 small letters, digits, dots and hyphens")]
    Bucket,
    /// The prefix cannot begin keys.
    #[error("a prefix has letters, digits and . _ - between single slashes")]
    Prefix,
}

/// Keys have at most 255 bytes, and a service takes 1,024.
const PREFIX_BYTES_MAX: usize = 512;

impl S3Address {
    /// Reads an address; `text` begins with `s3:`.
    pub fn parse(text: &str) -> Result<Self, AddressError> {
        let rest = text.strip_prefix("s3:").ok_or(AddressError::Form)?;
        let (endpoint, path) = if let Some(path) = rest.strip_prefix("//") {
            (None, path)
        } else {
            let (scheme, after) = rest.split_once("://").ok_or(AddressError::Form)?;
            if !matches!(scheme, "http" | "https") {
                return Err(AddressError::Form);
            }
            let (host, path) = after.split_once('/').ok_or(AddressError::Bucket)?;
            check_host(host)?;
            let endpoint = format!("{scheme}://{}", host.to_ascii_lowercase());
            (Some(endpoint), path)
        };
        let (bucket, prefix) = path.split_once('/').unwrap_or((path, ""));
        check_bucket(bucket)?;
        Ok(Self {
            endpoint,
            bucket: bucket.to_owned(),
            prefix: folder(prefix)?,
        })
    }

    /// Whether it is Amazon's own service.
    pub fn is_aws(&self) -> bool {
        self.host().is_none_or(|host| {
            host.ends_with(".amazonaws.com") || host.ends_with(".amazonaws.com.cn")
        })
    }

    /// The server's name or number, without a port; `None`: AWS, or what its own variables say.
    pub fn host(&self) -> Option<&str> {
        let (_, host) = self.endpoint.as_deref()?.split_once("://")?;
        let bracketed = host.split_once(']').filter(|_| host.starts_with('['));
        Some(match bracketed {
            Some((inside, _)) => inside.trim_start_matches('['),
            None => host.split_once(':').map_or(host, |(name, _)| name),
        })
    }

    /// The name of this very place: what snapshots record, so that a copy elsewhere has another one.
    pub fn identity(&self) -> String {
        let host = match &self.endpoint {
            None => "amazonaws.com",
            Some(endpoint) => {
                let host = endpoint
                    .strip_prefix("https://")
                    .map(|host| host.strip_suffix(":443").unwrap_or(host));
                let plain = endpoint
                    .strip_prefix("http://")
                    .map(|host| host.strip_suffix(":80").unwrap_or(host));
                host.or(plain).unwrap_or(endpoint)
            }
        };
        format!("s3:{host}/{}/{}", self.bucket, self.prefix)
    }
}

impl fmt::Display for S3Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.endpoint {
            Some(endpoint) => write!(f, "s3:{endpoint}/{}", self.bucket)?,
            None => write!(f, "s3://{}", self.bucket)?,
        }
        match self.prefix.strip_suffix('/') {
            Some(prefix) => write!(f, "/{prefix}"),
            None => Ok(()),
        }
    }
}

fn check_host(host: &str) -> Result<(), AddressError> {
    if host.contains('@') {
        return Err(AddressError::Credentials);
    }
    let is_host = |byte: u8| byte.is_ascii_alphanumeric() || b".-:[]_".contains(&byte);
    if host.is_empty() || host.starts_with(':') || !host.bytes().all(is_host) {
        return Err(AddressError::Host);
    }
    Ok(())
}

fn check_bucket(bucket: &str) -> Result<(), AddressError> {
    let is_byte =
        |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b".-".contains(&byte);
    let is_bucket = (3..=63).contains(&bucket.len())
        && bucket.bytes().all(is_byte)
        && !bucket.starts_with(['.', '-'])
        && !bucket.ends_with(['.', '-']);
    is_bucket.then_some(()).ok_or(AddressError::Bucket)
}

/// A prefix with a slash after each segment.
fn folder(text: &str) -> Result<String, AddressError> {
    let text = text.strip_suffix('/').unwrap_or(text);
    if text.is_empty() {
        return Ok(String::new());
    }
    let is_byte = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    let is_segment = |part: &str| !matches!(part, "" | "." | "..") && part.bytes().all(is_byte);
    if text.len() > PREFIX_BYTES_MAX || !text.split('/').all(is_segment) {
        return Err(AddressError::Prefix);
    }
    Ok(format!("{text}/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_prints_as_it_was_read() {
        for text in [
            "s3://bucket",
            "s3://bucket/a/b",
            "s3:https://s3.example.com/bucket",
            "s3:http://127.0.0.1:8333/bucket/laptop",
        ] {
            assert_eq!(S3Address::parse(text).unwrap().to_string(), text);
        }
        let spelt = S3Address::parse("s3:https://S3.Example.com/bucket/a/").unwrap();
        assert_eq!(spelt.to_string(), "s3:https://s3.example.com/bucket/a");
        assert_eq!(spelt.prefix, "a/");
    }

    #[test]
    fn one_place_has_one_identity() {
        let identity = |text| S3Address::parse(text).unwrap().identity();
        assert_eq!(identity("s3://bucket/a"), "s3:amazonaws.com/bucket/a/");
        assert_eq!(
            identity("s3:https://host:443/bucket"),
            identity("s3:https://HOST/bucket/")
        );
        assert_ne!(
            identity("s3:https://host:9000/bucket"),
            identity("s3:https://host/bucket")
        );
    }

    #[test]
    fn amazon_is_known_by_its_hosts() {
        let is_aws = |text| S3Address::parse(text).unwrap().is_aws();
        assert!(is_aws("s3://bucket"));
        assert!(is_aws("s3:https://s3.eu-west-1.amazonaws.com/bucket"));
        assert!(!is_aws("s3:https://amazonaws.com.example.org/bucket"));
        assert!(!is_aws("s3:http://127.0.0.1:8333/bucket"));
    }

    #[test]
    fn what_is_no_address_is_refused_with_the_reason() {
        use AddressError::{Bucket, Credentials, Form, Host, Prefix};
        for (text, reason) in [
            ("s3", Form),
            ("s3:bucket", Form),
            ("s3:ftp://host/bucket", Form),
            ("s3:https:///bucket", Host),
            ("s3:https://:90/bucket", Host),
            ("s3:https://key:secret@host/bucket", Credentials),
            ("s3:https://host", Bucket),
            ("s3://", Bucket),
            ("s3://ab", Bucket),
            ("s3://Bucket", Bucket),
            ("s3://-bucket", Bucket),
            ("s3://bucket/a//b", Prefix),
            ("s3://bucket/../b", Prefix),
            ("s3://bucket/a b", Prefix),
        ] {
            assert_eq!(S3Address::parse(text), Err(reason), "{text}");
        }
    }
}
