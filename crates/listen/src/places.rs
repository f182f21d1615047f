//! Places for connections: how many there are at once, and who leaves when they are taken.
//!
//! A client that sends nothing keeps its place for a while, and may come again. So when all are taken, whoever has waited longest leaves: for its first
//! request, or its next. And when few are left, a client that has many of them gets no more: what it waits with leaves first, and if it waits with nothing, its new
//! connections are closed.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

/// Of all places, the part that is few, and that is many for one client.
const PART: usize = 4;
/// Of all places, the part that is made free at once: so each connection of a flood does not look at all others.
const AT_ONCE: usize = 256;
/// How long until it is looked again who could leave.
const AGAIN: Duration = Duration::from_millis(50);
/// In place of the time since when a connection waits: it does not.
const BUSY: u64 = 0;

/// The places of one or more listeners. A clone is the same places.
#[derive(Clone, Debug)]
pub struct Places(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    all: usize,
    begun: Instant,
    held: Mutex<Held>,
    freed: Notify,
}

#[derive(Debug, Default)]
struct Held {
    last: u64,
    seats: HashMap<u64, Arc<Seat>>,
    clients: HashMap<IpAddr, usize>,
}

/// What is known of a connection.
#[derive(Debug)]
pub(crate) struct Seat {
    begun: Instant,
    client: Option<IpAddr>,
    /// Since when it waits for a request, in milliseconds; or [`BUSY`].
    since: AtomicU64,
    /// It was told to leave.
    told: AtomicBool,
    leave: Notify,
}

/// A connection's place, until this is dropped.
#[derive(Debug)]
pub(crate) struct Place {
    places: Places,
    number: u64,
    seat: Arc<Seat>,
}

/// A connection is not waiting until this is dropped.
#[derive(Debug)]
pub(crate) struct Busy(Arc<Seat>);

enum Try {
    Taken(Place),
    Full,
    Refused,
}

impl Places {
    /// So many.
    pub fn new(all: usize) -> Self {
        let (all, begun) = (all.max(1), Instant::now());
        Self(Arc::new(Shared { all, begun, held: Mutex::default(), freed: Notify::new() }))
    }

    /// A place for a connection of `client`, once there is one. `None`: it has too many.
    pub(crate) async fn take(&self, client: Option<IpAddr>) -> Option<Place> {
        loop {
            match self.try_take(client) {
                Try::Taken(place) => return Some(place),
                Try::Refused => return None,
                Try::Full => drop(tokio::time::timeout(AGAIN, self.0.freed.notified()).await),
            }
        }
    }

    fn try_take(&self, client: Option<IpAddr>) -> Try {
        let (mut held, all) = (self.held(), self.0.all);
        let (taken, many) = (held.seats.len(), (all / PART).max(1));
        let has = client.and_then(|client| held.clients.get(&client)).copied().unwrap_or_default();
        if has > many && taken >= all - all / PART {
            if held.tell(1, many, |seat| seat.client == client) == 0 {
                return Try::Refused;
            }
        } else if taken >= all {
            held.tell(1 + all / AT_ONCE, many, |_| true);
        }
        if taken >= all {
            return Try::Full;
        }
        let (number, seat) = (held.last, Arc::new(Seat::new(self.0.begun, client)));
        held.last += 1;
        held.seats.insert(number, Arc::clone(&seat));
        if let Some(client) = client {
            *held.clients.entry(client).or_default() += 1;
        }
        Try::Taken(Place { places: self.clone(), number, seat })
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        self.0.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Held {
    /// Tells up to so many to leave, of those that `which` names: those of clients that have more than `many`, then those that have waited longest. How many it told.
    fn tell(&self, up_to: usize, many: usize, which: impl Fn(&Seat) -> bool) -> usize {
        let greedy: Vec<IpAddr> =
            self.clients.iter().filter(|(_, has)| **has > many).map(|(client, _)| *client).collect();
        let mut waiting: Vec<_> = self
            .seats
            .iter()
            .filter(|(_, seat)| seat.is_waiting() && !seat.told.load(Ordering::Relaxed) && which(seat))
            .map(|(number, seat)| {
                let is_greedy = seat.client.is_some_and(|client| greedy.contains(&client));
                (!is_greedy, seat.since.load(Ordering::Relaxed), *number, seat)
            })
            .collect();
        let key = |(modest, since, number, _): &(bool, u64, u64, &Arc<Seat>)| (*modest, *since, *number);
        if waiting.len() > up_to {
            waiting.select_nth_unstable_by_key(up_to, key);
            waiting.truncate(up_to);
        }
        for (.., seat) in &waiting {
            seat.told.store(true, Ordering::Relaxed);
            seat.leave.notify_one();
        }
        waiting.len()
    }
}

impl Seat {
    /// Of one that waits. Its times count from `begun`.
    pub(crate) fn new(begun: Instant, client: Option<IpAddr>) -> Self {
        let (told, leave) = (AtomicBool::new(false), Notify::new());
        let seat = Self { begun, client, since: AtomicU64::new(BUSY), told, leave };
        seat.wait();
        seat
    }

    fn is_waiting(&self) -> bool {
        self.since.load(Ordering::Relaxed) != BUSY
    }

    fn wait(&self) {
        let now = u64::try_from(self.begun.elapsed().as_millis()).unwrap_or(u64::MAX - 1);
        self.since.store(now + 1, Ordering::Relaxed);
    }

    /// The client took something of its answer: it does not wait longer than since now.
    pub(crate) fn took(&self) {
        if self.is_waiting() {
            self.wait();
        }
    }
}

impl Place {
    /// What is known of the connection.
    pub(crate) const fn seat(&self) -> &Arc<Seat> {
        &self.seat
    }

    /// A request is there.
    pub(crate) fn busy(&self) -> Busy {
        self.seat.since.store(BUSY, Ordering::Relaxed);
        Busy(Arc::clone(&self.seat))
    }

    /// Whether no request is there.
    pub(crate) fn is_waiting(&self) -> bool {
        self.seat.is_waiting()
    }

    /// Until it is to leave.
    pub(crate) async fn told(&self) {
        loop {
            self.seat.leave.notified().await;
            if self.is_waiting() {
                return;
            }
            // A request came meanwhile. Somebody else leaves, or this one another time.
            self.seat.told.store(false, Ordering::Relaxed);
        }
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.wait();
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut held = self.places.held();
        held.seats.remove(&self.number);
        if let Some(client) = self.seat.client
            && let Some(has) = held.clients.get_mut(&client)
        {
            *has -= 1;
            if *has == 0 {
                held.clients.remove(&client);
            }
        }
        drop(held);
        self.places.0.freed.notify_one();
    }
}

/// Whom an address belongs to: with IPv6 the network of 64 bits, which is what one customer gets and can choose among. On this machine nobody can say whom:
/// what stands before a server there is many.
pub(crate) fn client(address: IpAddr) -> Option<IpAddr> {
    match address.to_canonical() {
        address if address.is_loopback() => None,
        IpAddr::V4(address) => Some(IpAddr::V4(address)),
        IpAddr::V6(address) => Some(IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() >> 64 << 64))),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn try_from(places: &Places, last: u8) -> Try {
        places.try_take(Some(IpAddr::from([192, 0, 2, last])))
    }

    fn take(places: &Places, last: u8) -> Place {
        match try_from(places, last) {
            Try::Taken(place) => place,
            _ => panic!("there is no place"),
        }
    }

    fn told(place: &Place) -> bool {
        place.seat.told.load(Ordering::Relaxed)
    }

    #[test]
    fn who_has_waited_longest_leaves_when_all_are_taken() {
        let places = Places::new(4);
        let mut held: Vec<Place> = (0..4).map(|last| take(&places, last)).collect();
        // The first has a request, and the second had one since.
        let busy = held[0].busy();
        std::thread::sleep(Duration::from_millis(5));
        drop(held[1].busy());
        assert!(matches!(try_from(&places, 9), Try::Full));
        assert_eq!(held.iter().map(told).collect::<Vec<_>>(), [false, false, true, false]);
        assert!(matches!(try_from(&places, 9), Try::Full));
        assert_eq!(held.iter().map(told).collect::<Vec<_>>(), [false, false, true, true]);
        drop(held.remove(2));
        held.push(take(&places, 9));
        drop(busy);
        drop(held);
        assert!(places.held().seats.is_empty() && places.held().clients.is_empty());
    }

    #[test]
    fn who_has_many_gets_no_more_when_few_are_left() {
        let places = Places::new(8);
        let others = take(&places, 1);
        let first: Vec<Place> = (0..5).map(|_| take(&places, 2)).collect();
        assert!(!first.iter().any(told));
        // Six of eight are taken: from now on each one more is in place of one of its own.
        let second = take(&places, 2);
        assert_eq!(first.iter().map(told).collect::<Vec<_>>(), [true, false, false, false, false]);
        assert!(!told(&others));
        let busy: Vec<Busy> = first.iter().chain([&second]).map(Place::busy).collect();
        assert!(matches!(try_from(&places, 2), Try::Refused));
        // Others get what is left, and then what the one has that waits.
        let third = take(&places, 3);
        drop(busy);
        for _ in 0..5 {
            assert!(matches!(try_from(&places, 4), Try::Full));
        }
        assert!(first.iter().chain([&second]).all(told) && !told(&others) && !told(&third));
    }

    #[tokio::test]
    async fn a_request_that_comes_just_then_stays() {
        let places = Places::new(1);
        let place = take(&places, 1);
        let busy = place.busy();
        assert!(matches!(try_from(&places, 2), Try::Full));
        assert!(!told(&place), "who is answered is not told");
        drop(busy);
        assert!(matches!(try_from(&places, 2), Try::Full));
        let busy = place.busy();
        let soon = Duration::from_millis(10);
        assert!(tokio::time::timeout(soon, place.told()).await.is_err());
        drop(busy);
        // It can be told again.
        assert!(matches!(try_from(&places, 2), Try::Full));
        tokio::time::timeout(soon, place.told()).await.unwrap();
        let waits = tokio::spawn({
            let places = places.clone();
            async move { places.take(None).await }
        });
        tokio::task::yield_now().await;
        drop(place);
        assert!(waits.await.unwrap().is_some());
    }

    #[test]
    fn a_client_is_an_address_or_a_network_of_one_customer() {
        let of = |text: &str| client(text.parse().unwrap()).map(|client| client.to_string());
        assert_eq!(of("::ffff:192.0.2.1").as_deref(), Some("192.0.2.1"));
        assert_eq!(of("2001:db8:1:2:3:4:5:6").as_deref(), Some("2001:db8:1:2::"));
        for near in ["127.0.0.1", "::1", "::ffff:127.0.0.9"] {
            assert_eq!(of(near), None);
        }
    }
}
