//! From a request's words to what happens: the table of commands, and how a command fails.

mod collections;
mod keys;
mod server;
mod strings;

use std::fmt::{self, Display};
use std::time::Instant;

use crate::resp::{Args, Reply, number};
use crate::store::{Store, WrongKind};

/// What all clients share.
pub struct Server {
    pub store: Store,
    pub clients: usize,
    run_id: u64,
    started: Instant,
}

/// What becomes of the connection after a command.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Then {
    Continue,
    Close,
}

/// Why a command was refused.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Error {
    UnknownCommand,
    UnknownSubcommand,
    WrongNumberOfArguments,
    WrongKind,
    Syntax,
    NotAnInteger,
    NotAFloat,
    Overflow,
    InvalidExpireTime,
    InvalidDatabase,
    UnsupportedProtocol,
    TooLarge,
}

type Result<T = ()> = std::result::Result<T, Error>;

/// Executes one request and appends exactly one reply, or none for an empty request.
pub fn execute(mut args: Args<'_>, server: &mut Server, reply: &mut Reply) -> Then {
    let Some(name) = args.next() else {
        return Then::Continue;
    };
    let mut buffer = [0; LONGEST_NAME];
    match dispatch(upper_case(name, &mut buffer), args, server, reply) {
        Ok(then) => then,
        Err(error) => {
            reply.error(error.about(name));
            Then::Continue
        }
    }
}

/// A command begins to reply when nothing can fail any more, so that each has one reply.
fn dispatch(name: &[u8], args: Args<'_>, server: &mut Server, reply: &mut Reply) -> Result<Then> {
    let store = &mut server.store;
    match name {
        b"GET" => strings::get(args, store, reply),
        b"SET" => strings::set(args, store, reply),
        b"SETNX" => strings::setnx(args, store, reply),
        b"GETSET" => strings::getset(args, store, reply),
        b"MGET" => strings::mget(args, store, reply),
        b"MSET" => strings::mset(args, store, reply),
        b"INCR" => strings::add(args, 1, store, reply),
        b"DECR" => strings::add(args, -1, store, reply),
        b"INCRBY" => strings::add_by(args, 1, store, reply),
        b"DECRBY" => strings::add_by(args, -1, store, reply),
        b"APPEND" => strings::append(args, store, reply),
        b"STRLEN" => strings::strlen(args, store, reply),

        b"DEL" | b"UNLINK" => keys::del(args, store, reply),
        b"EXISTS" => keys::exists(args, store, reply),
        b"EXPIRE" => keys::expire(args, keys::Unit::Seconds, store, reply),
        b"PEXPIRE" => keys::expire(args, keys::Unit::Milliseconds, store, reply),
        b"TTL" => keys::ttl(args, keys::Unit::Seconds, store, reply),
        b"PTTL" => keys::ttl(args, keys::Unit::Milliseconds, store, reply),
        b"PERSIST" => keys::persist(args, store, reply),
        b"TYPE" => keys::kind(args, store, reply),
        b"KEYS" => keys::keys(args, store, reply),
        b"DBSIZE" => keys::dbsize(args, store, reply),
        b"FLUSHALL" | b"FLUSHDB" => keys::flush(store, reply),

        b"LPUSH" => collections::push(args, collections::End::Left, store, reply),
        b"RPUSH" => collections::push(args, collections::End::Right, store, reply),
        b"LPOP" => collections::pop(args, collections::End::Left, store, reply),
        b"RPOP" => collections::pop(args, collections::End::Right, store, reply),
        b"LRANGE" => collections::lrange(args, store, reply),
        b"LLEN" => collections::llen(args, store, reply),
        b"SADD" => collections::sadd(args, store, reply),
        b"SPOP" => collections::spop(args, store, reply),
        b"SCARD" => collections::scard(args, store, reply),
        b"SMEMBERS" => collections::smembers(args, store, reply),
        b"HSET" => collections::hset(args, store, reply),
        b"HGET" => collections::hget(args, store, reply),
        b"HGETALL" => collections::hgetall(args, store, reply),
        b"ZADD" => collections::zadd(args, store, reply),
        b"ZPOPMIN" => collections::zpopmin(args, store, reply),
        b"ZCARD" => collections::zcard(args, store, reply),

        b"PING" => server::ping(args, reply),
        b"ECHO" => server::echo(args, reply),
        b"SELECT" => server::select(args, reply),
        b"INFO" => server::info(server, reply),
        b"COMMAND" => server::command(reply),
        b"CONFIG" => server::config(args, reply),
        b"CLIENT" => server::client(args, reply),
        b"HELLO" => server::hello(args, reply),
        b"QUIT" => {
            reply.ok();
            return Ok(Then::Close);
        }
        _ => Err(Error::UnknownCommand),
    }?;
    Ok(Then::Continue)
}

const LONGEST_NAME: usize = 16;

/// `name` in upper case; a name too long for the buffer is no command's and stays as it is.
fn upper_case<'a>(name: &'a [u8], buffer: &'a mut [u8; LONGEST_NAME]) -> &'a [u8] {
    let Some(upper) = buffer.get_mut(..name.len()) else {
        return name;
    };
    upper.copy_from_slice(name);
    upper.make_ascii_uppercase();
    upper
}

fn exactly<'a, const N: usize>(args: Args<'a>) -> Result<[&'a [u8]; N]> {
    args.exactly().ok_or(Error::WrongNumberOfArguments)
}

fn take<'a, const N: usize>(args: &mut Args<'a>) -> Result<[&'a [u8]; N]> {
    args.take_array().ok_or(Error::WrongNumberOfArguments)
}

/// A key and the one or more words that follow it.
fn key_and_more<'a>(mut args: Args<'a>) -> Result<(&'a [u8], Args<'a>)> {
    let [key] = take(&mut args)?;
    if args.len() == 0 {
        Err(Error::WrongNumberOfArguments)
    } else {
        Ok((key, args))
    }
}

fn integer(word: &[u8]) -> Result<i64> {
    number(word).ok_or(Error::NotAnInteger)
}

impl Server {
    pub fn new(run_id: u64, now: Instant) -> Self {
        Self {
            store: Store::new(now),
            clients: 0,
            run_id,
            started: now,
        }
    }
}

impl Error {
    /// The error reply to `command`, its code first.
    fn about(self, command: &[u8]) -> impl Display {
        fmt::from_fn(move |f| {
            // What a client sent is repeated without line ends, and not at any length.
            let command = command[..command.len().min(64)].escape_ascii();
            match self {
                Self::UnknownCommand => write!(f, "ERR unknown command '{command}'"),
                Self::UnknownSubcommand => write!(f, "ERR unknown subcommand of '{command}'"),
                Self::WrongNumberOfArguments => {
                    write!(f, "ERR wrong number of arguments for '{command}' command")
                }
                Self::WrongKind => {
                    f.write_str("WRONGTYPE Operation against a key holding the wrong kind of value")
                }
                Self::Syntax => f.write_str("ERR syntax error"),
                Self::NotAnInteger => f.write_str("ERR value is not an integer or out of range"),
                Self::NotAFloat => f.write_str("ERR value is not a valid float"),
                Self::Overflow => f.write_str("ERR increment or decrement would overflow"),
                Self::InvalidExpireTime => {
                    write!(f, "ERR invalid expire time in '{command}' command")
                }
                Self::InvalidDatabase => f.write_str("ERR DB index is out of range"),
                Self::UnsupportedProtocol => f.write_str("NOPROTO unsupported protocol version"),
                Self::TooLarge => f.write_str("ERR string exceeds maximum allowed size"),
            }
        })
    }
}

impl From<WrongKind> for Error {
    fn from(WrongKind: WrongKind) -> Self {
        Self::WrongKind
    }
}

#[cfg(test)]
mod tests;
