use super::*;
use crate::wire::Tick;

fn gate() -> (EmergencyStop, Arc<Urgent>) {
    let stop = EmergencyStop::detached(Clock::virtual_time(Tick(0)));
    let line: Arc<Urgent> = Arc::default();
    stop.0.add("pump".into(), Arc::clone(&line), None);
    stop.0.set_epoch(4);
    (stop, line)
}

#[tokio::test(start_paused = true)]
async fn a_pressed_stop_refuses_every_command_until_it_is_cleared() {
    let (stop, line) = gate();
    stop.0.check(4).unwrap();
    stop.press("ada");
    let why = stop.0.check(4).unwrap_err();
    assert!(why.contains("ada pressed the emergency stop"), "{why}");
    assert_eq!(line.take().safe, ["pump"]);
    assert_eq!(stop.outcomes()["pump"], Stopped::Pending);
    let first = stop.pressed().unwrap();
    stop.press("bob");
    let again = stop.pressed().unwrap();
    assert_eq!((again.by.as_str(), again.number), ("ada", first.number + 1));
    assert!(!stop.clear(first.number), "bob's press was cleared with ada's");
    assert!(stop.clear(again.number));
    stop.0.check(4).unwrap();
    assert_eq!(stop.pressed(), None);
}

#[tokio::test(start_paused = true)]
async fn one_that_does_not_confirm_is_told_again_for_ever_and_never_called_safe() {
    let (stop, line) = gate();
    tokio::spawn(insist(Arc::clone(&stop.0)));
    stop.press("ada");
    for tries in 1..=50 {
        assert_eq!(line.take().safe, ["pump"], "not asked again after {} tries", tries - 1);
        stop.0.reported("pump", false, "it does not answer");
        let told = stop.not_confirmed();
        assert_eq!(told["pump"], "it does not answer");
        let now = Stopped::NotConfirmed { detail: "it does not answer".into(), tries };
        assert_eq!(stop.outcomes()["pump"], now);
        tokio::time::sleep(LONGEST_RETRY + Duration::from_secs(1)).await;
    }
    assert_eq!(line.take().safe, ["pump"]);
    stop.0.reported("pump", true, "confirmed");
    assert!(stop.not_confirmed().is_empty());
    tokio::time::sleep(3 * UNANSWERED).await;
    assert!(line.take().safe.is_empty(), "a confirmed safe state is not sent again");
}

#[tokio::test(start_paused = true)]
async fn a_driver_that_never_says_how_it_went_is_asked_anew() {
    let (stop, line) = gate();
    tokio::spawn(insist(Arc::clone(&stop.0)));
    stop.press("ada");
    assert_eq!(line.take().safe, ["pump"]);
    tokio::time::sleep(UNANSWERED + Duration::from_secs(1)).await;
    assert_eq!(line.take().safe, ["pump"]);
    assert_eq!(stop.not_confirmed()["pump"], "no answer yet");
}

#[tokio::test(start_paused = true)]
async fn a_device_is_fed_only_while_the_engine_beats_and_after_a_stop_once_it_is_safe() {
    let (stop, line) = gate();
    let health = Health(Arc::clone(&stop.0));
    let within = Duration::from_millis(500);
    tokio::time::sleep(Duration::from_secs(9)).await;
    assert!(stop.0.may_feed("pump", within), "nobody promised to beat");
    health.beat();
    assert!(stop.0.may_feed("pump", within));
    tokio::time::sleep(Duration::from_millis(501)).await;
    assert!(!stop.0.may_feed("pump", within), "the engine is stuck");
    health.beat();
    stop.press("ada");
    assert!(!stop.0.may_feed("pump", within), "it is not known to be safe");
    stop.0.reported("pump", false, "refused");
    assert!(!stop.0.may_feed("pump", within), "its own watchdog is the next to act");
    line.take();
    stop.0.reported("pump", true, "confirmed");
    assert!(stop.0.may_feed("pump", within));
    Lease(Arc::clone(&stop.0)).lapse("taken");
    assert!(!stop.0.may_feed("pump", within));
}

#[tokio::test(start_paused = true)]
async fn row_22_what_an_engine_sent_before_it_was_stopped_does_not_pass_when_it_wakes_up() {
    let (stop, _) = gate();
    let health = Health(Arc::clone(&stop.0));
    health.beat();
    tokio::time::sleep(LEASE_OLD).await;
    stop.0.check(4).unwrap();
    tokio::time::sleep(Duration::from_millis(1)).await;
    assert!(stop.0.check(4).unwrap_err().contains("was not heard of for 10 s"));
    health.beat();
    stop.0.check(4).unwrap();
}

#[tokio::test(start_paused = true)]
async fn tries_come_to_lie_farther_apart_than_a_watchdog_waits() {
    let stop = EmergencyStop::detached(Clock::virtual_time(Tick(0)));
    let (line, watchdog) = (Arc::<Urgent>::default(), Duration::from_secs(30));
    stop.0.add("pump".into(), Arc::clone(&line), Some(watchdog));
    tokio::spawn(insist(Arc::clone(&stop.0)));
    stop.press("ada");
    let mut last = Instant::now();
    let mut longest = Duration::ZERO;
    for _ in 0..30 {
        while line.take().safe.is_empty() {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        longest = longest.max(last.elapsed());
        last = Instant::now();
        stop.0.reported("pump", false, "refused");
    }
    assert!(longest > watchdog, "{longest:?}");
}

#[test]
fn a_command_of_another_engine_does_not_pass() {
    let (stop, _) = gate();
    let why = stop.0.check(3).unwrap_err();
    assert!(why.contains("of engine 3") && why.contains("engine 4's"), "{why}");
}

#[test]
fn a_lapsed_lease_is_lapsed_for_good() {
    let (stop, line) = gate();
    let lease = Lease(Arc::clone(&stop.0));
    lease.lapse("engine 5 took the folder");
    lease.lapse("another reason");
    assert!(stop.0.check(4).unwrap_err().contains("engine 5 took the folder"));
    assert!(line.has_lapsed());
}

#[test]
fn presses_and_clearings_at_once_never_leave_a_pressed_stop_open() {
    let (stop, _) = gate();
    for _ in 0..200 {
        let threads: Vec<_> = (0..2)
            .map(|n| {
                let stop = stop.clone();
                std::thread::spawn(move || {
                    if n == 0 {
                        stop.press("ada");
                    } else if let Some(pressed) = stop.pressed() {
                        stop.clear(pressed.number);
                    }
                })
            })
            .collect();
        for thread in threads {
            thread.join().unwrap();
        }
        assert_eq!(stop.pressed().is_some(), stop.0.check(4).is_err());
    }
}
