//! How far an emptying is.

use crate::display::units::{counted, grouped};
use relay_proto::limits::MAX_OUTLASTING;
use std::fmt;

/// How far it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct DrainProgress {
    /// As many blobs as were ever seen here at once, meanwhile.
    pub(super) most: u64,
    /// Blobs still here.
    pub(super) left: u64,
    /// Why nothing moves at the moment, if nothing does.
    pub(super) blocked_by: Option<&'static str>,
    /// Blobs that last longer than any peer that is up keeps mail.
    pub(super) outlasting: u64,
}

impl DrainProgress {
    /// So many blobs are here now; mail still arrives.
    pub(super) fn saw(&mut self, left: u64) {
        self.left = left;
        self.most = self.most.max(left);
    }

    /// How many blobs stay because they expire later than any peer would keep them.
    pub(super) fn staying(&self) -> String {
        let or_more = if self.outlasting >= MAX_OUTLASTING { " or more" } else { "" };
        match self.outlasting {
            0 => String::new(),
            number => format!(
                "; {}{or_more} of them would outlast the time for which peers that are up keep mail, and move when that is \
                 no longer so (`relay peers`)",
                grouped(number)
            ),
        }
    }

    /// Blobs that have gone.
    pub(super) const fn gone(&self) -> u64 {
        self.most.saturating_sub(self.left)
    }
}

impl fmt::Display for DrainProgress {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            formatter,
            "{} of {} gone, {} left",
            grouped(self.gone()),
            counted(self.most, "blob"),
            grouped(self.left)
        )?;
        match self.blocked_by {
            Some(blocked_by) => write!(formatter, "; waiting: {blocked_by}"),
            None => write!(formatter, "{}", self.staying()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mail_that_arrives_meanwhile_makes_the_task_larger_and_never_less_done() {
        let mut drained = DrainProgress { most: 10, left: 10, blocked_by: None, outlasting: 0 };
        assert_eq!(drained.to_string(), "0 of 10 blobs gone, 10 left");
        drained.saw(4);
        assert_eq!(drained.to_string(), "6 of 10 blobs gone, 4 left");
        drained.saw(1200);
        assert_eq!(drained.to_string(), "0 of 1,200 blobs gone, 1,200 left");
    }

    #[test]
    fn what_is_in_the_way_is_said() {
        let drained = DrainProgress { most: 10, left: 4, blocked_by: Some("no peer is up"), outlasting: 0 };
        assert_eq!(drained.to_string(), "6 of 10 blobs gone, 4 left; waiting: no peer is up");
        let staying = DrainProgress { blocked_by: None, outlasting: 3, ..drained };
        let said = staying.to_string();
        assert!(said.starts_with("6 of 10 blobs gone, 4 left; 3 of them would outlast"), "{said}");
        let many = DrainProgress { outlasting: 1000, ..staying };
        assert!(many.to_string().contains("1,000 or more of them"), "{many}");
    }
}
