//! Passwords, certificates and keys of a lab: where they are kept, never what they are.

use crate::spec::codes;
use crate::spec::diagnostic::Diagnostic;
use crate::spec::reader::{Item, Reader};
use crate::spec::source::Spanned;

use super::tables::TLS;
use super::{Secret, Tls};

/// Fix for a key in the file, or a bare path.
const KEY: &str = "key: file:labloop.key";

/// Where a secret is kept; `fix` is shown when it stands in the file itself.
pub(super) fn secret(r: &mut Reader<'_>, item: Item<'_>, fix: &str) -> Option<Spanned<Secret>> {
    let text = r.text(item)?;
    let env = text.value.strip_prefix("env:").filter(|name| !name.is_empty());
    let file = text.value.strip_prefix("file:").filter(|path| !path.is_empty());
    match (env, file) {
        (Some(name), _) => Some(Spanned::new(Secret::Environment(name.to_owned()), text.span)),
        (_, Some(path)) => Some(Spanned::new(Secret::File(path.to_owned()), text.span)),
        (None, None) => {
            r.push(
                Diagnostic::error(
                    codes::SECRET,
                    text.span,
                    "take the secret out of the file: write env:NAME or file:PATH",
                )
                .label("looks like the secret itself")
                .reason("lab files are shared and kept; a password in them is public")
                .fix(fix),
            );
            None
        }
    }
}

/// How a broker and labloop prove who they are.
pub(super) fn tls(r: &mut Reader<'_>, item: Item<'_>) -> Option<Tls> {
    let f = r.object(item, &TLS)?;
    let ca = f.get("ca").and_then(|item| file(r, item));
    let certificate = f.get("certificate").and_then(|item| file(r, item));
    let key = f.get("key").and_then(|item| secret(r, item, KEY));
    for (one, other, fix) in
        [("certificate", "key", KEY), ("key", "certificate", "certificate: labloop.pem")]
    {
        if f.has(one) && !f.has(other) {
            r.push(
                Diagnostic::error(
                    codes::TLS_FORM,
                    f.key_span(one).unwrap_or(f.span),
                    format!("add `{other}` beside `{one}`"),
                )
                .label("proves nothing alone")
                .reason("a certificate is shown, and its key proves that it is ours")
                .fix(fix),
            );
        }
    }
    if !f.has("ca") && !f.has("certificate") && !f.has("key") && !f.has_unknown() {
        r.push(
            Diagnostic::error(
                codes::TLS_FORM,
                f.span,
                "name a `ca`, or a `certificate` with its `key`, or remove `tls`",
            )
            .label("changes nothing")
            .fix("tls: {ca: lab-ca.pem}"),
        );
    }
    Some(Tls { ca, certificate, key, span: f.span })
}

/// The path of a PEM file.
fn file(r: &mut Reader<'_>, item: Item<'_>) -> Option<Spanned<String>> {
    let text = r.text(item)?;
    let (path, label) = match text.value.split_once(':') {
        Some(("file" | "env", path)) => (path, "only the key is a secret"),
        _ if text.value.contains("-----BEGIN") => ("lab-ca.pem", "the certificate itself"),
        _ => return Some(text),
    };
    r.push(
        Diagnostic::error(
            codes::BAD_VALUE,
            text.span,
            format!("write the path of the PEM file, such as `{path}`"),
        )
        .label(label)
        .fix(format!("{}: {path}", item.key)),
    );
    None
}

/// Reports a password or certificates on a wire that has none.
pub(super) fn fits(
    r: &mut Reader<'_>,
    name: &Spanned<String>,
    address: &Spanned<String>,
    secret: Option<&Spanned<Secret>>,
    tls: Option<&Tls>,
) {
    let broker = ["mqtt://", "mqtts://"].iter().any(|scheme| address.value.starts_with(scheme));
    if let Some(secret) = secret
        && !broker
    {
        r.push(
            Diagnostic::error(
                codes::ACCESS_WIRE,
                secret.span,
                format!("remove `secret` from `{}`", name.value),
            )
            .label("nobody would ask for this password")
            .also(address.span, "only a broker asks for one"),
        );
    }
    if let Some(tls) = tls
        && !address.value.starts_with("mqtts://")
    {
        let (message, fix) = match address.value.strip_prefix("mqtt://") {
            Some(rest) => {
                let rest = rest.replacen(":1883", ":8883", 1);
                let fix = format!("at: \"mqtts://{rest}\"");
                (format!("write mqtts:// in `at` of `{}`", name.value), Some(fix))
            }
            None => (format!("remove `tls` from `{}`", name.value), None),
        };
        let mut wrong = Diagnostic::error(codes::ACCESS_WIRE, tls.span, message)
            .label("never used: this wire is not encrypted")
            .also(address.span, "TLS is spoken to mqtts:// only");
        wrong.fix = fix;
        r.push(wrong);
    }
}
