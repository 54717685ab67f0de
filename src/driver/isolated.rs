//! A panic in a task that drives a line costs that line a pause and nothing else.
//!
//! ```text
//! panic -> what was under way is answered: in doubt; the instruments are told lost
//!       -> the connection and all that was known of it are made anew; queue, handles and what is
//!          urgent stay, so that safe states and the emergency stop go out as before
//!       -> after a pause: connected, identified and prepared like after a cut cable
//! more than MOST in WITHIN   -> not connected again; what is urgent is still done
//! a panic even then          -> everything is refused
//! ```

use std::any::Any;
use std::collections::VecDeque;
use std::future::poll_fn;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use tokio::time::Instant;

use super::line::Outbox;
use super::types::Notice;

/// Panics of one driver within [`WITHIN`] after which it is set up again: a rare message that it
/// cannot digest is survived, and one that comes again and again does not keep the line busy.
const MOST: usize = 3;
const WITHIN: Duration = Duration::from_secs(3_600);

/// Rest before it connects again, in wall time: long enough for what is on its way to arrive, and
/// short enough that most devices that watch their line do not miss us.
const REST: Duration = Duration::from_secs(1);

/// How a line goes on after its driver panicked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Then {
    /// It connects again at this moment.
    At(Instant),
    /// It does not connect again of its own; safe states are sent.
    SafeStatesOnly,
}

/// A task that owns a line. Its work may panic; what it is made of stays.
pub(super) trait Driven: Send {
    /// Drives the line until it is shut down, or no longer ours.
    fn drive(&mut self) -> impl Future<Output = ()> + Send;

    /// After a panic: answers all that was under way, tells the instruments lost, and makes anew
    /// whatever the work may have left half-done.
    fn renew(&mut self, why: &str, then: Then);

    /// Refuses everything until it is shut down.
    fn refuse(&mut self, why: &str) -> impl Future<Output = ()> + Send;
}

/// What the work on a line must remember across a panic of its driver.
#[derive(Debug)]
pub(super) struct Recovery {
    /// When the line is opened next.
    pub connect_at: Instant,
    /// Why it is not opened any more, but for safe states.
    pub given_up: Option<String>,
    /// Safe states that were asked for and are not begun.
    pub wanted: VecDeque<String>,
    /// The instrument whose safe state is being sent.
    pub saving: Option<String>,
    /// It was told to end.
    pub ends: bool,
}

impl Recovery {
    pub fn new() -> Recovery {
        let (given_up, wanted, saving, ends) = (None, VecDeque::new(), None, false);
        Recovery { connect_at: Instant::now(), given_up, wanted, saving, ends }
    }

    /// Whether the line is to be opened now.
    pub fn connects(&self) -> bool {
        self.given_up.is_none() && self.connect_at <= Instant::now()
    }

    /// When it is, if ever.
    pub fn next(&self) -> Option<Instant> {
        self.given_up.is_none().then_some(self.connect_at)
    }

    /// After a panic. A safe state that was being sent is answered: whoever wants it asks again.
    pub fn take_up(&mut self, why: &str, then: Then, outbox: &mut Outbox) {
        match then {
            Then::At(moment) => self.connect_at = moment,
            Then::SafeStatesOnly => self.given_up = Some(why.to_owned()),
        }
        if let Some(instrument) = self.saving.take() {
            not_safe(instrument, why, outbox);
        }
    }

    /// Nothing is sent any more, also no safe state.
    pub fn forgo(&mut self, why: &str, outbox: &mut Outbox) {
        for instrument in self.saving.take().into_iter().chain(std::mem::take(&mut self.wanted)) {
            not_safe(instrument, why, outbox);
        }
    }
}

fn not_safe(instrument: String, why: &str, outbox: &mut Outbox) {
    let (confirmed, detail, trace) = (false, why.to_owned(), Vec::new());
    outbox.put(Notice::SafeState { instrument, confirmed, detail, trace });
}

/// Drives a line to its end, across panics.
pub(super) async fn isolated(mut line: impl Driven) {
    let mut panics = VecDeque::new();
    let mut given_up = false;
    loop {
        let Err(panic) = caught(line.drive()).await else { return };
        let now = Instant::now();
        panics.retain(|at| now.duration_since(*at) < WITHIN);
        panics.push_back(now);
        let mut why = format!("its driver panicked: {panic}; ");
        let then = if given_up {
            None
        } else if panics.len() > MOST {
            given_up = true;
            Some(Then::SafeStatesOnly)
        } else {
            Some(Then::At(now + REST))
        };
        why.push_str(&match then {
            Some(Then::At(_)) => format!("it is set up again in {} s", REST.as_secs()),
            Some(Then::SafeStatesOnly) => format!(
                "after {} times within an hour nothing but its safe state is sent until labloop is \
                 restarted",
                panics.len()
            ),
            None => "nothing is sent until labloop is restarted".to_owned(),
        });
        tracing::error!(%why, "a driver panicked");
        let renewed = catch_unwind(AssertUnwindSafe(|| {
            line.renew(&why, then.unwrap_or(Then::SafeStatesOnly));
        }));
        if then.is_none() || renewed.is_err() {
            return line.refuse(&why).await;
        }
    }
}

/// Runs a task to its end or to its panic. It is not polled again after that.
pub(super) async fn caught<T>(task: impl Future<Output = T>) -> Result<T, String> {
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

    /// Panics each time it is driven, and again when it is made anew if it is told to.
    #[derive(Default)]
    struct Bad {
        driven: usize,
        told: Vec<(String, Then)>,
        refused: Vec<String>,
        pause: Duration,
        renews: bool,
    }

    impl Driven for &mut Bad {
        async fn drive(&mut self) {
            tokio::time::sleep(self.pause).await;
            self.driven += 1;
            panic!("no such byte")
        }

        fn renew(&mut self, why: &str, then: Then) {
            assert!(self.renews, "it cannot be made anew");
            self.told.push((why.to_owned(), then));
        }

        async fn refuse(&mut self, why: &str) {
            self.refused.push(why.to_owned());
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_driver_that_panics_is_set_up_again_three_times_in_an_hour_and_not_for_ever() {
        let mut bad = Bad { pause: Duration::from_secs(60), renews: true, ..Bad::default() };
        isolated(&mut bad).await;
        assert_eq!((bad.driven, bad.told.len(), bad.refused.len()), (5, 5, 1));
        let again = bad.told.iter().take_while(|(_, then)| matches!(then, Then::At(_))).count();
        assert_eq!(again, MOST);
        assert!(bad.told[0].0.starts_with("its driver panicked: no such byte; it is set up again"));
        assert!(bad.told[3].0.contains("nothing but its safe state"), "{}", bad.told[3].0);
        assert!(bad.refused[0].contains("nothing is sent until labloop is restarted"));
    }

    #[tokio::test(start_paused = true)]
    async fn panics_that_lie_hours_apart_do_not_add_up() {
        let mut bad = Bad { pause: WITHIN, renews: true, ..Bad::default() };
        let ended = tokio::time::timeout(100 * WITHIN, isolated(&mut bad)).await;
        assert!(ended.is_err(), "it gave up");
        assert!(bad.driven > 90);
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_cannot_be_made_anew_refuses_everything() {
        let mut bad = Bad::default();
        isolated(&mut bad).await;
        assert_eq!((bad.driven, bad.refused.len()), (1, 1));
    }
}
