//! `relay invite`: what a client is configured with, to be typed or scanned.

mod qr;

use crate::display::output::{Answer, answer, row};
use crate::selftest::as_client::{Anchor, ClientTrial, base_url, text_of};
use crate::selftest::{self, example};
use clap::Args;
use qr::QrCode;
use relay_client::Url;
use relay_daemon::{Clock, Failure, Vars, variables};
use relay_proto::PublicKey;
use serde_json::{Value, json};
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How long the oblivious relay may take to answer.
const DEADLINE: Duration = Duration::from_secs(10);

/// What the invitation says, and how it is shown.
#[derive(Debug, Args)]
pub(crate) struct Invite {
    /// Where the relay serves clients, for example `https://relay.example`; RELAY_PUBLIC_URL, if nobody says
    #[arg(value_parser = example(base_url))]
    url: Option<Url>,
    /// The same as URL
    #[arg(long, value_name = "URL", conflicts_with = "url", value_parser = example(base_url))]
    relay: Option<Url>,
    /// The oblivious relay that clients go through, with or without /v2/ohttp
    #[arg(long, value_name = "URL", value_parser = example(base_url))]
    oblivious: Option<Url>,
    /// The anchor that clients pin, in 64 hexadecimal digits; the running relay is asked for it, if nobody says
    #[arg(long, value_name = "HEX", value_parser = selftest::anchor)]
    anchor: Option<PublicKey>,
    /// As JSON, without a QR code
    #[arg(long)]
    json: bool,
    /// Also write the QR code into this file, as PNG
    #[arg(long, value_name = "FILE")]
    png: Option<PathBuf>,
    /// Also write the QR code into this file, as SVG
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,
    /// Do not try first whether clients would accept it
    #[arg(long)]
    unchecked: bool,
}

/// Prints an invitation that today's clients accept. Notes and warnings go to `errors`.
///
/// # Errors
/// When clients would not accept it, or a part of it is not known, or a file cannot be written.
pub(crate) fn invite(
    vars: &Vars,
    clock: &Clock,
    how: &Invite,
    errors: &mut impl Write,
) -> Result<Answer, Failure> {
    let relay = match how.url.as_ref().or(how.relay.as_ref()) {
        Some(url) => url.clone(),
        None => public_url(vars)?,
    };
    let oblivious = how.oblivious.clone().ok_or_else(|| {
        failure!(
            Usage,
            "clients never call a relay directly, so an invitation names an oblivious relay; add --oblivious URL"
        )
    })?;
    let anchor = Anchor::find(how.anchor, vars);
    let key = match &anchor {
        Anchor::Given(key) | Anchor::Published(key) => *key,
        Anchor::Unknown(reason) => {
            return Err(failure!(
                Unavailable,
                "the anchor is not known: {reason}; or give it with --anchor HEX"
            ));
        }
    };
    let invitation = as_value(&relay, &oblivious, &key);
    if how.unchecked {
        drop(writeln!(errors, "relay: warning: nobody checked whether clients accept this invitation"));
    } else {
        check(ClientTrial::new(relay, Some(oblivious), anchor, DEADLINE, clock)?, errors)?;
    }
    let code = QrCode::new(&invitation.to_string())?;
    if let Some(path) = &how.png {
        write(path, &code.png()?)?;
    }
    if let Some(path) = &how.svg {
        write(path, code.svg().as_bytes())?;
    }
    Ok(answer(how.json, || invitation.clone(), || text(&invitation, &code)))
}

fn public_url(vars: &Vars) -> Result<Url, Failure> {
    let mut reader = vars.reader();
    let url = reader.read(&variables::PUBLIC_URL);
    reader.finish()?;
    let url = url.ok_or_else(|| failure!(Usage, "give the relay's URL, or set RELAY_PUBLIC_URL"))?;
    base_url(&url.to_string()).map_err(|problem| failure!(Config, "RELAY_PUBLIC_URL: {problem}"))
}

fn check(mut trial: ClientTrial, errors: &mut impl Write) -> Result<(), Failure> {
    let (notes, reasons) = trial.check();
    if !reasons.is_empty() {
        let reasons: String = reasons.iter().map(|reason| format!("\n  {reason}")).collect();
        return Err(failure!(
            Forced,
            "clients would not accept this invitation (--unchecked prints it all the same):{reasons}"
        ));
    }
    for note in notes {
        drop(writeln!(errors, "relay: note: {note}"));
    }
    Ok(())
}

/// The object that the QR code holds.
fn as_value(relay: &Url, oblivious: &Url, anchor: &PublicKey) -> Value {
    json!({
        "relay_url": text_of(relay),
        "ohttp_relay_url": text_of(oblivious),
        "anchor": hex::encode(anchor.as_bytes()),
    })
}

fn text(invitation: &Value, code: &QrCode) -> String {
    let said = |name: &str| invitation[name].as_str().unwrap_or_default().to_owned();
    let mut text = row("relay URL", said("relay_url"));
    text += &row("OHTTP relay", said("ohttp_relay_url"));
    text += &row("anchor", said("anchor"));
    text + "\n" + &code.text() + "\n"
}

fn write(path: &Path, bytes: &[u8]) -> Result<(), Failure> {
    fs::write(path, bytes).map_err(|error| failure!(Io, "cannot write {}: {error}", path.display()))
}
