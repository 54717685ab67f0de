//! A laboratory's own certificate authority, made with the `openssl` program.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Signs certificates in a folder.
pub struct Authority {
    folder: PathBuf,
    name: String,
}

fn openssl(folder: &Path, args: &[&str]) {
    let made = Command::new("openssl")
        .args(args)
        .current_dir(folder)
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&made.stderr);
    assert!(made.status.success(), "openssl {}\n{said}", args.join(" "));
}

impl Authority {
    /// An authority whose files begin with `name`.
    pub fn new(folder: &Path, name: &str) -> Authority {
        let (key, pem) = (format!("{name}.key"), format!("{name}.pem"));
        let subject = format!("/CN={name}");
        let curve = "ec_paramgen_curve:prime256v1";
        openssl(
            folder,
            &[
                "req", "-x509", "-newkey", "ec", "-pkeyopt", curve, "-nodes", "-days", "2",
                "-subj", &subject, "-keyout", &key, "-out", &pem,
            ],
        );
        Authority { folder: folder.to_owned(), name: name.to_owned() }
    }

    /// File of its own certificate.
    pub fn certificate(&self) -> PathBuf {
        self.folder.join(format!("{}.pem", self.name))
    }

    /// Signs `who.pem` with `who.key` for names such as `DNS:localhost`.
    pub fn sign(&self, who: &str, names: &str) -> (PathBuf, PathBuf) {
        self.sign_for(who, names, &["-days", "2"])
    }

    /// The same, but years too old.
    pub fn sign_expired(&self, who: &str, names: &str) -> (PathBuf, PathBuf) {
        self.sign_for(who, names, &["-startdate", "200101000000Z", "-enddate", "210101000000Z"])
    }

    fn sign_for(&self, who: &str, names: &str, dates: &[&str]) -> (PathBuf, PathBuf) {
        let (key, request) = (format!("{who}.key"), format!("{who}.csr"));
        let subject = format!("/CN={who}");
        let curve = "ec_paramgen_curve:prime256v1";
        openssl(
            &self.folder,
            &[
                "req", "-newkey", "ec", "-pkeyopt", curve, "-nodes", "-subj", &subject, "-keyout",
                &key, "-out", &request,
            ],
        );
        let write = |file: &str, text: &str| std::fs::write(self.folder.join(file), text).unwrap();
        let extensions = format!("{who}.ext");
        write(&extensions, &format!("subjectAltName={names}\n"));
        write("index.txt", "");
        write(
            "ca.cnf",
            "[ca]\ndefault_ca=lab\n[lab]\nnew_certs_dir=.\ndatabase=index.txt\n\
             default_md=sha256\npolicy=any\nrand_serial=yes\n[any]\ncommonName=supplied\n",
        );
        let (ca, ca_key) = (format!("{}.pem", self.name), format!("{}.key", self.name));
        let pem = format!("{who}.pem");
        let mut args = vec!["ca", "-batch", "-notext", "-config", "ca.cnf"];
        args.extend(["-in", &request, "-cert", &ca, "-keyfile", &ca_key]);
        args.extend(["-extfile", &extensions, "-out", &pem]);
        args.extend(dates);
        openssl(&self.folder, &args);
        (self.folder.join(pem), self.folder.join(key))
    }
}
