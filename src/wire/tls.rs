//! TLS for brokers, with the feature `tls`: the broker proves who it is, and so does this client
//! where it is asked to.
//!
//! With TLS 1.3 a broker judges the client's certificate only after the client believes itself
//! connected, so a refusal may come with the first bytes that are read: [`explain`] is for those
//! errors too.

use std::io;
use std::path::Path;
use std::sync::Arc;

use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio_rustls::rustls::{
    AlertDescription, CertificateError, ClientConfig, Error as TlsError, RootCertStore,
};

use super::trust::{Identity, Key, Trust};

/// Greets a server that must prove that it is `host`.
pub(super) async fn connect(
    host: &str,
    stream: TcpStream,
    trust: &Trust,
) -> io::Result<TlsStream<TcpStream>> {
    let config = Arc::new(config(trust)?);
    let name = ServerName::try_from(host.to_owned())
        .map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?;
    TlsConnector::from(config).connect(name, stream).await.map_err(|error| named(&error, host))
}

/// Whether the files can be read and the key belongs to the certificate.
pub(super) fn check(trust: &Trust) -> io::Result<()> {
    config(trust).map(|_| ())
}

fn config(trust: &Trust) -> io::Result<ClientConfig> {
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(io::Error::other)?
        .with_root_certificates(roots(trust)?);
    let Some(identity) = &trust.identity else { return Ok(config.with_no_client_auth()) };
    let chain = certificates(&identity.certificate, "the certificate")?;
    let key = key(&identity.key)?;
    config.with_client_auth_cert(chain, key).map_err(|error| unusable(identity, &error))
}

fn unusable(identity: &Identity, error: &TlsError) -> io::Error {
    let certificate = identity.certificate.display();
    wrong(match error {
        TlsError::InconsistentKeys(_) => {
            format!("the key does not belong to the certificate {certificate}")
        }
        other => format!("the certificate {certificate} and its key cannot be used: {other}"),
    })
}

fn roots(trust: &Trust) -> io::Result<RootCertStore> {
    if let Some(path) = &trust.authorities {
        let mut roots = RootCertStore::empty();
        add(&mut roots, path, "the authority's certificate")?;
        return Ok(roots);
    }
    let mut roots = RootCertStore::from_iter(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
    if let Some(path) = std::env::var_os("SSL_CERT_FILE") {
        add(&mut roots, Path::new(&path), "SSL_CERT_FILE")?;
    }
    Ok(roots)
}

fn add(roots: &mut RootCertStore, path: &Path, what: &str) -> io::Result<()> {
    for certificate in certificates(path, what)? {
        roots
            .add(certificate)
            .map_err(|error| wrong(format!("{what} {}: {error}", path.display())))?;
    }
    Ok(())
}

fn certificates(path: &Path, what: &str) -> io::Result<Vec<CertificateDer<'static>>> {
    let unreadable = |why: String| wrong(format!("{what} {}: {why}", path.display()));
    // The file is opened first: the parser's own words for a missing file name no reason.
    let pem = std::fs::read(path).map_err(|error| unreadable(error.to_string()))?;
    let found = CertificateDer::pem_slice_iter(&pem).collect::<Result<Vec<_>, _>>();
    let found = found.map_err(|error| unreadable(error.to_string()))?;
    if found.is_empty() {
        return Err(unreadable("no `-----BEGIN CERTIFICATE-----` in it".to_owned()));
    }
    Ok(found)
}

/// Errors never repeat what was read.
fn key(key: &Key) -> io::Result<PrivateKeyDer<'static>> {
    let no_key = "no private key in PEM without a passphrase (`-----BEGIN PRIVATE KEY-----`)";
    match key {
        Key::File(path) => {
            let unreadable = |why: &str| wrong(format!("the key {}: {why}", path.display()));
            let pem = std::fs::read(path).map_err(|error| unreadable(&error.to_string()))?;
            PrivateKeyDer::from_pem_slice(&pem).map_err(|_| unreadable(no_key))
        }
        Key::Text(text) => PrivateKeyDer::from_pem_slice(text.as_bytes())
            .map_err(|_| wrong(format!("the key of the environment: {no_key}"))),
    }
}

fn wrong(text: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, text)
}

fn named(error: &io::Error, host: &str) -> io::Error {
    use io::ErrorKind as Kind;
    explain(error, host).unwrap_or_else(|| {
        let text = match error.kind() {
            Kind::UnexpectedEof | Kind::ConnectionReset | Kind::BrokenPipe => not_tls(host),
            _ => format!("no TLS with {host}: {error}"),
        };
        io::Error::new(error.kind(), text)
    })
}

fn not_tls(host: &str) -> String {
    format!(
        "{host} does not speak TLS on this port; write the port that does, or `mqtt://` on a \
         network you trust"
    )
}

/// What a failed greeting means and what to do about it; `None` when TLS is not the reason.
/// Permission is denied where only a person can change that.
pub(super) fn explain(error: &io::Error, host: &str) -> Option<io::Error> {
    let error = error.get_ref()?.downcast_ref::<TlsError>()?;
    let final_word = matches!(error, TlsError::InvalidCertificate(_) | TlsError::AlertReceived(_));
    let kind =
        if final_word { io::ErrorKind::PermissionDenied } else { io::ErrorKind::ConnectionAborted };
    let text = match error {
        TlsError::InvalidCertificate(reason) => of_certificate(reason, host),
        TlsError::AlertReceived(alert) => of_alert(*alert),
        TlsError::InvalidMessage(_) => not_tls(host),
        other => format!("no TLS with {host}: {other}"),
    };
    Some(io::Error::new(kind, text))
}

fn of_certificate(reason: &CertificateError, host: &str) -> String {
    use CertificateError as Why;
    match reason {
        Why::UnknownIssuer => format!(
            "the certificate of {host} is signed by an authority that is not trusted here; if it \
             is your lab's own, name its file: `tls: {{ca: FILE}}`"
        ),
        Why::Expired | Why::ExpiredContext { .. } => format!(
            "the certificate of {host} has expired; renew it, or set the clock of this computer \
             if that is wrong"
        ),
        Why::NotValidYet | Why::NotValidYetContext { .. } => format!(
            "the certificate of {host} is not valid yet; is the clock of this computer right?"
        ),
        Why::NotValidForName => other_name(host, ""),
        Why::NotValidForNameContext { presented, .. } => {
            other_name(host, &format!(" ({})", presented.join(", ")))
        }
        other => format!("the certificate of {host} cannot be trusted: {other}"),
    }
}

fn other_name(host: &str, names: &str) -> String {
    format!(
        "the certificate is not for {host} but for another name{names}; write that name in `at`, \
         or make a certificate for {host}"
    )
}

fn of_alert(alert: AlertDescription) -> String {
    use AlertDescription as Alert;
    match alert {
        Alert::CertificateRequired => "the broker wants a client certificate: `tls: {certificate: \
                                       FILE, key: file:PATH}`"
            .to_owned(),
        // With TLS 1.2 also the word for a client without a certificate.
        Alert::HandshakeFailure => {
            "the broker refuses the greeting: it wants a client certificate \
                                    (`tls: {certificate: FILE, key: file:PATH}`), or speaks none \
                                    of our ciphers"
                .to_owned()
        }
        Alert::UnknownCA => {
            "the broker does not know the authority that signed our `certificate`; \
                             use one that the broker's own authority has signed"
                .to_owned()
        }
        Alert::CertificateExpired => {
            "our `certificate` has expired, says the broker; renew it".to_owned()
        }
        Alert::CertificateRevoked => {
            "our `certificate` was revoked, says the broker; ask for a new one".to_owned()
        }
        Alert::BadCertificate | Alert::UnsupportedCertificate | Alert::CertificateUnknown => {
            format!("the broker does not accept our `certificate` ({alert:?})")
        }
        other => format!("the broker ended the greeting with the alert {other:?}"),
    }
}
