//! Brokers behind TLS must prove who they are. Needs the feature `tls` and the `openssl` program.
#![cfg(feature = "tls")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::process::{Child, Command, Stdio};
use std::time::Duration;

use labloop::wire::{Address, Dialer, SerialSettings};

struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A server with a certificate that nobody has signed.
fn server(folder: &std::path::Path) -> (Server, u16) {
    let key = folder.join("key.pem");
    let certificate = folder.join("certificate.pem");
    let made = Command::new("openssl")
        .args(["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"])
        .args(["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"])
        .arg("-keyout")
        .arg(&key)
        .arg("-out")
        .arg(&certificate)
        .stderr(Stdio::null())
        .status();
    assert!(made.expect("openssl is installed").success());
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = free.local_addr().unwrap().port();
    drop(free);
    let child = Command::new("openssl")
        .args(["s_server", "-quiet", "-accept", &format!("127.0.0.1:{port}")])
        .arg("-key")
        .arg(key)
        .arg("-cert")
        .arg(certificate)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    (Server(child), port)
}

#[tokio::test]
async fn a_broker_without_a_trusted_certificate_is_refused() {
    let folder = std::env::temp_dir().join(format!("labloop-tls-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let (_server, port) = server(&folder);
    let at = Address::parse(&format!("mqtts://localhost:{port}/lab")).unwrap();
    let mut result = Err(std::io::ErrorKind::NotFound.into());
    for _ in 0..50 {
        tokio::time::sleep(Duration::from_millis(100)).await;
        result = Dialer::real().open(&at, &SerialSettings::default()).await;
        if !matches!(&result, Err(e) if e.kind() == std::io::ErrorKind::ConnectionRefused) {
            break;
        }
    }
    let error = result.unwrap_err().to_string();
    assert!(error.contains("certificate"), "{error}");
    let _ = std::fs::remove_dir_all(folder);
}
