//! What a slow subscriber loses, what it is told, and what the producer notices of it: nothing.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::Wake;
use std::time::Instant as Watch;

use super::super::quality::Quality;
use super::super::sample::Instant;
use super::*;

fn sample(tick: u64) -> Sample {
    Sample::new(Instant { tick: Tick(tick), wall_ms: 0 }, tick as f64, Quality::GOOD)
}

const A: SignalId = SignalId(1);
const B: SignalId = SignalId(2);

#[test]
fn a_slow_subscriber_loses_its_oldest_and_is_told_where() {
    let mut feed = Feed::default();
    let mut slow = feed.subscribe(Wanted::All, 3);
    let mut quick = feed.subscribe(Wanted::These([B].into()), 100);
    for tick in 0..10 {
        feed.publish(&[(A, sample(tick)), (B, sample(tick))]);
    }
    let items: Vec<Item> = slow.take().collect();
    let gap = Gap { lost: 17, first: Tick(0), last: Tick(8) };
    assert_eq!(items[0], Item::Gap(gap));
    let kept = [Item::Sample(B, sample(8)), Item::Sample(A, sample(9)), Item::Sample(B, sample(9))];
    assert_eq!(items[1..], kept);
    assert_eq!((slow.lost(), quick.lost()), (17, 0));
    assert_eq!(quick.take().count(), 10);
    // The gap is told once.
    feed.publish(&[(A, sample(11))]);
    assert_eq!(slow.take().collect::<Vec<_>>(), [Item::Sample(A, sample(11))]);
    drop(quick);
    feed.publish(&[(A, sample(12))]);
    assert_eq!(feed.subscribers(), 1);
    drop(feed);
    assert!(!slow.has_ended(), "what came before the end can still be taken");
    assert_eq!(slow.take().count(), 1);
    assert!(slow.has_ended() && !slow.wait(Duration::from_secs(60)));
}

#[test]
fn a_task_is_woken_once_for_news_and_at_the_end() {
    struct Count(AtomicUsize);
    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }
    let woken = Arc::new(Count(AtomicUsize::new(0)));
    let waker = Waker::from(woken.clone());
    let mut cx = Context::from_waker(&waker);
    let mut feed = Feed::default();
    let mut task = feed.subscribe(Wanted::All, 10);
    assert_eq!(task.poll_ready(&mut cx), Poll::Pending);
    feed.publish(&[(A, sample(1))]);
    feed.publish(&[(A, sample(2))]);
    assert_eq!(woken.0.load(Ordering::SeqCst), 1);
    assert_eq!(task.poll_ready(&mut cx), Poll::Ready(true));
    assert_eq!(task.take().count(), 2);
    assert_eq!(task.poll_ready(&mut cx), Poll::Pending);
    drop(feed);
    assert_eq!(woken.0.load(Ordering::SeqCst), 2);
    assert_eq!(task.poll_ready(&mut cx), Poll::Ready(false));
}

#[test]
fn threads_account_for_every_sample() {
    const SENT: u64 = 200_000;
    let mut feed = Feed::default();
    let done = Arc::new(AtomicBool::new(false));
    let readers: Vec<_> = [1usize, 7, 64, 5_000, MAILBOX_MAX]
        .into_iter()
        .enumerate()
        .map(|(nap, limit)| {
            let mut subscription = feed.subscribe(Wanted::All, limit);
            let done = done.clone();
            std::thread::spawn(move || {
                let (mut seen, mut lost, mut next) = (0u64, 0u64, 0u64);
                loop {
                    let last = done.load(Ordering::SeqCst);
                    subscription.wait(Duration::from_millis(5));
                    for item in subscription.take() {
                        match item {
                            Item::Gap(gap) => {
                                // It names exactly those that are missing here.
                                assert_eq!(gap.first, Tick(next));
                                assert_eq!(gap.last, Tick(next + gap.lost - 1));
                                next += gap.lost;
                                lost += gap.lost;
                            }
                            Item::Sample(_, sample) => {
                                assert_eq!(sample.tick, Tick(next));
                                next += 1;
                                seen += 1;
                            }
                        }
                    }
                    if last {
                        assert_eq!(subscription.lost(), lost);
                        return (seen, lost);
                    }
                    std::thread::sleep(Duration::from_micros(nap as u64 * 100));
                }
            })
        })
        .collect();
    // This one never takes anything.
    let dead = feed.subscribe(Wanted::All, 10);
    let watch = Watch::now();
    for tick in 0..SENT {
        feed.publish(&[(A, sample(tick))]);
    }
    let took = watch.elapsed();
    done.store(true, Ordering::SeqCst);
    for reader in readers {
        let (seen, lost) = reader.join().unwrap();
        assert_eq!(seen + lost, SENT);
    }
    assert_eq!(dead.lost(), SENT - 10);
    // Not a measurement: a producer that waited for the dead one would never come here.
    assert!(took < Duration::from_secs(60));
}
