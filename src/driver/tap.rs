//! Shows messages as they cross a wire, to whoever watches a fleet.
//!
//! The tap belongs to the task that owns a line, so that nothing on the way of a message has to
//! carry it.

use super::types::{Exchange, Tap};

tokio::task_local! {
    static WATCHED: Tap;
}

/// A task whose messages are shown.
pub(super) async fn watched(tap: Option<Tap>, task: impl Future<Output = ()>) {
    match tap {
        Some(tap) => WATCHED.scope(tap, task).await,
        None => task.await,
    }
}

/// Shows a message; one who does not keep up misses some, and the wire does not wait.
pub(super) fn show(exchange: &Exchange) {
    // An error means that nobody watches.
    let _ = WATCHED.try_with(|tap| tap.try_send(exchange.clone()));
}
