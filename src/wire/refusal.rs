//! Why a broker did not let us in, and what to do about it.

use std::io;

use super::mqtt::Options;

/// Words of both versions of MQTT for "not with these credentials".
const CREDENTIALS: &[&str] =
    &["NotAuthorized", "BadUserNamePassword", "BadUserName", "BadAuthentication"];

/// The broker answered that it does not want us.
pub(super) fn refused(reason: &str, options: &Options) -> io::Error {
    let mut text = format!("the broker refuses the connection: {reason}");
    if CREDENTIALS.iter().any(|word| reason.contains(word)) {
        text.push_str(&match &options.login {
            Some(login) => format!(
                "; it does not let the user `{}` in with this password: look at the user in `at` \
                 and at `secret`",
                login.user
            ),
            None => "; it wants to know who comes: write `at: \"mqtt://USER@host...\"` and \
                     `secret: env:NAME`, or a `tls` with a `certificate`"
                .to_owned(),
        });
    }
    io::Error::new(io::ErrorKind::PermissionDenied, text)
}

/// The connection ended before the broker answered.
pub(super) fn unanswered(error: io::Error, options: &Options, secure: bool) -> io::Error {
    #[cfg(feature = "tls")]
    if let Some(explained) = super::tls::explain(&error, "the broker") {
        return explained;
    }
    use io::ErrorKind as Kind;
    let closed = [
        Kind::UnexpectedEof,
        Kind::ConnectionReset,
        Kind::ConnectionAborted,
        Kind::BrokenPipe,
        Kind::NotConnected,
    ];
    if !closed.contains(&error.kind()) {
        return error;
    }
    let who = match &options.login {
        Some(login) => format!("the password of `{}` is wrong (`secret`)", login.user),
        None => {
            "it wants a user and a password (`at: \"mqtt://USER@host...\"`, `secret`)".to_owned()
        }
    };
    let wire = if secure {
        "or that it wants another client certificate (`tls`)"
    } else {
        "or that this port speaks TLS (`mqtts://`)"
    };
    io::Error::new(
        Kind::ConnectionAborted,
        format!(
            "the broker closed the connection without a word; with some that means that {who}, \
             {wire}; its log says which"
        ),
    )
}
