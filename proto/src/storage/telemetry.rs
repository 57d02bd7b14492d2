//! Counters and processes, as the processes report them to each other.

use crate::messages;

/// Most families in one snapshot. A relay has about a hundred.
pub const MAX_FAMILIES: usize = 256;

/// Most series in one family.
pub const MAX_SAMPLES: usize = 256;

/// Most labels of one series.
pub const MAX_LABELS: usize = 8;

/// Most buckets of one histogram.
pub const MAX_BUCKETS: usize = 32;

/// Seconds without a report after which a process is taken to hang. A third of the time after which it is replaced, so
/// that an operator who looks sees it.
const SILENT_SECS: u32 = 10;

/// Which of the relay's programs a process runs. Every process runs one: unlike the message's role it is never missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// The store.
    Storaged = messages::Role::Storaged as isize,
    /// The edge.
    Gateway = messages::Role::Gateway as isize,
    /// The peer link.
    Federated = messages::Role::Federated as isize,
    /// The outer relay of Oblivious HTTP, which has no storage to report to.
    Oblivious = messages::Role::Unspecified as isize,
}

impl Role {
    /// Those that messages name.
    const REPORTED: [Self; 3] = [Self::Storaged, Self::Gateway, Self::Federated];

    /// The program's name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Storaged => "storaged",
            Self::Gateway => "gateway",
            Self::Federated => "federated",
            Self::Oblivious => "oblivious",
        }
    }
}

impl From<Role> for i32 {
    fn from(role: Role) -> Self {
        role as Self
    }
}

impl TryFrom<i32> for Role {
    type Error = ();

    fn try_from(number: i32) -> Result<Self, ()> {
        Self::REPORTED.into_iter().find(|role| i32::from(*role) == number).ok_or(())
    }
}

impl messages::Process {
    /// Whether it runs this program.
    pub fn runs(&self, role: Role) -> bool {
        self.role == i32::from(role)
    }

    /// The name of its program.
    pub fn program(&self) -> &'static str {
        Role::try_from(self.role).map_or("unknown", Role::name)
    }

    /// Whether it has missed so many reports that it hangs or is stopped.
    pub const fn is_silent(&self) -> bool {
        self.silent_secs >= SILENT_SECS
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_role_survives_the_wire_and_is_never_missing() {
        for role in Role::REPORTED {
            assert_eq!(Role::try_from(i32::from(role)), Ok(role));
        }
        assert!(Role::try_from(0).is_err() && Role::try_from(99).is_err());
        let process = messages::Process { role: Role::Gateway.into(), ..messages::Process::default() };
        assert!(process.runs(Role::Gateway) && !process.runs(Role::Storaged));
    }
}
