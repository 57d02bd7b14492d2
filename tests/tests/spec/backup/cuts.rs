//! Commands that are killed at each of their steps.

use super::{only, relay};
use nix::sys::signal::Signal;
use relay_tests::Cluster;
use relay_tests::fields::{random_bytes, random_mailbox};
use relay_tests::strace::Strace;
use std::fs;
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;

/// The system calls that make a step of a command last.
const LASTING: [&str; 3] = ["fdatasync", "fsync", "rename"];

/// Runs a command that is killed as it begins the so-many-th of these system calls. Says whether it was.
async fn killed_at(cluster: &Cluster, calls: &str, step: u32, arguments: &[&str]) -> bool {
    let inject = format!("inject={calls}:signal=SIGKILL:when={step}");
    let trace = format!("trace={calls}");
    let wrapped = ["-f", "-o", "/dev/null", "-e", trace.as_str(), "-e", inject.as_str()];
    let mut command = cluster.command(arguments).wrapped("strace", &wrapped).start();
    let status = command.ended().await;
    let killed = status.signal() == Some(Signal::SIGKILL as i32);
    assert!(killed || status.code() == Some(0), "step {step}: {}", command.output());
    killed
}

/// Names of the files in a directory.
fn names(directory: &Path) -> Vec<String> {
    let names = fs::read_dir(directory).unwrap();
    names.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

fn lay_out(files: &[(String, Vec<u8>)], directory: &Path) {
    fs::remove_dir_all(directory).unwrap();
    fs::create_dir(directory).unwrap();
    for (name, content) in files {
        fs::write(directory.join(name), content).unwrap();
    }
}

#[tokio::test]
async fn a_restore_killed_at_any_step_has_happened_or_has_not() {
    if !Strace::is_here() {
        return;
    }
    let mut cluster = Cluster::simple().await;
    let mailbox = random_mailbox();
    let backed_up = cluster.client().send(&mailbox, &random_bytes(5000)).await.blob_id();
    let backups = cluster.directory().join("backups");
    assert_eq!(relay(&cluster, &["backup", backups.to_str().unwrap()]).await.0, 0);
    let backup = only(&backups);
    let restore = ["restore", "--replace", backup.to_str().unwrap()];
    assert!(cluster.client().ack(&mailbox, &backed_up).await.acknowledged());
    let later = cluster.client().send(&mailbox, &random_bytes(5000)).await.blob_id();
    // As a power cut leaves it, with its last commits in the log alone.
    cluster.kill();
    let data = cluster.data();
    let files: Vec<(String, Vec<u8>)> =
        names(&data).into_iter().map(|name| (name.clone(), fs::read(data.join(name)).unwrap())).collect();
    assert!(files.iter().any(|(name, log)| name == "relay.db-wal" && !log.is_empty()));

    let mut happened = [0, 0];
    for calls in LASTING {
        for step in 1.. {
            lay_out(&files, &data);
            let killed = killed_at(&cluster, calls, step, &restore).await;
            let found = names(&data);
            let is_decided =
                found.iter().any(|name| name.starts_with("restore.ready") || name.contains(".before-"));
            happened[usize::from(is_decided)] += 1;
            cluster.start().await;
            let expected = if is_decided { &backed_up } else { &later };
            let page = cluster.client().fetch(&[&mailbox]).await.page();
            assert_eq!(page.ids(), [expected], "{calls} {step}");
            assert!(!names(&data).iter().any(|name| name.starts_with("restore.")), "{:?}", names(&data));
            cluster.kill();
            if !killed {
                break;
            }
            // And whoever gives the command again gets what the command is for.
            lay_out(&files, &data);
            killed_at(&cluster, calls, step, &restore).await;
            let (code, said) = relay(&cluster, &restore).await;
            assert_eq!(code, 0, "{calls} {step}: {said}");
            cluster.start().await;
            let page = cluster.client().fetch(&[&mailbox]).await.page();
            assert_eq!(page.ids(), [&backed_up], "{calls} {step}");
            cluster.kill();
        }
    }
    // Three times it ran to its end.
    assert!(happened[0] >= 2 && happened[1] >= 3 + 5, "{happened:?}");
}

#[tokio::test]
async fn a_restore_into_nothing_that_was_killed_is_given_again() {
    if !Strace::is_here() {
        return;
    }
    let mut old = Cluster::simple().await;
    let mailbox = random_mailbox();
    let id = old.client().send(&mailbox, &random_bytes(5000)).await.blob_id();
    let backups = old.directory().join("backups");
    assert_eq!(relay(&old, &["backup", backups.to_str().unwrap()]).await.0, 0);
    old.kill();
    let backup = only(&backups);
    let restore = ["restore", backup.to_str().unwrap()];
    let mut steps = 0;
    for calls in LASTING {
        for step in 1.. {
            let mut new = Cluster::builder().build();
            if !killed_at(&new, calls, step, &restore).await {
                break;
            }
            steps += 1;
            // Once it has happened there is a database, which is not replaced unasked.
            if !new.database().exists() {
                let (code, said) = relay(&new, &restore).await;
                assert_eq!(code, 0, "{calls} {step}: {said}");
            }
            new.start().await;
            assert_eq!(new.client().fetch(&[&mailbox]).await.page().ids(), [&id], "{calls} {step}");
        }
    }
    assert!(steps >= 6, "{steps} steps");
}

#[tokio::test]
async fn a_backup_killed_at_any_step_is_whole_or_is_none() {
    if !Strace::is_here() {
        return;
    }
    let cluster = Cluster::simple().await;
    cluster.client().send(&random_mailbox(), &random_bytes(5000)).await.blob_id();
    let backups = cluster.directory().join("backups");
    let backup = ["backup", backups.to_str().unwrap()];
    let mut steps = 0;
    for calls in LASTING {
        for step in 1.. {
            let killed = killed_at(&cluster, calls, step, &backup).await;
            for name in names(&backups).into_iter().filter(|name| !name.starts_with('.')) {
                let (code, said) = relay(&cluster, &["verify", backups.join(name).to_str().unwrap()]).await;
                assert_eq!(code, 0, "{calls} {step}: {said}");
            }
            if !killed {
                break;
            }
            steps += 1;
        }
    }
    assert!(steps >= 5, "{steps} steps");
    let left = names(&backups);
    assert!(!left.is_empty() && left.iter().all(|name| name.starts_with("relay-")), "{left:?}");
}
