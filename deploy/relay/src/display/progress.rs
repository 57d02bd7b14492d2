//! How far a long command is: a bar on a terminal, and elsewhere a line now and then.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::fmt::Display;
use std::io::{IsTerminal as _, Write};
use std::time::Duration;
use tokio::time::Instant;

/// Between two lines, where they go to a log.
const BETWEEN_LINES: Duration = Duration::from_secs(15);

/// Where it is shown.
pub(crate) enum Progress<'a, E> {
    /// On a terminal.
    Bar(ProgressBar),
    /// Anywhere else.
    Lines {
        /// Where to.
        errors: &'a mut E,
        /// Between two of them.
        every: Duration,
        /// When the last one was written.
        last: Option<Instant>,
    },
}

impl<'a, E: Write> Progress<'a, E> {
    /// A bar when the process's stderr is a terminal, and lines to `errors` when it is not.
    pub(crate) fn new(errors: &'a mut E) -> Self {
        if !std::io::stderr().is_terminal() {
            return Self::lines(errors, BETWEEN_LINES);
        }
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
        // A template that does not parse leaves the default style.
        bar.set_style(
            ProgressStyle::with_template("{bar:30} {percent:>3} %  {msg}")
                .unwrap_or_else(|_| ProgressStyle::default_bar()),
        );
        Self::Bar(bar)
    }

    /// The same, for what is mostly done at once: no line comes before it has taken as long as is between two.
    pub(crate) fn of_something_short(errors: &'a mut E) -> Self {
        let mut progress = Self::new(errors);
        if let Self::Lines { last, .. } = &mut progress {
            *last = Some(Instant::now());
        }
        progress
    }

    pub(crate) const fn lines(errors: &'a mut E, every: Duration) -> Self {
        Self::Lines { errors, every, last: None }
    }

    /// Shows how far it is: `done` of `all`, and in words.
    pub(crate) fn show(&mut self, done: u64, all: u64, words: &impl Display) {
        match self {
            Self::Bar(bar) => {
                bar.set_length(all);
                bar.set_position(done);
                bar.set_message(words.to_string());
            }
            Self::Lines { errors, every, last } => {
                if last.is_none_or(|last| last.elapsed() >= *every) {
                    *last = Some(Instant::now());
                    // A closed stderr is no reason to stop.
                    drop(writeln!(errors, "{words}"));
                }
            }
        }
    }

    /// Removes the bar, so that the answer stands alone on the terminal.
    pub(crate) fn end(&self) {
        if let Self::Bar(bar) = self {
            bar.finish_and_clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_come_now_and_then() {
        let lines = |every| {
            let mut errors = Vec::new();
            let mut progress = Progress::lines(&mut errors, every);
            progress.show(6, 10, &"6 of 10");
            progress.show(7, 10, &"7 of 10");
            String::from_utf8(errors).unwrap().lines().count()
        };
        assert_eq!(lines(Duration::ZERO), 2);
        assert_eq!(lines(Duration::from_secs(3600)), 1);
    }

    #[test]
    fn a_bar_goes_as_far_as_the_course() {
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::hidden());
        let mut progress = Progress::<Vec<u8>>::Bar(bar.clone());
        progress.show(6, 10, &"6 of 10");
        assert_eq!((bar.length(), bar.position()), (Some(10), 6));
        progress.end();
        assert!(bar.is_finished());
    }
}
