//! Who is connected: how many connections there are, of whom, and which of them is idle for longest.
//!
//! Invariant: there are never more than [`Limits::connections`], and a few that are on their way out. One that comes when
//! all places are taken gets the place of the one that has been idle for longest, so that whoever only sits there keeps
//! nobody out.

use std::collections::{BTreeMap, HashMap};
use std::hash::Hash;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

use super::limits::{Limit, Limits, Tally};

/// Connections that may still be on their way out when the next is let in.
const LEAVING: usize = 64;

/// Requests that a client may give up before their answers, more than it took answers since.
const RESETS: u32 = 64;

/// Whoever presents one certificate, or connects from one address where no certificate is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Client {
    /// SHA-256 of the certificate.
    Certificate([u8; 32]),
    Address(IpAddr),
}

/// The connections of one listener.
pub(super) struct Connections {
    limits: Limits,
    tally: Tally,
    places: Arc<Semaphore>,
    table: Mutex<Table>,
}

/// Those who are not on their way out.
#[derive(Default)]
struct Table {
    guests: BTreeMap<u64, Arc<Guest>>,
    admitted: u64,
    of_address: HashMap<IpAddr, usize>,
    of_client: HashMap<Client, usize>,
}

/// One connection, as the others see it.
pub(super) struct Guest {
    address: IpAddr,
    client: OnceLock<Client>,
    state: Mutex<State>,
    leave: Notify,
}

struct State {
    idle_since: Instant,
    /// When each request that is under way began.
    requests: BTreeMap<u64, Instant>,
    begun: u64,
    /// Requests given up by the peer; each that was answered makes up for one.
    abandoned: u32,
}

/// A place for a connection, given back when dropped.
pub(super) struct Place {
    number: u64,
    guest: Arc<Guest>,
    connections: Arc<Connections>,
    _permit: OwnedSemaphorePermit,
}

impl Connections {
    pub(super) fn new(limits: Limits, tally: Tally) -> Arc<Connections> {
        let places = Arc::new(Semaphore::new(limits.connections + LEAVING));
        Arc::new(Connections { limits, tally, places, table: Mutex::default() })
    }

    /// A place for a connection from `address`; `None` when its address has as many as it may, and all are busy.
    pub(super) async fn admit(self: &Arc<Self>, address: IpAddr) -> Option<Place> {
        let guest = Arc::new(Guest::new(address));
        let number = {
            let mut table = self.table();
            let of_address = table.of_address.get(&address).copied().unwrap_or_default();
            if of_address >= self.limits.address_connections
                && !self.send_one_away(&mut table, Limit::AddressConnections, |guest| guest.address == address)
            {
                return None;
            }
            if table.guests.len() >= self.limits.connections {
                // If all are busy, this one waits for a place.
                self.send_one_away(&mut table, Limit::Connections, |_| true);
            }
            table.insert(guest.clone())
        };
        let connections = self.clone();
        let permit = self.places.clone().acquire_owned().await.expect("the semaphore is never closed");
        Some(Place { number, guest, connections, _permit: permit })
    }

    /// Asks the one of a kind that has been idle for longest to leave. Whether there is one.
    fn send_one_away(&self, table: &mut Table, limit: Limit, is_one: impl Fn(&Guest) -> bool) -> bool {
        self.tally.count(limit);
        let idle = table.guests.iter().filter(|(_, guest)| is_one(guest));
        let idle = idle.filter_map(|(number, guest)| Some((guest.standing().err()?, *number)));
        let Some((_, number)) = idle.min() else { return false };
        if let Some(guest) = table.remove(number) {
            guest.leave.notify_one();
        }
        true
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Table {
    fn insert(&mut self, guest: Arc<Guest>) -> u64 {
        self.admitted += 1;
        *self.of_address.entry(guest.address).or_default() += 1;
        self.guests.insert(self.admitted, guest);
        self.admitted
    }

    fn remove(&mut self, number: u64) -> Option<Arc<Guest>> {
        let guest = self.guests.remove(&number)?;
        take_one(&mut self.of_address, &guest.address);
        if let Some(client) = guest.client.get() {
            take_one(&mut self.of_client, client);
        }
        Some(guest)
    }
}

fn take_one<K: Hash + Eq>(counts: &mut HashMap<K, usize>, key: &K) {
    if let Some(count) = counts.get_mut(key) {
        *count -= 1;
        if *count == 0 {
            counts.remove(key);
        }
    }
}

impl Place {
    pub(super) fn guest(&self) -> &Arc<Guest> {
        &self.guest
    }

    /// Says whose connection it is. Whether there is room for one more of that client's.
    pub(super) fn belongs_to(&self, client: Client) -> bool {
        let connections = &self.connections;
        let mut table = connections.table();
        let of_client = table.of_client.get(&client).copied().unwrap_or_default();
        let is_one = |guest: &Guest| guest.client.get() == Some(&client);
        if of_client >= connections.limits.client_connections
            && !connections.send_one_away(&mut table, Limit::ClientConnections, is_one)
        {
            return false;
        }
        // One that is on its way out counts no more.
        if table.guests.contains_key(&self.number) && self.guest.client.set(client).is_ok() {
            *table.of_client.entry(client).or_default() += 1;
        }
        true
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.connections.table().remove(self.number);
    }
}

impl Guest {
    pub(super) fn new(address: IpAddr) -> Guest {
        let (requests, idle_since) = (BTreeMap::new(), Instant::now());
        let state = State { idle_since, requests, begun: 0, abandoned: 0 };
        Guest { address, client: OnceLock::new(), state: Mutex::new(state), leave: Notify::new() }
    }

    /// Until the connection is to make room for another.
    pub(super) async fn is_sent_away(&self) {
        self.leave.notified().await;
    }

    /// A request begins.
    pub(super) fn begin(&self) -> u64 {
        let mut state = self.state();
        state.begun += 1;
        let number = state.begun;
        state.requests.insert(number, Instant::now());
        number
    }

    /// A request ends, its answer taken or given up.
    pub(super) fn end(&self, request: u64) {
        let mut state = self.state();
        state.requests.remove(&request);
        state.idle_since = Instant::now();
    }

    /// A request was answered, or given up by the peer before. Whether the peer gives up too many.
    pub(super) fn is_flooding(&self, answered: bool) -> bool {
        let mut state = self.state();
        state.abandoned = if answered { state.abandoned.saturating_sub(1) } else { state.abandoned + 1 };
        state.abandoned > RESETS
    }

    /// When the oldest request under way began; without any, since when there has been none.
    pub(super) fn standing(&self) -> Result<Instant, Instant> {
        let state = self.state();
        state.requests.first_key_value().map_or(Err(state.idle_since), |(_, began)| Ok(*began))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;
    use tokio::time::timeout;

    fn address(last: u8) -> IpAddr {
        [127, 0, 0, last].into()
    }

    fn few() -> Limits {
        Limits { connections: 3, address_connections: 2, client_connections: 1, ..Limits::default() }
    }

    async fn is_sent_away(place: &Place) -> bool {
        timeout(Duration::from_millis(1), place.guest().is_sent_away()).await.is_ok()
    }

    #[tokio::test]
    async fn the_one_that_is_idle_for_longest_makes_room() {
        let connections = Connections::new(few(), Tally::default());
        let mut places = Vec::new();
        for last in [1, 1, 2] {
            places.push(connections.admit(address(last)).await.expect("there is room"));
        }
        places[0].guest().begin();
        let fourth = connections.admit(address(3)).await.expect("room is made");
        assert!(!is_sent_away(&places[0]).await, "it is busy");
        assert!(is_sent_away(&places[1]).await && !is_sent_away(&places[2]).await);
        let request = fourth.guest().begin();
        fourth.guest().end(request);
        let _fifth = connections.admit(address(2)).await.expect("room is made");
        assert!(is_sent_away(&places[2]).await && !is_sent_away(&fourth).await);
    }

    #[tokio::test]
    async fn one_address_or_client_takes_no_more_than_its_share() {
        let connections = Connections::new(few(), Tally::default());
        let first = connections.admit(address(1)).await.expect("there is room");
        let second = connections.admit(address(1)).await.expect("there is room");
        first.guest().begin();
        second.guest().begin();
        assert!(connections.admit(address(1)).await.is_none(), "both of its connections are busy");
        let client = Client::Certificate([1; 32]);
        assert!(first.belongs_to(client));
        assert!(!second.belongs_to(client), "its only connection is busy");
        assert!(second.belongs_to(Client::Certificate([2; 32])));
        drop(first);
        let third = connections.admit(address(1)).await.expect("there is room again");
        assert!(third.belongs_to(client));
    }

    #[test]
    fn a_client_that_resets_more_than_it_takes_is_told_from_one_that_gives_up_some() {
        let guest = Guest::new(address(1));
        for _ in 0..1000 {
            assert!(!guest.is_flooding(true) && !guest.is_flooding(false));
        }
        assert!((1..RESETS).all(|_| !guest.is_flooding(false)));
        assert!(guest.is_flooding(false));
    }
}
