//! The file of a key that we sign assertions with, and the key as it was last read.
//!
//! Enters: the file and its algorithm. Leaves: the key for each assertion; a successor, once it was read and found to be of the same
//! kind, for every assertion from then on. Invariant: a file with a fault changes nothing.

use std::fmt::Display;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use zeroize::Zeroizing;

use crate::delivery::setting::{SettingError, wrong};
use crate::identity::assertion::{Algorithm, SigningKey};
use crate::storage::load_key_file;

/// A key of ours in a file. Clones share the key.
#[derive(Clone, Debug)]
pub struct SigningFile {
    file: PathBuf,
    algorithm: Algorithm,
    key: Arc<RwLock<Arc<SigningKey>>>,
}

impl SigningFile {
    /// Reads a private key, PEM of PKCS #8, for `algorithm`.
    pub(super) fn load(file: PathBuf, algorithm: Algorithm) -> Result<SigningFile, SettingError> {
        let key = read(&file, algorithm)?;
        Ok(SigningFile { file, algorithm, key: Arc::new(RwLock::new(Arc::new(key))) })
    }

    /// Where it is.
    pub fn file(&self) -> &Path {
        &self.file
    }

    /// The key that is used now.
    pub(super) fn key(&self) -> Arc<SigningKey> {
        self.key.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What the file holds now; it is not used yet.
    ///
    /// # Errors
    /// What is wrong with the file, or with the key.
    pub fn read_anew(&self) -> Result<SigningKey, SettingError> {
        read(&self.file, self.algorithm)
    }

    /// Signs with `key` from now on.
    pub fn take_over(&self, key: SigningKey) {
        *self.key.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(key);
    }
}

fn read(file: &Path, algorithm: Algorithm) -> Result<SigningKey, SettingError> {
    let unusable = |error: &dyn Display, hint| wrong("key_file", format!("cannot be used ({error})"), hint);
    let pem = load_key_file(file).map_err(|error| unusable(&error, error.hint()))?;
    let pem = Zeroizing::new(pem);
    SigningKey::from_pem(algorithm, pem.as_bytes()).map_err(|error| {
        unusable(&error, "write the file of the private key that the partner's token server knows by key_id")
    })
}
