//! A panic in a task that drives a line ends that line and nothing else.
//!
//! The line is not set up again: its safe states do not go out before labloop is restarted, which the
//! notice says.

use std::any::Any;
use std::future::poll_fn;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::task::Poll;

use tokio::sync::mpsc;

use super::types::Notice;

/// A task that drives these instruments. If it panics they are lost, which is told at once: what was
/// under way is in doubt, nothing more is taken for them, and all others go on.
pub(super) async fn isolated(
    instruments: Vec<String>,
    notices: mpsc::Sender<Notice>,
    task: impl Future<Output = ()>,
) {
    let Err(why) = caught(task).await else { return };
    let detail = format!("its driver panicked: {why}; nothing is sent until labloop is restarted");
    tracing::error!(?instruments, %detail);
    for instrument in instruments {
        let lost = Notice::Link { instrument, up: false, detail: detail.clone() };
        if notices.send(lost).await.is_err() {
            return;
        }
    }
}

/// Runs a task to its end or to its panic. It is not polled again after that.
async fn caught(task: impl Future<Output = ()>) -> Result<(), String> {
    let mut task = pin!(task);
    poll_fn(|context| match catch_unwind(AssertUnwindSafe(|| task.as_mut().poll(context))) {
        Ok(polled) => polled.map(Ok),
        Err(panic) => Poll::Ready(Err(panic_text(panic.as_ref()))),
    })
    .await
}

/// What a panic said.
pub fn panic_text(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "no word".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn row_17_a_driver_that_panics_tells_that_its_instruments_are_lost() {
        let (notices, mut told) = mpsc::channel(4);
        let names = vec!["pump_1".to_owned(), "pump_2".to_owned()];
        let task = isolated(names.clone(), notices, async {
            tokio::task::yield_now().await;
            panic!("no such byte")
        });
        assert!(tokio::spawn(task).await.is_ok(), "the panic went on");
        for name in names {
            let Some(Notice::Link { instrument, up: false, detail }) = told.recv().await else {
                panic!("nothing is told of {name}")
            };
            assert_eq!(instrument, name);
            assert!(detail.starts_with("its driver panicked: no such byte;"), "{detail}");
        }
        assert!(told.recv().await.is_none());
    }
}
