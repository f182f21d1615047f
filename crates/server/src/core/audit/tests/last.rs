//! What becomes of records at the end.

use std::io::{Read, Write};
use std::net::TcpListener;

use super::far::{Collector, LONG, device, until, write};
use super::*;

/// A broker, and what its devices are at.
async fn open(configs: &[DeviceConfig]) -> (Broker, Arc<Sinks>) {
    let barrier = Barrier::initialize(Arc::new(Memory::default()), bulla_core::DataKey::generate().unwrap()).await;
    let metrics = Arc::<Metrics>::default();
    let broker = Broker::open(&Arc::new(barrier.unwrap()), configs, &metrics).await.unwrap();
    (broker, Arc::clone(&metrics.sinks))
}

#[tokio::test]
async fn what_waits_for_a_far_side_is_sent_when_it_comes_back_soon_and_counted_if_not() {
    for comes_back in [true, false] {
        let first = Collector::start("127.0.0.1:0".parse().unwrap(), LONG);
        let address = first.address;
        let device = device("s/", "socket", &[("address", &address.to_string()), ("write_timeout", "1s")]);
        let (broker, sinks) = open(&[device]).await;
        assert!(write(&broker, "before").await);
        until(|| first.has("before")).await;
        drop(first);
        for number in 0..3 {
            assert!(!write(&broker, &format!("away {number}")).await);
        }
        assert_eq!(sinks.finished(Duration::ZERO).await, 1);
        drop(broker);
        if comes_back {
            tokio::time::sleep(Duration::from_millis(500)).await;
            let second = Collector::start(address, LONG);
            assert_eq!(sinks.finished(Duration::from_secs(20)).await, 0);
            until(|| (0..3).all(|number| second.has(&format!("away {number}")))).await;
            assert_eq!(sinks.lost(), 0);
        } else {
            let begun = Instant::now();
            assert_eq!(sinks.finished(Duration::from_secs(20)).await, 0);
            assert!(begun.elapsed() < Duration::from_secs(8), "{:?}", begun.elapsed());
            assert_eq!(sinks.lost(), 3);
        }
    }
}

#[tokio::test]
async fn what_is_under_way_to_a_server_of_http_is_waited_for() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let uri = format!("http://{}/", listener.local_addr().unwrap());
    let (broker, sinks) = open(&[device("h/", "http", &[("uri", &uri)])]).await;
    let broker = Arc::new(broker);
    let (asks, hears) = (Arc::clone(&broker), tokio::task::spawn_blocking(move || listener.accept().unwrap().0));
    // Whoever asked is gone meanwhile.
    let asking = tokio::spawn(async move { write(&asks, "late").await });
    let mut connection = hears.await.unwrap();
    asking.abort();
    drop(broker);
    assert_eq!(sinks.finished(Duration::from_millis(300)).await, 1);
    let answered = tokio::task::spawn_blocking(move || {
        let mut head = [0; 4096];
        assert!(connection.read(&mut head).unwrap() > 0);
        connection.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").unwrap();
    });
    answered.await.unwrap();
    assert_eq!((sinks.finished(Duration::from_secs(20)).await, sinks.lost()), (0, 0));
}
