//! The SDK's client, set up for what Dolmen does.

use std::num::NonZeroUsize;
use std::time::Duration;

use aws_config::{BehaviorVersion, ConfigLoader, SdkConfig};
use aws_sdk_s3::Client;
use aws_sdk_s3::config::retry::RetryConfig;
use aws_sdk_s3::config::timeout::TimeoutConfig;
use aws_sdk_s3::config::{
    Builder, Region, RequestChecksumCalculation, ResponseChecksumValidation, RuntimeComponents,
    SharedHttpClient, StalledStreamProtectionConfig,
};
use aws_smithy_http_client::proxy::ProxyConfig;
use aws_smithy_http_client::tls::rustls_provider::CryptoMode;
use aws_smithy_http_client::tls::{Provider, TlsContext, TrustStore};
use aws_smithy_http_client::{Builder as HttpBuilder, Connector};
use aws_types::service_config::ServiceConfigKey;

use crate::address::S3Address;
use crate::clock::SigningClock;
use crate::identity::Identity;
use crate::tls::TlsClient;

/// Until a connection stands.
const CONNECT_MAX: Duration = Duration::from_secs(10);
/// Until an answer begins: with what [`crate::send`] allows, a store that does not answer is given up within a minute.
const ANSWER_MAX: Duration = Duration::from_secs(45);
/// The same for a put of more than [`SMALL_BYTES_MAX`], its body included: 64 MiB at 300 kbit/s take half an hour.
const PUT_ANSWER_MAX: Duration = Duration::from_secs(1800);
/// Bodies that any line that is worth the name sends within [`ANSWER_MAX`].
const SMALL_BYTES_MAX: usize = 256 << 10;
/// A body that stands still for so long has lost its connection.
const STALLED_MAX: Duration = Duration::from_secs(60);
/// Requests under way at the same time, as long as the user says nothing else.
const CONNECTIONS: NonZeroUsize = NonZeroUsize::MIN.saturating_add(15);
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

/// Whom to believe that a server is who it says.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Trust {
    /// Whoever the system trusts.
    #[default]
    System,
    /// Whoever these certificates vouch for, in PEM; see [`Trust::only`].
    Only(Vec<u8>),
    /// Whoever answers: without a proxy, whatever the variables say.
    Anybody,
}

impl Trust {
    /// Believes those alone whom the certificates in this PEM file vouch for; `None`: there are none in it.
    pub fn only(pem: Vec<u8>) -> Option<Self> {
        use rustls::pki_types::CertificateDer;
        use rustls::pki_types::pem::PemObject as _;
        let mut roots = rustls::RootCertStore::empty();
        let mut found = 0_usize;
        for certificate in CertificateDer::pem_slice_iter(&pem) {
            roots.add(certificate.ok()?).ok()?;
            found = found.saturating_add(1);
        }
        (found > 0).then_some(Self::Only(pem))
    }
}

/// What a user may choose.
#[derive(Debug, Clone)]
pub struct S3Options {
    /// Requests under way at the same time.
    pub connections: NonZeroUsize,
    /// Whom to believe over TLS.
    pub trust: Trust,
    /// How a bucket is named in requests.
    pub lookup: Lookup,
    /// The storage class of what is put; `None`: the bucket's.
    pub storage_class: Option<String>,
    /// Who asks.
    pub identity: Identity,
}

impl Default for S3Options {
    fn default() -> Self {
        Self {
            connections: CONNECTIONS,
            trust: Trust::default(),
            lookup: Lookup::default(),
            storage_class: None,
            identity: Identity::default(),
        }
    }
}

/// Makes a client. The region comes from AWS's own chain, and so does the server where the address names none: it is set
/// there then. It tries once: [`crate::send`] tries again.
///
/// Blocks for reading files; no request to the store.
pub(crate) async fn client(
    address: &mut S3Address,
    options: &S3Options,
    clock: SigningClock,
) -> Client {
    let shared = options.identity.load(defaults()).await.load().await;
    let mut builder = Builder::from(&shared);
    if shared.region().is_none() {
        builder = builder.region(Region::from_static(REGION));
    }
    if address.endpoint.is_none() {
        address.endpoint = configured_endpoint(&shared);
    }
    let endpoint = address.endpoint.as_deref();
    builder.set_endpoint_url(endpoint.map(str::to_owned));
    let is_in_path = match options.lookup {
        Lookup::Auto => endpoint.is_some(),
        Lookup::Path => true,
        Lookup::Dns => false,
    };
    let is_plain = endpoint.is_some_and(|endpoint| endpoint.starts_with("http://"));
    let host = address.host().unwrap_or_default();
    let config = builder
        .force_path_style(is_in_path)
        .http_client(http_client(&options.trust, host, is_plain))
        .timeout_config(timeouts(ANSWER_MAX))
        .retry_config(RetryConfig::disabled())
        .time_source(clock.clone())
        .interceptor(clock)
        .stalled_stream_protection(
            StalledStreamProtectionConfig::enabled()
                .grace_period(STALLED_MAX)
                .build(),
        )
        // Bodies carry MD5, which every service takes; names tell what comes back.
        .request_checksum_calculation(RequestChecksumCalculation::WhenRequired)
        .response_checksum_validation(ResponseChecksumValidation::WhenRequired)
        .build();
    Client::from_conf(config)
}

/// What region, server and, as long as nothing else is said, credentials come from.
pub(crate) fn defaults() -> ConfigLoader {
    aws_config::defaults(BehaviorVersion::latest())
}

/// The server that variables or AWS's own files name, if they do.
fn configured_endpoint(shared: &SdkConfig) -> Option<String> {
    let key = ServiceConfigKey::builder()
        .service_id("S3")
        .env("AWS_ENDPOINT_URL")
        .profile("endpoint_url")
        .build();
    let own = shared.service_config().zip(key.ok());
    let own = own.and_then(|(config, key)| config.load_config(key));
    own.or_else(|| shared.endpoint_url().map(str::to_owned))
}

/// How one put of so many bytes differs from other requests.
pub(crate) fn for_put(body_bytes: usize) -> Builder {
    // Each pair of limits has connections of its own: hence two, and no more.
    let answer_max = if body_bytes > SMALL_BYTES_MAX {
        PUT_ANSWER_MAX
    } else {
        ANSWER_MAX
    };
    Builder::new().timeout_config(timeouts(answer_max))
}

fn timeouts(answer_max: Duration) -> TimeoutConfig {
    TimeoutConfig::builder()
        .connect_timeout(CONNECT_MAX)
        .read_timeout(answer_max)
        .build()
}

/// What speaks HTTP: through the proxy that the usual variables name, unless servers are believed by a verifier of our own. Where no TLS is spoken, no certificates are read.
fn http_client(trust: &Trust, host: &str, is_plain: bool) -> SharedHttpClient {
    let own = match trust {
        Trust::System => None,
        Trust::Anybody => TlsClient::believing_anybody(CONNECT_MAX),
        Trust::Only(pem) => TlsClient::believing_given(pem, host, CONNECT_MAX),
    };
    if let Some(client) = own {
        return SharedHttpClient::new(client);
    }
    let store = match trust {
        Trust::Anybody => TrustStore::empty(),
        Trust::System => TrustStore::empty().with_native_roots(true),
        Trust::Only(pem) => TrustStore::empty().with_pem_certificate(pem.clone()),
    };
    HttpBuilder::new().build_with_connector_fn(move |settings, components| {
        let mut connector = Connector::builder().proxy_config(ProxyConfig::from_env());
        connector.set_connector_settings(settings.cloned());
        connector.set_sleep_impl(components.and_then(RuntimeComponents::sleep_impl));
        let context = TlsContext::builder().with_trust_store(store.clone());
        match context.build() {
            Ok(context) if !is_plain => connector
                .tls_provider(Provider::Rustls(CryptoMode::AwsLc))
                .tls_context(context)
                .build(),
            Ok(_) | Err(_) => connector.build_http(),
        }
    })
}
