//! What goes wrong, how often, and how often it did.
//!
//! Rates are drawn for each seed ("swarm testing"): about half of the kinds are off in any one
//! schedule, the others are anything from rare to frequent. So some schedules show one fault in a
//! calm world and some show all of them at once, which fixed rates never do.

use super::rng::Rng;

/// In thousandths; the chance at each occasion.
pub type Rate = u32;

macro_rules! faults {
    ($($(#[$doc:meta])* $name:ident: [$($rate:literal),+],)+) => {
        /// Rates of one schedule.
        #[derive(Debug, Clone, Default)]
        pub struct Faults { $($(#[$doc])* pub $name: Rate,)+ }

        impl Faults {
            /// Rates of a seed.
            pub fn draw(rng: &mut Rng) -> Faults {
                Faults { $($name: if rng.permille(450) { *rng.pick(&[$($rate),+]) } else { 0 },)+ }
            }
        }
    };
}

faults! {
    /// The engine's process dies, at any point between two of its doings.
    crash: [4, 15, 40],
    /// ... while it recovers.
    crash_in_recovery: [40, 150, 300],
    /// Of crashes: the power fails, and what was not synced may be lost.
    power: [500, 800, 1000],
    /// Of power failures: the last commit that survives is cut within.
    torn: [900, 1000],
    /// The process stands still for a while (stopped, swapped out), at any point.
    sleep: [5, 20],
    /// Of those: somebody starts a second engine meanwhile.
    takeover: [500, 900],
    /// The journal cannot grow.
    disk_full: [5, 20],
    /// A write fails.
    write_error: [5, 20],
    /// A sync fails; nobody knows what is on the disk.
    sync_error: [5, 20],
    /// A command is lost on its way.
    command_lost: [30, 100, 250],
    /// It is carried out and its reply is lost.
    reply_lost: [30, 100, 250],
    /// Its reply comes after the deadline.
    reply_late: [30, 100],
    /// Its reply comes more than once.
    reply_twice: [50, 200],
    /// Its reply cannot be read.
    reply_garbled: [30, 100],
    /// The instrument says no.
    refused: [30, 100],
    /// The driver says nothing at all.
    driver_silent: [20, 60],
    /// The gate does not let it pass.
    gate: [20, 80],
    /// The link is cut while a command is under way.
    link_cut: [20, 80],
    /// The instrument restarts while a command is under way.
    reboot: [20, 80],
    /// An instrument restarts while it only waits.
    reboot_idle: [200, 600],
    /// A witness cannot be read.
    witness_error: [50, 250],
    /// A safe state is refused.
    safe_refused: [50, 250],
    /// A safe state is not answered.
    safe_silent: [50, 200],
    /// An analysis fails.
    analysis_failed: [300, 700],
    /// A reading has no value.
    sample_bad: [100, 400],
    /// Questions nobody answers.
    unanswered: [150, 500],
    /// An answer that is none of the options, or to another question.
    answer_wrong: [300, 700],
    /// Two people answer.
    answer_twice: [300, 700],
    /// A person says what is not so.
    answer_false: [600, 1000],
    /// The machine was off, and what the next engine takes for the time that passed is too little.
    clock_back: [200, 500],
    /// ... or too much.
    clock_forward: [200, 500],
    /// Hours pass before somebody starts the engine again.
    long_gap: [100, 400],
}

macro_rules! marks {
    ($($name:ident,)+) => {
        /// Kinds of happenings that are counted: what was not hit was not tested.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Mark { $($name,)+ }

        impl Mark {
            /// All kinds.
            pub const ALL: &[Mark] = &[$(Mark::$name,)+];
        }
    };
}

marks! {
    CrashBeforeWrite,
    CrashBeforeSync,
    CrashAfterSync,
    CrashBetweenSends,
    CrashInRecovery,
    PowerLoss,
    UnsyncedDropped,
    CommitTorn,
    DiskFull,
    WriteError,
    SyncError,
    Slept,
    Takeover,
    StaleAppendRefused,
    StaleSendRefused,
    CommandLost,
    ReplyLost,
    ReplyLate,
    ReplyTwice,
    ReplyGarbled,
    Refused,
    DriverSilent,
    GateShut,
    LinkDownAtSend,
    LinkCutInFlight,
    Rebooted,
    StoppedHalfway,
    SlowEffect,
    WitnessUnreadable,
    WitnessBusy,
    WitnessVoid,
    SafeRefused,
    SafeSilent,
    Cancelled,
    AnalysisFailed,
    SampleBad,
    QuestionDoubt,
    QuestionFailure,
    QuestionProtocol,
    AnswerRight,
    AnswerWrong,
    AnswerTwice,
    AnswerFalse,
    AnswerNever,
    Pause,
    Hold,
    Resume,
    Stop,
    Abort,
    Emergency,
    LabHeld,
    ClockBack,
    ClockForward,
    LongGap,
    ReplyToTheEngineBefore,
    SharedInstrument,
    Campaign,
    SafeAtLast,
    TakenByHand,
    Priorities,
}

/// How often each kind was hit.
#[derive(Debug, Clone)]
pub struct Marks(pub Vec<u64>);

impl Default for Marks {
    fn default() -> Marks {
        Marks(vec![0; Mark::ALL.len()])
    }
}

impl Marks {
    /// One more.
    pub fn hit(&mut self, mark: Mark) {
        self.0[mark as usize] += 1;
    }

    /// Those of another schedule too.
    pub fn add(&mut self, other: &Marks) {
        for (sum, one) in self.0.iter_mut().zip(&other.0) {
            *sum += one;
        }
    }

    /// How often.
    pub fn of(&self, mark: Mark) -> u64 {
        self.0[mark as usize]
    }
}

/// A defect planted on purpose, to show that the oracle sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Bug {
    /// Actions are performed without waiting for the sync.
    NoSync,
    /// Actions are performed before their records are written.
    SendFirst,
    /// Witnesses are read at once, without the settle time.
    NoSettle,
    /// After a crash every command without outcome is sent again.
    ReplayStarted,
    /// After a crash every command without outcome is taken as done.
    AssumeDone,
    /// A late reply makes the transport send the command again.
    TransportResends,
    /// A restart of the instrument is not noticed.
    RebootUnseen,
    /// The machine answers questions about doubts itself: it did not happen.
    MachineAnswers,
    /// A safe state is told as confirmed and not sent.
    SafeSkipped,
    /// A safe state that failed is told as confirmed.
    SafeBelieved,
    /// The gate does not look at the epoch.
    StaleEpoch,
    /// Outcomes do not reach the journal.
    OutcomeDropped,
    /// Outcomes reach the journal without their value.
    ValueDropped,
    /// A failed command is told as done.
    FailureHidden,
    /// Timers are forgotten.
    NoWake,
    /// What people command does not arrive.
    CommandsIgnored,
    /// A recovered engine takes the time of its start for the time of every record.
    TicksLost,
    /// Two neighbours in the journal change places.
    Reordered,
    /// Blocks do not keep the instruments they hold.
    HoldIgnored,
    /// What was not confirmed safe is handed to the next run.
    BarsForgotten,
    /// What a person has taken out is handed to the next step that wants it.
    TakenIgnored,
    /// What a person gives back does not arrive.
    GivenLost,
}
