//! HTTP over TLS with whoever answers, for users who say so. The SDK's own client cannot be told to.

use std::sync::Arc;
use std::time::Duration;

use aws_sdk_s3::config::{HttpClient, RuntimeComponents};
use aws_sdk_s3::primitives::SdkBody;
use aws_smithy_runtime_api::client::http::{
    HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpConnector,
};
use aws_smithy_runtime_api::client::orchestrator::HttpRequest;
use aws_smithy_runtime_api::client::result::ConnectorError;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector as Tcp;
use hyper_util::rt::TokioExecutor;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, SignatureScheme};

/// Believes every server.
#[derive(Debug, Clone)]
pub(crate) struct AnybodyClient {
    client: Client<HttpsConnector<Tcp>, SdkBody>,
}

impl AnybodyClient {
    /// `None`: the TLS library has no version that it speaks.
    pub(crate) fn new(connect_max: Duration) -> Option<Self> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let config = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .ok()?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Anybody(provider)))
            .with_no_client_auth();
        let mut tcp = Tcp::new();
        tcp.enforce_http(false);
        tcp.set_connect_timeout(Some(connect_max));
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(config)
            .https_or_http()
            .enable_http1()
            .wrap_connector(tcp);
        Some(Self {
            client: Client::builder(TokioExecutor::new()).build(connector),
        })
    }
}

impl HttpClient for AnybodyClient {
    fn http_connector(
        &self,
        settings: &HttpConnectorSettings,
        _components: &RuntimeComponents,
    ) -> SharedHttpConnector {
        SharedHttpConnector::new(AnybodyConnector {
            client: self.client.clone(),
            answer_max: settings.read_timeout(),
        })
    }
}

/// One that waits for answers so long.
#[derive(Debug, Clone)]
struct AnybodyConnector {
    client: Client<HttpsConnector<Tcp>, SdkBody>,
    answer_max: Option<Duration>,
}

impl HttpConnector for AnybodyConnector {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let (client, answer_max) = (self.client.clone(), self.answer_max);
        HttpConnectorFuture::new(async move {
            let request = request.try_into_http1x();
            let request = request.map_err(|error| ConnectorError::user(error.into()))?;
            let answer = client.request(request);
            let answer = match answer_max {
                Some(longest) => tokio::time::timeout(longest, answer)
                    .await
                    .map_err(|error| ConnectorError::timeout(error.into()))?,
                None => answer.await,
            };
            let answer = answer.map_err(|error| ConnectorError::io(error.into()))?;
            let answer = answer.map(SdkBody::from_body_1_x).try_into();
            answer.map_err(|error| ConnectorError::other(Box::new(error), None))
        })
    }
}

/// Takes every certificate, and every signature under it.
#[derive(Debug)]
struct Anybody(Arc<CryptoProvider>);

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
