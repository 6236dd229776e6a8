//! Commands on strings and the integers written in them.

use std::time::{Duration, Instant};

use super::{Error, Result, exactly, integer, take};
use crate::resp::{Args, Reply};
use crate::store::{Bytes, Store};

/// APPEND must not grow a value beyond what could have been SET.
const MAX_STRING: usize = 16 * 1024 * 1024;

pub fn get(args: Args<'_>, store: &Store, reply: &mut Reply) -> Result {
    let [key] = exactly(args)?;
    reply.bulk_or_nil(store.read::<Bytes>(key)?.map(Vec::as_slice));
    Ok(())
}

// === SET ===

#[derive(Default)]
struct SetOptions {
    condition: Option<Condition>,
    lifetime: Lifetime,
    get: bool,
}

#[derive(Clone, Copy, PartialEq)]
enum Condition {
    Absent,
    Present,
}

#[derive(Clone, Copy, Default, PartialEq)]
enum Lifetime {
    #[default]
    Unlimited,
    Keep,
    Until(Instant),
}

pub fn set(mut args: Args<'_>, store: &mut Store, reply: &mut Reply) -> Result {
    let [key, value] = take(&mut args)?;
    let options = SetOptions::parse(args, store.now())?;

    // GET answers with what was there before, whether or not anything is set.
    if options.get {
        reply.bulk_or_nil(store.read::<Bytes>(key)?.map(Vec::as_slice));
    }
    let is_met = match options.condition {
        None => true,
        Some(Condition::Absent) => !store.contains(key),
        Some(Condition::Present) => store.contains(key),
    };
    if is_met {
        let deadline = match options.lifetime {
            Lifetime::Unlimited => None,
            Lifetime::Keep => store.deadline(key).flatten(),
            Lifetime::Until(deadline) => Some(deadline),
        };
        store.insert(key, value.to_vec(), deadline);
    }
    match (options.get, is_met) {
        (true, _) => {}
        (false, true) => reply.ok(),
        (false, false) => reply.nil(),
    }
    Ok(())
}

impl SetOptions {
    fn parse(mut args: Args<'_>, now: Instant) -> Result<Self> {
        let mut options = Self::default();
        while let Some(option) = args.next() {
            match option.to_ascii_uppercase().as_slice() {
                b"NX" if options.condition.is_none() => options.condition = Some(Condition::Absent),
                b"XX" if options.condition.is_none() => {
                    options.condition = Some(Condition::Present)
                }
                b"GET" => options.get = true,
                b"KEEPTTL" if options.lifetime == Lifetime::Unlimited => {
                    options.lifetime = Lifetime::Keep
                }
                unit @ (b"EX" | b"PX") if options.lifetime == Lifetime::Unlimited => {
                    let count = integer(args.next().ok_or(Error::Syntax)?)?;
                    let count = u64::try_from(count)
                        .ok()
                        .filter(|count| *count > 0)
                        .ok_or(Error::InvalidExpireTime)?;
                    let span = if unit == b"EX" {
                        Duration::from_secs(count)
                    } else {
                        Duration::from_millis(count)
                    };
                    options.lifetime =
                        Lifetime::Until(now.checked_add(span).ok_or(Error::InvalidExpireTime)?);
                }
                _ => return Err(Error::Syntax),
            }
        }
        Ok(options)
    }
}

pub fn setnx(args: Args<'_>, store: &mut Store, reply: &mut Reply) -> Result {
    let [key, value] = exactly(args)?;
    let is_new = !store.contains(key);
    if is_new {
        store.insert(key, value.to_vec(), None);
    }
    reply.integer(is_new.into());
    Ok(())
}

pub fn getset(args: Args<'_>, store: &mut Store, reply: &mut Reply) -> Result {
    let [key, value] = exactly(args)?;
    reply.bulk_or_nil(store.read::<Bytes>(key)?.map(Vec::as_slice));
    store.insert(key, value.to_vec(), None);
    Ok(())
}

pub fn mget(args: Args<'_>, store: &Store, reply: &mut Reply) -> Result {
    if args.len() == 0 {
        return Err(Error::WrongNumberOfArguments);
    }
    reply.array(args.len());
    for key in args {
        // MGET never fails: a key of another kind counts as absent.
        reply.bulk_or_nil(store.read::<Bytes>(key).ok().flatten().map(Vec::as_slice));
    }
    Ok(())
}

pub fn mset(mut args: Args<'_>, store: &mut Store, reply: &mut Reply) -> Result {
    if args.len() == 0 || args.len() % 2 == 1 {
        return Err(Error::WrongNumberOfArguments);
    }
    while let Some([key, value]) = args.take_array() {
        store.insert(key, value.to_vec(), None);
    }
    reply.ok();
    Ok(())
}

// === Integers ===

pub fn add(args: Args<'_>, amount: i64, store: &mut Store, reply: &mut Reply) -> Result {
    let [key] = exactly(args)?;
    add_to(key, amount, store, reply)
}

pub fn add_by(args: Args<'_>, sign: i64, store: &mut Store, reply: &mut Reply) -> Result {
    let [key, amount] = exactly(args)?;
    let amount = integer(amount)?.checked_mul(sign).ok_or(Error::Overflow)?;
    add_to(key, amount, store, reply)
}

fn add_to(key: &[u8], amount: i64, store: &mut Store, reply: &mut Reply) -> Result {
    let added = store.update(key, |value: &mut Bytes| -> Result<i64> {
        let sum = integer(value)?.checked_add(amount).ok_or(Error::Overflow)?;
        value.clear();
        value.extend_from_slice(itoa::Buffer::new().format(sum).as_bytes());
        Ok(sum)
    })?;
    let sum = match added {
        Some(sum) => sum?,
        None => {
            store.insert(key, amount.to_string().into_bytes(), None);
            amount
        }
    };
    reply.integer(sum);
    Ok(())
}

pub fn append(args: Args<'_>, store: &mut Store, reply: &mut Reply) -> Result {
    let [key, more] = exactly(args)?;
    let length = store.upsert(key, |value: &mut Bytes| {
        if value.len() + more.len() > MAX_STRING {
            return Err(Error::TooLarge);
        }
        value.extend_from_slice(more);
        Ok(value.len())
    })??;
    reply.count(length);
    Ok(())
}

pub fn strlen(args: Args<'_>, store: &Store, reply: &mut Reply) -> Result {
    let [key] = exactly(args)?;
    reply.count(store.read::<Bytes>(key)?.map_or(0, Vec::len));
    Ok(())
}
