//! A program of the relay as a child process: environment of its own, output kept in files, signals by its
//! process id, and nothing left behind when the test ends.

use crate::binaries::Program;
use crate::deadline;
use crate::procfs;
use command_fds::{CommandFdExt as _, FdMapping};
use nix::sys::signal::{self, Signal};
use nix::unistd::Pid;
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::fd::OwnedFd;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::time::Duration;

/// Where handed listeners begin (sd_listen_fds(3)).
const FIRST_LISTENER: i32 = 3;

/// How to start a program.
#[derive(Debug, Clone)]
pub struct Launch {
    program: PathBuf,
    name: String,
    arguments: Vec<String>,
    variables: BTreeMap<String, String>,
    directory: PathBuf,
    listeners: Vec<Arc<OwnedFd>>,
}

impl Launch {
    /// Starts with an empty environment, in a directory where its output is kept too. The name is for files
    /// and messages.
    pub fn new(program: Program, directory: &Path) -> Self {
        Self {
            program: program.path(),
            name: program.name().to_owned(),
            arguments: Vec::new(),
            variables: BTreeMap::from([("RUST_LOG".to_owned(), "info".to_owned())]),
            directory: directory.to_owned(),
            listeners: Vec::new(),
        }
    }

    /// Hands the program a listener that is held here too, as a service manager does for sockets it activates.
    #[must_use]
    pub fn handing(mut self, listener: impl Into<OwnedFd>) -> Self {
        self.listeners.push(Arc::new(listener.into()));
        self
    }

    /// Sets another name for files and messages.
    #[must_use]
    pub fn named(mut self, name: &str) -> Self {
        name.clone_into(&mut self.name);
        self
    }

    /// Chooses another program.
    #[must_use]
    pub fn program(mut self, program: Program) -> Self {
        self.program = program.path();
        self
    }

    /// Chooses a program that is not the relay's.
    #[must_use]
    pub fn other_program(mut self, path: &str) -> Self {
        self.program = PathBuf::from(path);
        self
    }

    /// Chooses the same program of another version, which lies in that directory, for the next start.
    pub fn take_from(&mut self, directory: &Path) {
        let file = self.program.file_name().expect("a program has a name").to_owned();
        self.program = directory.join(file);
    }

    /// The name for files and messages.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Replaces all arguments.
    #[must_use]
    pub fn only_arguments(mut self, arguments: &[&str]) -> Self {
        self.arguments.clear();
        self.arguments(arguments)
    }

    /// Adds arguments.
    #[must_use]
    pub fn arguments(mut self, arguments: &[&str]) -> Self {
        self.arguments.extend(arguments.iter().map(|&argument| argument.to_owned()));
        self
    }

    /// Lets another program start this one, as its last arguments.
    #[must_use]
    pub fn wrapped(mut self, program: &str, arguments: &[&str]) -> Self {
        let wrapped = std::mem::replace(&mut self.program, PathBuf::from(program)).display().to_string();
        let own = std::mem::take(&mut self.arguments);
        self.arguments = arguments.iter().map(|&argument| argument.to_owned()).collect();
        self.arguments.push(wrapped);
        self.arguments.extend(own);
        self
    }

    /// Lets SIGHUP have its usual meaning, although the tests themselves may have been started by `nohup`.
    #[must_use]
    pub fn outliving_nothing(self) -> Self {
        self.wrapped("env", &["--default-signal=HUP"])
    }

    /// Sets a variable.
    #[must_use]
    pub fn variable(mut self, name: &str, value: impl ToString) -> Self {
        self.set(name, value);
        self
    }

    /// Sets variables.
    #[must_use]
    pub fn variables(mut self, variables: &BTreeMap<String, String>) -> Self {
        self.variables.extend(variables.clone());
        self
    }

    /// Sets a variable for the next start.
    pub fn set(&mut self, name: &str, value: impl ToString) {
        self.variables.insert(name.to_owned(), value.to_string());
    }

    /// Removes a variable for the next start.
    pub fn unset(&mut self, name: &str) {
        self.variables.remove(name);
    }

    /// Starts the program.
    ///
    /// # Panics
    /// When the program cannot be started at all.
    pub fn start(&self) -> Process {
        let (stdout, stderr) = self.output_files();
        let open = |path: &Path| File::create(path).expect("an output file");
        let mut command = if self.listeners.is_empty() {
            Command::new(&self.program)
        } else {
            // Only the program's own process knows its id before the program runs.
            let mut shell = Command::new("/bin/sh");
            shell.args(["-c", r#"LISTEN_PID=$$ exec "$@""#, "sh"]).arg(&self.program);
            shell
        };
        let handed = self.listeners.iter().zip(FIRST_LISTENER..).map(|(listener, child_fd)| FdMapping {
            parent_fd: listener.try_clone().expect("a file descriptor"),
            child_fd,
        });
        command.fd_mappings(handed.collect()).expect("distinct file descriptors");
        // In the process group of the test: whoever interrupts the test interrupts its children with it.
        let child = command
            .args(&self.arguments)
            .env_clear()
            .env("PATH", "/usr/local/bin:/usr/bin:/bin")
            .envs(&self.variables)
            .envs((!self.listeners.is_empty()).then(|| ("LISTEN_FDS", self.listeners.len().to_string())))
            .current_dir(&self.directory)
            .stdin(Stdio::null())
            .stdout(open(&stdout))
            .stderr(open(&stderr))
            .spawn()
            .unwrap_or_else(|error| panic!("cannot start {}: {error}", self.program.display()));
        Process { name: self.name.clone(), child, exit: None, stdout, stderr }
    }

    /// Starts the program and waits for its end.
    pub async fn finish(&self) -> Finished {
        let mut process = self.start();
        let status = process.ended().await;
        Finished { code: status.code(), stdout: process.stdout(), stderr: process.stderr() }
    }

    /// Files that no earlier start used.
    fn output_files(&self) -> (PathBuf, PathBuf) {
        let logs = self.directory.join("output");
        fs::create_dir_all(&logs).expect("a directory for output");
        let mut run = 0;
        loop {
            let stdout = logs.join(format!("{}.{run}.stdout", self.name));
            if !stdout.exists() {
                return (stdout, logs.join(format!("{}.{run}.stderr", self.name)));
            }
            run += 1;
        }
    }
}

/// What a program said before it ended.
#[derive(Debug)]
pub struct Finished {
    /// Exit code; `None` after a signal.
    pub code: Option<i32>,
    /// All of its standard output.
    pub stdout: String,
    /// All of its standard error.
    pub stderr: String,
}

/// A running program. Dropping it kills it and everything below it.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    exit: Option<ExitStatus>,
    stdout: PathBuf,
    stderr: PathBuf,
}

impl Process {
    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The name for messages.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) {
        if self.exit.is_none() {
            // A process that has just ended is no error: whoever waits for its end will see it.
            signal::kill(pid_of(self.pid()), signal).expect("an unreaped child can be signalled");
        }
    }

    /// Ends it as a power cut would, and reaps it.
    pub fn kill(&mut self) {
        self.signal(Signal::SIGKILL);
        if self.exit.is_none() {
            self.exit = Some(self.child.wait().expect("a child can be waited for"));
        }
    }

    /// Whether it has not ended.
    pub fn is_running(&mut self) -> bool {
        if self.exit.is_none() {
            self.exit = self.child.try_wait().expect("a child can be waited for");
        }
        self.exit.is_none()
    }

    /// Waits for its end.
    ///
    /// # Panics
    /// When it does not end; the message shows what it said.
    pub async fn ended(&mut self) -> ExitStatus {
        let seen = deadline::within(deadline::PATIENCE, async || (!self.is_running()).then_some(())).await;
        assert!(seen.is_some(), "{} does not end; it said:\n{}", self.name, self.output());
        self.exit.expect("it has ended")
    }

    /// Waits for its end and returns the exit code, or minus the signal that ended it.
    pub async fn exit_code(&mut self) -> i32 {
        let status = self.ended().await;
        status.code().unwrap_or_else(|| -status.signal().unwrap_or_default())
    }

    /// Asks it to stop, and returns the exit code.
    pub async fn terminate(&mut self) -> i32 {
        self.signal(Signal::SIGTERM);
        self.exit_code().await
    }

    /// Its standard output so far.
    pub fn stdout(&self) -> String {
        read(&self.stdout)
    }

    /// Its standard error so far.
    pub fn stderr(&self) -> String {
        read(&self.stderr)
    }

    /// Everything it said so far.
    pub fn output(&self) -> String {
        self.stdout() + &self.stderr()
    }

    /// Memory that it holds, in bytes.
    pub fn resident_bytes(&self) -> u64 {
        procfs::resident_bytes(self.pid()).expect("a running process has memory")
    }

    /// Processor time that it took so far.
    pub fn cpu_time(&self) -> Duration {
        procfs::cpu_time(self.pid()).expect("a running process has times")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if self.is_running() {
            let family = procfs::descendants(self.pid());
            self.kill();
            for child in family {
                // They may have ended with their parent, which is as good.
                signal::kill(pid_of(child), Signal::SIGKILL).unwrap_or_default();
            }
        }
        if std::thread::panicking() {
            eprintln!("--- {} said:\n{}", self.name, tail(&self.output()));
        }
    }
}

/// Sends a signal to a process that is not a direct child.
pub fn signal_pid(pid: u32, signal: Signal) {
    signal::kill(pid_of(pid), signal).unwrap_or_else(|error| panic!("cannot signal {pid}: {error}"));
}

fn pid_of(pid: u32) -> Pid {
    Pid::from_raw(pid.try_into().expect("a process id fits"))
}

fn read(path: &Path) -> String {
    String::from_utf8_lossy(&fs::read(path).unwrap_or_default()).into_owned()
}

/// The last lines, which are the ones that explain a failure.
fn tail(text: &str) -> String {
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(40)..].join("\n")
}
