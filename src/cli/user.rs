//! Who gives a command.

use std::os::unix::fs::MetadataExt;

/// Who gives the command: the user of this process, by the system's list of users.
pub(super) fn user() -> String {
    let id = std::fs::metadata("/proc/self").map(|found| found.uid());
    let Ok(id) = id else { return "unknown".to_owned() };
    let list = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    let name = list.lines().find_map(|line| {
        let mut fields = line.split(':');
        let (name, number) = (fields.next()?, fields.nth(1)?);
        (number.parse() == Ok(id)).then(|| name.to_owned())
    });
    let name = name.unwrap_or_else(|| format!("user {id}"));
    match std::env::var("SUDO_USER") {
        Ok(person) if id == 0 && !person.is_empty() => format!("{person} (as {name})"),
        _ => name,
    }
}
