//! A key that a command supplies, so that it lies in no file of the site: a vault's client, a security module's.

use std::io::Read as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use crate::storage::Secret;

/// How long a command may take.
const PATIENCE: Duration = Duration::from_secs(30);
/// Bytes of its answer that are read: 64 digits and white space around them.
const LONGEST: u64 = 256;

/// Why a command supplied no key. Never quotes its output.
#[derive(Debug, thiserror::Error)]
pub(super) enum NoKey {
    /// There is no command.
    #[error("it names no program")]
    Empty,
    /// It cannot be run.
    #[error("it cannot be run: {0}")]
    Run(#[from] std::io::Error),
    /// It did not end well.
    #[error("it ended with {0}")]
    Status(std::process::ExitStatus),
    /// It did not end.
    #[error("it did not answer within {} seconds", PATIENCE.as_secs())]
    Slow,
    /// It printed something else.
    #[error("it printed no key: 64 hexadecimal digits on standard output")]
    Malformed,
}

impl NoKey {
    /// What the operator can do about it.
    pub(super) fn hint(&self) -> &'static str {
        match self {
            NoKey::Empty | NoKey::Run(_) => {
                "name the program and its arguments: [\"/usr/local/bin/weir-key\", \"payload\"]"
            }
            NoKey::Status(_) | NoKey::Slow | NoKey::Malformed => {
                "run it by hand as the gateway's user, in the site's folder; what it writes to standard error is shown"
            }
        }
    }
}

/// Runs a command in the site's folder and reads the key that it prints. Its standard error is the gateway's.
pub(super) fn run(command: &[String], folder: &Path) -> Result<Secret, NoKey> {
    run_for(command, folder, PATIENCE)
}

fn run_for(command: &[String], folder: &Path, patience: Duration) -> Result<Secret, NoKey> {
    let (program, arguments) = command.split_first().ok_or(NoKey::Empty)?;
    let started = Instant::now();
    let mut child = Command::new(program)
        .args(arguments)
        .current_dir(folder)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .spawn()?;
    let (told, answer) = mpsc::channel();
    let output = child.stdout.take();
    thread::spawn(move || {
        let mut text = String::new();
        let read = output.map_or(Ok(0), |output| output.take(LONGEST).read_to_string(&mut text));
        // Nobody waits any more when it took too long.
        let _late = told.send(read.map(|_| text));
    });
    let answer = answer.recv_timeout(patience);
    let status = loop {
        match child.try_wait()? {
            Some(status) => break status,
            None if answer.is_ok() && started.elapsed() < patience => thread::yield_now(),
            None => {
                child.kill()?;
                child.wait()?;
                return Err(NoKey::Slow);
            }
        }
    };
    let text = answer.map_err(|_| NoKey::Slow)?.map_err(|_| NoKey::Malformed)?;
    if !status.success() {
        return Err(NoKey::Status(status));
    }
    Secret::read(&text).ok_or(NoKey::Malformed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str, patience: Duration) -> Result<Secret, NoKey> {
        let command = ["sh", "-c", script].map(str::to_owned);
        run_for(&command, Path::new("/"), patience)
    }

    #[test]
    fn a_command_supplies_the_key_that_it_prints() {
        let digits = "0f".repeat(32);
        let key = shell(&format!("test $PWD = / && echo '  {digits}'"), PATIENCE).expect("it prints one");
        assert_eq!(*key.bytes(), [15; 32]);
    }

    #[test]
    fn a_command_that_supplies_none_says_why() {
        let digits = "0f".repeat(32);
        let why = |script: &str| shell(script, PATIENCE).expect_err("it prints none").to_string();
        assert_eq!(why(&format!("echo {digits}; exit 3")), "it ended with exit status: 3");
        for script in ["true", "echo 0f0f", "yes", "head -c 300 /dev/zero"] {
            assert!(why(script).starts_with("it printed no key") || why(script).starts_with("it ended"), "{script}");
        }
        for script in ["exec sleep 30", &format!("echo {digits}; exec sleep 30 >&-")] {
            let slow = shell(script, Duration::from_millis(300)).expect_err("it takes too long");
            assert!(matches!(slow, NoKey::Slow), "{slow}");
        }
        assert!(matches!(run_for(&[], Path::new("/"), PATIENCE), Err(NoKey::Empty)));
        let missing = run_for(&["/no/such/program".to_owned()], Path::new("/"), PATIENCE).expect_err("it is not there");
        assert!(matches!(missing, NoKey::Run(_)) && !missing.hint().is_empty(), "{missing}");
    }
}
