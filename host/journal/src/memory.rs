//! The journal in memory, for tests of its users. Owns no file and forgets everything with the process.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::SystemTime;

use async_trait::async_trait;

use crate::port::{Entry, Error, Journal, Owner, Record, Result};

/// A journal that forgets everything with the process.
#[derive(Debug, Default)]
pub struct Memory {
    records: Mutex<BTreeMap<String, Record>>,
    /// Fails every change, as a full disk does.
    pub full: std::sync::atomic::AtomicBool,
}

impl Memory {
    fn change<T>(&self, change: impl FnOnce(&mut BTreeMap<String, Record>) -> Result<T>) -> Result<T> {
        if self.full.load(std::sync::atomic::Ordering::Relaxed) {
            return Err(Error::Failed("the disk is full".to_owned()));
        }
        change(&mut self.records.lock().expect("no test panics while it holds it"))
    }
}

#[async_trait]
impl Journal for Memory {
    async fn create(&self, id: &str, owner: &Owner, entry: &Entry, lease_ends: SystemTime) -> Result<u64> {
        self.change(|records| {
            if records.contains_key(id) {
                return Err(Error::AlreadyExists);
            }
            let (id, owner, entry) = (id.to_owned(), owner.clone(), entry.clone());
            records.insert(id.clone(), Record { id, owner, epoch: 1, lease_ends, entry });
            Ok(1)
        })
    }

    async fn update(&self, id: &str, epoch: u64, entry: &Entry) -> Result<()> {
        self.change(|records| {
            let record = records.get_mut(id).ok_or(Error::NotFound)?;
            if record.epoch != epoch {
                return Err(Error::Stale);
            }
            record.entry = entry.clone();
            Ok(())
        })
    }

    async fn remove(&self, id: &str, epoch: u64) -> Result<()> {
        self.change(|records| match records.get(id) {
            Some(record) if record.epoch != epoch => Err(Error::Stale),
            _ => {
                records.remove(id);
                Ok(())
            }
        })
    }

    async fn renew(&self, owner: &Owner, lease_ends: SystemTime) -> Result<u64> {
        self.change(|records| {
            let own = records.values_mut().filter(|record| record.owner == *owner);
            Ok(own.map(|record| record.lease_ends = lease_ends).count() as u64)
        })
    }

    async fn claim(
        &self,
        id: &str,
        epoch: u64,
        owner: &Owner,
        now: SystemTime,
        lease_ends: SystemTime,
    ) -> Result<Record> {
        self.change(|records| {
            let record = records.get_mut(id).ok_or(Error::NotFound)?;
            if record.epoch != epoch {
                return Err(Error::Stale);
            }
            if record.owner.broker != owner.broker && record.lease_ends > now {
                return Err(Error::Held { until: record.lease_ends });
            }
            (record.owner, record.epoch, record.lease_ends) = (owner.clone(), epoch + 1, lease_ends);
            Ok(record.clone())
        })
    }

    async fn keep(&self) -> Result<()> {
        self.change(|_| Ok(()))
    }

    async fn list(&self) -> Result<Vec<Record>> {
        Ok(self.records.lock().expect("no test panics while it holds it").values().cloned().collect())
    }
}
