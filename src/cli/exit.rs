//! Exit codes, the same for every subcommand.

/// How a command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// Done.
    Done = 0,
    /// A run failed.
    RunFailed = 1,
    /// The command line is wrong, or a file cannot be used.
    Usage = 2,
    /// YAML did not compile.
    NotCompiled = 3,
    /// No feasible schedule.
    NoSchedule = 4,
    /// An instrument cannot be reached.
    Unreachable = 5,
    /// Ended by a person.
    Person = 6,
    /// Safety trip, or an instrument was not confirmed safe.
    Safety = 7,
    /// The budget is spent without the goal.
    BudgetSpent = 8,
    /// Interrupted.
    Interrupted = 130,
}

impl Exit {
    /// Of the ends of two campaigns, the one that a person must look at first.
    #[must_use]
    pub fn worse(self, other: Exit) -> Exit {
        let rank = |exit: Exit| match exit {
            Exit::Done => 0,
            Exit::BudgetSpent => 1,
            Exit::NoSchedule => 2,
            Exit::Usage => 3,
            Exit::NotCompiled => 4,
            Exit::Person => 5,
            Exit::Interrupted => 6,
            Exit::RunFailed => 7,
            Exit::Unreachable => 8,
            Exit::Safety => 9,
        };
        if rank(other) > rank(self) { other } else { self }
    }

    /// From a number another part returned.
    pub fn from_code(code: i32) -> Exit {
        match code {
            0 => Exit::Done,
            1 => Exit::RunFailed,
            _ => Exit::Usage,
        }
    }
}

impl std::process::Termination for Exit {
    fn report(self) -> std::process::ExitCode {
        std::process::ExitCode::from(self as u8)
    }
}
