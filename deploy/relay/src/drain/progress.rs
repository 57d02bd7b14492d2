//! How far an emptying is: a bar on a terminal, and elsewhere a line now and then.

use crate::quantity::{counted, grouped};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::fmt;
use std::io::{IsTerminal as _, Write};
use std::time::Duration;
use tokio::time::Instant;

/// Between two lines, for whoever reads them in a log.
const BETWEEN_LINES: Duration = Duration::from_secs(15);

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
}

impl fmt::Display for Course {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let gone = self.most.saturating_sub(self.left);
        write!(
            formatter,
            "{} of {} gone, {} left",
            grouped(gone),
            counted(self.most, "blob"),
            grouped(self.left)
        )?;
        match self.hindrance {
            Some(hindrance) => write!(formatter, "; waiting: {hindrance}"),
            None => Ok(()),
        }
    }
}

/// Where that is shown.
pub(super) enum Progress<'a, E> {
    /// On a terminal.
    Bar(ProgressBar),
    /// Anywhere else.
    Lines {
        /// Where to.
        errors: &'a mut E,
        /// Between two of them.
        every: Duration,
        /// When the last one was written.
        said: Option<Instant>,
    },
}

impl<'a, E: Write> Progress<'a, E> {
    /// A bar when the process's stderr is a terminal, and lines to `errors` when it is not.
    pub(super) fn new(errors: &'a mut E) -> Self {
        if !std::io::stderr().is_terminal() {
            return Self::lines(errors, BETWEEN_LINES);
        }
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
        // A template that does not parse would cost the looks and nothing else.
        bar.set_style(
            ProgressStyle::with_template("{bar:30} {percent:>3} %  {msg}")
                .unwrap_or_else(|_| ProgressStyle::default_bar()),
        );
        Self::Bar(bar)
    }

    pub(super) const fn lines(errors: &'a mut E, every: Duration) -> Self {
        Self::Lines { errors, every, said: None }
    }

    /// Shows how far it is.
    pub(super) fn show(&mut self, course: &Course) {
        match self {
            Self::Bar(bar) => {
                bar.set_length(course.most);
                bar.set_position(course.most.saturating_sub(course.left));
                bar.set_message(course.to_string());
            }
            Self::Lines { errors, every, said } => {
                if said.is_none_or(|said| said.elapsed() >= *every) {
                    *said = Some(Instant::now());
                    // Whoever closed this command's stderr does not want to be told.
                    drop(writeln!(errors, "{course}"));
                }
            }
        }
    }

    /// Leaves the terminal to what is said at the end.
    pub(super) fn end(&self) {
        if let Self::Bar(bar) = self {
            bar.finish_and_clear();
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

    #[test]
    fn lines_come_now_and_then() {
        let course = Course { most: 10, left: 4, hindrance: None };
        let said = |every| {
            let mut errors = Vec::new();
            let mut progress = Progress::lines(&mut errors, every);
            progress.show(&course);
            progress.show(&course);
            String::from_utf8(errors).unwrap().lines().count()
        };
        assert_eq!(said(Duration::ZERO), 2);
        assert_eq!(said(Duration::from_secs(3600)), 1);
    }

    #[test]
    fn a_bar_goes_as_far_as_the_course() {
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::hidden());
        let mut progress = Progress::<Vec<u8>>::Bar(bar.clone());
        progress.show(&Course { most: 10, left: 4, hindrance: None });
        assert_eq!((bar.length(), bar.position()), (Some(10), 6));
        progress.end();
        assert!(bar.is_finished());
    }
}
