//! TLS to PostgreSQL, by rustls.
//!
//! The default of the URL's `sslaccept` encrypts without asking who the server is; operators rely on it with
//! self-signed certificates. `strict` checks the certificate. To servers that ask who we are, `sslidentity` answers.

use std::io;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_postgres::tls::{ChannelBinding, TlsConnect, TlsStream};
use tokio_rustls::TlsConnector;

use super::settings::{Certificates, Host, Settings, TlsMode};
use super::stream::Stream;
use crate::storage::error::Error;

/// What a file of certificates as text contains; without it, it is one certificate in binary form.
const PEM: &[u8] = b"-----BEGIN ";

/// Makes TLS sessions for one server; empty where TLS is off.
#[derive(Clone)]
pub(super) struct Tls(Option<(TlsConnector, ServerName<'static>)>);

impl Tls {
    /// Reads the certificates the settings name.
    pub(super) fn new(settings: &Settings) -> Result<Self, Error> {
        let Host::Tcp(host) = &settings.host else { return Ok(Self(None)) };
        if settings.tls == TlsMode::Disable {
            return Ok(Self(None));
        }
        let name = ServerName::try_from(host.clone())
            .map_err(|_| Error::Internal(format!("{host} is neither a host name nor an address")))?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .map_err(|error| Error::Internal(error.to_string()))?;
        let builder = match &settings.certificates {
            Certificates::AcceptInvalid => {
                builder.dangerous().with_custom_certificate_verifier(Arc::new(AcceptInvalid(provider)))
            }
            Certificates::Strict { authorities } => builder.with_root_certificates(roots(authorities.as_deref())?),
        };
        let config = match &settings.identity {
            None => builder.with_no_client_auth(),
            Some(path) => {
                let (chain, key) = identity(path)?;
                builder.with_client_auth_cert(chain, key).map_err(|error| no_identity(path, &error))?
            }
        };
        Ok(Self(Some((TlsConnector::from(Arc::new(config)), name))))
    }

    pub(super) fn is_on(&self) -> bool {
        self.0.is_some()
    }
}

/// Reads `sslidentity`. Its PKCS#12 form would take ciphers that nothing else here needs, the weak ones of its past among
/// them; openssl turns it into PEM.
fn identity(path: &Path) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>), Error> {
    let bytes = std::fs::read(path).map_err(|error| no_identity(path, &error))?;
    if !is_pem(&bytes) {
        let place = path.display();
        return Err(no_identity(
            path,
            &format!(
                "it is not PEM; expected a certificate and its unencrypted key as PEM. If it is PKCS#12, convert it: \
                 openssl pkcs12 -in {place} -nodes -out {place}.pem (with -legacy if it is an old one)"
            ),
        ));
    }
    let chain: Vec<_> =
        CertificateDer::pem_slice_iter(&bytes).collect::<Result<_, _>>().map_err(|error| no_identity(path, &error))?;
    if chain.is_empty() {
        return Err(no_identity(path, &"it holds no certificate"));
    }
    let expected = "expected an unencrypted key beside the certificate (openssl pkey takes a password off)";
    let key = PrivateKeyDer::from_pem_slice(&bytes)
        .map_err(|error| no_identity(path, &format!("it holds no key that can be read ({error}); {expected}")))?;
    Ok((chain, key))
}

fn no_identity(path: &Path, error: &dyn std::fmt::Display) -> Error {
    Error::Internal(format!("DATABASE_URL: sslidentity {} cannot be used: {error}", path.display()))
}

fn is_pem(bytes: &[u8]) -> bool {
    bytes.windows(PEM.len()).any(|window| window == PEM)
}

fn roots(file: Option<&Path>) -> Result<RootCertStore, Error> {
    let mut roots = RootCertStore::empty();
    match file {
        Some(path) => {
            let refuse =
                |error: &dyn std::fmt::Display| Error::Internal(format!("sslcert {}: {error}", path.display()));
            let bytes = std::fs::read(path).map_err(|error| refuse(&error))?;
            let certificates = if is_pem(&bytes) {
                CertificateDer::pem_slice_iter(&bytes).collect::<Result<_, _>>().map_err(|error| refuse(&error))?
            } else {
                vec![CertificateDer::from(bytes)]
            };
            for certificate in certificates {
                roots.add(certificate).map_err(|error| refuse(&error))?;
            }
            if roots.is_empty() {
                return Err(refuse(&"the file holds no certificate"));
            }
        }
        None => {
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        }
    }
    Ok(roots)
}

impl TlsConnect<Stream> for Tls {
    type Stream = Encrypted;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Encrypted>>>>;

    fn connect(self, stream: Stream) -> Self::Future {
        Box::pin(async move {
            let Some((connector, name)) = self.0 else { return Err(io::Error::other("TLS is switched off")) };
            connector.connect(name, stream).await.map(|stream| Encrypted(Box::new(stream)))
        })
    }
}

/// A TLS session over the socket.
pub(super) struct Encrypted(Box<tokio_rustls::client::TlsStream<Stream>>);

impl TlsStream for Encrypted {
    fn channel_binding(&self) -> ChannelBinding {
        ChannelBinding::none()
    }
}

impl AsyncRead for Encrypted {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buf)
    }
}

impl AsyncWrite for Encrypted {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

/// Takes any certificate, but still has the server prove that it holds the key.
#[derive(Debug)]
struct AcceptInvalid(Arc<CryptoProvider>);

impl ServerCertVerifier for AcceptInvalid {
    fn verify_server_cert(
        &self,
        _certificate: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
