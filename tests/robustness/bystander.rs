//! A record system that behaves, while another does not.
#![allow(unreachable_pub, reason = "it is a part of one test")]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use uuid::Uuid;
use weir::cli::client::Client;
use weir::config::Endpoint;

/// Submits a record again and again, half of the time over a connection of its own.
pub struct Bystander {
    stop: Arc<AtomicBool>,
    taken: Arc<AtomicUsize>,
    thread: JoinHandle<Vec<Duration>>,
}

impl Bystander {
    pub fn start(endpoint: &Endpoint, record: &[u8]) -> Bystander {
        let (stop, taken) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let (endpoint, record, stopped, count) = (endpoint.clone(), record.to_vec(), stop.clone(), taken.clone());
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("it starts");
            runtime.block_on(submit(&endpoint, &record, &stopped, &count))
        });
        Bystander { stop, taken, thread }
    }

    /// How many records were taken so far.
    pub fn taken(&self) -> usize {
        self.taken.load(Ordering::Relaxed)
    }

    /// Goes on until so many records more were taken.
    pub fn wait(&self, more: usize) {
        let enough = self.taken() + more;
        while self.taken() < enough && !self.thread.is_finished() {
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Stops after so many records at least, and asserts that each was taken, and how long the slowest took from
    /// connecting to its 202.
    pub fn was_served(self, least: usize, within: Duration) -> Duration {
        self.wait(least.saturating_sub(self.taken()));
        self.stop.store(true, Ordering::Relaxed);
        let mut took = self.thread.join().expect("every record of the bystander is accepted");
        took.sort();
        let slowest = *took.last().expect("the bystander submitted something");
        let median = took[took.len() / 2];
        eprintln!("bystander: {} records, median {median:?}, slowest {slowest:?}", took.len());
        assert!(slowest < within, "the bystander waited {slowest:?}");
        slowest
    }
}

async fn submit(endpoint: &Endpoint, record: &[u8], stop: &AtomicBool, taken: &AtomicUsize) -> Vec<Duration> {
    let mut took = Vec::new();
    let mut kept = None;
    while !stop.load(Ordering::Relaxed) {
        let started = Instant::now();
        let mut client = match kept.take() {
            Some(client) => client,
            None => Client::connect(endpoint).await.expect("the bystander can connect"),
        };
        let key = Uuid::new_v4().to_string();
        let answer = client.submit("crisis-escalation", Some(&key), record.to_vec().into()).await;
        let answer = answer.expect("the bystander is answered");
        assert_eq!(answer.status, 202, "{}", answer.json());
        took.push(started.elapsed());
        taken.store(took.len(), Ordering::Relaxed);
        if took.len() % 2 == 0 {
            kept = Some(client);
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    took
}
