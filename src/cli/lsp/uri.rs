//! `file:` addresses and paths.

use std::path::{Path, PathBuf};

/// The path of a `file:` address; another address stands for itself.
pub(super) fn path(uri: &str) -> PathBuf {
    let Some(rest) = uri.strip_prefix("file://") else { return PathBuf::from(uri) };
    // An authority, if there is one, ends at the first slash.
    let rest = rest.find('/').and_then(|at| rest.get(at..)).unwrap_or(rest);
    let mut bytes = Vec::with_capacity(rest.len());
    let mut at = 0;
    while let Some(byte) = rest.as_bytes().get(at) {
        let hex = rest.get(at + 1..at + 3).and_then(|hex| u8::from_str_radix(hex, 16).ok());
        match (byte, hex) {
            (b'%', Some(decoded)) => {
                bytes.push(decoded);
                at += 3;
            }
            _ => {
                bytes.push(*byte);
                at += 1;
            }
        }
    }
    let text = String::from_utf8_lossy(&bytes).into_owned();
    // `/c:/lab` is `c:/lab` where drives have letters.
    let drive = cfg!(windows) && text.as_bytes().get(2) == Some(&b':');
    PathBuf::from(if drive { text.trim_start_matches('/').to_owned() } else { text })
}

/// The address of an absolute path; `None` for others: they are built in and have no file.
pub(super) fn of(path: &Path) -> Option<String> {
    if !path.is_absolute() {
        return None;
    }
    let text = path.to_string_lossy().replace('\\', "/");
    let mut out = "file://".to_owned();
    if !text.starts_with('/') {
        out.push('/');
    }
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"/-._~:".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_with_spaces_and_other_letters_come_back() {
        for name in ["/lab/µ mix/a b%20.yaml", "/中/x.yaml", "/plain.yaml"] {
            let uri = of(Path::new(name)).unwrap();
            assert!(uri.is_ascii(), "{uri}");
            assert_eq!(path(&uri), Path::new(name));
        }
        assert_eq!(path("file://localhost/a"), Path::new("/a"));
        assert_eq!(path("file:///a%2"), Path::new("/a%2"));
        assert_eq!(of(Path::new("instruments/x.yaml")), None);
    }
}
