//! Room for further messages: how many wait to be sent, how much the disk has left, and whether what is written is kept.

use std::fmt;
use std::path::{Path, PathBuf};

/// How much may wait before nothing more is accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Room {
    /// Messages that wait to be sent.
    pub messages: u64,
    /// Bytes of their payloads.
    pub bytes: u64,
    /// Bytes that stay free on the disk for what accepted messages still need: their steps, their audit events.
    pub free_bytes: u64,
}

impl Default for Room {
    /// Without bounds.
    fn default() -> Room {
        Room { messages: u64::MAX, bytes: u64::MAX, free_bytes: 0 }
    }
}

/// Why there is no room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Full {
    /// As many messages wait as may.
    Messages,
    /// As many bytes wait as may.
    Bytes,
    /// The disk has too little left.
    Disk,
}

impl Full {
    /// Its name in metrics.
    pub fn code(self) -> &'static str {
        match self {
            Full::Messages => "waiting-messages",
            Full::Bytes => "waiting-bytes",
            Full::Disk => "disk",
        }
    }
}

impl fmt::Display for Full {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Full::Messages => "the outbox is full: too many messages wait to be sent",
            Full::Bytes => "the outbox is full: the messages that wait to be sent are too large together",
            Full::Disk => "the disk is nearly full; what is left is kept for messages that were accepted",
        })
    }
}

/// What waits, and what is left.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Load {
    /// Messages that wait to be sent.
    pub messages: u64,
    /// Bytes of their payloads.
    pub bytes: u64,
    /// Bytes that are free on the disk; `None` when it does not say.
    pub free_bytes: Option<u64>,
    /// Why nothing more is accepted.
    pub full: Option<Full>,
    /// Whether the disk has too little left, whatever else is full.
    pub disk_full: bool,
    /// Why something could not be written, unless a probe could since.
    pub failing: Option<String>,
}

impl Load {
    /// Whether there is room in `room` for one more message.
    pub(super) fn within(mut self, room: &Room) -> Load {
        self.disk_full = self.free_bytes.is_some_and(|free| free < room.free_bytes);
        self.full = if self.messages >= room.messages {
            Some(Full::Messages)
        } else if self.bytes >= room.bytes {
            Some(Full::Bytes)
        } else if self.disk_full {
            Some(Full::Disk)
        } else {
            None
        };
        self
    }
}

/// A disk, by a folder on it.
#[derive(Clone, Debug)]
pub(super) struct Disk(PathBuf);

impl Disk {
    /// That of a file.
    pub(super) fn of(file: &Path) -> Disk {
        let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty());
        Disk(folder.unwrap_or(Path::new(".")).to_owned())
    }

    /// Bytes that this process may still write.
    pub(super) fn free_bytes(&self) -> Option<u64> {
        let found = rustix::fs::statvfs(&self.0).ok()?;
        Some(found.f_bavail.saturating_mul(found.f_frsize))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_room_up_to_each_bound() {
        let room = Room { messages: 2, bytes: 100, free_bytes: 1000 };
        let full =
            |messages, bytes, free| Load { messages, bytes, free_bytes: free, ..Load::default() }.within(&room).full;
        assert_eq!(full(1, 99, Some(1000)), None);
        assert_eq!(full(1, 99, None), None);
        assert_eq!(full(2, 0, Some(0)), Some(Full::Messages));
        assert_eq!(full(0, 100, Some(2000)), Some(Full::Bytes));
        assert_eq!(full(0, 0, Some(999)), Some(Full::Disk));
    }

    #[test]
    fn a_disk_says_what_it_has_left() {
        let folder = tempfile::tempdir().expect("a folder");
        assert!(Disk::of(&folder.path().join("a.db")).free_bytes().is_some_and(|free| free > 0));
        assert_eq!(Disk::of(&folder.path().join("none/a.db")).free_bytes(), None);
        assert!(Disk::of(Path::new("a.db")).free_bytes().is_some());
    }
}
