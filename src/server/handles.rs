//! File handles: each connection is one, and the system gives a process only so many.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tracing::warn;

use super::limits::Limits;

/// Handles for everything that is no connection of this listener: partners, operators, the store, files that are read.
const OTHERS: u64 = 1024;

/// Asks the system for as many handles as the limits need. Where it gives fewer, there are fewer connections.
pub(super) fn fit(limits: Limits) -> Limits {
    let needed = u64::try_from(limits.connections).unwrap_or(u64::MAX).saturating_add(OTHERS);
    let own = getrlimit(Resource::Nofile);
    let most = own.maximum.unwrap_or(u64::MAX);
    if own.current.is_some_and(|current| current < needed) {
        let raised = Rlimit { current: Some(needed.min(most)), ..own };
        if let Err(error) = setrlimit(Resource::Nofile, raised) {
            warn!(%error, "the system gives no more file handles");
        }
    }
    let got = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    let connections = connections_with(got, limits.connections);
    if connections < limits.connections {
        warn!(handles = got, connections, "fewer connections than limits.connections: raise the limit of open files");
    }
    Limits { connections, ..limits }
}

/// How many connections there may be of those wanted, with so many handles.
fn connections_with(handles: u64, wanted: usize) -> usize {
    let left = handles.saturating_sub(OTHERS).max(handles / 2).max(1);
    wanted.min(usize::try_from(left).unwrap_or(usize::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_leave_handles_for_the_others() {
        assert_eq!(connections_with(u64::MAX, 2048), 2048);
        assert_eq!(connections_with(3072, 2048), 2048);
        assert_eq!(connections_with(3000, 2048), 1976);
        assert_eq!(connections_with(1024, 2048), 512);
        assert_eq!(connections_with(0, 2048), 1);
    }

    #[test]
    fn the_system_is_asked_for_what_is_needed() {
        let hard = getrlimit(Resource::Nofile).maximum.unwrap_or(u64::MAX);
        let wanted = usize::try_from(hard.saturating_sub(OTHERS).min(1500)).expect("it fits");
        assert_eq!(fit(Limits { connections: wanted, ..Limits::default() }).connections, wanted);
        assert!(getrlimit(Resource::Nofile).current.is_none_or(|current| current >= wanted as u64 + OTHERS));
    }
}
