//! What the messages mean. It knows nothing of sockets and lines, and each message has an instance
//! to itself.

// In what `export!` writes.
#![allow(unsafe_code)]

use exports::example::bridge::handler::{Guest, Message};

wit_bindgen::generate!({ path: "../wit", world: "meaning" });

struct Handler;

export!(Handler);

impl Guest for Handler {
    fn handle(message: Message) -> Result<Vec<u8>, String> {
        let Message { topic, payload } = message;
        match topic.as_str() {
            "upper" => Ok(payload.to_ascii_uppercase()),
            "reverse" => Ok(payload.into_iter().rev().collect()),
            "crash" => panic!("the client asked for it"),
            _ => Err(format!(
                "nobody knows `{topic}`: try upper, reverse or crash"
            )),
        }
    }
}
