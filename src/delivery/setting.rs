//! A setting of a partner's file that cannot be used, and what partner, endpoint and lane check alike.

use std::time::Duration;

/// A setting that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{key} {problem}: {remedy}")]
pub struct SettingError {
    /// The key in the partner's file.
    pub key: String,
    /// What is wrong with its value.
    pub problem: String,
    /// What to write.
    pub remedy: &'static str,
}

pub(super) fn wrong(key: impl Into<String>, problem: impl Into<String>, remedy: &'static str) -> SettingError {
    SettingError { key: key.into(), problem: problem.into(), remedy }
}

/// The value, or `None` and its fault among the others.
pub(super) fn kept<T>(checked: Result<T, SettingError>, faults: &mut Vec<SettingError>) -> Option<T> {
    checked.map_err(|fault| faults.push(fault)).ok()
}

/// The longest time that a setting may name: 30 days.
const LONGEST: f64 = 30.0 * 86_400.0;

pub(super) fn seconds(key: &str, seconds: f64) -> Result<Duration, SettingError> {
    if !(0.001..=LONGEST).contains(&seconds) {
        return Err(wrong(key, "is out of range", "write seconds from 0.001 to 2592000"));
    }
    Ok(Duration::from_secs_f64(seconds))
}

/// A number of things from `least` to `most`.
pub(super) fn number(key: &str, number: u32, (least, most): (u32, u32)) -> Result<u32, SettingError> {
    if (least..=most).contains(&number) {
        return Ok(number);
    }
    Err(wrong(key, format!("is not from {least} to {most}"), "write a number within these bounds"))
}
