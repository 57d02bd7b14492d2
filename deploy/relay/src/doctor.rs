//! `relay doctor`: looks at a set-up, and names what is wrong and the line that fixes it.
//!
//! Probes gather facts and judge nothing; checks judge facts and look at nothing else. What a check finds has a code that
//! the runbooks explain.

mod checks;
mod code;
mod facts;
mod finding;
mod probe;

use crate::display::output::{Answer, answer};
use crate::display::units::counted;
use code::{Code, Severity};
use facts::{Data, Facts, Proxy};
use finding::Finding;
use relay_daemon::{Clock, Exit, Failure, Vars};
use serde_json::{Value, json};

/// Why a part was not looked at.
const MISTAKEN: &str = "the variables must make sense first";
const SILENT: &str = "storaged must answer first";
const NAMELESS: &str = "give it, or set RELAY_PUBLIC_URL";

/// Looks at the relay that the variables point to, and at what answers clients at a URL.
///
/// # Errors
/// When the URL cannot be parsed. A set-up that is wrong is an answer with code 1.
pub(crate) fn doctor(
    vars: &Vars,
    clock: &Clock,
    url: Option<&str>,
    as_json: bool,
) -> Result<Answer, Failure> {
    let facts = probe::look(vars, clock, url)?;
    let findings = checks::judge(&facts);
    let answer = answer(as_json, || as_value(&facts, &findings), || text(&facts, &findings));
    let harmless = findings.iter().all(|finding| finding.code.severity() == Severity::Note);
    Ok(if harmless { answer } else { Answer { exit: Exit::Forced, ..answer } })
}

/// All codes with severity, meaning and fix, for the runbooks.
pub(crate) fn codes() -> impl Iterator<Item = [&'static str; 4]> {
    Code::ALL.iter().map(|code| [code.name(), code.severity().name(), code.meaning(), code.fix()])
}

/// Parts of a set-up that were not looked at, and how to have them looked at.
fn unseen(facts: &Facts) -> Vec<(&'static str, &'static str)> {
    let (storage, url, operator) = match (facts.settings.make_sense(), facts.report.is_some()) {
        (false, _) => (MISTAKEN, MISTAKEN, MISTAKEN),
        (true, false) => (SILENT, NAMELESS, SILENT),
        (true, true) => (SILENT, NAMELESS, "it does not answer on this machine"),
    };
    let parts = [
        (
            "data directory",
            !matches!(facts.data, Some(Data::Closed { .. })),
            "this user may not look into it: run this as the relay's user",
        ),
        ("storage", facts.report.is_some(), storage),
        ("operator's port", facts.operator.is_some(), operator),
        ("public URL", facts.proxy.as_ref().is_some_and(|proxy: &Proxy| proxy.is_public), url),
    ];
    parts.into_iter().filter(|(_, seen, _)| !seen).map(|(part, _, why)| (part, why)).collect()
}

fn as_value(facts: &Facts, findings: &[Finding]) -> Value {
    let unseen: Vec<Value> =
        unseen(facts).into_iter().map(|(part, why)| json!({ "part": part, "why": why })).collect();
    json!({
        "findings": findings.iter().map(Finding::as_value).collect::<Vec<_>>(),
        "not_looked_at": unseen,
    })
}

fn text(facts: &Facts, findings: &[Finding]) -> String {
    let mut text: String = findings.iter().map(Finding::lines).collect();
    let of = |severity| findings.iter().filter(|finding| finding.code.severity() == severity).count() as u64;
    let counts: Vec<String> = [Severity::Error, Severity::Warning, Severity::Note]
        .into_iter()
        .filter(|severity| of(*severity) > 0)
        .map(|severity| counted(of(severity), severity.name()))
        .collect();
    text += if counts.is_empty() { "nothing is wrong" } else { "" };
    text += &counts.join(", ");
    text.push('\n');
    for (part, why) in unseen(facts) {
        text.push_str(&format!("not looked at: {part} ({why})\n"));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::{Storage, nobody};
    use checks::fixture::good;

    #[test]
    fn people_read_what_is_wrong_and_what_was_not_seen() {
        assert_eq!(text(&good(), &[]), "nothing is wrong\n");
        let mut facts = good();
        facts.proxy = None;
        facts.settings.rotation_secs = 10;
        let text = text(&facts, &checks::judge(&facts));
        assert!(text.starts_with("warning  rotation-for-tests\n"), "{text}");
        let end = "1 warning\nnot looked at: public URL (give it, or set RELAY_PUBLIC_URL)\n";
        assert!(text.ends_with(end), "{text}");
    }

    #[test]
    fn programs_read_json() {
        let mut facts = good();
        facts.operator = None;
        let value = as_value(&facts, &checks::judge(&facts));
        assert_eq!(value["findings"], json!([]));
        assert_eq!(value["not_looked_at"][0]["part"], "operator's port");
    }

    #[test]
    fn a_storage_is_asked_and_what_is_wrong_ends_in_1() {
        let storage = Storage::start(nobody());
        let answer = doctor(&storage.vars(), &Clock::system(), None, true).unwrap();
        assert_eq!(answer.exit, Exit::Forced);
        let value: Value = serde_json::from_str(&answer.text).unwrap();
        let findings = value["findings"].as_array().unwrap();
        assert!(findings.iter().any(|finding| finding["code"] == "gateway-missing"), "{value}");
    }

    #[test]
    fn what_is_no_url_is_a_usage_error() {
        let storage = Storage::start(nobody());
        let url = Some("relay.example");
        let refused = doctor(&storage.vars(), &Clock::system(), url, false).unwrap_err();
        assert_eq!(refused.exit, Exit::Usage);
    }
}
