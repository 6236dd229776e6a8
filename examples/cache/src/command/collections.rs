//! Commands on lists, sets, hashes and sorted sets.

use super::{Error, Result, exactly, integer, key_and_more, take};
use crate::resp::{Args, Reply, number};
use crate::store::{Hash, List, Set, SortedSet, Store};

// === Lists ===

#[derive(Clone, Copy)]
pub enum End {
    Left,
    Right,
}

pub fn push(args: Args<'_>, end: End, store: &mut Store, reply: &mut Reply) -> Result {
    let (key, values) = key_and_more(args)?;
    let length = store.upsert(key, |list: &mut List| {
        for value in values {
            match end {
                End::Left => list.push_front(value.to_vec()),
                End::Right => list.push_back(value.to_vec()),
            }
        }
        list.len()
    })?;
    reply.count(length);
    Ok(())
}

pub fn pop(mut args: Args<'_>, end: End, store: &mut Store, reply: &mut Reply) -> Result {
    let [key] = take(&mut args)?;
    let wanted = optional_count(args)?;
    let popped = store.update(key, |list: &mut List| {
        let count = wanted.unwrap_or(1).min(list.len());
        match end {
            End::Left => list.drain(..count).collect::<List>(),
            End::Right => list.drain(list.len() - count..).rev().collect(),
        }
    })?;
    match (wanted, popped) {
        (None, popped) => reply.bulk_or_nil(
            popped
                .as_ref()
                .and_then(|values| values.front())
                .map(Vec::as_slice),
        ),
        (Some(_), None) => reply.nil_array(),
        (Some(_), Some(values)) => {
            reply.array(values.len());
            values.iter().for_each(|value| reply.bulk(value));
        }
    }
    Ok(())
}

pub fn lrange(args: Args<'_>, store: &Store, reply: &mut Reply) -> Result {
    let [key, first, last] = exactly(args)?;
    let (first, last) = (integer(first)?, integer(last)?);
    let Some(list) = store.read::<List>(key)? else {
        reply.array(0);
        return Ok(());
    };
    // Negative indices count from the end; what lies outside the list is cut off.
    let length = i64::try_from(list.len()).unwrap_or(i64::MAX);
    let from_start = |index: i64| {
        if index < 0 {
            index.saturating_add(length).max(-1)
        } else {
            index.min(length)
        }
    };
    let start = usize::try_from(from_start(first)).unwrap_or(0);
    let end = usize::try_from(from_start(last) + 1)
        .unwrap_or(0)
        .min(list.len())
        .max(start.min(list.len()));
    let start = start.min(end);
    reply.array(end - start);
    list.range(start..end).for_each(|value| reply.bulk(value));
    Ok(())
}

pub fn llen(args: Args<'_>, store: &Store, reply: &mut Reply) -> Result {
    let [key] = exactly(args)?;
    reply.count(store.read::<List>(key)?.map_or(0, List::len));
    Ok(())
}

// === Sets ===

pub fn sadd(args: Args<'_>, store: &mut Store, reply: &mut Reply) -> Result {
    let (key, members) = key_and_more(args)?;
    let added = store.upsert(key, |set: &mut Set| {
        members.filter(|member| set.insert(member.to_vec())).count()
    })?;
    reply.count(added);
    Ok(())
}

pub fn spop(mut args: Args<'_>, store: &mut Store, reply: &mut Reply) -> Result {
    let [key] = take(&mut args)?;
    let Some(wanted) = optional_count(args)? else {
        reply.bulk_or_nil(store.pop_random(key)?.as_deref());
        return Ok(());
    };
    let count = wanted.min(store.read::<Set>(key)?.map_or(0, Set::len));
    reply.array(count);
    for _ in 0..count {
        reply.bulk_or_nil(store.pop_random(key)?.as_deref());
    }
    Ok(())
}

pub fn scard(args: Args<'_>, store: &Store, reply: &mut Reply) -> Result {
    let [key] = exactly(args)?;
    reply.count(store.read::<Set>(key)?.map_or(0, Set::len));
    Ok(())
}

pub fn smembers(args: Args<'_>, store: &Store, reply: &mut Reply) -> Result {
    let [key] = exactly(args)?;
    let set = store.read::<Set>(key)?;
    reply.array(set.map_or(0, Set::len));
    set.into_iter()
        .flatten()
        .for_each(|member| reply.bulk(member));
    Ok(())
}

// === Hashes ===

pub fn hset(args: Args<'_>, store: &mut Store, reply: &mut Reply) -> Result {
    let (key, mut fields) = key_and_more(args)?;
    if fields.len() % 2 == 1 {
        return Err(Error::WrongNumberOfArguments);
    }
    let added = store.upsert(key, |hash: &mut Hash| {
        let mut added = 0;
        while let Some([field, value]) = fields.take_array() {
            added += usize::from(hash.insert(field.to_vec(), value.to_vec()).is_none());
        }
        added
    })?;
    reply.count(added);
    Ok(())
}

pub fn hget(args: Args<'_>, store: &Store, reply: &mut Reply) -> Result {
    let [key, field] = exactly(args)?;
    reply.bulk_or_nil(
        store
            .read::<Hash>(key)?
            .and_then(|hash| hash.get(field))
            .map(Vec::as_slice),
    );
    Ok(())
}

pub fn hgetall(args: Args<'_>, store: &Store, reply: &mut Reply) -> Result {
    let [key] = exactly(args)?;
    let hash = store.read::<Hash>(key)?;
    reply.array(2 * hash.map_or(0, Hash::len));
    for (field, value) in hash.into_iter().flatten() {
        reply.bulk(field);
        reply.bulk(value);
    }
    Ok(())
}

// === Sorted sets ===

pub fn zadd(args: Args<'_>, store: &mut Store, reply: &mut Reply) -> Result {
    let (key, mut pairs) = key_and_more(args)?;
    if pairs.len() % 2 == 1 {
        return Err(Error::Syntax);
    }
    // All scores are read before any is stored: the command happens as a whole or not at all.
    let mut scored = Vec::with_capacity(pairs.len() / 2);
    while let Some([score, member]) = pairs.take_array() {
        scored.push((float(score)?, member));
    }
    let added = store.upsert(key, |set: &mut SortedSet| {
        scored
            .into_iter()
            .filter(|(score, member)| set.insert(member, *score))
            .count()
    })?;
    reply.count(added);
    Ok(())
}

pub fn zpopmin(mut args: Args<'_>, store: &mut Store, reply: &mut Reply) -> Result {
    let [key] = take(&mut args)?;
    let wanted = optional_count(args)?.unwrap_or(1);
    let popped = store.update(key, |set: &mut SortedSet| -> Vec<_> {
        std::iter::from_fn(|| set.pop_min()).take(wanted).collect()
    })?;
    let popped = popped.unwrap_or_default();
    reply.array(2 * popped.len());
    for (member, score) in popped {
        reply.bulk(&member);
        reply.bulk(score.to_string().as_bytes());
    }
    Ok(())
}

pub fn zcard(args: Args<'_>, store: &Store, reply: &mut Reply) -> Result {
    let [key] = exactly(args)?;
    reply.count(store.read::<SortedSet>(key)?.map_or(0, SortedSet::len));
    Ok(())
}

// === Arguments ===

/// The count that may follow a key in the commands that pop.
fn optional_count(args: Args<'_>) -> Result<Option<usize>> {
    if args.len() == 0 {
        return Ok(None);
    }
    let [count] = exactly(args)?;
    let count = number(count).and_then(|count| usize::try_from(count).ok());
    Ok(Some(count.ok_or(Error::NotAnInteger)?))
}

fn float(word: &[u8]) -> Result<f64> {
    let value: f64 = str::from_utf8(word)
        .ok()
        .and_then(|text| text.parse().ok())
        .ok_or(Error::NotAFloat)?;
    if value.is_nan() {
        Err(Error::NotAFloat)
    } else {
        Ok(value)
    }
}
