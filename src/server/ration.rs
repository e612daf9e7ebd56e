//! What requests may take: places, bytes of bodies, work; for each client, and for all together.
//!
//! Enters: a request as it begins. Leaves: an [`Account`] that goes with it and gives everything back when its last copy
//! is dropped. Invariant: what is given out never exceeds the [`Limits`]. Places and bytes are refused at once when there
//! are none, so that nobody waits for what another holds; work is waited for in the order of arrival, with everything
//! that it needs already there.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::connections::{Client, Guest};
use super::limits::{Limit, Limits, Tally};

/// Work is counted in these: a semaphore counts to 2^32 at a time.
const UNIT: usize = 1024;

/// The share of the work that one client may have under way: the rest is for others.
const SHARE: (usize, usize) = (3, 4);

/// What all requests to one listener share.
pub(super) struct Ration {
    limits: Limits,
    tally: Tally,
    all: Supply,
    clients: Mutex<HashMap<Client, Weak<Supply>>>,
}

/// What there is to take.
pub(super) struct Supply {
    requests: Arc<Semaphore>,
    bytes: Arc<Semaphore>,
    work: Arc<Semaphore>,
}

/// What one request has taken.
#[derive(Clone)]
pub(crate) struct Account(Arc<Taken>);

struct Taken {
    ration: Arc<Ration>,
    client: Arc<Supply>,
    guest: Arc<Guest>,
    number: u64,
    _places: [OwnedSemaphorePermit; 2],
    bytes: Mutex<Vec<OwnedSemaphorePermit>>,
}

/// The right to work on a record, until dropped.
pub(crate) struct Working {
    _permits: [OwnedSemaphorePermit; 2],
}

impl Supply {
    fn new(requests: usize, bytes: usize, work: usize) -> Supply {
        let semaphore = |permits: usize| Arc::new(Semaphore::new(permits.min(Semaphore::MAX_PERMITS)));
        Supply { requests: semaphore(requests), bytes: semaphore(bytes), work: semaphore(work) }
    }
}

impl Ration {
    pub(super) fn new(limits: Limits, tally: Tally) -> Arc<Ration> {
        let all = Supply::new(limits.requests, limits.body_bytes, limits.work_bytes / UNIT);
        Arc::new(Ration { limits, tally, all, clients: Mutex::default() })
    }

    /// What `client` shares with its other connections.
    pub(super) fn of(&self, client: Client) -> Arc<Supply> {
        let mut clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = clients.get(&client).and_then(Weak::upgrade) {
            return known;
        }
        clients.retain(|_, supply| supply.strong_count() > 0);
        let work = self.most_work_of_one();
        let supply = Arc::new(Supply::new(self.limits.client_requests, self.limits.client_body_bytes, work));
        clients.insert(client, Arc::downgrade(&supply));
        supply
    }

    fn most_work_of_one(&self) -> usize {
        self.limits.work_bytes / UNIT * SHARE.0 / SHARE.1
    }

    /// A place for one request.
    pub(super) fn begin(self: &Arc<Self>, client: &Arc<Supply>, guest: &Arc<Guest>) -> Result<Account, Limit> {
        let place = |supply: &Supply| supply.requests.clone().try_acquire_owned();
        let own = place(client).map_err(|_| self.refuse(Limit::ClientRequests))?;
        let shared = place(&self.all).map_err(|_| self.refuse(Limit::Requests))?;
        let (guest, number) = (guest.clone(), guest.begin());
        let (ration, client, bytes) = (self.clone(), client.clone(), Mutex::default());
        Ok(Account(Arc::new(Taken { ration, client, guest, number, _places: [own, shared], bytes })))
    }

    fn refuse(&self, limit: Limit) -> Limit {
        self.tally.count(limit);
        limit
    }
}

impl Account {
    /// Takes the room of `bytes` more bytes of bodies, until the request ends.
    pub(super) fn take(&self, bytes: usize) -> Result<(), Limit> {
        let (taken, ration) = (&self.0, &self.0.ration);
        let room = |supply: &Supply| {
            let bytes = u32::try_from(bytes).ok()?;
            supply.bytes.clone().try_acquire_many_owned(bytes).ok()
        };
        let own = room(&taken.client).ok_or_else(|| ration.refuse(Limit::ClientBodyBytes))?;
        let shared = room(&ration.all).ok_or_else(|| ration.refuse(Limit::BodyBytes))?;
        let mut kept = taken.bytes.lock().unwrap_or_else(PoisonError::into_inner);
        match &mut kept[..] {
            [of_client, of_all] => {
                of_client.merge(own);
                of_all.merge(shared);
            }
            _ => kept.extend([own, shared]),
        }
        Ok(())
    }

    /// Waits for the right to work on a record of `length` bytes.
    pub(crate) async fn work(&self, length: usize) -> Working {
        let ration = &self.0.ration;
        let units = (Limits::work_of(length) / UNIT).min(ration.most_work_of_one()).max(1);
        let units = u32::try_from(units).unwrap_or(u32::MAX);
        let wait = async |supply: &Supply| {
            supply.work.clone().acquire_many_owned(units).await.expect("the semaphore is never closed")
        };
        // Those who wait for their own share stand in nobody else's way.
        let own = wait(&self.0.client).await;
        Working { _permits: [own, wait(&ration.all).await] }
    }

    pub(super) fn tally(&self) -> &Tally {
        &self.0.ration.tally
    }

    pub(super) fn limits(&self) -> &Limits {
        &self.0.ration.limits
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        self.guest.end(self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{IpAddr, Ipv4Addr};
    use std::time::Duration;

    const HERE: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

    fn ration() -> Arc<Ration> {
        let limits = Limits {
            requests: 3,
            client_requests: 2,
            body_bytes: 100,
            client_body_bytes: 60,
            work_bytes: 4 << 20,
            ..Limits::default()
        };
        Ration::new(limits, Tally::default())
    }

    fn begin(ration: &Arc<Ration>, client: u8) -> Result<Account, Limit> {
        ration.begin(&ration.of(Client::Certificate([client; 32])), &Arc::new(Guest::new(HERE)))
    }

    #[test]
    fn places_and_bytes_are_given_out_up_to_the_limits_and_come_back() {
        let ration = ration();
        let one = begin(&ration, 1).expect("there is a place");
        let two = begin(&ration, 1).expect("there is a place");
        assert_eq!(begin(&ration, 1).err(), Some(Limit::ClientRequests));
        let three = begin(&ration, 2).expect("there is a place");
        assert_eq!(begin(&ration, 3).err(), Some(Limit::Requests));

        assert_eq!((one.take(40), two.take(20), two.take(1)), (Ok(()), Ok(()), Err(Limit::ClientBodyBytes)));
        assert_eq!((three.take(40), three.take(1)), (Ok(()), Err(Limit::BodyBytes)));
        let copy = one.clone();
        drop(one);
        assert_eq!(begin(&ration, 1).err(), Some(Limit::ClientRequests), "its copy holds the place");
        drop(copy);
        let four = begin(&ration, 1).expect("it is back");
        assert_eq!((four.take(30), four.take(10)), (Ok(()), Ok(())));
    }

    #[tokio::test]
    async fn one_client_never_has_all_of_the_work() {
        let ration = ration();
        let (greedy, other) = (begin(&ration, 1).expect("a place"), begin(&ration, 2).expect("a place"));
        let soon = Duration::from_millis(100);
        let whole = greedy.work(usize::MAX / 100).await;
        assert!(tokio::time::timeout(soon, greedy.work(0)).await.is_err(), "its share is taken");
        let small = tokio::time::timeout(soon, other.work(0)).await.expect("there is some left");
        drop(whole);
        let again = tokio::time::timeout(soon, greedy.work(usize::MAX / 100)).await;
        assert!(again.is_ok());
        drop(small);
    }
}
