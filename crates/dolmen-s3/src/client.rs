//! The SDK's client, set up for what Dolmen does.

use std::time::Duration;

use aws_config::BehaviorVersion;
use aws_sdk_s3::Client;
use aws_sdk_s3::config::retry::RetryConfig;
use aws_sdk_s3::config::timeout::TimeoutConfig;
use aws_sdk_s3::config::{
    Builder, Credentials, Region, RequestChecksumCalculation, ResponseChecksumValidation,
    StalledStreamProtectionConfig,
};

use crate::address::S3Address;

/// Until a connection stands. With the attempts below a store that cannot be reached is given up within a minute.
const CONNECT_MAX: Duration = Duration::from_secs(10);
/// Until an answer begins, the request's own body included: 64 MiB at 1 Mbit/s take 9 minutes.
const ANSWER_MAX: Duration = Duration::from_secs(900);
/// Calls of one request, pauses of up to 1, 2 and 4 seconds in between.
const ATTEMPTS_MAX: u32 = 4;
/// The region where nothing says another one. Services that are not AWS take any.
const REGION: &str = "us-east-1";

/// How a bucket is named in requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Lookup {
    /// In the host's name on AWS, in the path elsewhere.
    #[default]
    Auto,
    /// In the path.
    Path,
    /// In the host's name.
    Dns,
}

/// What a user may choose.
#[derive(Debug, Clone, Default)]
pub struct S3Options {
    /// How a bucket is named in requests.
    pub lookup: Lookup,
    /// The storage class of what is put; `None`: the bucket's.
    pub storage_class: Option<String>,
    /// Credentials; `None`: what AWS's own chain of variables, files and services gives.
    pub credentials: Option<Credentials>,
}

/// Makes a client. The region comes from AWS's own chain.
///
/// Blocks for reading files; no request to the store.
pub(crate) async fn client(address: &S3Address, options: &S3Options) -> Client {
    let mut shared = aws_config::defaults(BehaviorVersion::latest());
    if let Some(credentials) = &options.credentials {
        shared = shared.credentials_provider(credentials.clone());
    }
    let shared = shared.load().await;
    let mut builder = Builder::from(&shared);
    if shared.region().is_none() {
        builder = builder.region(Region::from_static(REGION));
    }
    if let Some(endpoint) = &address.endpoint {
        builder = builder.endpoint_url(endpoint);
    }
    let is_in_path = match options.lookup {
        Lookup::Auto => address.endpoint.is_some(),
        Lookup::Path => true,
        Lookup::Dns => false,
    };
    let timeouts = TimeoutConfig::builder()
        .connect_timeout(CONNECT_MAX)
        .read_timeout(ANSWER_MAX)
        .build();
    let retries = RetryConfig::standard().with_max_attempts(ATTEMPTS_MAX);
    let config = builder
        .force_path_style(is_in_path)
        .timeout_config(timeouts)
        .retry_config(retries)
        // A body that stands still for long is a lost connection.
        .stalled_stream_protection(
            StalledStreamProtectionConfig::enabled()
                .grace_period(Duration::from_secs(60))
                .build(),
        )
        // Bodies carry MD5, which every service takes; names tell what comes back.
        .request_checksum_calculation(RequestChecksumCalculation::WhenRequired)
        .response_checksum_validation(ResponseChecksumValidation::WhenRequired)
        .build();
    Client::from_conf(config)
}
