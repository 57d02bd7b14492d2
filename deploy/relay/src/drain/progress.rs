//! How far an emptying is.

use crate::quantity::{counted, grouped};
use std::fmt;

/// How far it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Course {
    /// As many blobs as were ever seen here at once, meanwhile.
    pub(super) most: u64,
    /// Blobs still here.
    pub(super) left: u64,
    /// Why nothing moves at the moment, if something is in the way.
    pub(super) hindrance: Option<&'static str>,
}

impl Course {
    /// So many blobs are here now; mail still arrives.
    pub(super) fn saw(&mut self, left: u64) {
        self.left = left;
        self.most = self.most.max(left);
    }

    /// Blobs that have gone.
    pub(super) const fn gone(&self) -> u64 {
        self.most.saturating_sub(self.left)
    }
}

impl fmt::Display for Course {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            formatter,
            "{} of {} gone, {} left",
            grouped(self.gone()),
            counted(self.most, "blob"),
            grouped(self.left)
        )?;
        match self.hindrance {
            Some(hindrance) => write!(formatter, "; waiting: {hindrance}"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mail_that_arrives_meanwhile_makes_the_task_larger_and_never_less_done() {
        let mut course = Course { most: 10, left: 10, hindrance: None };
        assert_eq!(course.to_string(), "0 of 10 blobs gone, 10 left");
        course.saw(4);
        assert_eq!(course.to_string(), "6 of 10 blobs gone, 4 left");
        course.saw(1200);
        assert_eq!(course.to_string(), "0 of 1,200 blobs gone, 1,200 left");
    }

    #[test]
    fn what_is_in_the_way_is_said() {
        let course = Course { most: 10, left: 4, hindrance: Some("no peer is up") };
        assert_eq!(course.to_string(), "6 of 10 blobs gone, 4 left; waiting: no peer is up");
    }
}
