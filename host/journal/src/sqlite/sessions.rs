//! The port for sessions as statements of SQLite. Owns each statement. Each change is one immediate transaction, so a
//! check of the epoch and the change after it are one step; a database that several brokers share needs other statements.

use std::time::SystemTime;

use async_trait::async_trait;
use rusqlite::{OptionalExtension as _, TransactionBehavior, params};

use super::rows::{SELECT, encode, epoch_of, millis, row, time};
use super::store::{Promise, Sqlite};
use crate::port::{Entry, Error, Journal, Owner, Record, Result};

#[async_trait]
impl Journal for Sqlite {
    async fn create(&self, id: &str, owner: &Owner, entry: &Entry, lease_ends: SystemTime) -> Result<u64> {
        let (id, owner, entry, lease_ends) = (id.to_owned(), owner.clone(), encode(entry)?, millis(lease_ends));
        self.with(Promise::Durable, move |connection| {
            let added = connection.execute(
                "INSERT INTO session (id, broker, instance, epoch, lease_ends, entry)
                 VALUES (?1, ?2, ?3, 1, ?4, ?5) ON CONFLICT DO NOTHING",
                params![id, owner.broker, owner.instance, lease_ends, entry],
            )?;
            if added == 0 { Err(Error::AlreadyExists.into()) } else { Ok(1) }
        })
        .await
    }

    async fn update(&self, id: &str, epoch: u64, entry: &Entry) -> Result<()> {
        let (id, entry) = (id.to_owned(), encode(entry)?);
        self.with(Promise::WhenPossible, move |connection| {
            let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            let current = epoch_of(&transaction, &id)?.ok_or(Error::NotFound)?;
            if current != epoch {
                return Err(Error::Stale.into());
            }
            transaction.execute("UPDATE session SET entry = ?2 WHERE id = ?1", params![id, entry])?;
            Ok(transaction.commit()?)
        })
        .await
    }

    async fn remove(&self, id: &str, epoch: u64) -> Result<()> {
        let id = id.to_owned();
        self.with(Promise::WhenPossible, move |connection| {
            let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            match epoch_of(&transaction, &id)? {
                None => return Ok(()),
                Some(current) if current != epoch => return Err(Error::Stale.into()),
                Some(_) => {}
            }
            transaction.execute("DELETE FROM session WHERE id = ?1", [id])?;
            Ok(transaction.commit()?)
        })
        .await
    }

    async fn renew(&self, owner: &Owner, lease_ends: SystemTime) -> Result<u64> {
        let (owner, lease_ends) = (owner.clone(), millis(lease_ends));
        self.with(Promise::WhenPossible, move |connection| {
            let renewed = connection.execute(
                "UPDATE session SET lease_ends = ?3 WHERE broker = ?1 AND instance = ?2",
                params![owner.broker, owner.instance, lease_ends],
            )?;
            Ok(renewed as u64)
        })
        .await
    }

    async fn claim(
        &self,
        id: &str,
        epoch: u64,
        owner: &Owner,
        now: SystemTime,
        lease_ends: SystemTime,
    ) -> Result<Record> {
        let (id, owner) = (id.to_owned(), owner.clone());
        self.with(Promise::WhenPossible, move |connection| {
            let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            let found = transaction.query_row(&format!("{SELECT} WHERE id = ?1"), [&id], row).optional()?;
            let found = found.ok_or(Error::NotFound)?.record()?;
            if found.epoch != epoch {
                return Err(Error::Stale.into());
            }
            if found.owner.broker != owner.broker && found.lease_ends > now {
                return Err(Error::Held { until: found.lease_ends }.into());
            }
            let claimed = Record { owner, epoch: epoch + 1, lease_ends: time(millis(lease_ends)), ..found };
            transaction.execute(
                "UPDATE session SET broker = ?2, instance = ?3, epoch = epoch + 1, lease_ends = ?4 WHERE id = ?1",
                params![id, claimed.owner.broker, claimed.owner.instance, millis(lease_ends)],
            )?;
            transaction.commit()?;
            Ok(claimed)
        })
        .await
    }

    async fn keep(&self) -> Result<()> {
        self.with(Promise::Durable, |_| Ok(())).await
    }

    async fn list(&self) -> Result<Vec<Record>> {
        self.with(Promise::WhenPossible, |connection| {
            let mut statement = connection.prepare(&format!("{SELECT} ORDER BY id"))?;
            statement.query_map([], row)?.map(|stored| stored?.record()).collect()
        })
        .await
    }
}
