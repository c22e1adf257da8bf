//! What extending a lock costs, by who stores.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::ExtensionCost;

/// Providers that bill no calls which set retention: Backblaze (transactions of class A) and Wasabi (no requests at all),
/// by their price lists of 2026. See `docs/cost.md`.
const FREE_DOMAINS: [&str; 2] = ["backblazeb2.com", "wasabisys.com"];

/// Names that no registry hands out, so that who uses one runs the server.
const OWN_DOMAINS: [&str; 5] = ["localhost", "local", "internal", "lan", "home.arpa"];

impl ExtensionCost {
    /// What calls to a host cost, as its address names it, without the port.
    ///
    /// Free at the providers that say so and at servers of one's own (`MinIO`, `SeaweedFS`): an address of a private
    /// network, a name without a dot, or one that means something on that network alone. AWS bills them, and so may
    /// whoever is not known: a generation that is too long costs storage only, one that is too short costs calls for ever.
    pub fn of_host(host: &str) -> Self {
        let host = host.trim_end_matches('.').to_ascii_lowercase();
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        let is_free = match bare.parse::<IpAddr>() {
            Ok(IpAddr::V4(address)) => is_own(address),
            Ok(IpAddr::V6(address)) => is_own_v6(address),
            Err(_) => {
                let mut domains = FREE_DOMAINS.iter().chain(&OWN_DOMAINS);
                !host.contains('.') || domains.any(|domain| is_within(&host, domain))
            }
        };
        if is_free && !host.is_empty() {
            Self::Free
        } else {
            Self::Paid
        }
    }
}

fn is_within(host: &str, domain: &str) -> bool {
    host.strip_suffix(domain)
        .is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
}

const fn is_own(address: Ipv4Addr) -> bool {
    address.is_loopback() || address.is_private() || address.is_link_local()
}

fn is_own_v6(address: Ipv6Addr) -> bool {
    address.is_loopback()
        || address.is_unique_local()
        || address.is_unicast_link_local()
        || address.to_ipv4_mapped().is_some_and(is_own)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn aws_and_whoever_is_not_known_bill() {
        for host in [
            "s3.amazonaws.com",
            "bucket.s3.eu-central-1.amazonaws.com",
            "s3.cn-north-1.amazonaws.com.cn",
            "storage.googleapis.com",
            "s3.example.org",
            "notwasabisys.com",
            "wasabisys.com.example.org",
            "s3.notlocalhost.example",
            "8.8.8.8",
            "[2001:4860:4860::8888]",
            "",
        ] {
            assert_eq!(ExtensionCost::of_host(host), ExtensionCost::Paid, "{host}");
        }
    }

    #[test]
    fn backblaze_wasabi_and_servers_of_ones_own_do_not() {
        for host in [
            "s3.us-west-004.backblazeb2.com",
            "S3.EU-Central-1.wasabisys.com.",
            "localhost",
            "minio",
            "seaweedfs.storage.internal",
            "nas.local",
            "127.0.0.1",
            "10.1.2.3",
            "192.168.0.7",
            "::1",
            "[::1]",
            "[fd00::7]",
            "::ffff:10.0.0.1",
        ] {
            assert_eq!(ExtensionCost::of_host(host), ExtensionCost::Free, "{host}");
        }
    }
}
