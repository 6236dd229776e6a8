//! Commands on keys, whatever their values are.

use std::time::{Duration, Instant};

use super::{Error, Result, exactly, integer};
use crate::glob;
use crate::resp::{Args, Reply};
use crate::store::Store;

#[derive(Clone, Copy)]
pub enum Unit {
    Seconds,
    Milliseconds,
}

pub fn del(args: Args<'_>, store: &mut Store, reply: &mut Reply) -> Result {
    count(args, reply, |key| store.remove(key).is_some())
}

pub fn exists(args: Args<'_>, store: &Store, reply: &mut Reply) -> Result {
    count(args, reply, |key| store.contains(key))
}

fn count(args: Args<'_>, reply: &mut Reply, mut counts: impl FnMut(&[u8]) -> bool) -> Result {
    if args.len() == 0 {
        return Err(Error::WrongNumberOfArguments);
    }
    reply.count(args.filter(|key| counts(key)).count());
    Ok(())
}

pub fn expire(args: Args<'_>, unit: Unit, store: &mut Store, reply: &mut Reply) -> Result {
    let [key, count] = exactly(args)?;
    let is_there = match u64::try_from(integer(count)?) {
        // A lifetime that is over already deletes.
        Ok(0) | Err(_) => store.remove(key).is_some(),
        Ok(count) => {
            let deadline = store
                .now()
                .checked_add(unit.span(count))
                .ok_or(Error::InvalidExpireTime)?;
            store.set_deadline(key, Some(deadline))
        }
    };
    reply.integer(is_there.into());
    Ok(())
}

pub fn ttl(args: Args<'_>, unit: Unit, store: &Store, reply: &mut Reply) -> Result {
    let [key] = exactly(args)?;
    reply.integer(match store.deadline(key) {
        None => -2,
        Some(None) => -1,
        Some(Some(deadline)) => unit.until(deadline, store.now()),
    });
    Ok(())
}

pub fn persist(args: Args<'_>, store: &mut Store, reply: &mut Reply) -> Result {
    let [key] = exactly(args)?;
    let expires = store.deadline(key).flatten().is_some();
    reply.integer((expires && store.set_deadline(key, None)).into());
    Ok(())
}

pub fn kind(args: Args<'_>, store: &Store, reply: &mut Reply) -> Result {
    let [key] = exactly(args)?;
    reply.simple(store.value(key).map_or("none", |value| value.kind_name()));
    Ok(())
}

pub fn keys(args: Args<'_>, store: &Store, reply: &mut Reply) -> Result {
    let [pattern] = exactly(args)?;
    let found: Vec<_> = store
        .keys()
        .filter(|key| glob::matches(pattern, key))
        .collect();
    reply.array(found.len());
    found.into_iter().for_each(|key| reply.bulk(key));
    Ok(())
}

pub fn dbsize(args: Args<'_>, store: &Store, reply: &mut Reply) -> Result {
    let [] = exactly(args)?;
    reply.count(store.len());
    Ok(())
}

/// ASYNC and SYNC make no difference here and are taken alike.
pub fn flush(store: &mut Store, reply: &mut Reply) -> Result {
    store.clear();
    reply.ok();
    Ok(())
}

impl Unit {
    fn span(self, count: u64) -> Duration {
        match self {
            Self::Seconds => Duration::from_secs(count),
            Self::Milliseconds => Duration::from_millis(count),
        }
    }

    /// Rounded to the nearest, as Redis does.
    fn until(self, deadline: Instant, now: Instant) -> i64 {
        let millis = deadline.saturating_duration_since(now).as_millis();
        let count = match self {
            Self::Seconds => (millis + 500) / 1000,
            Self::Milliseconds => millis,
        };
        i64::try_from(count).unwrap_or(i64::MAX)
    }
}
