//! Key files, readable by their owner alone; and the kind that holds 32 random bytes in hexadecimal.

use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;

use zeroize::Zeroize as _;

/// 32 random bytes that a file keeps. Never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret([u8; 32]);

impl Drop for Secret {
    /// Leaves no copy in memory that is given back.
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// Why a key file cannot be used. Names no path: the caller knows it.
#[derive(Debug, thiserror::Error)]
pub enum KeyFileError {
    /// It cannot be read or written.
    #[error("the key file cannot be used: {0}")]
    Io(#[from] io::Error),
    /// Others than its owner may read it.
    #[error("the key file may be read by others than its owner")]
    Exposed,
    /// It does not hold a key.
    #[error("the key file does not hold a key of its kind")]
    Malformed,
}

impl KeyFileError {
    /// What the operator can do about it.
    pub fn hint(&self) -> &'static str {
        match self {
            KeyFileError::Io(_) => "check that the file exists and that the gateway's user owns it",
            KeyFileError::Exposed => "chmod 600 the file, and consider whether the key must be replaced",
            KeyFileError::Malformed => {
                "restore the file from its backup; a new key cannot open what the old one sealed"
            }
        }
    }
}

impl Secret {
    /// A new one, from the system's randomness.
    pub fn generate() -> Secret {
        let mut bytes = [0; 32];
        aws_lc_rs::rand::fill(&mut bytes).expect("the system has randomness once it is up");
        Secret(bytes)
    }

    /// A new one, written to a new file at `path` with mode 0600.
    ///
    /// # Errors
    /// When the file exists already, or cannot be written.
    pub fn create(path: &Path) -> Result<Secret, KeyFileError> {
        let secret = Secret::generate();
        let digits: String = secret.0.iter().map(|byte| format!("{byte:02x}")).collect();
        create_key_file(path, &digits)?;
        Ok(secret)
    }

    /// The one in the file at `path`.
    ///
    /// # Errors
    /// [`KeyFileError`]
    pub fn load(path: &Path) -> Result<Secret, KeyFileError> {
        Secret::read(&load_key_file(path)?).ok_or(KeyFileError::Malformed)
    }

    /// The one that a text holds: 64 hexadecimal digits, which white space may surround.
    pub fn read(text: &str) -> Option<Secret> {
        bytes_of(text.trim()).map(Secret)
    }

    /// The one with these 32 bytes.
    pub(super) fn of(bytes: &[u8]) -> Option<Secret> {
        bytes.try_into().ok().map(Secret)
    }

    /// The bytes, for the primitive that uses them.
    pub fn bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

/// Writes the text of a key to a new file that its owner alone can read, and syncs it.
///
/// # Errors
/// When the file exists already, or cannot be written.
pub fn create_key_file(path: &Path, text: &str) -> Result<(), KeyFileError> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    writeln!(file, "{text}")?;
    file.sync_all()?;
    if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        File::open(folder)?.sync_all()?;
    }
    Ok(())
}

/// Reads the text of a key.
///
/// # Errors
/// [`KeyFileError::Exposed`] when others than the owner may read or write it, or what the system says.
pub fn load_key_file(path: &Path) -> Result<String, KeyFileError> {
    if path.metadata()?.permissions().mode() & 0o077 != 0 {
        return Err(KeyFileError::Exposed);
    }
    Ok(std::fs::read_to_string(path)?)
}

fn bytes_of(digits: &str) -> Option<[u8; 32]> {
    let digits = digits.as_bytes();
    if digits.len() != 64 {
        return None;
    }
    let mut bytes = [0; 32];
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        let digit = |at: usize| char::from(pair[at]).to_digit(16);
        *byte = u8::try_from(digit(0)? * 16 + digit(1)?).ok()?;
    }
    Some(bytes)
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "files of a test need not be durable")]
mod tests {
    use super::*;

    #[test]
    fn a_created_key_is_loaded_and_belongs_to_its_owner() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("seal.key");
        let secret = Secret::create(&path).expect("it is written");
        assert_eq!(Secret::load(&path).expect("it is read"), secret);
        assert_eq!(path.metadata().expect("it exists").permissions().mode() & 0o777, 0o600);
        assert!(matches!(Secret::create(&path), Err(KeyFileError::Io(_))), "an existing key is never overwritten");
        assert_eq!(format!("{secret:?}"), "Secret(…)");
    }

    #[test]
    fn a_key_that_others_can_read_or_that_is_none_is_refused() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("seal.key");
        Secret::create(&path).expect("it is written");
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).expect("the mode changes");
        assert!(matches!(Secret::load(&path), Err(KeyFileError::Exposed)));
        for text in ["", "00", &"0g".repeat(32), &"00".repeat(33)] {
            std::fs::write(&path, text).expect("it is written");
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).expect("the mode changes");
            assert!(matches!(Secret::load(&path), Err(KeyFileError::Malformed)), "{text}");
        }
    }
}
