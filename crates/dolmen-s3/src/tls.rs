//! HTTP over TLS with whoever answers, for users who say so, or with a server that users gave the certificate of. The SDK's own
//! client cannot be told to.

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
use rustls::client::{WebPkiServerVerifier, verify_server_name};
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme,
};

/// A client that believes servers by a verifier of our own.
#[derive(Debug, Clone)]
pub(crate) struct TlsClient {
    client: Client<HttpsConnector<Tcp>, SdkBody>,
}

impl TlsClient {
    /// One that believes every server. `None`: the TLS library has no version that it speaks.
    pub(crate) fn believing_anybody(connect_max: Duration) -> Option<Self> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let verifier = Arc::new(Anybody(Arc::clone(&provider)));
        Self::new(provider, verifier, connect_max)
    }

    /// One that believes a server whose certificate is one of these, byte for byte, where that is an authority's own and
    /// states the server's name, and whom they vouch for. `None`: none of them is an authority's that states this name, so
    /// that the SDK's own client does.
    pub(crate) fn believing_given(pem: &[u8], host: &str, connect_max: Duration) -> Option<Self> {
        let given = CertificateDer::pem_slice_iter(pem);
        let given: Vec<_> = given.filter_map(Result::ok).collect();
        let mut roots = RootCertStore::empty();
        for certificate in &given {
            roots.add(certificate.clone()).ok()?;
        }
        let provider = Arc::new(aws_lc_rs::default_provider());
        let chains =
            WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider));
        let chains = chains.build().ok()?;
        let verifier = Given { given, chains };
        let host = ServerName::try_from(host).ok()?;
        let is_any = verifier.given.iter().any(|one| {
            let judged = verifier
                .chains
                .verify_server_cert(one, &[], &host, &[], UnixTime::now());
            judged.is_err_and(|error| is_authority(&error)) && verifier.states(one, &host).is_ok()
        });
        if !is_any {
            return None;
        }
        Self::new(provider, Arc::new(verifier), connect_max)
    }

    fn new(
        provider: Arc<CryptoProvider>,
        verifier: Arc<dyn ServerCertVerifier>,
        connect_max: Duration,
    ) -> Option<Self> {
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .ok()?
            .dangerous()
            .with_custom_certificate_verifier(verifier)
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

impl HttpClient for TlsClient {
    fn http_connector(
        &self,
        settings: &HttpConnectorSettings,
        _components: &RuntimeComponents,
    ) -> SharedHttpConnector {
        SharedHttpConnector::new(TlsConnector {
            client: self.client.clone(),
            answer_max: settings.read_timeout(),
        })
    }
}

/// One that waits for answers so long.
#[derive(Debug, Clone)]
struct TlsConnector {
    client: Client<HttpsConnector<Tcp>, SdkBody>,
    answer_max: Option<Duration>,
}

impl HttpConnector for TlsConnector {
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

/// Takes what these certificates vouch for, and these themselves. Whoever is asked for an authority's own certificate and
/// answers with it holds its key, and could have signed any other.
#[derive(Debug)]
struct Given {
    given: Vec<CertificateDer<'static>>,
    chains: Arc<WebPkiServerVerifier>,
}

impl Given {
    /// Whether a certificate is one of these and states a name.
    fn states(
        &self,
        certificate: &CertificateDer<'_>,
        name: &ServerName<'_>,
    ) -> Result<(), rustls::Error> {
        if !self.given.iter().any(|given| given == certificate) {
            return Err(CertificateError::UnknownIssuer.into());
        }
        verify_server_name(&ParsedCertificate::try_from(certificate)?, name)
    }
}

/// Whether a certificate was refused for being an authority's own, and for nothing else: its time is looked at before that.
pub(crate) fn is_authority(error: &rustls::Error) -> bool {
    let rustls::Error::InvalidCertificate(CertificateError::Other(other)) = error else {
        return false;
    };
    other.0.downcast_ref() == Some(&webpki::Error::CaUsedAsEndEntity)
}

impl ServerCertVerifier for Given {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let chains = &self.chains;
        match chains.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)
        {
            Err(error) if is_authority(&error) => self
                .states(end_entity, server_name)
                .map(|()| ServerCertVerified::assertion()),
            judged => judged,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.chains
            .verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.chains
            .verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.chains.supported_verify_schemes()
    }
}
