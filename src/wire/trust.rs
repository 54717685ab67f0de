//! What a broker and this client need to prove to each other who they are.

use std::fmt;
use std::path::PathBuf;

/// Settings of TLS for one broker. Files are PEM and are read at each connect, so that renewed
/// certificates count without a restart.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Trust {
    /// The only authorities whose signature on the broker's certificate counts. `None`: those that
    /// Mozilla trusts and those in the file that `SSL_CERT_FILE` names.
    pub authorities: Option<PathBuf>,
    /// What this client shows a broker that wants to know its clients.
    pub identity: Option<Identity>,
}

/// A client's certificate and its key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// File of the certificate, perhaps with those between it and its authority.
    pub certificate: PathBuf,
    /// Its key.
    pub key: Key,
}

/// Where a key is. Its text never shows in logs or errors.
#[derive(Clone, PartialEq, Eq)]
pub enum Key {
    /// In a file.
    File(PathBuf),
    /// This PEM text.
    Text(String),
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Key::File(path) => f.debug_tuple("File").field(path).finish(),
            Key::Text(_) => f.write_str("Text(..)"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_does_not_show_itself() {
        let key = Key::Text("-----BEGIN PRIVATE KEY-----".to_owned());
        let identity = Identity { certificate: PathBuf::from("c.pem"), key };
        assert_eq!(format!("{identity:?}"), "Identity { certificate: \"c.pem\", key: Text(..) }");
    }
}
