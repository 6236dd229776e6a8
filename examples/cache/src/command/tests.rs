use std::time::Duration;

use super::*;
use crate::resp::Parser;

struct Session {
    server: Server,
    then: Then,
}

impl Session {
    fn new() -> Self {
        Self {
            server: Server::new(0xfeed, Instant::now()),
            then: Then::Continue,
        }
    }

    /// The reply to an inline request, its line ends shown as blanks.
    fn ask(&mut self, line: &str) -> String {
        let input = format!("{line}\n");
        let mut parser = Parser::default();
        let request = parser.next(input.as_bytes()).unwrap().unwrap();
        let mut reply = Reply::default();
        self.then = execute(request.args, &mut self.server, &mut reply);
        let text = String::from_utf8(reply.as_bytes().to_vec()).unwrap();
        text.replace("\r\n", " ").trim_end().to_owned()
    }

    fn wait(&mut self, time: Duration) {
        let now = self.server.store.now() + time;
        self.server.store.advance(now);
    }
}

/// Runs one session; each line is a request, `->` and the reply.
fn script(text: &str) -> Session {
    let mut session = Session::new();
    for line in text.trim().lines() {
        let (request, reply) = line
            .trim()
            .split_once("->")
            .expect("a request and its reply");
        assert_eq!(session.ask(request), reply.trim(), "{request}");
    }
    session
}

#[test]
fn strings() {
    script(
        "
        GET a -> $-1
        SET a 1 -> +OK
        get a -> $1 1
        SETNX a 2 -> :0
        SETNX b 2 -> :1
        GETSET a 3 -> $1 1
        MGET a b c -> *3 $1 3 $1 2 $-1
        MSET a x b y -> +OK
        MSET a x b -> -ERR wrong number of arguments for 'MSET' command
        APPEND a yz -> :3
        STRLEN a -> :3
        STRLEN none -> :0
        LPUSH list x -> :1
        GET list -> -WRONGTYPE Operation against a key holding the wrong kind of value
        MGET list a -> *2 $-1 $3 xyz
        SET list now-a-string -> +OK
        TYPE list -> +string
        ",
    );
}

#[test]
fn set_options() {
    script(
        "
        SET a 1 XX -> $-1
        SET a 1 NX -> +OK
        SET a 2 nx -> $-1
        SET a 2 NX GET -> $1 1
        SET a 2 XX GET -> $1 1
        SET b 2 GET -> $-1
        GET a -> $1 2
        SET a 1 NX XX -> -ERR syntax error
        SET a 1 EX 1 PX 1 -> -ERR syntax error
        SET a 1 EX 1 KEEPTTL -> -ERR syntax error
        SET a 1 EX -> -ERR syntax error
        SET a 1 EX 0 -> -ERR invalid expire time in 'SET' command
        SET a 1 EX x -> -ERR value is not an integer or out of range
        SET a 1 EX 9223372036854775807 -> -ERR invalid expire time in 'SET' command
        SET a 1 EX 10 -> +OK
        TTL a -> :10
        SET a 2 KEEPTTL -> +OK
        TTL a -> :10
        SET a 3 -> +OK
        TTL a -> :-1
        ",
    );
}

#[test]
fn integers() {
    script(
        "
        INCR n -> :1
        INCRBY n 41 -> :42
        DECR n -> :41
        DECRBY n 50 -> :-9
        GET n -> $2 -9
        SET n 9223372036854775807 -> +OK
        INCR n -> -ERR increment or decrement would overflow
        GET n -> $19 9223372036854775807
        DECRBY n -9223372036854775808 -> -ERR increment or decrement would overflow
        SET n x -> +OK
        INCR n -> -ERR value is not an integer or out of range
        INCRBY m x -> -ERR value is not an integer or out of range
        EXISTS m -> :0
        ",
    );
}

#[test]
fn keys_and_expiry() {
    let mut session = script(
        "
        MSET a 1 b 2 user:1 x -> +OK
        EXISTS a a none -> :2
        KEYS user:* -> *1 $6 user:1
        DEL a none -> :1
        UNLINK b -> :1
        DBSIZE -> :1
        TTL none -> :-2
        PTTL user:1 -> :-1
        EXPIRE none 10 -> :0
        EXPIRE user:1 10 -> :1
        PTTL user:1 -> :10000
        INCR n -> :1
        PEXPIRE n 1500 -> :1
        INCR n -> :2
        PTTL n -> :1500
        PERSIST n -> :1
        PERSIST n -> :0
        EXPIRE n -1 -> :1
        EXISTS n -> :0
        ",
    );
    session.wait(Duration::from_millis(9_999));
    assert_eq!(session.ask("PTTL user:1"), ":1");
    session.wait(Duration::from_millis(1));
    assert_eq!(session.ask("GET user:1"), "$-1");
    assert_eq!(session.ask("SET a 1"), "+OK");
    assert_eq!(session.ask("FLUSHALL ASYNC"), "+OK");
    assert_eq!(session.ask("DBSIZE"), ":0");
}

#[test]
fn lists() {
    script(
        "
        RPUSH l a b c -> :3
        LPUSH l z y -> :5
        LRANGE l 0 -1 -> *5 $1 y $1 z $1 a $1 b $1 c
        LRANGE l 1 2 -> *2 $1 z $1 a
        LRANGE l -2 -1 -> *2 $1 b $1 c
        LRANGE l -100 0 -> *1 $1 y
        LRANGE l 4 100 -> *1 $1 c
        LRANGE l 5 9 -> *0
        LRANGE l 3 2 -> *0
        LRANGE l 0 -6 -> *0
        LRANGE l -9223372036854775808 9223372036854775807 -> *5 $1 y $1 z $1 a $1 b $1 c
        LRANGE none 0 -1 -> *0
        LLEN l -> :5
        LPOP l -> $1 y
        RPOP l 2 -> *2 $1 c $1 b
        LPOP l 9 -> *2 $1 z $1 a
        EXISTS l -> :0
        LPOP l -> $-1
        RPOP l 1 -> *-1
        LPOP l -1 -> -ERR value is not an integer or out of range
        LPUSH l -> -ERR wrong number of arguments for 'LPUSH' command
        ",
    );
}

#[test]
fn sets_hashes_and_sorted_sets() {
    script(
        "
        SADD s a a b -> :2
        SCARD s -> :2
        SMEMBERS s -> *2 $1 a $1 b
        DEL s -> :1
        SPOP s -> $-1
        SADD s a -> :1
        SPOP s 5 -> *1 $1 a
        SADD s a -> :1
        SPOP s -> $1 a
        EXISTS s -> :0
        HSET h f 1 -> :1
        HSET h f 2 g 3 -> :1
        HSET h f -> -ERR wrong number of arguments for 'HSET' command
        HGET h f -> $1 2
        HGET h none -> $-1
        HGETALL none -> *0
        ZADD z 2 b 1 a 1.5 c -> :3
        ZADD z 3 a -> :0
        ZADD z nan d -> -ERR value is not a valid float
        ZADD z 1 -> -ERR syntax error
        ZCARD z -> :3
        ZPOPMIN z -> *2 $1 c $3 1.5
        ZPOPMIN z 5 -> *4 $1 b $1 2 $1 a $1 3
        ZPOPMIN z -> *0
        TYPE z -> +none
        ",
    );
}

#[test]
fn the_service_itself() {
    let mut session = script(
        "
        PING -> +PONG
        PING hi -> $2 hi
        ECHO hi -> $2 hi
        SELECT 0 -> +OK
        SELECT 1 -> -ERR DB index is out of range
        COMMAND DOCS -> *0
        CONFIG GET save -> *2 $4 save $0
        CONFIG GET maxmemory -> *0
        CONFIG SET save x -> -ERR unknown subcommand of 'CONFIG'
        CLIENT SETNAME me -> +OK
        HELLO 3 -> -NOPROTO unsupported protocol version
        HELLO -> *8 $6 server $5 redis $7 version $5 7.0.0 $4 mode $10 standalone $5 proto :2
        what now -> -ERR unknown command 'what'
        a-name-much-longer-than-any-command -> -ERR unknown command 'a-name-much-longer-than-any-command'
        ",
    );
    assert!(session.ask("INFO server").contains(
        "# Server redis_version:7.0.0 redis_mode:standalone os:WASI run_id:000000000000feed "
    ));
    assert_eq!(session.ask(""), "");
    assert_eq!(session.then, Then::Continue);
    assert_eq!(session.ask("QUIT"), "+OK");
    assert_eq!(session.then, Then::Close);
}
