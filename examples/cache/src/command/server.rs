//! Commands about the connection and the service itself; most are what clients ask before they
//! begin.

use std::fmt::Write;

use super::{Error, Result, Server, exactly, take};
use crate::glob;
use crate::resp::{Args, Reply};

/// What INFO and HELLO call themselves, for clients that look at the version: the commands behave
/// as there.
const REDIS_VERSION: &str = "7.0.0";

pub fn ping(args: Args<'_>, reply: &mut Reply) -> Result {
    if args.len() == 0 {
        reply.simple("PONG");
        return Ok(());
    }
    echo(args, reply)
}

pub fn echo(args: Args<'_>, reply: &mut Reply) -> Result {
    let [message] = exactly(args)?;
    reply.bulk(message);
    Ok(())
}

/// There is one database, number 0.
pub fn select(args: Args<'_>, reply: &mut Reply) -> Result {
    match exactly(args)? {
        [b"0"] => reply.ok(),
        [_] => return Err(Error::InvalidDatabase),
    }
    Ok(())
}

/// All sections, whichever were asked for. `run_id` is new in each start of the service: it tells
/// instances apart.
pub fn info(server: &Server, reply: &mut Reply) -> Result {
    let store = &server.store;
    let uptime = store
        .now()
        .saturating_duration_since(server.started)
        .as_secs();
    let mut text = String::new();
    write!(
        text,
        "# Server\r\nredis_version:{REDIS_VERSION}\r\nredis_mode:standalone\r\nos:WASI\r\nrun_id:{:016x}\r\n\
         uptime_in_seconds:{uptime}\r\n\r\n# Clients\r\nconnected_clients:{}\r\n\r\n# Keyspace\r\n",
        server.run_id, server.clients,
    )
    .expect("writing to memory does not fail");
    if store.len() > 0 {
        write!(
            text,
            "db0:keys={},expires={}\r\n",
            store.len(),
            store.expiring()
        )
        .expect("writing to memory does not fail");
    }
    reply.bulk(text.as_bytes());
    Ok(())
}

/// Clients ask for documentation of the commands and take none for an answer.
pub fn command(reply: &mut Reply) -> Result {
    reply.array(0);
    Ok(())
}

/// Nothing is configurable. redis-benchmark wants to know whether data is saved; it is not.
pub fn config(mut args: Args<'_>, reply: &mut Reply) -> Result {
    const SETTINGS: [(&str, &str); 2] = [("save", ""), ("appendonly", "no")];
    let [subcommand] = take(&mut args)?;
    if !subcommand.eq_ignore_ascii_case(b"GET") {
        return Err(Error::UnknownSubcommand);
    }
    let [pattern] = exactly(args)?;
    let pattern = pattern.to_ascii_lowercase();
    let found: Vec<_> = SETTINGS
        .iter()
        .filter(|(name, _)| glob::matches(&pattern, name.as_bytes()))
        .collect();
    reply.array(2 * found.len());
    for (name, value) in found {
        reply.bulk(name.as_bytes());
        reply.bulk(value.as_bytes());
    }
    Ok(())
}

/// Names and versions that clients give themselves are taken and forgotten.
pub fn client(mut args: Args<'_>, reply: &mut Reply) -> Result {
    let [_subcommand] = take(&mut args)?;
    reply.ok();
    Ok(())
}

pub fn hello(mut args: Args<'_>, reply: &mut Reply) -> Result {
    if args.next().is_some_and(|version| version != b"2") {
        return Err(Error::UnsupportedProtocol);
    }
    reply.array(8);
    for (name, value) in [
        ("server", "redis"),
        ("version", REDIS_VERSION),
        ("mode", "standalone"),
    ] {
        reply.bulk(name.as_bytes());
        reply.bulk(value.as_bytes());
    }
    reply.bulk(b"proto");
    reply.integer(2);
    Ok(())
}
