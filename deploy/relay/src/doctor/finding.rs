//! One thing that is wrong, and how to fix it.

use super::code::{Code, Severity};
use serde_json::{Value, json};
use std::fmt::Display;

/// Something that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Finding {
    /// Its kind.
    pub(crate) code: Code,
    /// What was seen.
    pub(crate) text: String,
    /// How to fix it.
    pub(crate) fix: String,
}

/// What was found so far.
#[derive(Debug, Default)]
pub(crate) struct Findings(Vec<Finding>);

impl Findings {
    /// Adds one, with what was seen. Its fix is that of the code.
    pub(crate) fn add(&mut self, code: Code, text: impl Display) {
        self.add_with(code, text, code.fix());
    }

    /// Adds one whose fix is known here more exactly than from its code: a path, a user, a number.
    pub(crate) fn add_with(&mut self, code: Code, text: impl Display, fix: impl Display) {
        self.0.push(Finding { code, text: text.to_string(), fix: fix.to_string() });
    }

    /// Whether there is one that keeps the relay from working. What only follows from it is not reported then.
    pub(crate) fn has_error(&self) -> bool {
        self.0.iter().any(|finding| finding.code.severity() == Severity::Error)
    }

    /// Whether there is one of this kind.
    pub(crate) fn has(&self, code: Code) -> bool {
        self.0.iter().any(|finding| finding.code == code)
    }

    /// All of them, the worst first.
    pub(crate) fn sorted(mut self) -> Vec<Finding> {
        self.0.sort_by_key(|finding| finding.code.severity());
        self.0
    }
}

impl Finding {
    /// For programs.
    pub(crate) fn as_value(&self) -> Value {
        json!({
            "code": self.code.name(),
            "severity": self.code.severity().name(),
            "text": self.text,
            "mend": self.fix,
        })
    }

    /// For people.
    pub(crate) fn lines(&self) -> String {
        let head = format!("{:<9}{}", self.code.severity().name(), self.code.name());
        format!("{head}\n         {}\n         mend: {}\n", self.text, self.fix)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_comes_first_and_the_rest_in_the_order_of_looking() {
        let mut findings = Findings::default();
        findings.add(Code::Draining, "a");
        findings.add(Code::DataMode, "b");
        findings.add(Code::DataOwner, "c");
        findings.add(Code::Panics, "d");
        assert!(findings.has_error() && findings.has(Code::Panics) && !findings.has(Code::ClockOff));
        let order: Vec<_> = findings.sorted().into_iter().map(|finding| finding.text).collect();
        assert_eq!(order, ["c", "b", "d", "a"]);
    }

    #[test]
    fn a_finding_is_told_to_people_and_programs() {
        let finding =
            Finding { code: Code::DataMode, text: "it is open".to_owned(), fix: "chmod 700 /d".to_owned() };
        assert_eq!(finding.lines(), "warning  data-mode\n         it is open\n         mend: chmod 700 /d\n");
        assert_eq!(
            finding.as_value(),
            json!({ "code": "data-mode", "severity": "warning", "text": "it is open", "mend": "chmod 700 /d" })
        );
    }
}
